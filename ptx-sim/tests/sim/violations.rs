//! For every check kernels that violate it, which must be reported for what they are and where, and their corrected twins,
//! which must pass; under several orders of blocks and warps.

use crate::args;
use crate::host::{Host, Random, nvcc};
use crate::place::{SEEDS, assert_place, fault};
use ptx_sim::{Arg, Counters, DeviceOptions, Error, Fault, FaultKind, Module, Shape};
use std::fs;

/// Enough for every kernel here that ends.
const STEPS: u64 = 100_000;

fn host(seed: u64, threads: usize) -> Host {
    Host::new(DeviceOptions { seed, threads, step_budget: STEPS, ..DeviceOptions::default() })
}

/// What a kernel's arguments are made of.
#[derive(Clone, Copy)]
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

fn argument(host: &mut Host, make: Make) -> Arg {
    match make {
        Values(n) => host.input(&Random(n as u64).floats(n, -1.0, 1.0)).into(),
        Indices(n, most, last) => {
            let mut indices = vec![most; n];
            indices[n - 1] = last;
            host.input(&indices).into()
        }
        Fresh(bytes) => host.output::<u8>(bytes).into(),
        Zeros(n) => host.inout(&vec![0u32; n]).into(),
        Number(v) => v.into(),
    }
}

/// A launch, which must do and count the same, or fail in the same way, on any number of the host's threads.
fn launch(seed: u64, program: &str, kernel: &str, shape: Shape, makes: &[Make]) -> Result<Counters, Error> {
    let [one, others @ ..] = [1, 2, 4].map(|threads| {
        let mut host = host(seed, threads);
        let args: Vec<Arg> = makes.iter().map(|&make| argument(&mut host, make)).collect();
        host.launch(program, kernel, shape, &args)
    });
    let outcome = |result: &Result<Counters, Error>| result.clone().map_err(|e| e.to_string());
    for other in others {
        assert_eq!(outcome(&other), outcome(&one), "{kernel}, seed {seed}");
    }
    one
}

/// Runs both twins under every seed. The violation must name its place.
fn twins(program: &str, name: &str, shape: Shape, makes: &[Make], kinds: &[FaultKind]) {
    for seed in SEEDS {
        if let Err(e) = launch(seed, program, &format!("{name}_ok"), shape, makes) {
            panic!("{name}_ok, seed {seed}: {e}");
        }
        let kernel = format!("{name}_bad");
        let fault = fault(launch(seed, program, &kernel, shape, makes), kinds);
        assert_place(&fault, program, &kernel);
        assert_bad_line(&fault, program, name);
    }
}

/// The fault must be in a line of the violation that ends in `// BAD`.
fn assert_bad_line(fault: &Fault, program: &str, name: &str) {
    let (file, line) = fault.source.as_ref().expect("line info");
    assert!(file.ends_with(&format!("/{program}.cu")), "{fault}");
    let bad = bad_lines(program, name);
    assert!(bad.contains(line), "lines {bad:?} are bad: {fault}");
}

/// The lines of a violation's body that end in `// BAD`.
fn bad_lines(program: &str, name: &str) -> Vec<u32> {
    let source = fs::read_to_string(nvcc::programs().join(program).with_extension("cu")).expect("the source");
    let starts =
        |line: &str, what: &str| line.strip_prefix(what).is_some_and(|rest| !rest.starts_with(char::is_alphabetic));
    let lines = (1..).zip(source.lines());
    let body = lines.skip_while(|(_, line)| !starts(line, &format!("BODY {name}")));
    let body = body.take_while(|(_, line)| !starts(line, &format!("TWINS({name}")));
    body.filter(|(_, line)| line.ends_with("// BAD")).map(|(n, _)| n).collect()
}

