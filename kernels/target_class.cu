// Which class a targeted attack leads each example to.
//
//   target = the class k that has  1 + epoch/restarts = #{ j : z[j] > z[k], or z[j] = z[k] and j < k };  0 if there is none
//
// target    u32 [capacity] by position, out
// logits    f32 [capacity, classes] by position, in
// position  u32 [capacity] in: the position of a slot
// control   u32 [4] in: the epoch
// live      u32 [2] in
//
// Grid ceil(capacity / 8), 256 threads, no shared memory. A warp has one slot; a lane has every 32nd class and compares it with
// all. Nothing is summed.
// Preconditions: restarts is at least 1.
#include "state.cuh"
#include "warp.cuh"

constexpr u32 THREADS = 256;

struct TargetClassDims {
    u32 classes;
    u32 restarts;
};

extern "C" __global__ void __launch_bounds__(THREADS)
    target_class(u32* __restrict__ target, const float* __restrict__ logits, const u32* __restrict__ position,
        const u32* __restrict__ control, const u32* __restrict__ live, TargetClassDims d) {
    u32 slot = blockIdx.x * (THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (slot >= live[0]) return;
    u32 at = position[slot], rank = 1 + control[control::EPOCH] / d.restarts, found = d.classes;
    const float* z = logits + (size_t)at * d.classes;
    for (u32 k = lane; k < d.classes; k += 32) {
        if (rank_of(z, d.classes, k) == rank && !isnan(z[k])) found = min(found, k);
    }
    found = __reduce_min_sync(ALL, found);
    if (lane == 0) target[at] = found < d.classes ? found : 0;
}
