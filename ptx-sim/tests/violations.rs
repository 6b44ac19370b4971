//! For every check kernels that violate it, which must be reported for what they are and where, and their corrected twins,
//! which must pass; under several orders of blocks and warps.

mod host;
mod reference;

use half::bf16;
use host::{Buffer, Host, Random, nvcc};
use ptx_sim::{Arg, DeviceOptions, Error, Fault, FaultKind, Module, Shape};
use std::fs;

const SEEDS: [u64; 3] = [1, 2, 3];

/// Enough for every kernel here that ends.
const STEPS: u64 = 100_000;

fn host(seed: u64) -> Host {
    Host::new(DeviceOptions { seed, step_budget: STEPS, ..DeviceOptions::default() })
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

fn launch(seed: u64, program: &str, kernel: &str, shape: Shape, makes: &[Make]) -> Result<(), Error> {
    let mut host = host(seed);
    let args: Vec<Arg> = makes.iter().map(|&make| argument(&mut host, make)).collect();
    host.launch(program, kernel, shape, &args).map(|_| ())
}

/// The fault of a launch that must have one of those kinds.
fn fault(result: Result<(), Error>, kinds: &[FaultKind]) -> Fault {
    match result {
        Err(Error::Fault(fault)) if kinds.contains(&fault.kind) => *fault,
        other => panic!("{kinds:?} was expected, not {other:?}"),
    }
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
        let (file, line) = fault.source.as_ref().expect("line info");
        let (file, bad) = (file.rsplit('/').next().expect("a name"), bad_lines(program, name));
        assert_eq!(file, format!("{program}.cu"), "{fault}");
        assert!(bad.contains(line), "lines {bad:?} are bad: {fault}");
    }
}

