// One kernel per check that breaks it (`_bad`) and its corrected twin (`_ok`). The twin takes the same arguments and launch
// and must pass with every check on. "x[n]" below is read-only input, "y[n]" output, f32 unless noted.
//
//   kernel             launch              arguments                     what _bad does
//   bound              grid covers n once  x[n], y[n], n (n % block = 1   `i <= n`: reads x[n], writes y[n]
//                                          leaves a thread to do it)
//   shared_bound       1 x 64              y[64], shift = 1              reads shared[64] of 64
//   local_bound        1 x 32              y[32] i32, x[32] i32 (one 8)  writes local[8] of 8
//   const_bound        1 x 32              y[32] i32, x[32] i32 (one 4)  reads a constant table[4] of 4
//   misaligned         1 x 32              x[132], y[32*4]               16-byte load at x + 1 float
//   misaligned_shared  1 x 32              y[32]                         4-byte load at an odd multiple of 2 in shared
//   uninit_global      1 x 32              y[32] fresh, out[32]          reads y, of which nothing was written
//   uninit_shared      1 x 32              y[32]                         reads a shared word that no thread wrote
//   uninit_local       1 x 32              y[32] i32, x[32] i32 (0..7)   reads local words it did not write
//   read_only          1 x 32              x[32] bound as read-only,     writes x
//                                          y[32]
//   const_write        1 x 32              y[32] i32                     a generic store to __constant__ memory
//   shared_race        1 x 64              x[64], y[64]                  reverses through shared memory, no barrier
//   warp_race          1 x 32              x[32], y[32]                  the same within a warp, no __syncwarp
//   shared_race_loop   1 x 64              x[4*64], y[4*64]              no barrier before the tile is overwritten
//   global_race        8 x 32              y[1] i32 = 0                  thread 0 of each block: y[0] = y[0] + 1
//   publish            2 x 32              y[32] i32, flag[1] u32 = 0,   block 0 stores, then raises a relaxed flag without
//                                          out[32] i32, ticket[1] = 0    a fence; block 1 reads after it
//   async_wait         1 x 32              x[128] 16-byte aligned,       cp.async without wait_group
//                                          y[128]
//   async_group        1 x 32              x[256], y[256], aligned       waits for all but one group, reads both
//   async_barrier      1 x 64              x[256] aligned, y[256]        wait_group without a barrier, reads another's
//   barrier_warp       1 x 32              y[32] i32                     half a warp at a barrier, half at another
//   barrier_block      1 x 64              y[64] i32                     one warp at barrier 1, the other at barrier 2
//   shuffle_lane       1 x 32              x[32], y[32]                  half a warp reads lanes of the other half
//   shuffle_member     1 x 32              x[32], y[32]                  names lanes that never come
//   bounded_threads    1 x 64              y[64] i32                     __launch_bounds__(32)
//   endless            1 x 32              flag[1] u32 = 0, y[32] u32    spins on a flag that nobody raises
//   swapped_fragment   1 x 32              a[16][16] bf16, b[16][8]      a1 and a2 swapped: no check can see it, only the
//                                          bf16, d[16][8] f32            comparison with a reference
//
// Wrong arguments, too many threads, dynamic shared memory without opting in, and use after free are launches, not
// kernels: bound_ok and shapes.cu's big_shared serve. Too much static shared memory is in violations_shared.cu, because it
// makes a driver refuse the whole module.

#include <cuda_bf16.h>

#define KERNEL extern "C" __global__ void
// Every kernel body is a template over BAD, so that a twin differs in nothing else.
#define TWINS(name, params, args)                                                                                      \
    KERNEL name##_bad params { name<true> args; }                                                                      \
    KERNEL name##_ok params { name<false> args; }
#define BODY template <bool BAD> __device__ __forceinline__ void

BODY bound(const float *x, float *y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (BAD ? i <= n : i < n) y[i] = 2.0f * x[i];
}
TWINS(bound, (const float *x, float *y, int n), (x, y, n))

BODY shared_bound(float *y, int shift) {
    __shared__ float s[64];
    s[threadIdx.x] = (float)threadIdx.x;
    __syncthreads();
    const int i = threadIdx.x + shift;
    y[threadIdx.x] = s[BAD ? i : i % 64];
}
TWINS(shared_bound, (float *y, int shift), (y, shift))

BODY local_bound(int *y, const int *x) {
    int a[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) a[i] = i;
    const int i = x[threadIdx.x];
    a[BAD ? i : i & 7] = 100;
    y[threadIdx.x] = a[threadIdx.x & 7];
}
TWINS(local_bound, (int *y, const int *x), (y, x))

__constant__ int four[4] = {1, 2, 3, 4};
BODY const_bound(int *y, const int *x) {
    const int i = x[threadIdx.x];
    y[threadIdx.x] = four[BAD ? i : i & 3];
}
TWINS(const_bound, (int *y, const int *x), (y, x))

