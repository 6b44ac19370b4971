// A step of projected gradient ascent in L-inf, for gradients that no other launch uses up (src/ops/pgd_step).
//
//   pgd_step   x_adv = clamp(clamp(x_adv + alpha*sign(g), x - eps, x + eps), 0, 1),   sign(0) = 0
//
// x_adv      f32 [capacity, C, H, W], by slot: in and out.
// x, g       f32 [capacity, C, H, W], by slot: in.
// live       u32 [live, loaded]: in.
// grid       (ceil(len / 256), capacity): a block has 256 elements of a slot, a thread one; len = C*H*W.
// block      256 threads; no shared memory.
// Without contraction, as the step in the stem's dgrad: the same bits.
#include "common.cuh"

constexpr u32 THREADS = 256;

struct PgdStepDims {
    u32 len;
    float eps;
    float alpha;
};

extern "C" __global__ void __launch_bounds__(THREADS)
    pgd_step(float* x_adv, const float* x, const float* g, const u32* live, PgdStepDims d) {
    u32 slot = blockIdx.y, i = blockIdx.x * THREADS + threadIdx.x;
    if (slot >= live[0] || i >= d.len) return;
    size_t at = (size_t)slot * d.len + i;
    float gradient = g[at], clean = x[at];
    float step = gradient > 0.0f ? d.alpha : gradient < 0.0f ? -d.alpha : 0.0f;
    float v = __fadd_rn(x_adv[at], step);
    v = fminf(fmaxf(v, __fsub_rn(clean, d.eps)), __fadd_rn(clean, d.eps));
    x_adv[at] = fminf(fmaxf(v, 0.0f), 1.0f);
}
