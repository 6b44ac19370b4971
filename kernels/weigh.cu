// What the live examples weigh in the training loss.
//
//   weigh    weight = raw / sum of raw over live, or 1/live if that sum is not positive; raw is the formula
//
// weight      f32 [capacity] out, by position
// crossed     u32 [capacity] in, by position, as are kappa and label (u32), confidence, loss and step (f32)
// position    u32 [capacity] in: the position of a slot
// live        u32 [2] in
//
// One block of 256, 10 KiB of shared memory; a thread has every 256th slot. The first thread adds in f64, in order of the slots.
// Preconditions: those of formula.cuh.
#include "formula.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    weigh(float* __restrict__ weight, const u32* __restrict__ crossed, const u32* __restrict__ kappa,
          const float* __restrict__ confidence, const float* __restrict__ loss, const float* __restrict__ step,
          const u32* __restrict__ label, const u32* __restrict__ position, const u32* __restrict__ live,
          const __grid_constant__ FormulaDims f) {
    __shared__ float stack[DEEPEST][THREADS];
    __shared__ double raw[THREADS], total;
    State s = {crossed, kappa, confidence, loss, step, label};
    u32 n = live[0], t = threadIdx.x;
    double sum = 0.0;
    for (u32 first = 0; first < n; first += THREADS) {
        if (first + t < n) raw[t] = value(f, s, position[first + t], stack);
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
        double w = sum > 0.0 ? (double)value(f, s, p, stack) / sum : 1.0 / (double)n;
        weight[p] = (float)w;
    }
}