BODY misaligned(const float *x, float4 *y) {
    y[threadIdx.x] = *(const float4 *)(x + 4 * threadIdx.x + (BAD ? 1 : 0));
}
TWINS(misaligned, (const float *x, float4 *y), (x, y))

BODY misaligned_shared(float *y) {
    __shared__ __align__(4) unsigned short s[68];
    for (int i = threadIdx.x; i < 68; i += 32) s[i] = 0x3f80;
    __syncthreads();
    y[threadIdx.x] = *(const float *)(s + 2 * threadIdx.x + (BAD ? 1 : 0));
}
TWINS(misaligned_shared, (float *y), (y))

BODY uninit_global(float *y, float *out) {
    if (!BAD) y[threadIdx.x] = 1.0f;
    out[threadIdx.x] = y[threadIdx.x];
}
TWINS(uninit_global, (float *y, float *out), (y, out))

BODY uninit_shared(float *y) {
    __shared__ volatile float s[33];
    s[threadIdx.x] = 1.0f;
    if (!BAD && threadIdx.x == 0) s[32] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = s[threadIdx.x + 1];
}
TWINS(uninit_shared, (float *y), (y))

BODY uninit_local(int *y, const int *x) {
    volatile int a[8];
    const int count = BAD ? x[threadIdx.x] : 8;
    for (int i = 0; i < count; ++i) a[i] = i;
    y[threadIdx.x] = a[7];
}
TWINS(uninit_local, (int *y, const int *x), (y, x))

BODY read_only(float *x, float *y) {
    if (BAD) x[threadIdx.x] = 0.0f;
    y[threadIdx.x] = x[threadIdx.x];
}
TWINS(read_only, (float *x, float *y), (x, y))

BODY const_write(int *y) {
    if (BAD) asm volatile("{ .reg .u64 a; cvta.const.u64 a, four; st.u32 [a], 1; }" ::: "memory");
    y[threadIdx.x] = four[threadIdx.x & 3];
}
TWINS(const_write, (int *y), (y))

BODY shared_race(const float *x, float *y) {
    __shared__ float s[64];
    s[threadIdx.x] = x[threadIdx.x];
    if (!BAD) __syncthreads();
    y[threadIdx.x] = s[63 - threadIdx.x];
}
TWINS(shared_race, (const float *x, float *y), (x, y))

BODY warp_race(const float *x, float *y) {
    __shared__ volatile float s[32];
    s[threadIdx.x] = x[threadIdx.x];
    if (!BAD) __syncwarp();
    y[threadIdx.x] = s[31 - threadIdx.x];
}
TWINS(warp_race, (const float *x, float *y), (x, y))

BODY shared_race_loop(const float *x, float *y) {
    __shared__ float s[64];
    for (int round = 0; round < 4; ++round) {
        s[threadIdx.x] = x[round * 64 + threadIdx.x];
        __syncthreads();
        y[round * 64 + threadIdx.x] = s[63 - threadIdx.x];
        if (!BAD) __syncthreads();
    }
}
TWINS(shared_race_loop, (const float *x, float *y), (x, y))

BODY global_race(int *y) {
    if (threadIdx.x != 0) return;
    if (BAD)
        y[0] = y[0] + 1;
    else
        atomicAdd(y, 1);
}
TWINS(global_race, (int *y), (y))

BODY publish(int *y, unsigned *flag, int *out, unsigned *ticket) {
    __shared__ unsigned order;
    if (threadIdx.x == 0) order = atomicAdd(ticket, 1u);
    __syncthreads();
    if (order == 0) {
        y[threadIdx.x] = threadIdx.x;
        __syncthreads();
        if (threadIdx.x == 0) {
            if (BAD)
                asm volatile("st.relaxed.gpu.global.u32 [%0], 1;" ::"l"(flag) : "memory");
            else
                asm volatile("st.release.gpu.global.u32 [%0], 1;" ::"l"(flag) : "memory");
        }
    } else {
        if (threadIdx.x == 0) {
            unsigned seen;
            do {
                if (BAD)
                    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(flag) : "memory");
                else
                    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(flag) : "memory");
            } while (seen == 0);
        }
        __syncthreads();
        out[threadIdx.x] = y[31 - threadIdx.x];
    }
}
TWINS(publish, (int *y, unsigned *flag, int *out, unsigned *ticket), (y, flag, out, ticket))

__device__ __forceinline__ void copy16(void *dst, const void *src) {
    const unsigned address = (unsigned)__cvta_generic_to_shared(dst);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(src) : "memory");
}
#define COMMIT asm volatile("cp.async.commit_group;" ::: "memory")
#define WAIT(groups) asm volatile("cp.async.wait_group " #groups ";" ::: "memory")

