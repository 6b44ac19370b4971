// Continuous refill: survivors of several mini-batches wait in a ring until there is a full batch of them.
//
//   put    pool[(head + count + slot) % places] = live example of the slot
//   take   batch[slot] = pool[(head + slot) % places], position[slot] = slot, for slot < taken
//   close  head = (head + taken) % places, count = count + live - taken;  live[0] = live[1] = taken
//   taken = capacity if count + live >= capacity, else count + live if nothing was loaded, else 0
//
// An example is x and x_adv (f32 [len]), label, sample and kappa (u32), and step (f32).
// pool      each of these by place in the ring of 2*capacity: out of put, in of take
// batch     x and x_adv by slot, the others by position: in of put, out of take
// position  u32 [capacity]: in of put, out of take
// ring      u32 [2] head, count: in of all; out of close
// live      u32 [2] live, loaded: in; out of close
//
// put and take: grid (ceil(len / 1024), capacity), 256 threads; a block has a part of one example's images, a thread four
// elements of each, the first block's first thread the rest. close: one thread. No shared memory. Nothing is summed.
// Preconditions: before put the ring holds less than capacity examples.
#include "common.cuh"

constexpr u32 THREADS = 256, QUADS = 4, PART = QUADS * THREADS;

namespace ring {
enum : u32 { HEAD, COUNT, LEN };
}

struct RefillDims {
    u32 len;
    u32 capacity;
};

struct Example {
    float* __restrict__ x;
    float* __restrict__ x_adv;
    u32* __restrict__ label;
    u32* __restrict__ sample;
    u32* __restrict__ kappa;
    float* __restrict__ step;
};

struct Source {
    const float* __restrict__ x;
    const float* __restrict__ x_adv;
    const u32* __restrict__ label;
    const u32* __restrict__ sample;
    const u32* __restrict__ kappa;
    const float* __restrict__ step;
};

// Moves a block's part: images from and to these slots or places, the rest from and to these positions or places.
__device__ __forceinline__ void move(const Example& to, u32 image_to, u32 rest_to, const Source& from, u32 image_from,
                                     u32 rest_from, u32 len) {
    size_t out = (size_t)image_to * len, in = (size_t)image_from * len;
#pragma unroll
    for (u32 q = 0; q < QUADS; q++) {
        u32 i = blockIdx.x * PART + q * THREADS + threadIdx.x;
        if (i >= len) break;
        to.x[out + i] = from.x[in + i];
        to.x_adv[out + i] = from.x_adv[in + i];
    }
    if (blockIdx.x != 0 || threadIdx.x != 0) return;
    to.label[rest_to] = from.label[rest_from];
    to.sample[rest_to] = from.sample[rest_from];
    to.kappa[rest_to] = from.kappa[rest_from];
    to.step[rest_to] = from.step[rest_from];
}

__device__ __forceinline__ u32 taken(u32 waiting, u32 loaded, u32 capacity) {
    if (waiting >= capacity) return capacity;
    return loaded == 0 ? waiting : 0;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    refill_put(float* __restrict__ pool_x, float* __restrict__ pool_x_adv, u32* __restrict__ pool_label,
               u32* __restrict__ pool_sample, u32* __restrict__ pool_kappa, float* __restrict__ pool_step,
               const float* __restrict__ x, const float* __restrict__ x_adv, const u32* __restrict__ label,
               const u32* __restrict__ sample, const u32* __restrict__ kappa, const float* __restrict__ step,
               const u32* __restrict__ position, const u32* __restrict__ ring, const u32* __restrict__ live, RefillDims d) {
    u32 slot = blockIdx.y;
    if (slot >= live[0]) return;
    u32 place = (ring[ring::HEAD] + ring[ring::COUNT] + slot) % (2 * d.capacity);
    Example to = {pool_x, pool_x_adv, pool_label, pool_sample, pool_kappa, pool_step};
    move(to, place, place, {x, x_adv, label, sample, kappa, step}, slot, position[slot], d.len);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    refill_take(float* __restrict__ x, float* __restrict__ x_adv, u32* __restrict__ label, u32* __restrict__ sample,
                u32* __restrict__ kappa, float* __restrict__ step, const float* __restrict__ pool_x,
                const float* __restrict__ pool_x_adv, const u32* __restrict__ pool_label,
                const u32* __restrict__ pool_sample, const u32* __restrict__ pool_kappa,
                const float* __restrict__ pool_step, u32* __restrict__ position, const u32* __restrict__ ring,
                const u32* __restrict__ live, RefillDims d) {
    u32 slot = blockIdx.y;
    if (slot >= taken(ring[ring::COUNT] + live[0], live[1], d.capacity)) return;
    u32 place = (ring[ring::HEAD] + slot) % (2 * d.capacity);
    if (blockIdx.x == 0 && threadIdx.x == 0) position[slot] = slot;
    Example to = {x, x_adv, label, sample, kappa, step};
    move(to, slot, slot, {pool_x, pool_x_adv, pool_label, pool_sample, pool_kappa, pool_step}, place, place, d.len);
}

extern "C" __global__ void refill_close(u32* __restrict__ ring, u32* __restrict__ live, RefillDims d) {
    u32 waiting = ring[ring::COUNT] + live[0], out = taken(waiting, live[1], d.capacity);
    ring[ring::HEAD] = (ring[ring::HEAD] + out) % (2 * d.capacity);
    ring[ring::COUNT] = waiting - out;
    live[0] = out;
    live[1] = out;
}
