// Hard-example mining: who stays, moving the kept together, and what they weigh.
//
//   select   keep = crossed, and 1 for the floor(keep_easy * easy) of the easy ones (crossed = 0) that have the highest
//            confidence, ties by slot; floats are ordered by IEEE's total order, as on the CPU
//   compact  kept slots move to the front, in order: position, and each slot's record of every buffer of the job table
//   weigh    weight = raw / sum of raw over live, or 1/live if that sum is not positive; raw is 1, the largest step, or
//            (1 + tanh(-1 + 5*(half - kappa)/half)) / 2
//
// keep        u32 [capacity] by position: out of select, in of compact
// crossed     u32 [capacity] in, by position, as are confidence (f32), kappa (u32) and step (f32)
// weight      f32 [capacity] out, by position
// position    u32 [capacity]: in; compact_scan moves it
// live        u32 [2]: in; compact_scan sets the first
// moves       u32 [1 + capacity] workspace: the first slot that was not kept, then the slot of each kept example
// jobs        buffers [capacity, record] whose records move in place
//
// select: grid ceil(capacity / 256), 256 threads; a thread has a slot and counts the easy ones that come before it, tile by
// tile of 256. compact_scan: one block of 256, tile by tile. compact: a thread has one unit (16, 4 or 1 byte) of the record
// of one buffer and takes the kept slots in order; a slot only ever moves to the front, so no unit is overwritten before it
// has moved. 64 threads a block, so that few units spread over many SMs. weigh: one block of 256; the first thread adds in
// f64, in order of the slots.
// Preconditions: a record is a multiple of its unit, and its buffer is aligned to it.
#include "common.cuh"

constexpr u32 THREADS = 256, WARPS = THREADS / 32;

struct SelectDims {
    float keep_easy;
};

