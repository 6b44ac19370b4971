// Accesses to memory that isn't there, isn't aligned, isn't initialised or must not be written: see violations.cuh.
// "x[n]" is read-only input, "y[n]" output, f32 unless noted. Block 32 and grid 1 unless noted.
//
//   bound              x[n], y[n], n               `i <= n`: writes y[n]. Grid covers n once; n % block != 0, which
//                                                  leaves a thread to do it
//   bound_below        x[32], y[32], shift = 1     reads x[-1]
//   shared_bound       y[64], shift = 1            reads shared[64] of 64; block 64
//   local_bound        y[32] i32, x[32] i32        writes local[8] of 8; x are indices of 0..8, one is 8
//   const_bound        y[32] i32, x[32] i32        reads constant[4] of 4; x are indices of 0..4, one is 4
//   misaligned         x[132], y[32*4]             a 16-byte load at x + 1 float
//   misaligned_shared  y[32]                       a 4-byte load at an odd multiple of 2 bytes
//   misaligned_local   y[32], x[32] i32 = 2        the same; x are the offsets in bytes
//   misaligned_const   y[32], x[32] i32 = 2        the same
//   uninit_global      y[32] fresh, out[32]        reads y, of which nothing was written
//   uninit_byte        y[32] fresh, out[32] u32    reads words of y whose last bytes nothing wrote
//   uninit_shared      y[32]                       reads a shared word that no thread wrote
//   uninit_local       y[32] i32, x[32] i32        reads local words it did not write; x (0..8) of 8 are written
//   read_only          x[32], y[32]                writes x, which the launch declares read-only
//   const_write        y[32] i32                   a generic store to __constant__ memory

#include "violations.cuh"

BODY bound(const float *x, float *y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (BAD ? i <= n : i < n) y[i] = 2.0f * x[0]; // BAD
}
TWINS(bound, (const float *x, float *y, int n), (x, y, n))

BODY bound_below(const float *x, float *y, int shift) {
    const int i = threadIdx.x - shift;
    y[threadIdx.x] = x[BAD || i >= 0 ? i : 0]; // BAD
}
TWINS(bound_below, (const float *x, float *y, int shift), (x, y, shift))

BODY shared_bound(float *y, int shift) {
    __shared__ float s[64];
    s[threadIdx.x] = (float)threadIdx.x;
    __syncthreads();
    const int i = threadIdx.x + shift;
    y[threadIdx.x] = s[BAD ? i : i % 64]; // BAD
}
TWINS(shared_bound, (float *y, int shift), (y, shift))

BODY local_bound(int *y, const int *x) {
    int a[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) a[i] = i;
    const int i = x[threadIdx.x];
    a[BAD ? i : i & 7] = 100; // BAD
    y[threadIdx.x] = a[threadIdx.x & 7];
}
TWINS(local_bound, (int *y, const int *x), (y, x))

__constant__ int four[4] = {1, 2, 3, 4};
BODY const_bound(int *y, const int *x) {
    const int i = x[threadIdx.x];
    y[threadIdx.x] = four[BAD ? i : i & 3]; // BAD
}
TWINS(const_bound, (int *y, const int *x), (y, x))

BODY misaligned(const float *x, float4 *y) {
    y[threadIdx.x] = *(const float4 *)(x + 4 * threadIdx.x + (BAD ? 1 : 0)); // BAD
}
TWINS(misaligned, (const float *x, float4 *y), (x, y))

BODY misaligned_shared(float *y) {
    __shared__ __align__(4) unsigned short s[68];
    for (int i = threadIdx.x; i < 68; i += 32) s[i] = 0x3f80;
    __syncthreads();
    y[threadIdx.x] = *(const float *)(s + 2 * threadIdx.x + (BAD ? 1 : 0)); // BAD
}
TWINS(misaligned_shared, (float *y), (y))

BODY misaligned_local(float *y, const int *x) {
    __align__(4) volatile unsigned short a[8];
    for (int i = 0; i < 8; ++i) a[i] = 0x3f80;
    const int i = x[threadIdx.x];
    y[threadIdx.x] = *(const volatile float *)((const volatile char *)a + (BAD ? i : i & ~3)); // BAD
}
TWINS(misaligned_local, (float *y, const int *x), (y, x))

__constant__ __align__(4) unsigned short ones[8] = {0x3f80, 0x3f80, 0x3f80, 0x3f80, 0x3f80, 0x3f80, 0x3f80, 0x3f80};
BODY misaligned_const(float *y, const int *x) {
    const int i = x[threadIdx.x];
    y[threadIdx.x] = *(const float *)((const char *)ones + (BAD ? i : i & ~3)); // BAD
}
TWINS(misaligned_const, (float *y, const int *x), (y, x))

BODY uninit_global(float *y, float *out) {
    if (!BAD) y[threadIdx.x] = 1.0f;
    out[threadIdx.x] = y[threadIdx.x]; // BAD
}
TWINS(uninit_global, (float *y, float *out), (y, out))

BODY uninit_byte(unsigned char *y, unsigned *out) {
    for (int i = 0; i < (BAD ? 3 : 4); ++i) y[4 * threadIdx.x + i] = 1;
    out[threadIdx.x] = ((const volatile unsigned *)y)[threadIdx.x]; // BAD
}
TWINS(uninit_byte, (unsigned char *y, unsigned *out), (y, out))

BODY uninit_shared(float *y) {
    __shared__ float s[33];
    s[threadIdx.x] = 1.0f;
    if (!BAD && threadIdx.x == 0) s[32] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = s[threadIdx.x + 1]; // BAD
}
TWINS(uninit_shared, (float *y), (y))

BODY uninit_local(int *y, const int *x) {
    volatile int a[8];
    const int count = BAD ? x[threadIdx.x] : 8;
    for (int i = 0; i < count; ++i) a[i] = i;
    y[threadIdx.x] = a[7]; // BAD
}
TWINS(uninit_local, (int *y, const int *x), (y, x))

BODY read_only(float *x, float *y) {
    if (BAD) x[threadIdx.x] = 0.0f; // BAD
    y[threadIdx.x] = x[threadIdx.x];
}
TWINS(read_only, (float *x, float *y), (x, y))

BODY const_write(int *y) {
    if (BAD) asm volatile("{ .reg .u64 a; cvta.const.u64 a, four; st.u32 [a], 1; }" ::: "memory"); // BAD
    y[threadIdx.x] = four[threadIdx.x & 3];
}
TWINS(const_write, (int *y), (y))
