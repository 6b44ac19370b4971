// Vectors of 16 bytes: 4 f32 or 8 bf16 of a feature map, and f32 in shared memory. What is read comes first, then where it goes.
#pragma once
#include "common.cuh"

// Bytes of a vector, and its elements.
constexpr u32 VECTOR = 16;
template <class T> constexpr u32 LANES = VECTOR / sizeof(T);

__device__ __forceinline__ void unpack(uint4 raw, float (&v)[4]) {
    v[0] = __uint_as_float(raw.x);
    v[1] = __uint_as_float(raw.y);
    v[2] = __uint_as_float(raw.z);
    v[3] = __uint_as_float(raw.w);
}

// A bf16 is the upper half of an f32.
__device__ __forceinline__ void unpack(uint4 raw, float (&v)[8]) {
    u32 words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        v[2 * i] = __uint_as_float(words[i] << 16);
        v[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
}

__device__ __forceinline__ uint4 pack(const float (&v)[4]) {
    return make_uint4(__float_as_uint(v[0]), __float_as_uint(v[1]), __float_as_uint(v[2]), __float_as_uint(v[3]));
}

__device__ __forceinline__ u32 pair(float low, float high) {
    __nv_bfloat162 v = __floats2bfloat162_rn(low, high);
    return *(const u32*)&v;
}

__device__ __forceinline__ uint4 pack(const float (&v)[8]) {
    return make_uint4(pair(v[0], v[1]), pair(v[2], v[3]), pair(v[4], v[5]), pair(v[6], v[7]));
}

// Floats in a row, four at a time; `from` is a multiple of 16 bytes.
template <int N> __device__ __forceinline__ void load_floats(const float* from, float (&v)[N]) {
    // All loads come first, as one would write them down: else nvcc now and then shortens one whose values are not all used.
    float4 f[N / 4];
#pragma unroll
    for (int i = 0; i < N / 4; i++) f[i] = *(const float4*)(from + 4 * i);
#pragma unroll
    for (int i = 0; i < N / 4; i++) v[4 * i] = f[i].x, v[4 * i + 1] = f[i].y, v[4 * i + 2] = f[i].z, v[4 * i + 3] = f[i].w;
}

// One store: of an address whose alignment it does not see, the compiler makes four.
__device__ __forceinline__ void store_shared(float* at, float a, float b, float c, float d) {
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"((u32)__cvta_generic_to_shared(at)), "f"(a), "f"(b), "f"(c),
                 "f"(d)
                 : "memory");
}

// A lane's vector of f32 in shared memory, where the lanes' vectors follow one another; `at` is a multiple of 16 bytes.
__device__ __forceinline__ void put(const float (&v)[4], float* at, u32 lane) {
    store_shared(at, v[0], v[1], v[2], v[3]);
}

__device__ __forceinline__ void get(const float* at, float (&v)[4], u32 lane) {
    load_floats(at, v);
}

// Of eight lanes four start with their upper half: together they use all banks. Selected value by value, lest the compiler
// branches.
__device__ __forceinline__ void put(const float (&v)[8], float* at, u32 lane) {
    bool swap = lane & 4;
    float a[4], b[4];
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        a[i] = swap ? v[4 + i] : v[i];
        b[i] = swap ? v[i] : v[4 + i];
    }
    store_shared(at + swap * 4, a[0], a[1], a[2], a[3]);
    store_shared(at + !swap * 4, b[0], b[1], b[2], b[3]);
}

__device__ __forceinline__ void get(const float* at, float (&v)[8], u32 lane) {
    bool swap = lane & 4;
    float4 a = *(const float4*)(at + swap * 4), b = *(const float4*)(at + !swap * 4);
    v[0] = swap ? b.x : a.x, v[1] = swap ? b.y : a.y, v[2] = swap ? b.z : a.z, v[3] = swap ? b.w : a.w;
    v[4] = swap ? a.x : b.x, v[5] = swap ? a.y : b.y, v[6] = swap ? a.z : b.z, v[7] = swap ? a.w : b.w;
}
