// Where an attack starts.
//
//   uniform  x_adv = clamp(x + scale*(2u - 1), 0, 1),  u uniform in [0, 1)
//   normal   x_adv = x + scale*n,  n = sqrt(-2 log(1 - u))*cos(2 pi v) and the same with sin, of two numbers u, v each
//   neither  x_adv = x
//
// x_adv     f32 [capacity, len] out
// x         f32 [capacity, len] in
// position  u32 [capacity] in: the position of a slot
// sample    u32 [capacity] in, by position: counter of the random numbers
// control   u32 [3] in: the third is the epoch
// live      u32 [2] in
//
// Grid (ceil(len / 4 / 256), capacity), 256 threads, no shared memory. A block has a part of one slot's image, a thread four
// elements of it and one Philox block. Preconditions: none.
#include "common.cuh"

struct StartDims {
    u32 len;
    // 0 for none, 1 uniform, 2 normal.
    u32 noise;
    float scale;
    Philox seed;
    u32 stream;
};

extern "C" __global__ void start(float* __restrict__ x_adv, const float* __restrict__ x, const u32* __restrict__ position,
                                 const u32* __restrict__ sample, const u32* __restrict__ control,
                                 const u32* __restrict__ live, StartDims d) {
    u32 slot = blockIdx.y, quad = blockIdx.x * blockDim.x + threadIdx.x;
    if (slot >= live[0] || quad * 4 >= d.len) return;
    size_t at = (size_t)slot * d.len + quad * 4;
    u32 n = min(4u, d.len - quad * 4);
    uint4 r = make_uint4(0, 0, 0, 0);
    if (d.noise) r = philox(d.seed, d.stream, control[2], sample[position[slot]], quad);
    float random[4] = {uniform(r.x), uniform(r.y), uniform(r.z), uniform(r.w)};
    if (d.noise == 2) {
#pragma unroll
        for (u32 i = 0; i < 4; i += 2) {
            // Of pi, since the sine of an angle takes local memory to bring large ones down.
            float radius = sqrtf(__fmul_rn(-2.0f, logf(1.0f - random[i]))), sine, cosine;
            sincospif(2.0f * random[i + 1], &sine, &cosine);
            random[i] = __fmul_rn(radius, cosine);
            random[i + 1] = __fmul_rn(radius, sine);
        }
    }
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        if (i >= n) break;
        float v = x[at + i];
        // Separate roundings, as on the CPU: no fused multiply-add.
        if (d.noise == 1) v = __saturatef(__fadd_rn(v, __fmul_rn(d.scale, __fadd_rn(__fmul_rn(2.0f, random[i]), -1.0f))));
        if (d.noise == 2) v = __fadd_rn(v, __fmul_rn(d.scale, random[i]));
        x_adv[at + i] = v;
    }
}
