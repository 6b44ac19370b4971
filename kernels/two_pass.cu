// Losses of two forward passes, of the clean images (z, p) and of the adversarial ones (z', p').
//
//   KL = sum over k of p_k (log p_k - log p'_k);  w the example's weight
//   TRADES  loss = beta KL - log p_y
//     dz'_j = w beta (p'_j - p_j)
//     dz_j  = w [p_j - (j = y) + beta p_j (log p_j - log p'_j - KL)]
//   MART    loss = beta KL (sure - p_y) - log p'_y - log(margin - q),  q = p'_m the largest of the other classes
//     dz'_j = w [p'_j - (j = y) + q ((j = m) - p'_j) / (margin - q) + beta (sure - p_y) (p'_j - p_j)]
//     dz_j  = w beta [(sure - p_y) p_j (log p_j - log p'_j - KL) - KL p_y ((j = y) - p_j)]
//
// loss                  f32 [capacity] out, by position
// gradient              f32 [capacity, classes] out, by position: dz';  clean_gradient  the same: dz
// logits, clean_logits  f32 [capacity, classes] in, by position: z', z
// label                 u32 [capacity] in;  weight f32 [capacity] in, both by position
// position              u32 [capacity] in: the position of a slot;  live  u32 [2] in
//
// Grid ceil(capacity / 4), 128 threads, no shared memory. A warp has an example, a lane every 32nd class.
// Summation: classes of a lane ascending, then a butterfly. Preconditions: two classes at least; labels below classes.
#include "warp.cuh"

constexpr u32 THREADS = 128, EXAMPLES = THREADS / 32;

struct TwoPassDims {
    u32 classes;
    u32 mart;
    float beta;
    float margin;
    float sure;
};

// The largest logit and the logarithm of the sum of the exponentials above it.
struct Softmax {
    float top;
    float log_sum;

    __device__ __forceinline__ Softmax(const float* z, u32 classes) {
        float sum = 0.0f;
        top = z[warp_argmax(z, classes, classes)];
        for (u32 k = threadIdx.x % 32; k < classes; k += 32) sum += expf(z[k] - top);
        log_sum = logf(warp_sum(sum));
    }

    __device__ __forceinline__ float log(float z) const { return (z - top) - log_sum; }
};

extern "C" __global__ void __launch_bounds__(THREADS)
    two_pass_loss(float* __restrict__ loss, float* __restrict__ gradient, float* __restrict__ clean_gradient,
         const float* __restrict__ logits, const float* __restrict__ clean_logits, const u32* __restrict__ label,
         const float* __restrict__ weight, const u32* __restrict__ position, const u32* __restrict__ live, TwoPassDims d) {
    u32 slot = blockIdx.x * EXAMPLES + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (slot >= live[0]) return;
    u32 at = position[slot], y = label[at];
    size_t row = (size_t)at * d.classes;
    const float *z = clean_logits + row, *za = logits + row;
    Softmax clean(z, d.classes), adversarial(za, d.classes);
    float kl = 0.0f, w = weight[at];
    for (u32 k = lane; k < d.classes; k += 32) {
        float lp = clean.log(z[k]);
        kl += expf(lp) * (lp - adversarial.log(za[k]));
    }
    kl = warp_sum(kl);
    float lpy = clean.log(z[y]), lqy = adversarial.log(za[y]);
    u32 other = d.mart ? warp_argmax(za, d.classes, y) : 0;
    float py = expf(lpy), top = expf(adversarial.log(za[other]));
    float boost = top / (d.margin - top), unsure = d.sure - py;
    if (lane == 0) loss[at] = d.mart ? d.beta * (kl * unsure) - lqy - logf(d.margin - top) : d.beta * kl - lpy;
    for (u32 k = lane; k < d.classes; k += 32) {
        float lp = clean.log(z[k]), lq = adversarial.log(za[k]), p = expf(lp), q = expf(lq), own = k == y ? 1.0f : 0.0f;
        float divergence = p * ((lp - lq) - kl), dz = d.beta * (q - p), dz_clean = (p - own) + d.beta * divergence;
        if (d.mart) {
            dz = (q - own) + boost * ((k == other ? 1.0f : 0.0f) - q) + d.beta * (unsure * (q - p));
            dz_clean = d.beta * (unsure * divergence - kl * (py * (own - p)));
        }
        gradient[row + k] = w * dz;
        clean_gradient[row + k] = w * dz_clean;
    }
}
