//! For every check a kernel that violates it, which must be reported, and its twin, which must pass.

use super::{Arg, Host, Machine, Random, Shape, cover, line};
use crate::reference;
use half::bf16;

/// What a kernel's arguments are made of.
#[derive(Clone, Copy, Debug)]
enum Make {
    /// Read-only f32 values.
    Values(usize),
    /// Read-only i32: one repeated, then a last one.
    Indices(usize, i32, i32),
    /// Memory that nothing has written, in bytes.
    Fresh(usize),
    /// Zeroed 32-bit words.
    Zeros(usize),
    /// A number.
    Number(i32),
}
use Make::{Fresh, Indices, Number, Values, Zeros};

/// A pair of programs/violations.cu: the kernels' stem, the launch, the arguments, and the kinds of fault of which `_bad`
/// must report one.
struct Pair(&'static str, Shape, &'static [Make], &'static [&'static str]);

fn pairs() -> Vec<Pair> {
    let (warp, two) = (line(1, 32), line(1, 64));
    vec![
        Pair("bound", cover(100, 96), &[Values(100), Fresh(400), Number(100)], &["OutOfBounds"]),
        Pair("shared_bound", two, &[Fresh(256), Number(1)], &["OutOfBounds"]),
        Pair("local_bound", warp, &[Fresh(128), Indices(32, 3, 8)], &["OutOfBounds"]),
        Pair("const_bound", warp, &[Fresh(128), Indices(32, 3, 4)], &["OutOfBounds"]),
        Pair("misaligned", warp, &[Values(132), Fresh(512)], &["Misaligned"]),
        Pair("misaligned_shared", warp, &[Fresh(128)], &["Misaligned"]),
        Pair("uninit_global", warp, &[Fresh(128), Fresh(128)], &["Uninitialised"]),
        Pair("uninit_shared", warp, &[Fresh(128)], &["Uninitialised"]),
        Pair("uninit_local", warp, &[Fresh(128), Indices(32, 7, 0)], &["Uninitialised"]),
        Pair("read_only", warp, &[Values(32), Fresh(128)], &["ReadOnly"]),
        Pair("const_write", warp, &[Fresh(128)], &["ReadOnly"]),
        Pair("shared_race", two, &[Values(64), Fresh(256)], &["SharedRace", "Uninitialised"]),
        Pair("warp_race", warp, &[Values(32), Fresh(128)], &["SharedRace"]),
        Pair("shared_race_loop", two, &[Values(256), Fresh(1024)], &["SharedRace"]),
        Pair("global_race", line(8, 32), &[Zeros(1)], &["GlobalRace"]),
        Pair("publish", line(2, 32), &[Zeros(32), Zeros(1), Fresh(128), Zeros(1)], &["GlobalRace"]),
        Pair("async_wait", warp, &[Values(128), Fresh(512)], &["AsyncPending"]),
        Pair("async_group", warp, &[Values(256), Fresh(1024)], &["AsyncPending"]),
        // The other warp's copies may not have been issued when they are read.
        Pair("async_barrier", two, &[Values(256), Fresh(1024)], &["AsyncPending", "SharedRace", "Uninitialised"]),
        Pair("barrier_warp", warp, &[Fresh(128)], &["Divergence", "Deadlock"]),
        Pair("barrier_block", two, &[Fresh(256)], &["Divergence", "Deadlock"]),
        Pair("shuffle_lane", warp, &[Values(32), Fresh(128)], &["InactiveLane"]),
        Pair("shuffle_member", warp, &[Values(32), Fresh(128)], &["InactiveLane", "Deadlock"]),
        Pair("static_shared", warp, &[Fresh(128)], &["Launch", "Load"]),
        Pair("bounded_threads", two, &[Fresh(256)], &["Launch"]),
        Pair("endless", warp, &[Zeros(1), Fresh(128)], &["StepBudget", "Deadlock"]),
    ]
}

/// Names of the kernels that [`all`] launches, without `_bad` and `_ok`.
pub fn names() -> Vec<&'static str> {
    pairs().iter().map(|pair| pair.0).chain(["swapped_fragment"]).collect()
}

/// Every pair, each launch on a machine of its own. Returns the violations that went unnoticed.
pub fn all<M: Machine>(mut machine: impl FnMut() -> M) -> Vec<&'static str> {
    let mut missed = Vec::new();
    for Pair(name, shape, makes, kinds) in pairs() {
        let mut run = |suffix: &str| {
            let mut machine = machine();
            let args: Vec<Arg> = makes.iter().map(|&make| argument(&mut Host(&mut machine), make)).collect();
            let program = if name == "static_shared" { "violations_shared" } else { "violations" };
            machine.launch(program, &format!("{name}_{suffix}"), shape, &args)
        };
        assert_eq!(run("ok"), Ok(()), "{name}_ok");
        match run("bad") {
            Ok(()) => missed.push(name),
            Err(fault) => assert!(kinds.contains(&fault.as_str()), "{name}_bad: {fault}, not {kinds:?}"),
        }
    }
    swapped_fragment(&mut machine());
    missed
}

fn argument<M: Machine>(host: &mut Host<'_, M>, make: Make) -> Arg {
    match make {
        Values(n) => host.input(&Random(n as u64).floats(n, -1.0, 1.0)),
        Indices(n, most, last) => {
            let mut indices = vec![most; n];
            indices[n - 1] = last;
            host.input(&indices)
        }
        Fresh(bytes) => host.output::<u8>(bytes),
        Zeros(n) => host.inout(&vec![0u32; n]),
        Number(v) => Arg::I32(v),
    }
}

/// No check can see this one, so the comparison has to.
fn swapped_fragment(machine: &mut impl Machine) {
    let mut host = Host(machine);
    let a: Vec<f64> = (0..256).map(|i| f64::from(i % 37) - 18.0).collect();
    let b: Vec<f64> = (0..128).map(|i| f64::from(i % 23) - 11.0).collect();
    let narrow = |x: &[f64]| x.iter().map(|&v| bf16::from_f32(v as f32)).collect::<Vec<_>>();
    let want: Vec<f32> = reference::gemm_f64(&a, &b, [16, 8, 16], false).iter().map(|(sum, _)| *sum as f32).collect();
    for (kernel, right) in [("swapped_fragment_ok", true), ("swapped_fragment_bad", false)] {
        let (pa, pb, d) = (host.input(&narrow(&a)), host.input(&narrow(&b)), host.output::<f32>(128));
        host.run("violations", kernel, line(1, 32), &[pa, pb, d]);
        assert_eq!(host.read::<f32>(d, 128) == want, right, "{kernel}");
    }
}
