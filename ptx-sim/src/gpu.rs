//! The GPUs that launches are checked and timed against, and how many blocks of a kernel fit on one of their SMs.
//!
//! Sources, named at each number. NVIDIA's own PDFs weren't at hand, so each line says what was read instead:
//! - *Guide*: CUDA Programming Guide, 5.1 "Compute Capabilities", tables 30 to 32, and the older CUDA C++ Programming
//!   Guide, 20.7 and 20.8 (compute capability 8.x and 9.0); text copies of both.
//! - *A100 post*: "NVIDIA Ampere Architecture In-Depth" on NVIDIA's developer blog, tables 3 and 4; a text copy.
//! - *H100 paper*: NVIDIA H100 Tensor Core GPU Architecture, whitepaper v1.04; quotations (one at
//!   glennklockwood.com/garden/processors/h100).
//! - *Ada paper*: NVIDIA Ada GPU Architecture, whitepaper, appendix A; quotations in several repositories that agree.
//! - *GA102 paper*: NVIDIA Ampere GA102 GPU Architecture, whitepaper, appendix A; quotations. It doesn't cover GA106.
//! - *OpenXLA*: device properties in `xla/backends/gpu/target_config/specs` of openxla/xla, and rates in
//!   `xla/service/gpu/model/gpu_dot_fusion_cost_model.cc`; read.
//! - *Queries*: what CUDA reported on cards: `nvsim/H100SXMx8_deviceQuery.py` of thamada/nvidia-smi,
//!   `Performance-Tests-NvBench/convolution/BenchResults/BenchResults3060.md` of
//!   R100001/Programming-Massively-Parallel-Processors, and outputs for a second RTX 3060 and for an RTX 4090 (its L2
//!   only) whose repositories the search didn't name; read.
//! - *Calculator*: `cuda_occupancy.h` of the CUDA 13.0 runtime, NVIDIA's own occupancy calculator; read and run.
//!
//! Every number was found in the source named for it, or follows from such numbers as the comment says, except where it
//! says *unconfirmed*.

/// What a GPU offers. Rates are peaks at the boost clock; sizes are bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// Name, as `gpu` finds it.
    pub name: &'static str,
    /// Compute capability: major, minor.
    pub compute_capability: (u32, u32),
    /// Streaming multiprocessors.
    pub sms: u32,
    /// Boost clock of the SMs, Hz.
    pub clock: f64,
    /// Warp instructions that an SM issues per clock: one for each of its four schedulers.
    pub issue_per_clock: u32,
    /// f32 lanes of an SM: f32 operations (an fma is one) per clock.
    pub f32_lanes: u32,
    /// Lanes of an SM for ex2, lg2, rcp, rsqrt, sqrt, sin, cos and tanh, and for the rcp that f32 div contains.
    pub special_lanes: u32,
    /// f32 peak, FLOP/s (an fma is two).
    pub f32_flops: f64,
    /// Published tensor-core peak, bf16 inputs and f32 sums, dense, FLOP/s.
    pub tensor_bf16_flops: f64,
    /// The part of `tensor_bf16_flops` that `mma.sync` can reach, FLOP/s.
    pub mma_bf16_flops: f64,
    /// DRAM bandwidth, bytes/s.
    pub dram_bandwidth: f64,
    /// L2 cache, as CUDA reports it.
    pub l2_bytes: u64,
    /// L2 read bandwidth, bytes/s, where somebody published or measured it.
    pub l2_bandwidth: Option<f64>,
    /// Shared memory of an SM.
    pub shared_per_sm: u32,
    /// Shared memory of a block without opting in.
    pub shared_per_block: u32,
    /// Shared memory of a block whose kernel opted in.
    pub shared_per_block_optin: u32,
    /// Shared memory that the driver takes from each block for itself.
    pub shared_reserved: u32,
    /// Shared memory is allocated in multiples of this.
    pub shared_unit: u32,
    /// 32-bit registers of an SM.
    pub registers_per_sm: u32,
    /// Registers that a block may have.
    pub registers_per_block: u32,
    /// Registers that a thread may have.
    pub registers_per_thread: u32,
    /// Registers are allocated to a warp in multiples of this.
    pub register_unit: u32,
    /// Parts of an SM with a scheduler and a register file each. A warp's registers come from one part; a block's limit
    /// is checked as if its warps were a multiple of the parts.
    pub partitions: u32,
    /// Threads of a block.
    pub threads_per_block: u32,
    /// Warps resident on an SM.
    pub warps_per_sm: u32,
    /// Blocks resident on an SM.
    pub blocks_per_sm: u32,
}

