//! Whole programs with one thing wrong, as it goes wrong in practice: a dropped barrier or wait, an off-by-one bound, swapped
//! fragments. Every order of blocks and warps must show it.

use crate::args;
use crate::host::{Buffer, Host, Random};
use crate::place::{SEEDS, assert_place, fault};
use crate::reference;
use half::bf16;
use ptx_sim::{Arg, Error, FaultKind, Shape};

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
        let mut host = Host::seeded(seed);
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
            let fault = fault(self.run(seed, kernel), kinds);
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
