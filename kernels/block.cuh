// What the threads of a block find out together.
#pragma once
#include "warp.cuh"

// Sums, or the largest of values that are not negative, over a block of so many warps; all threads get them. Sums: a butterfly in
// each warp, then the warps ascending; each addition rounds by itself.
template <bool SUM, u32 WARPS, u32 N> __device__ __forceinline__ void over_block(float (&v)[N]) {
    __shared__ float parts[N][WARPS];
    // The last result has been read.
    __syncthreads();
#pragma unroll
    for (u32 n = 0; n < N; n++) {
        if (SUM) {
            v[n] = warp_sum(v[n]);
        } else {
            // Of numbers that are not negative the bits have the same order.
            v[n] = __uint_as_float(__reduce_max_sync(ALL, __float_as_uint(v[n])));
        }
        if (threadIdx.x % 32 == 0) parts[n][threadIdx.x / 32] = v[n];
    }
    __syncthreads();
#pragma unroll
    for (u32 n = 0; n < N; n++) {
        v[n] = parts[n][0];
#pragma unroll
        for (u32 warp = 1; warp < WARPS; warp++) v[n] = SUM ? __fadd_rn(v[n], parts[n][warp]) : fmaxf(v[n], parts[n][warp]);
    }
}
