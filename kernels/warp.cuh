// What the lanes of a warp find out together.
#pragma once
#include "common.cuh"

constexpr u32 ALL = 0xffffffffu;

__device__ __forceinline__ float warp_sum(float v) {
#pragma unroll
    for (u32 i = 16; i > 0; i /= 2) v += __shfl_xor_sync(ALL, v, i);
    return v;
}

// Classes before class k: of larger logits, and of equal ones the lower.
__device__ __forceinline__ u32 rank_of(const float* z, u32 classes, u32 k) {
    float mine = z[k];
    u32 before = 0;
#pragma unroll 4
    for (u32 j = 0; j < classes; j++) {
        float v = z[j];
        before += v > mine || (v == mine && j < k);
    }
    return before;
}

// The lowest class with the largest logit, `skip` left out; as on the CPU a NaN never wins, unless it is the first looked at.
__device__ __forceinline__ u32 warp_argmax(const float* z, u32 classes, u32 skip) {
    float best = -INFINITY;
    u32 at = classes;
    for (u32 k = threadIdx.x % 32; k < classes; k += 32) {
        if (k != skip && (z[k] > best || (z[k] == best && at == classes))) {
            best = z[k];
            at = k;
        }
    }
#pragma unroll
    for (u32 i = 16; i > 0; i /= 2) {
        float v = __shfl_xor_sync(ALL, best, i);
        u32 k = __shfl_xor_sync(ALL, at, i);
        if (v > best || (v == best && k < at)) {
            best = v;
            at = k;
        }
    }
    u32 first = skip == 0 ? 1 : 0;
    return at == classes || isnan(z[first]) ? first : at;
}