// Order of an easy example: a larger key comes first. 0 is nobody's.
__device__ __forceinline__ u64 easy_key(float confidence, u32 slot) {
    u32 b = __float_as_uint(confidence);
    u32 ordered = b & 0x80000000u ? ~b : b | 0x80000000u;
    return (u64)ordered << 32 | ~slot;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    mine_select(u32* __restrict__ keep, const u32* __restrict__ crossed, const float* __restrict__ confidence,
           const u32* __restrict__ position, const u32* __restrict__ live, SelectDims d) {
    __shared__ u64 keys[THREADS];
    u32 n = live[0], t = threadIdx.x, slot = blockIdx.x * THREADS + t;
    if (blockIdx.x * THREADS >= n) return;
    u32 p = slot < n ? position[slot] : 0, hard = slot < n ? crossed[p] : 0;
    u64 key = slot < n && hard == 0 ? easy_key(confidence[p], slot) : 0;
    u32 easy = 0, before = 0;
    if (d.keep_easy > 0.0f) {
        for (u32 first = 0; first < n; first += THREADS) {
            u64 other = 0;
            if (first + t < n) {
                u32 q = position[first + t];
                if (crossed[q] == 0) other = easy_key(confidence[q], first + t);
            }
            keys[t] = other;
            __syncthreads();
            u32 here = min(THREADS, n - first);
#pragma unroll 8
            for (u32 i = 0; i < here; i++) {
                easy += keys[i] != 0;
                before += keys[i] > key;
            }
            __syncthreads();
        }
    }
    if (slot >= n) return;
    u32 share = (u32)__dmul_rn((double)d.keep_easy, (double)easy);
    keep[p] = key != 0 && before < share ? 1 : hard;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    mine_compact_scan(u32* position, u32* live, u32* __restrict__ moves, const u32* __restrict__ keep) {
    __shared__ u32 sums[WARPS], dropped;
    u32 n = live[0], t = threadIdx.x, lane = t % 32, warp = t / 32, kept = 0;
    if (t == 0) dropped = n;
    __syncthreads();
    for (u32 first = 0; first < n; first += THREADS) {
        u32 slot = first + t, p = slot < n ? position[slot] : 0;
        bool stays = slot < n && keep[p] != 0;
        u32 votes = __ballot_sync(0xffffffffu, stays);
        if (lane == 0) sums[warp] = __popc(votes);
        if (slot < n && !stays) atomicMin(&dropped, slot);
        // Also: all positions of this tile are read before one is written.
        __syncthreads();
        u32 to = kept + __popc(votes & ((1u << lane) - 1));
#pragma unroll
        for (u32 w = 0; w < WARPS; w++) {
            if (w < warp) to += sums[w];
            kept += sums[w];
        }
        if (stays) {
            position[to] = p;
            moves[1 + to] = slot;
        }
        __syncthreads();
    }
    if (t == 0) {
        live[0] = kept;
        moves[0] = dropped;
    }
}

constexpr u32 COMPACT_THREADS = 64, JOBS = 128, AHEAD = 8;

struct CompactJob {
    u64 buffer;
    // Units of a record, and bytes of a unit.
    u32 units;
    u32 unit;
    // The job's first block.
    u32 block;
    u32 unused;
};

struct CompactDims {
    CompactJob jobs[JOBS];
    u32 count;
    u32 unused;
};

template <class T> __device__ __forceinline__ void gather(T* at, u32 units, const u32* __restrict__ slots, u32 to, u32 n) {
    // Without a branch between them all loads of a batch are under way at once.
    for (; to + AHEAD <= n; to += AHEAD) {
        u32 from[AHEAD];
        T v[AHEAD];
#pragma unroll
        for (u32 i = 0; i < AHEAD; i++) from[i] = slots[to + i];
#pragma unroll
        for (u32 i = 0; i < AHEAD; i++) v[i] = at[(size_t)from[i] * units];
#pragma unroll
        for (u32 i = 0; i < AHEAD; i++) at[(size_t)(to + i) * units] = v[i];
    }
    T v[AHEAD];
#pragma unroll
    for (u32 i = 0; i < AHEAD; i++)
        if (to + i < n) v[i] = at[(size_t)slots[to + i] * units];
#pragma unroll
    for (u32 i = 0; i < AHEAD; i++)
        if (to + i < n) at[(size_t)(to + i) * units] = v[i];
}

extern "C" __global__ void __launch_bounds__(COMPACT_THREADS)
    mine_compact(const u32* __restrict__ moves, const u32* __restrict__ live, const __grid_constant__ CompactDims d) {
    u32 n = live[0], to = moves[0], low = 0, high = d.count;
    if (to >= n) return;
    while (high - low > 1) {
        u32 mid = (low + high) / 2;
        if (d.jobs[mid].block <= blockIdx.x) low = mid;
        else high = mid;
    }
    CompactJob job = d.jobs[low];
    u32 i = (blockIdx.x - job.block) * COMPACT_THREADS + threadIdx.x;
    if (i >= job.units) return;
    const u32* slots = moves + 1;
    if (job.unit == 16) gather((uint4*)job.buffer + i, job.units, slots, to, n);
    else if (job.unit == 4) gather((u32*)job.buffer + i, job.units, slots, to, n);
    else gather((u8*)job.buffer + i, job.units, slots, to, n);
}

struct WeighDims {
    // 0 uniform, 1 step size, 2 kappa.
    u32 formula;
    float half;
};

__device__ __forceinline__ float raw_weight(const u32* __restrict__ kappa, const float* __restrict__ step, u32 p, WeighDims d) {
    if (d.formula == 1) return step[p];
    // With one step there is no half to measure against; all weigh the same.
    if (d.formula == 0 || d.half == 0.0f) return 1.0f;
    float ahead = __fdiv_rn(__fmul_rn(5.0f, __fsub_rn(d.half, (float)kappa[p])), d.half);
    return __fmul_rn(__fadd_rn(1.0f, tanhf(__fadd_rn(-1.0f, ahead))), 0.5f);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    mine_weigh(float* __restrict__ weight, const u32* __restrict__ kappa, const float* __restrict__ step,
          const u32* __restrict__ position, const u32* __restrict__ live, WeighDims d) {
    __shared__ double raw[THREADS], total;
    u32 n = live[0], t = threadIdx.x;
    double sum = 0.0;
    for (u32 first = 0; first < n; first += THREADS) {
        if (first + t < n) raw[t] = raw_weight(kappa, step, position[first + t], d);
        __syncthreads();
        if (t == 0) {
            u32 here = min(THREADS, n - first);
#pragma unroll 4
            for (u32 i = 0; i < here; i++) sum = __dadd_rn(sum, raw[i]);
        }
        __syncthreads();
    }
    if (t == 0) total = sum;
    __syncthreads();
    sum = total;
    for (u32 slot = t; slot < n; slot += THREADS) {
        u32 p = position[slot];
        double w = sum > 0.0 ? (double)raw_weight(kappa, step, p, d) / sum : 1.0 / (double)n;
        weight[p] = (float)w;
    }
}
