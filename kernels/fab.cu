// FAB towards a target class: a step to the boundary and across it, and back from beyond it.
//
//   step  f = z_t - z_y at adv, w its gradient;  d1 = project(adv, f), d2 = project(x, f + sum of w*(x - adv))
//         a = min(|d1| / (|d1| + |d2|), alpha_max), norms at least `least`
//         adv = clamp((adv + eta*d1)*(1 - a) + (x + eta*d2)*a) to [0, 1]
//   back  where crossed: keep = 0 if |adv - x| <= eps, else adv = x + beta*(adv - x);  keep = 1 elsewhere
//
//   project(v, f): d = -sign(w f) min(l m, room), m = 1 (linf) or |w| (l2), room = what the box [0, 1] leaves of v in that direction;
//   l solves sum of |w| min(l m, room) = |f| by Newton's iterates from 0, which rise; infinity if there is no solution.
//
// adv       f32 [capacity, len], in and out
// keep      u32 [capacity] by position, out of back
// x         f32 [capacity, len] in;  gradient f32 [capacity, len] in, by slot
// logits    f32 [capacity, classes] by position, in
// label     u32 [capacity] in, by position, as are target and crossed
// position  u32 [capacity] in: the position of a slot;  live u32 [2] in
//
// Grid capacity, 256 threads; a block has an example, a thread every 256th element. Shared memory: 224 bytes.
// Sums: elements of a thread ascending, a butterfly, the warps ascending; each operation rounds by itself, as on the CPU.
// Preconditions: label and target below classes.
#include "block.cuh"

constexpr u32 THREADS = 256, WARPS = THREADS / 32;

struct FabDims {
    u32 len;
    u32 classes;
    u32 iterates;
    float alpha_max, eta, least;
};

// Projects a point at which the hyperplane's function is `gap`.
template <bool L2> struct Projection {
    float gap;
    float l = 0.0f;

    __device__ __forceinline__ bool up(float w) const { return (w > 0.0f) != (gap >= 0.0f); }
    __device__ __forceinline__ float reach(float w) const { return L2 ? __fmul_rn(l, fabsf(w)) : l; }
    __device__ __forceinline__ float room(float w, float at) const { return up(w) ? __fsub_rn(1.0f, at) : at; }

    // Adds what the element contributes if the box holds it, or its slope if not.
    __device__ __forceinline__ void add(float& held, float& slope, float w, float at) const {
        float size = fabsf(w), far = room(w, at);
        bool in = far <= reach(w);
        held = __fadd_rn(held, in ? __fmul_rn(size, far) : 0.0f);
        slope = __fadd_rn(slope, in ? 0.0f : L2 ? __fmul_rn(size, size) : size);
    }

    // Newton's iterate; whether it is a larger one.
    __device__ __forceinline__ bool next(float held, float slope) {
        float to = slope > 0.0f ? __fdiv_rn(__fsub_rn(fabsf(gap), held), slope) : INFINITY;
        if (to <= l) return false;
        l = to;
        return true;
    }

    // The move of an element.
    __device__ __forceinline__ float moved(float w, float at) const {
        float far = room(w, at), there = reach(w);
        if (far <= there) there = far;
        return w == 0.0f ? 0.0f : up(w) ? there : -there;
    }
};

template <bool L2, u32 N> __device__ __forceinline__ void lengths(float (&v)[N]) {
    over_block<L2, WARPS>(v);
#pragma unroll
    for (u32 n = 0; n < N; n++)
        if (L2) v[n] = __fsqrt_rn(v[n]);
}

template <bool L2> __device__ __forceinline__ void measure(float& length, float d) {
    length = L2 ? __fadd_rn(length, __fmul_rn(d, d)) : fmaxf(fabsf(d), length);
}

