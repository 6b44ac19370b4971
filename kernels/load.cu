// Loads a mini-batch from the resident data set: n = min(end - cursor, capacity) examples from order[cursor] on, none once the
// run has halted.
//
//   x[slot, c, y, x] = pixel(c, y + dy, x + dx), zero outside, mirrored in x if flipped;  a u8 pixel v is v / 255
//
// live      u32 [2] out: n, n
// position, label, sample, kappa, crossed, keep  u32 [capacity] out; step, weight  f32 [capacity] out
// x         f32 [capacity, C, H, W] out
// images    u8 or f32 [N, C, H, W] in
// labels    u32 [N] in
// order     u32 [epoch's examples] in
// control   u32 [4] in: cursor, end, epoch
// halted    u64 [1] in: not 0 once the run has halted
//
// load_state: grid ceil(capacity / 256), 256 threads, no shared memory; a thread has a slot. load_images: grid (ceil(len / 1024),
// capacity), 256 threads, 12 bytes of shared memory; a block has a part of one image, a thread four pixels of it, 256 apart, the
// first one draws the crop. Nothing is summed. Preconditions: the order has `end` entries, each below N.
#include "state.cuh"

// Threads of a block, and pixels of one that loads images.
constexpr u32 THREADS = 256, PIXELS = 4 * THREADS;

// Slots of the next mini-batch.
__device__ __forceinline__ u32 loaded(const u32* control, const u64* halted, u32 capacity) {
    u32 cursor = control[control::CURSOR], end = control[control::END];
    return *halted != 0 || end <= cursor ? 0 : min(end - cursor, capacity);
}

// The count of slots and the state of each.
extern "C" __global__ void __launch_bounds__(THREADS)
    load_state(u32* __restrict__ live, u32* __restrict__ position, u32* __restrict__ label, u32* __restrict__ sample,
               u32* __restrict__ kappa, u32* __restrict__ crossed, u32* __restrict__ keep, float* __restrict__ step,
               float* __restrict__ weight, const u32* __restrict__ labels, const u32* __restrict__ order,
               const u32* __restrict__ control, const u64* __restrict__ halted, u32 capacity) {
    u32 slot = blockIdx.x * THREADS + threadIdx.x, n = loaded(control, halted, capacity);
    if (slot == 0) live[0] = live[1] = n;
    if (slot >= n) return;
    u32 id = order[control[control::CURSOR] + slot];
    position[slot] = slot;
    label[slot] = labels[id];
    sample[slot] = id;
    kappa[slot] = 0;
    crossed[slot] = 0;
    keep[slot] = 1;
    step[slot] = 0.0f;
    weight[slot] = 0.0f;
}

struct LoadDims {
    u32 h, w, len, capacity;
    u32 augment, pad;
    Philox seed;
    u32 stream;
};

__device__ __forceinline__ float pixel(const u8* images, size_t at) { return __fdiv_rn((float)images[at], 255.0f); }
__device__ __forceinline__ float pixel(const float* images, size_t at) { return images[at]; }

// The images.
template <class T>
__device__ __forceinline__ void load_image(float* x, const T* images, const u32* order, const u32* control, const u64* halted,
                                           const LoadDims& d) {
    __shared__ int crop[3];
    u32 slot = blockIdx.y;
    if (slot >= loaded(control, halted, d.capacity)) return;
    u32 id = order[control[control::CURSOR] + slot];
    if (threadIdx.x == 0) {
        uint4 r = make_uint4(d.pad, d.pad, 0, 0);
        if (d.augment) r = philox(d.seed, d.stream, control[control::EPOCH], id, 0);
        crop[0] = (int)(r.x % (2 * d.pad + 1)) - (int)d.pad;
        crop[1] = (int)(r.y % (2 * d.pad + 1)) - (int)d.pad;
        crop[2] = (int)(r.z & 1);
    }
    __syncthreads();
#pragma unroll
    for (u32 j = 0; j < PIXELS / THREADS; j++) {
        u32 i = blockIdx.x * PIXELS + j * THREADS + threadIdx.x;
        if (i >= d.len) break;
        u32 row = i / d.w, col = i - row * d.w, c = row / d.h;
        int from_y = (int)(row - c * d.h) + crop[0], from_x = (int)(crop[2] ? d.w - 1 - col : col) + crop[1];
        bool in = (u32)from_y < d.h && (u32)from_x < d.w;
        x[(size_t)slot * d.len + i] =
            in ? pixel(images, (size_t)id * d.len + (c * d.h + from_y) * d.w + from_x) : 0.0f;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    load_images_u8(float* __restrict__ x, const u8* __restrict__ images, const u32* __restrict__ order,
                   const u32* __restrict__ control, const u64* __restrict__ halted, LoadDims d) {
    load_image(x, images, order, control, halted, d);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    load_images_f32(float* __restrict__ x, const float* __restrict__ images, const u32* __restrict__ order,
                    const u32* __restrict__ control, const u64* __restrict__ halted, LoadDims d) {
    load_image(x, images, order, control, halted, d);
}