/// A test for each pair of a program, and one that no pair of the program is missing.
macro_rules! pairs {
    ($file:ident: $($name:ident [$($dim:expr),*] ($($make:expr),*) $($kind:ident)|+;)*) => {
        mod $file {
            use super::*;

            $(#[test]
            fn $name() {
                let [blocks, threads] = [$($dim),*];
                let program = concat!("violations_", stringify!($file));
                twins(program, stringify!($name), Shape::line(blocks, threads), &[$($make),*], &[$(FaultKind::$kind),+]);
            })*

            #[test]
            fn all_are_tested() {
                let module = Module::load(&nvcc::ptx(concat!("violations_", stringify!($file)))).expect("it loads");
                let mut entries: Vec<String> = module.entries().into_iter().map(|entry| entry.name).collect();
                let mut tested: Vec<String> =
                    [$(stringify!($name)),*].iter().flat_map(|n| [format!("{n}_bad"), format!("{n}_ok")]).collect();
                // That one is refused before it runs.
                entries.retain(|name| !name.starts_with("bounded_threads"));
                entries.sort();
                tested.sort();
                assert_eq!(entries, tested);
            }
        }
    };
}

pairs! { memory:
    bound [2, 96] (Values(100), Fresh(400), Number(100)) OutOfBounds;
    bound_below [1, 32] (Values(32), Fresh(128), Number(1)) OutOfBounds;
    shared_bound [1, 64] (Fresh(256), Number(1)) OutOfBounds;
    local_bound [1, 32] (Fresh(128), Indices(32, 3, 8)) OutOfBounds;
    const_bound [1, 32] (Fresh(128), Indices(32, 3, 4)) OutOfBounds;
    misaligned [1, 32] (Values(132), Fresh(512)) Misaligned;
    misaligned_shared [1, 32] (Fresh(128)) Misaligned;
    misaligned_local [1, 32] (Fresh(128), Indices(32, 2, 2)) Misaligned;
    misaligned_const [1, 32] (Fresh(128), Indices(32, 2, 2)) Misaligned;
    uninit_global [1, 32] (Fresh(128), Fresh(128)) Uninitialised;
    uninit_byte [1, 32] (Fresh(128), Fresh(128)) Uninitialised;
    uninit_shared [1, 32] (Fresh(128)) Uninitialised;
    uninit_local [1, 32] (Fresh(128), Indices(32, 7, 0)) Uninitialised;
    read_only [1, 32] (Values(32), Fresh(128)) ReadOnly;
    const_write [1, 32] (Fresh(128)) ReadOnly;
}

pairs! { shared:
    write_read [1, 64] (Values(64), Fresh(256)) SharedRace;
    read_write [1, 64] (Values(256), Fresh(1024)) SharedRace;
    write_write [1, 64] (Fresh(4)) SharedRace;
    lane_write_read [1, 32] (Values(32), Fresh(128)) SharedRace;
    lane_volatile [1, 32] (Values(32), Fresh(128)) SharedRace;
    lane_read_write [1, 32] (Values(32), Fresh(128)) SharedRace;
    lane_write_write [1, 32] (Fresh(64)) SharedRace;
    lane_shuffle [1, 32] (Values(32), Fresh(128)) SharedRace;
    half_warps [1, 32] (Values(32), Fresh(128)) SharedRace;
    bytes [1, 64] (Fresh(64)) SharedRace;
    halves [1, 64] (Fresh(128)) SharedRace;
    counter [1, 64] (Fresh(4)) SharedRace;
    after_atomic [1, 64] (Fresh(256)) SharedRace;
    half_blocks [1, 128] (Fresh(512)) SharedRace;
    chained [1, 96] (Fresh(128)) SharedRace;
    two_readers [1, 96] (Fresh(256)) SharedRace;
}

pairs! { global:
    write_read [2, 32] (Zeros(32), Zeros(32), Zeros(2), Zeros(1)) GlobalRace;
    read_write [2, 32] (Zeros(32), Zeros(32), Zeros(2), Zeros(1)) GlobalRace;
    write_write [2, 32] (Zeros(32), Zeros(32), Zeros(2), Zeros(1)) GlobalRace;
    no_release [2, 32] (Zeros(32), Zeros(32), Zeros(2), Zeros(1)) GlobalRace;
    no_acquire [2, 32] (Zeros(32), Zeros(32), Zeros(2), Zeros(1)) GlobalRace;
    no_fence_before [2, 32] (Zeros(32), Zeros(32), Zeros(2), Zeros(1)) GlobalRace;
    no_fence_after [2, 32] (Zeros(32), Zeros(32), Zeros(2), Zeros(1)) GlobalRace;
    two_readers [3, 32] (Zeros(32), Zeros(32), Zeros(2), Zeros(1)) GlobalRace;
    increment [8, 32] (Zeros(32), Zeros(32), Zeros(2), Zeros(1)) GlobalRace;
    after_atomic [2, 32] (Zeros(32), Zeros(32), Zeros(2), Zeros(1)) GlobalRace;
    before_atomic [2, 32] (Zeros(32), Zeros(32), Zeros(2), Zeros(1)) GlobalRace;
    bytes [4, 32] (Zeros(32), Zeros(32), Zeros(2), Zeros(1)) GlobalRace;
    last_block [8, 32] (Zeros(32), Zeros(32), Zeros(2), Zeros(1)) GlobalRace;
}