/// What all four have in common. Guide, tables 30 and 31 (8.0 to 9.0): 64 Ki registers an SM and a block, 255 a thread,
/// 1024 threads a block, 48 KiB of shared memory without opting in (note 3); 20.7.3: 1 KiB more of it is reserved for
/// the system. Guide, 20.7.1 and 20.8.1: four schedulers an SM that issue one warp instruction each, 16 special
/// function units (that tanh runs there at their full rate is unconfirmed). Calculator: units of 256 registers a warp
/// and 128 bytes of shared memory, four partitions.
const COMMON: Gpu = Gpu {
    name: "",
    compute_capability: (0, 0),
    sms: 0,
    clock: 0.0,
    issue_per_clock: 4,
    f32_lanes: 0,
    special_lanes: 16,
    f32_flops: 0.0,
    tensor_bf16_flops: 0.0,
    mma_bf16_flops: 0.0,
    dram_bandwidth: 0.0,
    l2_bytes: 0,
    l2_bandwidth: None,
    shared_per_sm: 0,
    shared_per_block: 48 * 1024,
    shared_per_block_optin: 0,
    shared_reserved: 1024,
    shared_unit: 128,
    registers_per_sm: 64 * 1024,
    registers_per_block: 64 * 1024,
    registers_per_thread: 255,
    register_unit: 256,
    partitions: 4,
    threads_per_block: 1024,
    warps_per_sm: 0,
    blocks_per_sm: 0,
};

/// H100 SXM5, 80 GB.
pub const H100_SXM: Gpu = Gpu {
    name: "H100 SXM",
    compute_capability: (9, 0),
    // OpenXLA, h100_sxm.txtpb, and queries: 132 SMs of 128 f32 lanes, 1980 MHz. H100 paper: 66.9 TFLOP/s in f32, which
    // is that clock; 989.4 TFLOP/s dense in bf16 (tables 1 and 3), which is 4096 FLOP a clock and SM at the 1830 MHz
    // that it gives for tensor work.
    sms: 132,
    clock: 1.98e9,
    f32_lanes: 128,
    f32_flops: 66.9e12,
    tensor_bf16_flops: 989.4e12,
    // OpenXLA's cost model (GetEffectiveFlopsPerNsForTileSize): without wgmma 63 % of the peak, after measurements by
    // Hazy Research (hazyresearch.stanford.edu/blog/2024-05-12-tk). Measured, not specified, hence two digits.
    mma_bf16_flops: 620e12,
    // OpenXLA, h100_sxm.txtpb: 3352.32 GB/s, 52,428,800 bytes of L2 (queries: 2619 MHz at 5120 bits, the same L2). No
    // L2 rate of NVIDIA's was found; OpenXLA's cost model (CalculateL2Time) has 6.65 TB/s, measured within a partition
    // of the L2. As the rate of the whole L2 that is unconfirmed: Hazy Research gives 12 TB/s.
    dram_bandwidth: 3352e9,
    l2_bytes: 50 * 1024 * 1024,
    l2_bandwidth: Some(6.65e12),
    // Guide, tables 30 and 31, 9.0: 228 KiB, of which 227 a block; 64 warps, 32 blocks.
    shared_per_sm: 228 * 1024,
    shared_per_block_optin: 227 * 1024,
    warps_per_sm: 64,
    blocks_per_sm: 32,
    ..COMMON
};

