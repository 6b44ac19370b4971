// The scale of the difference-of-logits-ratio loss.
#pragma once
#include "warp.cuh"

// By one warp: z[1st] - (z[3rd] + z[4th])/2 + 1e-12, of equal logits the lower class first; each class's part in it, 1, -1/2 or 0,
// goes to `parts` unless that is null.
__device__ __forceinline__ float dlr_scale(const float* z, u32 classes, float* parts) {
    float first = -INFINITY, third = -INFINITY, fourth = -INFINITY;
    for (u32 k = threadIdx.x % 32; k < classes; k += 32) {
        float mine = z[k];
        u32 before = rank_of(z, classes, k);
        if (before == 0) first = mine;
        if (before == 2) third = mine;
        if (before == 3) fourth = mine;
        if (parts) parts[k] = before == 0 ? 1.0f : before == 2 || before == 3 ? -0.5f : 0.0f;
    }
#pragma unroll
    for (u32 i = 16; i > 0; i /= 2) {
        first = fmaxf(first, __shfl_xor_sync(ALL, first, i));
        third = fmaxf(third, __shfl_xor_sync(ALL, third, i));
        fourth = fmaxf(fourth, __shfl_xor_sync(ALL, fourth, i));
    }
    return __fadd_rn(__fadd_rn(first, __fmul_rn(-0.5f, __fadd_rn(third, fourth))), 1e-12f);
}
