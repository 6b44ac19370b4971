// Freezing: examples whose attack is over are put aside, and come back for training.
//
//   freeze   frozen[position[slot]] = x_adv[slot] of the live slots that are not kept, or of all live ones
//   thaw     live[0] = live[1];  position[slot] = slot
//
// frozen      f32 [capacity, len] by position, out;  x_adv  f32 [capacity, len] by slot, in
// keep        u32 [capacity] by position: in
// position    u32 [capacity] by slot: in of freeze, out of thaw
// live        u32 [2]: in; thaw sets the first
//
// freeze: grid (ceil(len / 1024), capacity), 256 threads; a thread has four elements of a slot's image. thaw: one block of 256.
// No shared memory; nothing is summed.
#include "common.cuh"

constexpr u32 THREADS = 256;
// Elements of an image that a block puts aside.
constexpr u32 FREEZE_PART = 4 * THREADS;

struct FreezeDims {
    u32 len;
    u32 all;
};

extern "C" __global__ void __launch_bounds__(THREADS)
    freeze(float* __restrict__ frozen, const float* __restrict__ x_adv, const u32* __restrict__ keep,
           const u32* __restrict__ position, const u32* __restrict__ live, FreezeDims d) {
    u32 slot = blockIdx.y;
    if (slot >= live[0]) return;
    u32 p = position[slot];
    if (!d.all && keep[p] != 0) return;
    const float* from = x_adv + (size_t)slot * d.len;
    float* to = frozen + (size_t)p * d.len;
#pragma unroll
    for (u32 q = 0; q < FREEZE_PART / THREADS; q++) {
        u32 i = blockIdx.x * FREEZE_PART + q * THREADS + threadIdx.x;
        if (i < d.len) to[i] = from[i];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) thaw(u32* __restrict__ position, u32* __restrict__ live) {
    u32 n = live[1], t = threadIdx.x;
    if (t == 0) live[0] = n;
    for (u32 slot = t; slot < n; slot += THREADS) position[slot] = slot;
}
