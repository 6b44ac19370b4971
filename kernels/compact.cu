// Compaction: the kept examples move to the front, in order, and with them what is indexed by slot.
//
//   compact_scan  position = those of the kept;  live = their number;  moves = where each comes from
//   compact       kept slots' records of every buffer of the job table move to the front
//
// keep        u32 [capacity] by position: in
// position    u32 [capacity] by slot: in and out of compact_scan
// live        u32 [2]: compact_scan sets the first, compact reads it
// moves       u32 [1 + capacity] workspace: the first slot that was not kept, then the slot of each kept example
// jobs        buffers [capacity, record] whose records move in place
//
// compact_scan: one block of 256, tile by tile of 256 slots, 36 bytes of shared memory. compact: a thread has one unit (16, 4 or 1
// byte) of the record of one buffer and takes the kept slots in order; a slot only ever moves to the front, so no unit is
// overwritten before it has moved. 64 threads a block, so that few units spread over many SMs.
// Preconditions: a record is a multiple of its unit, and its buffer is aligned to it.
#include "warp.cuh"

// Threads of the block that scans.
constexpr u32 SCAN_THREADS = 256, WARPS = SCAN_THREADS / 32;
// Threads of a block that moves records, buffers of a launch at most, and slots that a thread loads at a time.
constexpr u32 MOVE_THREADS = 64, JOBS = 128, AHEAD = 8;

extern "C" __global__ void __launch_bounds__(SCAN_THREADS)
    compact_scan(u32* position, u32* live, u32* __restrict__ moves, const u32* __restrict__ keep) {
    __shared__ u32 sums[WARPS], dropped;
    u32 n = live[0], t = threadIdx.x, lane = t % 32, warp = t / 32, kept = 0;
    if (t == 0) dropped = n;
    __syncthreads();
    for (u32 first = 0; first < n; first += SCAN_THREADS) {
        u32 slot = first + t, p = slot < n ? position[slot] : 0;
        bool stays = slot < n && keep[p] != 0;
        u32 votes = __ballot_sync(ALL, stays);
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

extern "C" __global__ void __launch_bounds__(MOVE_THREADS)
    compact(const u32* __restrict__ moves, const u32* __restrict__ live, const __grid_constant__ CompactDims d) {
    u32 n = live[0], to = moves[0], low = 0, high = d.count;
    if (to >= n) return;
    while (high - low > 1) {
        u32 mid = (low + high) / 2;
        if (d.jobs[mid].block <= blockIdx.x) low = mid;
        else high = mid;
    }
    CompactJob job = d.jobs[low];
    u32 i = (blockIdx.x - job.block) * MOVE_THREADS + threadIdx.x;
    if (i >= job.units) return;
    const u32* slots = moves + 1;
    if (job.unit == 16) gather((uint4*)job.buffer + i, job.units, slots, to, n);
    else if (job.unit == 4) gather((u32*)job.buffer + i, job.units, slots, to, n);
    else gather((u8*)job.buffer + i, job.units, slots, to, n);
}