BODY async_wait(const float4 *x, float4 *y) {
    __shared__ float4 s[32];
    copy16(&s[threadIdx.x], x + threadIdx.x);
    COMMIT;
    if (!BAD) WAIT(0);
    __syncthreads();
    y[threadIdx.x] = s[31 - threadIdx.x];
}
TWINS(async_wait, (const float4 *x, float4 *y), (x, y))

BODY async_group(const float4 *x, float4 *y) {
    __shared__ float4 s[64];
    copy16(&s[threadIdx.x], x + threadIdx.x);
    COMMIT;
    copy16(&s[32 + threadIdx.x], x + 32 + threadIdx.x);
    COMMIT;
    WAIT(1);
    __syncthreads();
    y[threadIdx.x] = s[31 - threadIdx.x];
    if (!BAD) WAIT(0);
    __syncthreads();
    y[32 + threadIdx.x] = s[63 - threadIdx.x];
}
TWINS(async_group, (const float4 *x, float4 *y), (x, y))

BODY async_barrier(const float4 *x, float4 *y) {
    __shared__ float4 s[64];
    copy16(&s[threadIdx.x], x + threadIdx.x);
    COMMIT;
    WAIT(0);
    if (!BAD) __syncthreads();
    y[threadIdx.x] = s[63 - threadIdx.x];
}
TWINS(async_barrier, (const float4 *x, float4 *y), (x, y))

BODY barrier_warp(int *y) {
    __shared__ int s[32];
    s[threadIdx.x] = threadIdx.x;
    if (BAD) {
        if (threadIdx.x < 16) {
            asm volatile("bar.sync 0;" ::: "memory");
            s[threadIdx.x] += 1;
        } else {
            asm volatile("bar.sync 0;" ::: "memory");
            s[threadIdx.x] += 2;
        }
    } else {
        asm volatile("bar.sync 0;" ::: "memory");
        s[threadIdx.x] += threadIdx.x < 16 ? 1 : 2;
    }
    y[threadIdx.x] = s[threadIdx.x];
}
TWINS(barrier_warp, (int *y), (y))

BODY barrier_block(int *y) {
    __shared__ int s[64];
    s[threadIdx.x] = threadIdx.x;
    if (BAD) {
        if (threadIdx.x < 32)
            asm volatile("bar.sync 1;" ::: "memory");
        else
            asm volatile("bar.sync 2;" ::: "memory");
    } else {
        asm volatile("bar.sync 1;" ::: "memory");
    }
    y[threadIdx.x] = s[63 - threadIdx.x];
}
TWINS(barrier_block, (int *y), (y))

BODY shuffle_lane(const float *x, float *y) {
    float v = x[threadIdx.x];
    if (threadIdx.x < 16) v += __shfl_xor_sync(0xffffu, v, BAD ? 16 : 8);
    y[threadIdx.x] = v;
}
TWINS(shuffle_lane, (const float *x, float *y), (x, y))

BODY shuffle_member(const float *x, float *y) {
    float v = x[threadIdx.x];
    if (threadIdx.x < 24) v += __shfl_xor_sync(BAD ? 0xffffffffu : 0xffffffu, v, 1);
    y[threadIdx.x] = v;
}
TWINS(shuffle_member, (const float *x, float *y), (x, y))

KERNEL __launch_bounds__(32) bounded_threads_bad(int *y) { y[threadIdx.x] = threadIdx.x; }
KERNEL __launch_bounds__(64) bounded_threads_ok(int *y) { y[threadIdx.x] = threadIdx.x; }

BODY endless(volatile unsigned *flag, unsigned *y) {
    if (!BAD && threadIdx.x == 0) flag[0] = 1;
    __syncthreads();
    unsigned seen;
    do seen = flag[0];
    while (seen == 0);
    y[threadIdx.x] = seen;
}
TWINS(endless, (volatile unsigned *flag, unsigned *y), (flag, y))

BODY swapped_fragment(const unsigned *a, const unsigned short *b, float *d) {
    const int lane = threadIdx.x, g = lane >> 2, t = lane & 3;
    // 32-bit words of two k each: a[16][8].
    const unsigned a0 = a[g * 8 + t], a1 = a[(g + 8) * 8 + t], a2 = a[g * 8 + t + 4], a3 = a[(g + 8) * 8 + t + 4];
    const unsigned b0 = b[t * 16 + g] | (unsigned)b[t * 16 + 8 + g] << 16;
    const unsigned b1 = b[64 + t * 16 + g] | (unsigned)b[64 + t * 16 + 8 + g] << 16;
    float s[4] = {};
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
        : "r"(a0), "r"(BAD ? a2 : a1), "r"(BAD ? a1 : a2), "r"(a3), "r"(b0), "r"(b1));
    for (int i = 0; i < 4; ++i) d[(g + (i >> 1) * 8) * 8 + t * 2 + (i & 1)] = s[i];
}
TWINS(swapped_fragment, (const unsigned *a, const unsigned short *b, float *d), (a, b, d))
