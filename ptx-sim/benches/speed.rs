//! How fast kernels run: thread-instructions per second, and GFLOP/s of the matrix products.
//!
//! ```text
//! cargo bench -p ptx-sim --bench speed [-- FILTER]
//! ```
//! Each kernel runs with all checks on one host thread, on every processor, and with the checks off that can be. The aim,
//! per core with all checks on: 1 G thread-instructions/s on elementwise and reduction kernels, 8 GFLOP/s on the
//! convolution.

#[path = "../tests/host/mod.rs"]
mod host;

use half::bf16;
use host::{Host, Random, cover, line};
use ptx_sim::{Arg, Checks, Counters, DeviceOptions, FaultKind, Shape};
use std::time::Instant;

/// Launches of which the fastest counts.
const REPEATS: usize = 5;

struct Case {
    program: &'static str,
    kernel: &'static str,
    shape: Shape,
    /// Fills memory and gives the arguments of all launches.
    args: fn(&mut Host) -> Vec<Arg>,
    /// Useful floating-point operations, of matrix products.
    flops: f64,
}

fn floats(host: &mut Host, n: usize) -> host::Buffer {
    host.inout(&Random(n as u64).floats(n, 0.0, 1.0))
}

fn halves(host: &mut Host, n: usize) -> host::Buffer {
    let x = Random(n as u64).floats(n, -1.0, 1.0);
    host.inout(&x.into_iter().map(bf16::from_f32).collect::<Vec<_>>())
}

const N: usize = 1 << 20;

fn cases() -> Vec<Case> {
    let case = |program, kernel, shape, args| Case { program, kernel, shape, args, flops: 0.0 };
    let grid = |x, y, block| Shape { grid: [x, y, 1], block, shared: 0 };
    let product = |m: f64, n: f64, k: f64| 2.0 * m * n * k;
    vec![
        case("elementwise", "saxpy", cover(4 * N, 256), |host| {
            args![1.5f32, floats(host, 4 * N), floats(host, 4 * N), 4 * N as i32].into()
        }),
        case("elementwise", "pgd_step", cover(N, 256), |host| {
            let buffers = [floats(host, 4 * N), floats(host, 4 * N), floats(host, 4 * N)];
            args![buffers[0], buffers[1], buffers[2], 0.01f32, 0.03f32, 4 * N as i32].into()
        }),
        case("elementwise", "bf16_axpy", cover(N, 256), |host| {
            args![1.5f32, halves(host, 8 * N), halves(host, 8 * N), 8 * N as i32].into()
        }),
        case("reduction", "reduce_sum", line(64, 256), |host| {
            args![floats(host, 8 * N), host.output::<f32>(64), 8 * N as i32].into()
        }),
        case("softmax", "softmax", line(512, 128), |host| {
            args![floats(host, 512 * 1024), host.output::<f32>(512 * 1024), 1024].into()
        }),
        case("histogram", "histogram", line(32, 256), |host| {
            let x: Vec<u8> = Random(1).words(2 * N).into_iter().map(|w| w as u8).collect();
            args![host.inout(&x), host.inout(&[0u32; 256]), 2 * N as i32].into()
        }),
        // The count goes on from launch to launch.
        case("compaction", "compact", cover(2 * N, 256), |host| {
            let indices = host.output::<i32>(REPEATS * 2 * N);
            args![floats(host, 2 * N), indices, host.inout(&[0i32]), 0.5f32, 2 * N as i32].into()
        }),
        Case {
            flops: product(256.0, 256.0, 256.0),
            ..case("gemm_f32", "gemm_f32", grid(16, 16, [16, 16, 1]), |host| {
                args![floats(host, 1 << 16), floats(host, 1 << 16), host.output::<f32>(1 << 16), 256, 256, 256].into()
            })
        },
        Case {
            flops: product(512.0, 512.0, 512.0),
            ..case("gemm_bf16", "gemm_bf16_nt", grid(8, 8, [128, 1, 1]), |host| {
                args![halves(host, 1 << 18), halves(host, 1 << 18), host.output::<f32>(1 << 18), 512, 512, 512].into()
            })
        },
        // Eight images of 16 x 16 with 64 channels, 64 filters.
        Case {
            flops: product(8.0 * 256.0, 64.0, 9.0 * 64.0),
            ..case("conv_bf16", "conv_bf16", grid(1, 32, [128, 1, 1]), |host| {
                let (x, f) = (halves(host, 8 * 256 * 64), halves(host, 64 * 9 * 64));
                args![x, f, host.output::<f32>(8 * 256 * 64), 8, 16, 16, 64, 64].into()
            })
        },
    ]
}

/// Counters and the fastest launch's seconds.
fn time(case: &Case, threads: usize, checks: Checks) -> (Counters, f64) {
    let mut host = Host::new(DeviceOptions { threads, checks, ..DeviceOptions::default() });
    let args = (case.args)(&mut host);
    let mut best = f64::INFINITY;
    let mut counters = Counters::default();
    for _ in 0..REPEATS {
        let (device, module) = host.load(case.program).expect("it loads");
        let start = Instant::now();
        counters = device.launch(module, case.kernel, case.shape, &args).unwrap_or_else(|e| panic!("{e}"));
        best = best.min(start.elapsed().as_secs_f64());
    }
    (counters, best)
}

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    use FaultKind::{AsyncPending, GlobalRace, InactiveLane, ReadOnly, SharedRace, Uninitialised};
    let off = [AsyncPending, GlobalRace, InactiveLane, ReadOnly, SharedRace, Uninitialised]
        .into_iter()
        .fold(Checks::all(), |checks, kind| checks.without(kind).expect("it may be off"));
    let runs = [("1", 1, Checks::all()), ("all", 0, Checks::all()), ("1, checks off", 1, off)];
    println!(
        "{:12} {:14} {:>12} {:>9} {:>15} {:>8}",
        "kernel", "threads", "thread-inst.", "seconds", "G thread-inst/s", "GFLOP/s"
    );
    for case in cases().iter().filter(|case| case.kernel.contains(&filter)) {
        for (name, threads, checks) in runs {
            let (counters, seconds) = time(case, threads, checks);
            let instructions = counters.total_thread_instructions();
            let rate = instructions as f64 / seconds / 1e9;
            let flops = match case.flops {
                0.0 => String::new(),
                flops => format!("{:.2}", flops / seconds / 1e9),
            };
            println!("{:12} {name:14} {instructions:>12} {seconds:>9.4} {rate:>15.3} {flops:>8}", case.kernel);
        }
    }
}
