// What all kernels share: names of types, f32 as an element type, and random numbers.
#pragma once
#include <cuda_bf16.h>

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

template <class T> __device__ __forceinline__ T from_f32(float v);
template <> __device__ __forceinline__ float from_f32<float>(float v) { return v; }
template <> __device__ __forceinline__ __nv_bfloat16 from_f32<__nv_bfloat16>(float v) { return __float2bfloat16_rn(v); }

// Philox4x32-10 (Salmon et al., SC 2011) for the counter (position, sample, epoch, stream); src/rng.rs is its twin.
struct Philox {
    u32 key[2];
};

__device__ __forceinline__ uint4 philox(Philox seed, u32 stream, u32 epoch, u32 sample, u32 position) {
    u32 c0 = position, c1 = sample, c2 = epoch, c3 = stream;
    u32 k0 = seed.key[0], k1 = seed.key[1];
#pragma unroll
    for (int round = 0; round < 10; round++) {
        if (round > 0) {
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        u32 ahi = __umulhi(0xD2511F53u, c0), alo = 0xD2511F53u * c0;
        u32 bhi = __umulhi(0xCD9E8D57u, c2), blo = 0xCD9E8D57u * c2;
        c0 = bhi ^ c1 ^ k0;
        c1 = blo;
        c2 = ahi ^ c3 ^ k1;
        c3 = alo;
    }
    return make_uint4(c0, c1, c2, c3);
}

// Uniform in [0, 1) with 24 bits.
__device__ __forceinline__ float uniform(u32 r) { return (float)(r >> 8) * (1.0f / 16777216.0f); }
