// A step of Auto-PGD. At the iterate x_k = x_adv with the loss f and its gradient g, per example:
//
//   k = 0       step = 2 eps, best = x_0, f_best = f_checked = f, f_last = 0, halved = 1
//   else        best = x_k, g_best = g, f_best = f where f > f_best;  rises += f > f_last;  f_last = f
//   checkpoint  (period > 0)  halve if rises <= 0.75*period or (halved = 0 and f_checked >= f_best);
//               then step /= 2, x_k = best, g = g_best;  halved = whether;  f_checked = f_best;  rises = 0
//   step        z = P(x_k + step*direction(g));  x_adv = P(x_k + (z - x_k)*a + (x_k - previous)*(1 - a)),  a = 1 for k = 0, else 0.75
//               previous = x_k
//   linf        direction = sign(g), sign(0) = 0;  P(v) = clamp(min(max(v, x - eps), x + eps), 0, 1)
//   l2          direction = g/(|g| + 1e-12);  P(v) = clamp(x + (v - x)/(n + 1e-12)*min(eps, n), 0, 1) of n = |v - x|
//   fixed       every iterate is like x_0, with a given step: plain PGD
//   f           the cross-entropy as the head left it, or (z[aim] - z[y])/(z[1st] - (z[3rd] + z[4th])/2 + 1e-12)
//
// x_adv          f32 [capacity, len] in and out
// best, best_gradient, previous  f32 [capacity, len] by position, in and out
// progress       f32 [capacity, 6] by position, in and out: step, f_best, f_last, f_checked, rises, halved
// x, gradient    f32 [capacity, len] in
// loss           f32 [capacity] by position, in;  logits f32 [capacity, classes] by position, in
// label          u32 [capacity] by position, in
// aim            u32 [capacity] by position, in, nullable: the target of the ratio; null for the cross-entropy
// schedule       u32 [iterations] in: the period that ends at an iteration, or 0
// control        u32 [4] in: the iteration and `offset` make k
// position       u32 [capacity] in: the position of a slot;  live u32 [2] in
//
// Grid capacity, 256 threads; a block has one example, a thread every 256th element of it. Shared memory: 36 bytes.
// Summation of squares: a thread's elements ascending, then a butterfly in each warp, then the warps ascending.
// Preconditions: k is below the length of the schedule; four classes for the ratio.
#include "block.cuh"
#include "dlr.cuh"
#include "state.cuh"

constexpr u32 THREADS = 256, WARPS = THREADS / 32, PROGRESS = 6;
constexpr float NEW = 0.75f, RHO = 0.75f, TINY = 1e-12f;

struct ApgdDims {
    u32 len;
    u32 classes;
    float eps;
    // 2 eps, or the step at every iterate if `fixed`.
    float step;
    u32 fixed;
    u32 offset;
};

__device__ __forceinline__ float clamp_linf(float v, float x, float eps) {
    return fminf(fmaxf(fminf(fmaxf(v, __fsub_rn(x, eps)), __fadd_rn(x, eps)), 0.0f), 1.0f);
}

// A difference of length n, shortened to eps, added to x.
__device__ __forceinline__ float clamp_l2(float v, float x, float n, float eps) {
    return fminf(fmaxf(x + (v - x) / (n + TINY) * fminf(eps, n), 0.0f), 1.0f);
}

// at + (z - at)*a + (at - last)*(1 - a), each operation rounded by itself as on the CPU.
__device__ __forceinline__ float mix(float at, float z, float last, float a) {
    float moved = __fadd_rn(at, __fmul_rn(__fsub_rn(z, at), a));
    return __fadd_rn(moved, __fmul_rn(__fsub_rn(at, last), 1.0f - a));
}

