//! Prints how fast kernels run, all checks on: thread-instructions per second.

use ptx_sim::{Device, DeviceOptions, Error, Module, Shape};
use std::time::Instant;

fn main() -> Result<(), Error> {
    let module = Module::load(include_str!("../tests/ptx/kernels.ptx"))?;
    let mut device = Device::new(DeviceOptions::default());
    let n = 1usize << 20;
    let (x, y) = (device.alloc(4 * n), device.alloc(4 * n));
    let ones: Vec<u8> = (0..n).flat_map(|i| (1.0 + (i % 7) as f32).to_le_bytes()).collect();
    device.write(x, &ones)?;
    device.write(y, &ones)?;
    let saxpy = &[1.5f32.into(), x.into(), y.into(), (n as i32).into()][..];
    let sum = &[x.into(), y.into(), 4096i32.into()][..];
    let functions = &[x.into(), y.into(), (n as i32).into()][..];
    for (name, grid, args) in [("saxpy", 4096, saxpy), ("block_sum", 256, sum), ("functions", 4096, functions)] {
        let start = Instant::now();
        let c = device.launch(&module, name, Shape::line(grid, 256), args)?;
        let seconds = start.elapsed().as_secs_f64();
        let rate = c.total_thread_instructions() as f64 / seconds / 1e6;
        println!("{name}: {rate:.0} M thread-instructions/s, lane efficiency {:.2}", c.lane_efficiency());
    }
    Ok(())
}