/// A100 SXM4, 80 GB (the 40 GB card differs in its DRAM: 1555 GB/s).
pub const A100: Gpu = Gpu {
    name: "A100",
    compute_capability: (8, 0),
    // A100 post, table 3: 108 SMs of 64 f32 lanes, 1410 MHz, 19.5 TFLOP/s in f32, 312 TFLOP/s dense in bf16. mma.sync
    // is taken to reach all of it, as on the GeForce cards: wgmma came with 9.0.
    sms: 108,
    clock: 1.41e9,
    f32_lanes: 64,
    f32_flops: 19.5e12,
    tensor_bf16_flops: 312e12,
    mma_bf16_flops: 312e12,
    // OpenXLA, a100_sxm_80.txtpb: 2039.04 GB/s, 41,943,040 bytes of L2. A100 post: L2 is read at 5120 bytes a clock;
    // that this is the boost clock of the SMs is unconfirmed.
    dram_bandwidth: 2039e9,
    l2_bytes: 40 * 1024 * 1024,
    l2_bandwidth: Some(5120.0 * 1.41e9),
    // Guide, tables 30 and 31, 8.0: 164 KiB, of which 163 a block; 64 warps, 32 blocks.
    shared_per_sm: 164 * 1024,
    shared_per_block_optin: 163 * 1024,
    warps_per_sm: 64,
    blocks_per_sm: 32,
    ..COMMON
};

/// GeForce RTX 4090.
pub const RTX_4090: Gpu = Gpu {
    name: "RTX 4090",
    compute_capability: (8, 9),
    // Ada paper: 128 SMs, 2520 MHz, 82.6 TFLOP/s in f32, 165.2 TFLOP/s dense in bf16 with f32 sums (half the 330.3 of
    // f16 sums). Guide, 20.7.1: 128 f32 lanes an SM.
    sms: 128,
    clock: 2.52e9,
    f32_lanes: 128,
    f32_flops: 82.6e12,
    tensor_bf16_flops: 165.2e12,
    mma_bf16_flops: 165.2e12,
    // Ada paper: 1008 GB/s, 73,728 KB of L2 (queries: 75,497,472 bytes). No L2 rate of NVIDIA's was found.
    dram_bandwidth: 1008e9,
    l2_bytes: 72 * 1024 * 1024,
    l2_bandwidth: None,
    // Guide, tables 30 and 31, 8.9: 100 KiB, of which 99 a block; 48 warps, 24 blocks.
    shared_per_sm: 100 * 1024,
    shared_per_block_optin: 99 * 1024,
    warps_per_sm: 48,
    blocks_per_sm: 24,
    ..COMMON
};

/// GeForce RTX 3060, 12 GB.
pub const RTX_3060: Gpu = Gpu {
    name: "RTX 3060",
    compute_capability: (8, 6),
    // Queries: 28 SMs, 1777 MHz. Guide, 20.7.1: 128 f32 lanes an SM. Hence 12.7 TFLOP/s in f32. NVIDIA's tensor peak in
    // bf16 wasn't found; GA102 paper: 71 TFLOP/s dense in f16 and bf16 with f32 sums for the RTX 3090 (82 SMs at 1695
    // MHz), which is 512 FLOP a clock and SM, and with that 25.5 here.
    sms: 28,
    clock: 1.777e9,
    f32_lanes: 128,
    f32_flops: 12.7e12,
    tensor_bf16_flops: 25.5e12,
    mma_bf16_flops: 25.5e12,
    // Queries: 360 GB/s (7501 MHz at 192 bits) and 2304 KiB of L2 on both cards; lists of GPUs say 3 MB, which CUDA
    // reports for the laptop card of 30 SMs. No L2 rate of NVIDIA's was found.
    dram_bandwidth: 360e9,
    l2_bytes: 2304 * 1024,
    l2_bandwidth: None,
    // Guide, tables 30 and 31, 8.6: 100 KiB, of which 99 a block; 48 warps, 16 blocks.
    shared_per_sm: 100 * 1024,
    shared_per_block_optin: 99 * 1024,
    warps_per_sm: 48,
    blocks_per_sm: 16,
    ..COMMON
};

/// Every GPU of the table.
pub const GPUS: [&Gpu; 4] = [&H100_SXM, &A100, &RTX_4090, &RTX_3060];

