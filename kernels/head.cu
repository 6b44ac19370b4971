// The head: global average pool, linear layer, softmax, and everything that is decided per example.
//
//   pooled = mean of a over the pixels;  z = W*pooled + bias;  p = softmax(z);  loss = log(sum exp(z - top)) - (z[y] - top)
//   crossed = argmax z != y (ties: the lowest class);  kappa += !crossed;  step = max(step, |p - p_before|_1);  keep = crossed
//   dz = p - onehot(y), onehot(best other) - onehot(y) for the margin, p - target for the divergence KL(target || p),
//        onehot(aim) - onehot(y) for the difference z[aim] - z[y], and for the targeted DLR (z[aim] - z[y])/s of the scale
//        s = z[1st] - (z[3rd] + z[4th])/2 + 1e-12  (onehot(aim) - onehot(y))/s - (z[aim] - z[y])/s^2 * ds/dz;
//        times the example's weight where there is one; or what is given
//   dy[.., c] = scale[c]/pixels * sum over k of dz[k]*W[k, c]  where the bit is 1, else 0
//   dW[k, c] = sum over slots of dz[k]*pooled[c];  db[k] = sum over slots of dz[k]
//
// a, dy       T [capacity, pixels, cp]: a in; dy out, null in head_fprop for no gradient
// pooled      f32 [capacity, channels] by slot: out of head_fprop, in of head_wgrad
// logits      f32 [capacity, classes] by position: out of head_fprop, in of head_dgrad
// probs       f32 [capacity, classes] by position: in and out of head_fprop, in of the others
// crossed     u32 [capacity] by position, out; so are keep (u32, nullable), confidence (f32) and loss (f32)
// kappa       u32 [capacity] by position, in and out, nullable; so is step (f32)
// weights     f32 [classes, channels] in;  bias f32 [classes] in
// label       u32 [capacity] by position, in;  weight f32 [capacity] by position, in, nullable in head_dgrad
// target      f32 [capacity, classes] by position, in, nullable: the divergence's target, or the gradient of the logits that is given
// aim         u32 [capacity] by position, in, nullable: the class that the difference and the targeted DLR lead to
// scale       f32 [cp] in, nullable;  bits [capacity, pixels, cp/8] in, nullable
// given       f32 [capacity, classes] by position, in of head_wgrad, nullable: dz, weighted
// position    u32 [capacity] in: the position of a slot;  live u32 [2] in
// dw, db      f32 [classes, channels], [classes] out
//
// head_fprop, head_dgrad: grid capacity, 256 threads; a block has one example. `parts` threads share a 16-byte vector of
// channels and take every parts-th pixel. A warp has every eighth class in the linear layer; the first warp has the softmax.
// Shared memory: parts*cp + 2*classes f32.
// head_wgrad: grid (ceil(channels / 64), classes), 64 threads; a thread has one channel of one class, the first channel's
// the bias too. 512 bytes of shared memory.
// Summation: pixels of a part ascending, then the parts; channels lane by lane, then a butterfly; classes ascending in dy;
// slots ascending in dW and db, where each operation rounds by itself, as on the CPU.
// Preconditions: parts*cp/LANES <= 256 if parts > 1; at least two classes for the margin, four for the targeted
// DLR; labels and aims below classes.
#include "dlr.cuh"
#include "vector.cuh"

constexpr u32 THREADS = 256, WARPS = THREADS / 32, WGRAD_THREADS = 64, WGRAD_SLOTS = 128;

struct HeadDims {
    u32 classes;
    u32 channels;
    u32 cp;
    u32 pixels;
    // Threads that share a vector of channels.
    u32 parts;
    // 1 / pixels.
    float inverse;
    // A number of `loss`.
    u32 loss;
};

namespace loss {
enum : u32 { CROSS_ENTROPY, MARGIN, DIVERGENCE, GIVEN, DIFFERENCE, TARGETED_DLR };
}

// How often `first`, `first + stride` and so on are below `end`. A loop that counts is unrolled with its loads ahead; one that
// compares unsigned numbers that might wrap is not.
__device__ __forceinline__ u32 times(u32 first, u32 end, u32 stride) {
    return first < end ? (end - first + stride - 1) / stride : 0;
}

