//! The least time that a launch can take on a GPU, from what it was counted to do.
//!
//! # Model
//!
//! Each of these takes a time of its own, and the longest is the answer, as if all others hid behind it:
//!
//! - **DRAM**: every sector (32 bytes) that the launch reads moves once, and every one that it writes, at the DRAM's
//!   bandwidth.
//! - **L2**: every sector of every load and store moves between L2 and the SMs, at the L2's bandwidth, where one is
//!   known.
//! - **Shared memory**: one wavefront (128 bytes at most) per SM and clock.
//! - **Issue**: four warp instructions per SM and clock.
//! - **Float** and **special**: the lanes of an SM for f32 work, and for approximate functions and the rcp in an f32
//!   div.
//! - **Mma**: the rate that `mma.sync` reaches with bf16 inputs and f32 sums.
//!
//! Blocks go to SMs whole. The busiest SM runs `ceil(blocks / SMs)` of them, so everything that belongs to an SM
//! (shared memory, issue, lanes, mma) takes longer by `ceil(blocks / SMs) / (blocks / SMs)`: one block on 132 SMs is
//! timed as one block on one SM, and 133 blocks as 264. DRAM and L2 serve all SMs and are not stretched.
//!
//! # What it can't see
//!
//! - Latency: too few warps to hide it, dependent loads, barriers, atomics that queue at an address, the tail of the
//!   last wave, the microseconds of a launch itself. Short launches take longer than this says, and so do launches of a
//!   few blocks, as a few SMs can't draw the full rate of DRAM or L2.
//! - Caches: hits in L1 (L2 traffic is counted without them), data that an earlier launch left in L2 (DRAM time too
//!   long), and sectors evicted and read again (DRAM time too short).
//! - Atomics and local memory: the sectors of atomics count for DRAM only, their wavefronts and all traffic of local
//!   memory for nothing.
//! - SASS: PTX instructions are counted, while ptxas drops moves, adds spills, splits divisions, square roots and
//!   64-bit arithmetic, and fuses. An f32 div is counted as one instruction on the special lanes; its fma are not. For
//!   that reason there's no integer term, and no f64 term either. Issue is right within perhaps a third.
//! - Rates of f16 and bf16 arithmetic: a packed pair is timed as one f32 operation, while the A100 does f16 pairs twice
//!   as fast and GeForce cards do pairs half as fast.
//! - Other mma types: tf32 runs at half the bf16 rate on all of these GPUs and is timed as bf16; f16 sums would be
//!   twice as fast on GeForce cards.
//! - Clocks below boost, as power limits cause on tensor work, and DRAM efficiency: real kernels stream at about nine
//!   tenths of the published bandwidth.
//!
//! It tells the kind of the limit, ranks variants of a kernel, and shows what coalescing and bank conflicts cost. It
//! does not predict times within a factor of two.

use crate::gpu::{Gpu, Occupancy};
use crate::{Class, Counters};

/// What a launch does, as the model needs it. All zero by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Blocks of the grid.
    pub blocks: u64,
    /// Bytes that DRAM must move at least: 32 for every different sector read, and for every one written.
    pub dram_bytes: u64,
    /// Sectors of all loads, stores and atomics of global memory, counted per request, and of local memory.
    pub l2_sectors: u64,
    /// Wavefronts of shared memory, loads and stores, bank conflicts included.
    pub shared_wavefronts: u64,
    /// Instructions issued by warps, of every kind.
    pub warp_instructions: u64,
    /// Those on the f32 lanes: f32 arithmetic, and f16 and bf16 (a packed pair counts once).
    pub float_warp_instructions: u64,
    /// Those on the special-function lanes: ex2, lg2, rcp, rsqrt, sqrt, sin, cos, tanh, and f32 div for its rcp.
    pub special_warp_instructions: u64,
    /// Floating-point operations of mma instructions (a multiply-add is two).
    pub mma_flops: u64,
}

