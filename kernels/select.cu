// Hard-example mining, the decision: who stays.
//
//   select_keep   keep = 1 where the formula is not 0, and for the floor(keep_easy * easy) of the easy ones (formula = 0) that have
//                 the highest confidence, ties by slot; floats are ordered by IEEE's total order, as on the CPU
//
// keep        u32 [capacity] by position: out
// crossed     u32 [capacity] in, by position, as are kappa and label (u32), confidence, loss and step (f32)
// position    u32 [capacity] in: the position of a slot
// live        u32 [2] in
//
// Grid ceil(capacity / 256), 256 threads, 10 KiB of shared memory. A thread has a slot and counts the easy ones that come before it,
// tile by tile of 256. Nothing is summed but counts.
// Preconditions: those of formula.cuh.
#include "formula.cuh"

struct SelectDims {
    FormulaDims keep;
    float keep_easy;
};

// Order of an easy example: a larger key comes first. 0 is nobody's.
__device__ __forceinline__ u64 easy_key(float confidence, u32 slot) {
    u32 b = __float_as_uint(confidence);
    u32 ordered = b & 0x80000000u ? ~b : b | 0x80000000u;
    return (u64)ordered << 32 | ~slot;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    select_keep(u32* __restrict__ keep, const u32* __restrict__ crossed, const u32* __restrict__ kappa,
           const float* __restrict__ confidence, const float* __restrict__ loss, const float* __restrict__ step,
           const u32* __restrict__ label, const u32* __restrict__ position, const u32* __restrict__ live,
           const __grid_constant__ SelectDims d) {
    __shared__ float stack[DEEPEST][THREADS];
    __shared__ u64 keys[THREADS];
    u32 n = live[0], t = threadIdx.x, slot = blockIdx.x * THREADS + t;
    if (blockIdx.x * THREADS >= n) return;
    State s = {crossed, kappa, confidence, loss, step, label};
    u32 p = slot < n ? position[slot] : 0, hard = 0;
    if (slot < n) hard = value(d.keep, s, p, stack) != 0.0f;
    u64 key = slot < n && hard == 0 ? easy_key(confidence[p], slot) : 0;
    u32 easy = 0, before = 0;
    if (d.keep_easy > 0.0f) {
        for (u32 first = 0; first < n; first += THREADS) {
            u64 other = 0;
            if (first + t < n) {
                u32 q = position[first + t];
                if (value(d.keep, s, q, stack) == 0.0f) other = easy_key(confidence[q], first + t);
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