pairs! { copy:
    wait [1, 32] (Values(128), Fresh(512)) AsyncPending;
    commit [1, 32] (Values(128), Fresh(512)) AsyncPending;
    group [1, 32] (Values(256), Fresh(1024)) AsyncPending;
    // The other thread's copy is under way, has been waited for by that thread, or overwrites what was read.
    barrier [1, 64] (Values(256), Fresh(1024)) AsyncPending | SharedRace;
    first [1, 64] (Values(256), Fresh(1024)) AsyncPending | SharedRace;
    store [1, 32] (Values(128), Fresh(512)) AsyncPending;
}

pairs! { sync:
    barrier_part [1, 32] (Fresh(128)) Divergence;
    barrier_two [1, 32] (Fresh(128)) Divergence;
    barrier_block [1, 64] (Fresh(256)) Deadlock;
    barrier_count [1, 64] (Fresh(256)) Deadlock;
    shuffle_source [1, 32] (Values(32), Fresh(128)) InactiveLane;
    shuffle_absent [1, 32] (Values(32), Fresh(128)) InactiveLane | Deadlock;
    shuffle_self [1, 32] (Values(32), Fresh(128)) InactiveLane;
    syncwarp_apart [1, 32] (Fresh(128)) Deadlock | Divergence | InactiveLane;
    endless [1, 64] (Zeros(1), Fresh(256)) StepBudget;
    trap [1, 32] (Fresh(128)) Trap;
}

#[test]
fn an_endless_kernel_says_where_its_warps_stand() {
    let result = launch(1, "violations_sync", "endless_bad", Shape::line(1, 64), &[Zeros(1), Fresh(256)]);
    let fault = fault(result, &[FaultKind::StepBudget]);
    assert!(fault.detail.contains("warp 0 at PTX line") && fault.detail.contains("warp 1 at barrier 0"), "{fault}");
}

/// The kernel is right; what it is given isn't.
#[test]
fn use_after_free() {
    for seed in SEEDS {
        let mut host = host(seed, 0);
        let (x, y) = (host.input(&[1.0f32; 100]), host.output::<f32>(100));
        // Another allocation must not take the place of the one that is freed.
        let freed = host.output::<f32>(100);
        host.device.free(freed.address).expect("an allocation");
        let _next = host.inout(&[0.0f32; 100]);
        let shape = Shape::line(2, 96);
        host.run("violations_memory", "bound_ok", shape, &args![x, y, 100]);
        let result = host.launch("violations_memory", "bound_ok", shape, &args![x, freed, 100]);
        let fault = fault(result, &[FaultKind::UseAfterFree]);
        assert_place(&fault, "violations_memory", "bound_ok");
        assert_bad_line(&fault, "violations_memory", "bound");
    }
}

/// Refused before they run, by messages that name the kernel.
#[test]
fn launches_beyond_the_limits() {
    let two = Shape::line(1, 64);
    for (program, name, shape) in
        [("violations_sync", "bounded_threads", two), ("violations_static", "static_shared", Shape::line(1, 32))]
    {
        launch(1, program, &format!("{name}_ok"), shape, &[Fresh(256)]).expect("within the limits");
        match launch(1, program, &format!("{name}_bad"), shape, &[Fresh(256)]) {
            Err(e @ Error::Launch(_)) => assert!(e.to_string().contains(&format!("{name}_bad")), "{e}"),
            other => panic!("{name}_bad: {other:?}"),
        }
    }
}
