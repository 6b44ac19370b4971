//! Runs a kernel, prints what it did, and what its wrong twin does wrong.
//!
//! scale.ptx is what `nvcc -arch=compute_80 -ptx -lineinfo scale.cu` writes.

use ptx_sim::gpu::{H100_SXM, occupancy};
use ptx_sim::roofline::roofline;
use ptx_sim::{Arg, Device, DeviceOptions, Module, Shape};

fn main() -> ptx_sim::Result<()> {
    let module = Module::load(include_str!("scale.ptx"))?;
    for entry in module.entries() {
        let params: Vec<_> = entry.params.iter().map(|p| p.size).collect();
        println!("{} takes parameters of {params:?} bytes", entry.name);
    }

    let n = 1000usize;
    let mut device = Device::new(DeviceOptions::default());
    let (x, y) = (device.alloc(4 * n), device.alloc(4 * n));
    let values: Vec<u8> = (0..n).flat_map(|i| (i as f32).to_le_bytes()).collect();
    device.write(x, &values)?;

    // scale<<<8, 128>>>(1.5f, x, y, n), where x is only to be read.
    let args = [1.5f32.into(), Arg::read_only(x), y.into(), (n as i32).into()];
    let counters = device.launch(&module, "scale", Shape::line(8, 128), &args)?;
    let mut last = [0; 4];
    device.read(y + 4 * (n as u64 - 1), &mut last)?;
    println!("y[{}] = {}", n - 1, f32::from_le_bytes(last));
    println!("{} sectors read, {} written", counters.global_load_sectors, counters.global_store_sectors);
    // 10 registers a thread, says ptxas.
    let least = roofline(&(&counters).into(), &H100_SXM, &occupancy(&H100_SXM, 128, 10, 0)).expect("a block fits");
    println!("at least {:.1} ns on an H100, limited by {:?}", least.seconds * 1e9, least.limiter);

    if let Err(fault) = device.launch(&module, "scale_slip", Shape::line(8, 128), &args) {
        println!("{fault}");
    }
    Ok(())
}