// By one warp: `dz` holds the probabilities and becomes the gradient of the loss with respect to the logits.
__device__ __forceinline__ void logit_gradient(float* dz, const float* z, const float* __restrict__ target, u32 label, u32 aim,
                                               float weight, const HeadDims& d) {
    u32 lane = threadIdx.x % 32, loss = d.loss, other = loss == loss::MARGIN ? warp_argmax(z, d.classes, label) : aim;
    bool between = loss == loss::MARGIN || loss == loss::DIFFERENCE || loss == loss::TARGETED_DLR;
    float inverse = 1.0f, bend = 0.0f;
    if (loss == loss::TARGETED_DLR) {
        inverse = 1.0f / dlr_scale(z, d.classes, dz);
        bend = (z[aim] - z[label]) * inverse * inverse;
    }
    for (u32 k = lane; k < d.classes; k += 32) {
        float v = dz[k];
        if (between) {
            float slope = loss == loss::TARGETED_DLR ? bend * v : 0.0f;
            v = (k == other ? inverse : 0.0f) - (k == label ? inverse : 0.0f) - slope;
        } else if (loss == loss::CROSS_ENTROPY) v = k == label ? v - 1.0f : v;
        else v = loss == loss::GIVEN ? target[k] : v - target[k];
        dz[k] = __fmul_rn(v, weight);
    }
}

// This thread's vectors of channels, the first of `groups` and then every THREADS-th, and its part of the pixels.
struct Share {
    u32 groups;
    u32 first;
    u32 part;
};

template <class T> __device__ __forceinline__ Share share(const HeadDims& d) {
    u32 groups = d.cp / LANES<T>, part = threadIdx.x / groups;
    return {groups, part < d.parts ? threadIdx.x - part * groups : groups, part};
}

// Means over the pixels of one example, in `sums[0 .. cp]`.
template <class T> __device__ __forceinline__ void pool(float* sums, const T* __restrict__ a, const HeadDims& d) {
    Share s = share<T>(d);
    const uint4* vectors = (const uint4*)a;
    u32 pixels = times(s.part, d.pixels, d.parts);
    for (u32 g = s.first; g < s.groups; g += THREADS) {
        float sum[LANES<T>] = {};
        const uint4* at = vectors + s.part * s.groups + g;
#pragma unroll 4
        for (u32 i = 0; i < pixels; i++) {
            float v[LANES<T>];
            unpack(at[i * d.parts * s.groups], v);
#pragma unroll
            for (u32 c = 0; c < LANES<T>; c++) sum[c] += v[c];
        }
        put(sum, sums + s.part * d.cp + g * LANES<T>, threadIdx.x);
    }
    __syncthreads();
    for (u32 c = threadIdx.x; c < d.cp; c += THREADS) {
        float sum = sums[c];
        for (u32 part = 1; part < d.parts; part++) sum += sums[part * d.cp + c];
        sums[c] = sum * d.inverse;
    }
    __syncthreads();
}

// The gradient of the last map of one example; `value` is scratch of cp f32.
template <class T>
__device__ __forceinline__ void spread(T* __restrict__ dy, float* value, const float* dz, const float* __restrict__ weights,
                                       const float* __restrict__ scale, const u8* __restrict__ bits, const HeadDims& d) {
    for (u32 c = threadIdx.x; c < d.cp; c += THREADS) {
        float v = 0.0f;
        if (c < d.channels) {
#pragma unroll 8
            for (u32 k = 0; k < d.classes; k++) v = fmaf(dz[k], weights[(size_t)k * d.channels + c], v);
            v *= scale ? scale[c] * d.inverse : d.inverse;
        }
        value[c] = v;
    }
    __syncthreads();
    Share s = share<T>(d);
    uint4* vectors = (uint4*)dy;
    u32 pixels = times(s.part, d.pixels, d.parts);
    for (u32 g = s.first; g < s.groups; g += THREADS) {
        float v[LANES<T>];
        get(value + g * LANES<T>, v, threadIdx.x);
#pragma unroll 4
        for (u32 i = 0; i < pixels; i++) {
            // A byte has 8 channels: one vector of bf16, or two of f32.
            u32 at = (s.part + i * d.parts) * s.groups + g, mask = ~0u;
            if (bits) mask = bits[at * LANES<T> / 8] >> (g * LANES<T> % 8);
            float masked[LANES<T>];
#pragma unroll
            for (u32 c = 0; c < LANES<T>; c++) masked[c] = mask >> c & 1 ? v[c] : 0.0f;
            vectors[at] = pack(masked);
        }
    }
}