/// The GPU of that name, whatever its capitals.
pub fn gpu(name: &str) -> Option<&'static Gpu> {
    GPUS.into_iter().find(|gpu| gpu.name.eq_ignore_ascii_case(name))
}

/// What keeps more blocks from an SM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limiter {
    /// Warps that an SM holds, or threads that a block may have.
    Warps,
    /// Registers.
    Registers,
    /// Shared memory.
    SharedMemory,
    /// Blocks that an SM holds.
    Blocks,
}

/// How much of a kernel is resident on an SM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Blocks resident on an SM; 0 when not even one fits, that is, when the launch fails.
    pub blocks_per_sm: u32,
    /// Warps resident on an SM.
    pub warps: u32,
    /// What limits the blocks; of several that limit equally, the first in the order of [`Limiter`].
    pub limiter: Limiter,
}

/// Blocks of a kernel that fit on an SM, by the rules of NVIDIA's occupancy calculator. `shared_bytes` are a block's
/// static and dynamic bytes together, opted in where they exceed 48 KiB; registers are what ptxas reports (PTX doesn't
/// say). The largest carve-out of shared memory from L1 is assumed, as the driver chooses it when asked for that much.
pub fn occupancy(gpu: &Gpu, threads_per_block: u32, registers_per_thread: u32, shared_bytes: u32) -> Occupancy {
    let warps = threads_per_block.div_ceil(32);
    let by_warps =
        if threads_per_block == 0 || threads_per_block > gpu.threads_per_block { 0 } else { gpu.warps_per_sm / warps };
    let limits = [
        (Limiter::Warps, by_warps),
        (Limiter::Registers, blocks_by_registers(gpu, warps, registers_per_thread)),
        (Limiter::SharedMemory, blocks_by_shared(gpu, shared_bytes)),
        (Limiter::Blocks, gpu.blocks_per_sm),
    ];
    // min_by_key returns the first of equals.
    let (limiter, blocks) = limits.into_iter().min_by_key(|&(_, blocks)| blocks).expect("four limits");
    Occupancy { blocks_per_sm: blocks, warps: blocks.saturating_mul(warps), limiter }
}

fn blocks_by_registers(gpu: &Gpu, warps: u32, registers_per_thread: u32) -> u32 {
    if registers_per_thread > gpu.registers_per_thread || warps > gpu.threads_per_block / 32 {
        return 0;
    }
    let per_warp = (registers_per_thread * 32).next_multiple_of(gpu.register_unit);
    if per_warp * warps.next_multiple_of(gpu.partitions) > gpu.registers_per_block {
        return 0;
    }
    if per_warp == 0 || warps == 0 {
        return u32::MAX;
    }
    let warps_per_partition = gpu.registers_per_sm / gpu.partitions / per_warp;
    warps_per_partition * gpu.partitions / warps
}

