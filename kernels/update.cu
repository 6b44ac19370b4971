// One step of SGD with momentum and weight decay, the moving average of the weights, and the running statistics.
//
//   v = momentum*v + (g + decay*w);  w = w - lr*v;   running = keep*running + share*batch
//   ema = ema_keep*ema + ema_share*w
// Of two passes, g = g + clean_g, and running moves to the clean pass's statistics first.
//
// Each operation rounds by itself, as on the CPU. Nothing happens when no example is live or the run has halted.
//
// params       f32 [len] in and out: w
// momenta      f32 [len] in and out: v
// running      f32 [stats] in and out
// ema          f32 [len] in and out, nullable
// grads        f32 [len] in: g;  clean_grads  the same of the clean pass, nullable
// batch_stats  f32 [stats] in;  clean_stats  the same of the clean pass, null where clean_grads is
// rates        f32 in: lr of each mini-batch of the epoch
// counters     u64 in: the count of batches, this one included, and whether the run has halted
// live         u32 [2] in
//
// Grid ceil(len / 2048) + ceil(stats / 2048), 256 threads, no shared memory. The first blocks have the parameters, the others
// the statistics; a thread has two vectors of four elements. Nothing is summed across threads.
// Preconditions: all arrays are 16-byte aligned.
#include "state.cuh"

constexpr u32 THREADS = 256, QUADS = 2, PART = 4 * QUADS * THREADS;

struct UpdateDims {
    u32 len;
    u32 stats;
    float momentum;
    float decay;
    float keep;
    float share;
    float ema_keep;
    float ema_share;
};

__device__ __forceinline__ void sgd(float& w, float& v, float g, float lr, const UpdateDims& d) {
    v = __fadd_rn(__fmul_rn(d.momentum, v), __fadd_rn(g, __fmul_rn(d.decay, w)));
    w = __fsub_rn(w, __fmul_rn(lr, v));
}

__device__ __forceinline__ float moved(float average, float value, float keep, float share) {
    return __fadd_rn(__fmul_rn(keep, average), __fmul_rn(share, value));
}

__device__ __forceinline__ float4 moved(float4 a, float4 v, float keep, float share) {
    return make_float4(moved(a.x, v.x, keep, share), moved(a.y, v.y, keep, share), moved(a.z, v.z, keep, share),
                       moved(a.w, v.w, keep, share));
}

// Four elements of the statistics, or those that there are.
__device__ __forceinline__ void move_running(float* __restrict__ running, const float* __restrict__ clean,
                                             const float* __restrict__ batch, u32 i, const UpdateDims& d) {
    if (i + 4 <= d.stats) {
        float4 r = *(const float4*)(running + i), b = *(const float4*)(batch + i);
        if (clean) r = moved(r, *(const float4*)(clean + i), d.keep, d.share);
        *(float4*)(running + i) = moved(r, b, d.keep, d.share);
    } else {
        for (; i < d.stats; i++) {
            float r = running[i];
            if (clean) r = moved(r, clean[i], d.keep, d.share);
            running[i] = moved(r, batch[i], d.keep, d.share);
        }
    }
}

__device__ __forceinline__ float4 sum(float4 a, float4 b) {
    return make_float4(__fadd_rn(a.x, b.x), __fadd_rn(a.y, b.y), __fadd_rn(a.z, b.z), __fadd_rn(a.w, b.w));
}

// One block an SM at the least: ptxas would else spill on sm_80, to fit more of them.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    update(float* __restrict__ params, float* __restrict__ momenta, float* __restrict__ running,
           float* __restrict__ ema, const float* __restrict__ grads, const float* __restrict__ batch_stats,
           const float* __restrict__ clean_grads, const float* __restrict__ clean_stats, const float* __restrict__ rates,
           const u64* __restrict__ counters, const u32* __restrict__ live,
           UpdateDims d) {
    if (live[0] == 0 || counters[counter::HALTED] != 0) return;
    u32 t = threadIdx.x, blocks = (d.len + PART - 1) / PART;
    if (blockIdx.x >= blocks) {
        u32 i = (blockIdx.x - blocks) * PART + t * 4;
#pragma unroll
        for (u32 q = 0; q < QUADS; q++) move_running(running, clean_stats, batch_stats, i + q * 4 * THREADS, d);
        return;
    }
    float lr = rates[counters[counter::BATCHES] - 1];
    u32 start = blockIdx.x * PART;
    if (start + PART > d.len) {
        for (u32 i = start + t; i < d.len; i += THREADS) {
            float g = clean_grads ? __fadd_rn(grads[i], clean_grads[i]) : grads[i];
            sgd(params[i], momenta[i], g, lr, d);
            if (ema) ema[i] = moved(ema[i], params[i], d.ema_keep, d.ema_share);
        }
        return;
    }
    float4 w[QUADS], v[QUADS], g[QUADS], e[QUADS];
#pragma unroll
    for (u32 q = 0; q < QUADS; q++) {
        u32 i = start + (q * THREADS + t) * 4;
        w[q] = *(const float4*)(params + i);
        v[q] = *(const float4*)(momenta + i);
        g[q] = *(const float4*)(grads + i);
        if (clean_grads) g[q] = sum(g[q], *(const float4*)(clean_grads + i));
        if (ema) e[q] = *(const float4*)(ema + i);
    }
#pragma unroll
    for (u32 q = 0; q < QUADS; q++) {
        u32 i = start + (q * THREADS + t) * 4;
        sgd(w[q].x, v[q].x, g[q].x, lr, d);
        sgd(w[q].y, v[q].y, g[q].y, lr, d);
        sgd(w[q].z, v[q].z, g[q].z, lr, d);
        sgd(w[q].w, v[q].w, g[q].w, lr, d);
        *(float4*)(momenta + i) = v[q];
        *(float4*)(params + i) = w[q];
        if (ema) *(float4*)(ema + i) = moved(e[q], w[q], d.ema_keep, d.ema_share);
    }
}