template <class T>
__device__ __forceinline__ void
fprop(float* __restrict__ pooled, float* __restrict__ logits, float* __restrict__ probs, u32* __restrict__ crossed,
      u32* __restrict__ keep, u32* __restrict__ kappa, float* __restrict__ step, float* __restrict__ confidence,
      float* __restrict__ loss, T* __restrict__ dy, const T* __restrict__ a, const float* __restrict__ weights,
      const float* __restrict__ bias, const u32* __restrict__ label, const float* __restrict__ target,
      const u32* __restrict__ aim, const float* __restrict__ scale, const u8* __restrict__ bits,
      const u32* __restrict__ position, const u32* __restrict__ live, const HeadDims& d) {
    extern __shared__ __align__(16) float shared[];
    u32 slot = blockIdx.x, t = threadIdx.x, lane = t % 32, warp = t / 32;
    if (slot >= live[0]) return;
    float *sums = shared, *z = sums + d.parts * d.cp, *p = z + d.classes;
    u32 at = position[slot], y = label[at];
    size_t map = (size_t)slot * d.pixels * d.cp, row = (size_t)at * d.classes;
    pool(sums, a + map, d);
    for (u32 c = t; c < d.channels; c += THREADS) pooled[(size_t)slot * d.channels + c] = sums[c];
    for (u32 k = warp; k < d.classes; k += WARPS) {
        const float* w = weights + (size_t)k * d.channels + lane;
        float sum = 0.0f;
        u32 channels = times(lane, d.channels, 32);
#pragma unroll 8
        for (u32 i = 0; i < channels; i++) sum = fmaf(w[i * 32], sums[lane + i * 32], sum);
        sum = warp_sum(sum);
        if (lane == 0) z[k] = bias[k] + sum;
    }
    __syncthreads();
    if (warp == 0) {
        u32 top = warp_argmax(z, d.classes, d.classes);
        float sum = 0.0f, moved = 0.0f;
        for (u32 k = lane; k < d.classes; k += 32) {
            p[k] = expf(z[k] - z[top]);
            sum += p[k];
        }
        sum = warp_sum(sum);
        for (u32 k = lane; k < d.classes; k += 32) {
            p[k] = __fdiv_rn(p[k], sum);
            moved += fabsf(p[k] - probs[row + k]);
            probs[row + k] = p[k];
            logits[row + k] = z[k];
        }
        moved = warp_sum(moved);
        __syncwarp();
        if (lane == 0) {
            u32 wrong = top != y;
            crossed[at] = wrong;
            confidence[at] = p[y];
            loss[at] = logf(sum) - (z[y] - z[top]);
            if (keep) keep[at] = wrong;
            if (kappa) kappa[at] += !wrong;
            if (step) step[at] = fmaxf(step[at], moved);
        }
        __syncwarp();
        if (dy) logit_gradient(p, z, target ? target + row : target, y, aim ? aim[at] : y, 1.0f, d);
    }
    if (!dy) return;
    __syncthreads();
    spread(dy + map, sums, p, weights, scale, bits ? bits + map / 8 : bits, d);
}