/// The message must have the kernel, the block, the thread where it is one's fault, the line of the PTX (an instruction of
/// that kernel) and that of the source.
fn assert_place(fault: &Fault, program: &str, kernel: &str) {
    let text = fault.to_string();
    let ptx = nvcc::ptx(program);
    let (entry, instruction) = ptx.lines().take(fault.line as usize).fold(("", ""), |(entry, _), line| {
        let name = line.split(".entry ").nth(1).and_then(|rest| rest.split('(').next());
        (name.unwrap_or(entry), line.trim())
    });
    assert_eq!(entry, kernel, "{text}");
    assert!(instruction.contains(';') && !instruction.starts_with('.'), "{instruction}: {text}");
    let (file, line) = fault.source.as_ref().expect("line info");
    let parts =
        [format!("in kernel {kernel} "), format!("block {:?}", fault.block), format!("PTX line {}", fault.line)];
    for part in parts.into_iter().chain([format!("({file}:{line})")]) {
        assert!(text.contains(&part), "{part}: {text}");
    }
    use FaultKind::{Deadlock, Divergence, StepBudget};
    match fault.thread {
        Some(thread) => assert!(text.contains(&format!("thread {thread:?}")), "{text}"),
        None => assert!(matches!(fault.kind, Deadlock | Divergence | StepBudget), "no thread: {text}"),
    }
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
    shuffle_exited [1, 32] (Values(32), Fresh(128)) InactiveLane;
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

/// A whole program: its launch on data that shows every violation.
struct Program {
    name: &'static str,
    shape: Shape,
    inputs: fn(&mut Host) -> [Buffer; 2],
    outputs: usize,
    sizes: &'static [i32],
}

impl Program {
    /// What a kernel of the program writes.
    fn run(&self, seed: u64, kernel: &str) -> Result<Vec<f32>, Error> {
        let mut host = host(seed);
        let [x, y] = (self.inputs)(&mut host);
        let out = host.output::<f32>(self.outputs);
        let args: Vec<Arg> = match self.name {
            "reduction" => args![x, out].into(),
            _ => args![x, y, out].into(),
        };
        let args: Vec<Arg> = args.into_iter().chain(self.sizes.iter().map(|&v| v.into())).collect();
        host.launch(self.name, kernel, self.shape, &args)?;
        Ok(host.read(out, self.outputs))
    }

    fn violates(&self, kernel: &str, kinds: &[FaultKind]) {
        for seed in SEEDS {
            let fault = fault(self.run(seed, kernel).map(|_| ()), kinds);
            assert_place(&fault, self.name, kernel);
        }
    }
}

fn floats(host: &mut Host, n: usize) -> Buffer {
    host.input(&Random(n as u64).floats(n, -1.0, 1.0))
}

fn halves(host: &mut Host, n: usize) -> Buffer {
    let x = Random(n as u64).floats(n, -1.0, 1.0);
    host.input(&x.into_iter().map(bf16::from_f32).collect::<Vec<_>>())
}

const REDUCTION: Program = Program {
    name: "reduction",
    shape: Shape { grid: [3, 1, 1], block: [256, 1, 1], shared: 0 },
    inputs: |host| [floats(host, 2000), floats(host, 1)],
    outputs: 3,
    sizes: &[2000],
};

/// 40 x 50 x 33.
const GEMM_F32: Program = Program {
    name: "gemm_f32",
    shape: Shape { grid: [4, 3, 1], block: [16, 16, 1], shared: 0 },
    inputs: |host| [floats(host, 40 * 33), floats(host, 33 * 50)],
    outputs: 40 * 50,
    sizes: &[40, 50, 33],
};

/// 70 x 72 x 136: five steps, the last one partial.
const GEMM_BF16: Program = Program {
    name: "gemm_bf16",
    shape: Shape { grid: [2, 2, 1], block: [128, 1, 1], shared: 0 },
    inputs: |host| [halves(host, 70 * 136), halves(host, 72 * 136)],
    outputs: 70 * 72,
    sizes: &[70, 72, 136],
};

/// Two images of 5 x 9, 40 channels, 72 filters.
const CONV_BF16: Program = Program {
    name: "conv_bf16",
    shape: Shape { grid: [2, 2, 1], block: [128, 1, 1], shared: 0 },
    inputs: |host| [halves(host, 90 * 40), halves(host, 72 * 9 * 40)],
    outputs: 90 * 72,
    sizes: &[2, 5, 9, 40, 72],
};

/// A test for each violating variant of a program.
macro_rules! variants {
    ($($program:ident { $($kernel:ident $($kind:ident)|+;)* })*) => {
        mod programs {
            use super::*;
            $($(#[test]
            fn $kernel() {
                $program.violates(stringify!($kernel), &[$(FaultKind::$kind),+]);
            })*)*
        }
    };
}

// Without the barrier a thread may read what another has written, what it has not written yet, or what is under way.
variants! {
    REDUCTION {
        reduce_sum_no_barrier SharedRace | Uninitialised;
        reduce_sum_bound OutOfBounds;
    }
    GEMM_F32 {
        gemm_f32_no_barrier SharedRace | Uninitialised;
        gemm_f32_no_last_barrier SharedRace;
        gemm_f32_bound OutOfBounds;
    }
    GEMM_BF16 {
        gemm_bf16_no_wait AsyncPending;
        gemm_bf16_no_last_wait AsyncPending;
        gemm_bf16_no_barrier SharedRace | Uninitialised | AsyncPending;
        gemm_bf16_no_last_barrier SharedRace | AsyncPending;
        gemm_bf16_bound OutOfBounds;
    }
    CONV_BF16 {
        conv_bf16_no_wait AsyncPending;
        conv_bf16_no_last_wait AsyncPending;
        conv_bf16_no_barrier SharedRace | Uninitialised | AsyncPending;
        conv_bf16_no_last_barrier SharedRace | AsyncPending;
        conv_bf16_bound OutOfBounds;
    }
}

/// The launches above are right but for the violation: the kernels without one pass them.
#[test]
fn whole_programs_pass() {
    for (program, kernel) in
        [(REDUCTION, "reduce_sum"), (GEMM_F32, "gemm_f32"), (GEMM_BF16, "gemm_bf16_nt"), (CONV_BF16, "conv_bf16")]
    {
        for seed in SEEDS {
            program.run(seed, kernel).unwrap_or_else(|e| panic!("{kernel}: {e}"));
        }
    }
}

/// No check can see swapped fragments, so the comparison with a reference has to.
#[test]
fn swapped_fragments() {
    let value = |n: usize| -> Vec<f64> {
        Random(n as u64).floats(n, -1.0, 1.0).into_iter().map(|v| f64::from(bf16::from_f32(v).to_f32())).collect()
    };
    // Each addition of an exact product errs by a unit of the sum of magnitudes at most; there are no more than 360.
    let agree = |got: Vec<f32>, want: Vec<(f64, f64)>| {
        let bound = 360.0 * f64::from(f32::EPSILON);
        got.iter().zip(want).all(|(&got, (want, size))| (f64::from(got) - want).abs() <= bound * size)
    };
    let product = || reference::gemm_f64(&value(70 * 136), &value(72 * 136), [70, 72, 136], true);
    let convolution = || reference::conv3x3(&value(90 * 40), &value(72 * 9 * 40), [2, 5, 9, 40, 72]);
    for seed in SEEDS {
        let [right, swapped] = ["gemm_bf16_nt", "gemm_bf16_swapped"].map(|k| GEMM_BF16.run(seed, k).expect("no fault"));
        assert!(agree(right, product()) && !agree(swapped, product()));
        let [right, swapped] = ["conv_bf16", "conv_bf16_swapped"].map(|k| CONV_BF16.run(seed, k).expect("no fault"));
        assert!(agree(right, convolution()) && !agree(swapped, convolution()));
    }
}