template <bool L2>
__device__ __forceinline__ void step(float* __restrict__ adv, const float* __restrict__ x, const float* __restrict__ gradient,
                                     const float* __restrict__ logits, const u32* __restrict__ label,
                                     const u32* __restrict__ target, const u32* __restrict__ position,
                                     const u32* __restrict__ live, const FabDims& d) {
    u32 slot = blockIdx.x, t = threadIdx.x;
    if (slot >= live[0]) return;
    size_t first = (size_t)slot * d.len, at = position[slot], row = at * d.classes;
    adv += first, x += first;
    const float* w = gradient + first;
    float way[1] = {};
#pragma unroll 4
    for (u32 i = t; i < d.len; i += THREADS) way[0] = __fadd_rn(way[0], __fmul_rn(w[i], __fsub_rn(x[i], adv[i])));
    over_block<true, WARPS>(way);
    float gap = __fsub_rn(logits[row + target[at]], logits[row + label[at]]);
    Projection<L2> of_adv = {gap}, of_x = {__fadd_rn(gap, way[0])};
    for (u32 k = 0; k < d.iterates; k++) {
        float v[4] = {};
#pragma unroll 4
        for (u32 i = t; i < d.len; i += THREADS) {
            of_adv.add(v[0], v[1], w[i], adv[i]);
            of_x.add(v[2], v[3], w[i], x[i]);
        }
        over_block<true, WARPS>(v);
        bool more = of_adv.next(v[0], v[1]);
        if (!of_x.next(v[2], v[3]) && !more) break;
    }
    float length[2] = {};
#pragma unroll 4
    for (u32 i = t; i < d.len; i += THREADS) {
        measure<L2>(length[0], of_adv.moved(w[i], adv[i]));
        measure<L2>(length[1], of_x.moved(w[i], x[i]));
    }
    lengths<L2>(length);
    float a = fmaxf(length[0], d.least), b = fmaxf(length[1], d.least);
    float share = fminf(__fdiv_rn(a, __fadd_rn(a, b)), d.alpha_max);
#pragma unroll 4
    for (u32 i = t; i < d.len; i += THREADS) {
        float from_adv = __fadd_rn(adv[i], __fmul_rn(d.eta, of_adv.moved(w[i], adv[i])));
        float from_x = __fadd_rn(x[i], __fmul_rn(d.eta, of_x.moved(w[i], x[i])));
        adv[i] = __saturatef(__fadd_rn(__fmul_rn(from_adv, __fsub_rn(1.0f, share)), __fmul_rn(from_x, share)));
    }
}

struct FabBackDims {
    u32 len;
    float eps, beta;
};

template <bool L2>
__device__ __forceinline__ void back(float* __restrict__ adv, u32* __restrict__ keep, const float* __restrict__ x,
                                     const u32* __restrict__ crossed, const u32* __restrict__ position,
                                     const u32* __restrict__ live, const FabBackDims& d) {
    u32 slot = blockIdx.x, t = threadIdx.x;
    if (slot >= live[0]) return;
    size_t first = (size_t)slot * d.len, at = position[slot];
    adv += first, x += first;
    if (!crossed[at]) {
        if (t == 0) keep[at] = 1;
        return;
    }
    float length[1] = {};
#pragma unroll 4
    for (u32 i = t; i < d.len; i += THREADS) measure<L2>(length[0], __fsub_rn(adv[i], x[i]));
    lengths<L2>(length);
    bool within = length[0] <= d.eps;
    if (t == 0) keep[at] = !within;
    if (within) return;
#pragma unroll 4
    for (u32 i = t; i < d.len; i += THREADS) adv[i] = __fadd_rn(x[i], __fmul_rn(d.beta, __fsub_rn(adv[i], x[i])));
}

#define ENTRIES(L2, suffix)                                                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS) fab_step_##suffix(                                                  \
        float* __restrict__ adv, const float* __restrict__ x, const float* __restrict__ gradient,                             \
        const float* __restrict__ logits, const u32* __restrict__ label, const u32* __restrict__ target,                      \
        const u32* __restrict__ position, const u32* __restrict__ live, FabDims d) {                                          \
        step<L2>(adv, x, gradient, logits, label, target, position, live, d);                                                 \
    }                                                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS) fab_back_##suffix(                                                  \
        float* __restrict__ adv, u32* __restrict__ keep, const float* __restrict__ x, const u32* __restrict__ crossed,        \
        const u32* __restrict__ position, const u32* __restrict__ live, FabBackDims d) {                                      \
        back<L2>(adv, keep, x, crossed, position, live, d);                                                                   \
    }

ENTRIES(false, linf)
ENTRIES(true, l2)