fn blocks_by_shared(gpu: &Gpu, shared_bytes: u32) -> u32 {
    if shared_bytes > gpu.shared_per_block_optin {
        return 0;
    }
    gpu.shared_per_sm / (shared_bytes + gpu.shared_reserved).next_multiple_of(gpu.shared_unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Limiter::{Blocks, Registers, SharedMemory, Warps};

    /// Blocks an SM as `cudaOccMaxActiveBlocksPerMultiprocessor` of the CUDA 13.0 runtime answers them, for H100, A100,
    /// RTX 4090 and RTX 3060; limiters of the first and the third.
    #[test]
    fn occupancy_equals_nvidias_calculator() {
        type Case = ((u32, u32, u32), [u32; 4], Limiter, Limiter);
        #[rustfmt::skip]
        let cases: [Case; 20] = [
            ((256, 32, 0), [8, 8, 6, 6], Warps, Warps),
            ((128, 224, 65536), [2, 2, 1, 1], Registers, SharedMemory),
            ((128, 134, 40960), [3, 3, 2, 2], Registers, SharedMemory),
            ((1024, 64, 0), [1, 1, 1, 1], Registers, Warps),
            ((1024, 65, 0), [0, 0, 0, 0], Registers, Registers),
            ((96, 40, 0), [16, 16, 16, 16], Registers, Warps),
            ((32, 16, 0), [32, 32, 24, 16], Blocks, Blocks),
            ((64, 255, 0), [4, 4, 4, 4], Registers, Registers),
            ((128, 168, 99328), [2, 1, 1, 1], SharedMemory, SharedMemory),
            ((256, 128, 49152), [2, 2, 2, 2], Registers, Registers),
            ((1, 1, 0), [32, 32, 24, 16], Blocks, Blocks),
            ((128, 37, 12345), [12, 12, 7, 7], Registers, SharedMemory),
            ((512, 0, 0), [4, 4, 3, 3], Warps, Warps),
            ((160, 200, 100), [1, 1, 1, 1], Registers, Registers),
            ((384, 168, 0), [1, 1, 1, 1], Registers, Registers),
            ((256, 32, 101376), [2, 1, 1, 1], SharedMemory, SharedMemory),
            ((256, 32, 166912), [1, 1, 0, 0], SharedMemory, SharedMemory),
            ((256, 32, 232448), [1, 0, 0, 0], SharedMemory, SharedMemory),
            ((256, 32, 232449), [0, 0, 0, 0], SharedMemory, SharedMemory),
            ((288, 224, 0), [0, 0, 0, 0], Registers, Registers),
        ];
        for ((threads, registers, shared), blocks, first, third) in cases {
            let answers = GPUS.map(|gpu| occupancy(gpu, threads, registers, shared));
            assert_eq!(answers.map(|o| o.blocks_per_sm), blocks, "{threads} threads, {registers}, {shared}");
            assert_eq!((answers[0].limiter, answers[2].limiter), (first, third), "{threads}, {registers}, {shared}");
            for o in answers {
                assert_eq!(o.warps, o.blocks_per_sm * threads.div_ceil(32));
            }
        }
    }

    #[test]
    fn impossible_launches_have_no_blocks() {
        for gpu in GPUS {
            for (threads, registers, shared) in [(0, 16, 0), (1025, 16, 0), (u32::MAX, 16, 0), (128, 256, 0)] {
                assert_eq!(occupancy(gpu, threads, registers, shared).blocks_per_sm, 0, "{threads} {registers}");
            }
            assert_eq!(occupancy(gpu, 32, u32::MAX, 0).limiter, Registers);
            assert_eq!(occupancy(gpu, 32, 32, u32::MAX).limiter, SharedMemory);
        }
    }

    /// The published peaks follow from lanes and clock, so that a slip in either would show.
    #[test]
    fn peaks_agree_with_lanes_and_clocks() {
        for gpu in GPUS {
            let f32_flops = gpu.clock * f64::from(gpu.sms * gpu.f32_lanes) * 2.0;
            assert!((f32_flops / gpu.f32_flops - 1.0).abs() < 0.005, "{}: {f32_flops:e}", gpu.name);
            assert!(gpu.mma_bf16_flops <= gpu.tensor_bf16_flops);
            assert_eq!(gpu.shared_per_block_optin + gpu.shared_reserved, gpu.shared_per_sm);
        }
        let tensor =
            |gpu: &Gpu, per_clock: f64, clock: f64| f64::from(gpu.sms) * per_clock * clock / gpu.tensor_bf16_flops;
        for (gpu, per_clock, clock) in [
            (&H100_SXM, 4096.0, 1.83e9),
            (&A100, 2048.0, 1.41e9),
            (&RTX_4090, 512.0, 2.52e9),
            (&RTX_3060, 512.0, 1.777e9),
        ] {
            assert!((tensor(gpu, per_clock, clock) - 1.0).abs() < 0.005, "{}", gpu.name);
        }
    }

    #[test]
    fn finds_a_gpu_by_name() {
        assert_eq!(gpu("rtx 4090"), Some(&RTX_4090));
        assert_eq!(gpu("H100 SXM").map(|g| g.sms), Some(132));
        assert_eq!(gpu("GT 710"), None);
    }
}