impl From<&Counters> for Work {
    fn from(c: &Counters) -> Work {
        let class = |class: Class| c.warp_instructions[class as usize];
        Work {
            blocks: c.blocks,
            dram_bytes: 32 * (c.unique_load_sectors + c.unique_store_sectors),
            l2_sectors: c.global_load_sectors
                + c.global_store_sectors
                + c.global_atomic_sectors
                + c.local_bytes.div_ceil(32),
            shared_wavefronts: c.shared_load_wavefronts + c.shared_store_wavefronts,
            warp_instructions: c.total_warp_instructions(),
            float_warp_instructions: class(Class::Float),
            special_warp_instructions: class(Class::Special),
            mma_flops: c.mma_flops,
        }
    }
}

/// What limits a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// DRAM bandwidth.
    Dram,
    /// L2 bandwidth.
    L2,
    /// Shared-memory wavefronts.
    SharedMemory,
    /// Issue slots of the schedulers.
    Issue,
    /// f32 lanes.
    Float,
    /// Special-function lanes.
    Special,
    /// Tensor cores.
    Mma,
}

/// A launch's least time and where it goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roofline {
    /// The longest of `times`.
    pub seconds: f64,
    /// What takes that long; of equals the first in the order of [`Bound`].
    pub limiter: Bound,
    /// Seconds that each resource would take alone. L2 is 0 where the GPU's rate is unknown.
    pub times: [(Bound, f64); 7],
    /// Blocks over the blocks that are resident at once. Fractional: 1.1 means that a second wave runs for a tenth of
    /// the GPU.
    pub waves: f64,
    /// Average over busiest SM's share of the blocks: 1 when `blocks` is a multiple of the SMs.
    pub balance: f64,
}