template <class T>
__device__ __forceinline__ void
dgrad(T* __restrict__ dy, const float* __restrict__ probs, const float* __restrict__ logits, const float* __restrict__ weights,
      const u32* __restrict__ label, const float* __restrict__ target, const u32* __restrict__ aim,
      const float* __restrict__ weight, const float* __restrict__ scale, const u8* __restrict__ bits,
      const u32* __restrict__ position,
      const u32* __restrict__ live, const HeadDims& d) {
    extern __shared__ __align__(16) float shared[];
    u32 slot = blockIdx.x, t = threadIdx.x;
    if (slot >= live[0]) return;
    float *value = shared, *dz = value + d.cp;
    u32 at = position[slot];
    size_t map = (size_t)slot * d.pixels * d.cp, row = (size_t)at * d.classes;
    if (t < 32) {
        u32 y = label[at];
        for (u32 k = t; k < d.classes; k += 32) dz[k] = probs[row + k];
        logit_gradient(dz, logits + row, target ? target + row : target, y, aim ? aim[at] : y, weight ? weight[at] : 1.0f, d);
    }
    __syncthreads();
    spread(dy + map, value, dz, weights, scale, bits ? bits + map / 8 : bits, d);
}

// One block an SM at the least: ptxas would else spill on sm_120, to fit more of them.
#define ENTRIES(T, suffix)                                                                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS, 1) head_fprop_##suffix(                                             \
        float* __restrict__ pooled, float* __restrict__ logits, float* __restrict__ probs, u32* __restrict__ crossed,         \
        u32* __restrict__ keep, u32* __restrict__ kappa, float* __restrict__ step, float* __restrict__ confidence,            \
        float* __restrict__ loss, T* __restrict__ dy, const T* __restrict__ a, const float* __restrict__ weights,             \
        const float* __restrict__ bias, const u32* __restrict__ label, const float* __restrict__ target,                      \
        const u32* __restrict__ aim, const float* __restrict__ scale, const u8* __restrict__ bits,                            \
        const u32* __restrict__ position, const u32* __restrict__ live, HeadDims d) {                                         \
        fprop<T>(pooled, logits, probs, crossed, keep, kappa, step, confidence, loss, dy, a, weights, bias, label, target,    \
                 aim, scale, bits, position, live, d);                                                                        \
    }                                                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS) head_dgrad_##suffix(                                                \
        T* __restrict__ dy, const float* __restrict__ probs, const float* __restrict__ logits,                                \
        const float* __restrict__ weights, const u32* __restrict__ label, const float* __restrict__ target,                   \
        const u32* __restrict__ aim, const float* __restrict__ weight, const float* __restrict__ scale,                       \
        const u8* __restrict__ bits, const u32* __restrict__ position, const u32* __restrict__ live, HeadDims d) {            \
        dgrad<T>(dy, probs, logits, weights, label, target, aim, weight, scale, bits, position, live, d);                     \
    }

ENTRIES(float, f32)
ENTRIES(__nv_bfloat16, bf16)

struct HeadWgradDims {
    u32 classes;
    u32 channels;
};

extern "C" __global__ void __launch_bounds__(WGRAD_THREADS)
    head_wgrad(float* __restrict__ dw, float* __restrict__ db, const float* __restrict__ probs, const float* __restrict__ pooled,
               const u32* __restrict__ label, const float* __restrict__ given, const float* __restrict__ weight,
               const u32* __restrict__ position, const u32* __restrict__ live, HeadWgradDims d) {
    __shared__ float dz[WGRAD_SLOTS];
    u32 n = live[0], t = threadIdx.x, c = blockIdx.x * WGRAD_THREADS + t, k = blockIdx.y;
    float sum = 0.0f, bias = 0.0f;
    for (u32 first = 0; first < n; first += WGRAD_SLOTS) {
        u32 here = min(WGRAD_SLOTS, n - first);
        for (u32 i = t; i < here; i += WGRAD_THREADS) {
            u32 p = position[first + i];
            size_t at = (size_t)p * d.classes + k;
            if (given) {
                dz[i] = given[at];
            } else {
                float v = probs[at];
                dz[i] = __fmul_rn(label[p] == k ? v - 1.0f : v, weight[p]);
            }
        }
        __syncthreads();
        if (c < d.channels) {
            const float* row = pooled + (size_t)first * d.channels + c;
#pragma unroll 16
            for (u32 i = 0; i < here; i++) {
                sum = __fadd_rn(sum, __fmul_rn(dz[i], row[(size_t)i * d.channels]));
                bias = __fadd_rn(bias, dz[i]);
            }
        }
        __syncthreads();
    }
    if (c < d.channels) dw[(size_t)k * d.channels + c] = sum;
    if (c == 0) db[k] = bias;
}