template <bool L2>
__device__ __forceinline__ void
apgd(float* __restrict__ x_adv, float* __restrict__ best, float* __restrict__ best_gradient, float* __restrict__ previous,
     float* __restrict__ progress, const float* __restrict__ x, const float* __restrict__ gradient,
     const float* __restrict__ loss, const float* __restrict__ logits, const u32* __restrict__ label,
     const u32* __restrict__ aim, const u32* __restrict__ schedule, const u32* __restrict__ control,
     const u32* __restrict__ position, const u32* __restrict__ live, const ApgdDims& d) {
    __shared__ float value;
    u32 slot = blockIdx.x, t = threadIdx.x;
    if (slot >= live[0]) return;
    u32 at = position[slot], k = control[control::ITERATION] + d.offset, period = schedule[k];
    float f = loss[at];
    if (aim) {
        const float* z = logits + (size_t)at * d.classes;
        if (t < 32) {
            float scale = dlr_scale(z, d.classes, nullptr);
            if (t == 0) value = __fdiv_rn(__fsub_rn(z[aim[at]], z[label[at]]), scale);
        }
        __syncthreads();
        f = value;
    }
    float* own = progress + (size_t)at * PROGRESS;
    float step = d.step, f_best = f, f_checked = f, rises = 0.0f, halved = 1.0f, last = 0.0f;
    bool first = k == 0 || d.fixed, improved = first, halve = false;
    if (!first) {
        step = own[0], f_best = own[1], f_checked = own[3], rises = own[4], halved = own[5], last = f;
        improved = f > f_best;
        if (improved) f_best = f;
        rises += f > own[2] ? 1.0f : 0.0f;
        if (period > 0) {
            halve = rises <= RHO * (float)period || (halved == 0.0f && f_checked >= f_best);
            if (halve) step *= 0.5f;
            f_checked = f_best, rises = 0.0f, halved = halve ? 1.0f : 0.0f;
        }
    }
    // All have read it.
    __syncthreads();
    if (t == 0) own[0] = step, own[1] = f_best, own[2] = last, own[3] = f_checked, own[4] = rises, own[5] = halved;

    size_t by_slot = (size_t)slot * d.len, by_position = (size_t)at * d.len;
    x_adv += by_slot, x += by_slot, gradient += by_slot;
    best += by_position, best_gradient += by_position, previous += by_position;
    float a = first ? 1.0f : NEW;
    float along[1] = {};
    for (u32 i = t; i < d.len; i += THREADS) {
        float v = x_adv[i], g = gradient[i];
        if (improved) best[i] = v, best_gradient[i] = g;
        if (halve) {
            v = best[i], g = best_gradient[i];
            if (L2) x_adv[i] = v;
        }
        float before = first ? v : previous[i];
        if (L2) {
            along[0] += g * g;
        } else {
            previous[i] = v;
            float sign = g > 0.0f ? 1.0f : g < 0.0f ? -1.0f : 0.0f;
            float z = clamp_linf(__fadd_rn(v, __fmul_rn(step, sign)), x[i], d.eps);
            x_adv[i] = clamp_linf(mix(v, z, before, a), x[i], d.eps);
        }
    }
    if (!L2) return;
    over_block<true, WARPS>(along);
    float norm = sqrtf(along[0]) + TINY;
    const float* g = halve ? best_gradient : gradient;
    auto raw = [&](u32 i) { return x_adv[i] + step * (g[i] / norm); };
    float far[1] = {};
    for (u32 i = t; i < d.len; i += THREADS) {
        float v = raw(i) - x[i];
        far[0] += v * v;
    }
    over_block<true, WARPS>(far);
    float length = sqrtf(far[0]);
    auto mixed = [&](u32 i) {
        return mix(x_adv[i], clamp_l2(raw(i), x[i], length, d.eps), first ? x_adv[i] : previous[i], a);
    };
    float farther[1] = {};
    for (u32 i = t; i < d.len; i += THREADS) {
        float v = mixed(i) - x[i];
        farther[0] += v * v;
    }
    over_block<true, WARPS>(farther);
    float moved = sqrtf(farther[0]);
    for (u32 i = t; i < d.len; i += THREADS) {
        float next = clamp_l2(mixed(i), x[i], moved, d.eps);
        previous[i] = x_adv[i];
        x_adv[i] = next;
    }
}

// One block an SM at the least: ptxas would else spill on sm_90.
#define ENTRY(norm, l2)                                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS, 1) apgd_##norm(                                                     \
        float* __restrict__ x_adv, float* __restrict__ best, float* __restrict__ best_gradient,                               \
        float* __restrict__ previous, float* __restrict__ progress, const float* __restrict__ x,                              \
        const float* __restrict__ gradient, const float* __restrict__ loss, const float* __restrict__ logits,                 \
        const u32* __restrict__ label, const u32* __restrict__ aim, const u32* __restrict__ schedule,                         \
        const u32* __restrict__ control, const u32* __restrict__ position, const u32* __restrict__ live, ApgdDims d) {        \
        apgd<l2>(x_adv, best, best_gradient, previous, progress, x, gradient, loss, logits, label, aim, schedule, control,    \
                 position, live, d);                                                                                          \
    }

ENTRY(linf, false)
ENTRY(l2, true)