/// The least time of `work` on `gpu` at that occupancy. None if not even one block fits on an SM.
pub fn roofline(work: &Work, gpu: &Gpu, occupancy: &Occupancy) -> Option<Roofline> {
    if occupancy.blocks_per_sm == 0 {
        return None;
    }
    let sms = f64::from(gpu.sms);
    let blocks = work.blocks.max(1);
    let busiest = blocks.div_ceil(u64::from(gpu.sms));
    let balance = blocks as f64 / (busiest as f64 * sms);
    // Seconds for `count` things of which all SMs together do `per_clock` a clock each.
    let on_sms = |count: u64, per_clock: f64| count as f64 / (per_clock * sms * gpu.clock * balance);
    let lanes = |instructions: u64, lanes: u32| on_sms(instructions, f64::from(lanes) / 32.0);
    let times = [
        (Bound::Dram, work.dram_bytes as f64 / gpu.dram_bandwidth),
        (Bound::L2, gpu.l2_bandwidth.map_or(0.0, |rate| work.l2_sectors as f64 * 32.0 / rate)),
        (Bound::SharedMemory, on_sms(work.shared_wavefronts, 1.0)),
        (Bound::Issue, on_sms(work.warp_instructions, f64::from(gpu.issue_per_clock))),
        (Bound::Float, lanes(work.float_warp_instructions, gpu.f32_lanes)),
        (Bound::Special, lanes(work.special_warp_instructions, gpu.special_lanes)),
        (Bound::Mma, work.mma_flops as f64 / (gpu.mma_bf16_flops * balance)),
    ];
    let mut longest = times[0];
    for time in times {
        if time.1 > longest.1 {
            longest = time;
        }
    }
    let resident = sms * f64::from(occupancy.blocks_per_sm);
    Some(Roofline { seconds: longest.1, limiter: longest.0, times, waves: work.blocks as f64 / resident, balance })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{A100, GPUS, H100_SXM, RTX_3060, RTX_4090, occupancy};

    fn time(work: &Work, gpu: &Gpu) -> Roofline {
        roofline(work, gpu, &occupancy(gpu, 128, 64, 0)).expect("a block of 128 threads fits")
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-12 * b.abs()
    }

    /// A copy of 1 GiB: read and written once, coalesced.
    #[test]
    fn a_copy_is_bound_by_dram() {
        let bytes = 1u64 << 30;
        let work = Work {
            blocks: 132 * 108 * 128 * 28,
            dram_bytes: 2 * bytes,
            l2_sectors: 2 * bytes / 32,
            warp_instructions: bytes / 512 * 12,
            ..Work::default()
        };
        for gpu in GPUS {
            let answer = time(&work, gpu);
            assert_eq!(answer.limiter, Bound::Dram, "{}", gpu.name);
            assert!(close(answer.seconds, 2.0 * bytes as f64 / gpu.dram_bandwidth));
            assert!(close(answer.balance, 1.0));
        }
    }

    /// 142 GFLOP of mma: what one pass of a PreActResNet-18 over 128 images takes.
    #[test]
    fn a_convolution_is_bound_by_mma() {
        let work = Work { blocks: 132 * 108, mma_flops: 142_000_000_000, dram_bytes: 300_000_000, ..Work::default() };
        let answer = time(&work, &H100_SXM);
        assert_eq!(answer.limiter, Bound::Mma);
        assert!((answer.seconds - 229e-6).abs() < 1e-6, "{}", answer.seconds);
        assert_eq!(time(&work, &A100).limiter, Bound::Mma);
    }

    #[test]
    fn each_resource_can_be_the_limit() {
        let blocks = u64::from(A100.sms);
        let per_clock = A100.clock * f64::from(A100.sms);
        let cases = [
            (Work { l2_sectors: 1000, ..Work::default() }, Bound::L2, 32_000.0 / (5120.0 * 1.41e9)),
            (Work { shared_wavefronts: 1000, ..Work::default() }, Bound::SharedMemory, 1000.0 / per_clock),
            (Work { warp_instructions: 1000, ..Work::default() }, Bound::Issue, 250.0 / per_clock),
            (Work { float_warp_instructions: 1000, ..Work::default() }, Bound::Float, 500.0 / per_clock),
            (Work { special_warp_instructions: 1000, ..Work::default() }, Bound::Special, 2000.0 / per_clock),
        ];
        for (work, bound, seconds) in cases {
            let answer = time(&Work { blocks, ..work }, &A100);
            assert_eq!(answer.limiter, bound);
            assert!(close(answer.seconds, seconds), "{bound:?}: {} {seconds}", answer.seconds);
        }
    }

    /// Four-way bank conflicts quadruple a shared-bound time; uncoalesced loads move it to L2.
    #[test]
    fn conflicts_and_scatter_show() {
        let good = Work { blocks: 1080, shared_wavefronts: 1_000_000, l2_sectors: 400_000, ..Work::default() };
        let conflicts = Work { shared_wavefronts: 4_000_000, ..good };
        assert!(close(time(&conflicts, &A100).seconds, 4.0 * time(&good, &A100).seconds));
        let scattered = Work { l2_sectors: 3_200_000, ..good };
        assert_eq!(time(&scattered, &A100).limiter, Bound::L2);
        assert_eq!(time(&scattered, &RTX_4090).limiter, Bound::SharedMemory, "its L2 rate is unknown");
    }

    #[test]
    fn blocks_are_whole() {
        let full = Work { blocks: 132, warp_instructions: 132_000, ..Work::default() };
        let one_more = Work { blocks: 133, warp_instructions: 133_000, ..Work::default() };
        let single = Work { blocks: 1, warp_instructions: 1000, ..Work::default() };
        let base = time(&full, &H100_SXM).seconds;
        assert!(close(time(&single, &H100_SXM).seconds, base));
        assert!(close(time(&one_more, &H100_SXM).seconds, 2.0 * base));
        assert!(close(time(&one_more, &H100_SXM).balance, 133.0 / 264.0));
        // Eight blocks of 128 threads with 64 registers are resident on an SM.
        assert!(close(time(&full, &H100_SXM).waves, 1.0 / 8.0));
        // DRAM serves a single block at its full rate.
        let stream = Work { blocks: 1, dram_bytes: 360_000, ..Work::default() };
        assert!(close(time(&stream, &RTX_3060).seconds, 1e-6));
    }

    #[test]
    fn nothing_takes_no_time_and_misfits_none() {
        assert_eq!(time(&Work::default(), &A100).seconds, 0.0);
        assert_eq!(roofline(&Work::default(), &A100, &occupancy(&A100, 2048, 32, 0)), None);
    }
}
