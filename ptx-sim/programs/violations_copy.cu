// Destinations of cp.async that are touched too early: see violations.cuh. Grid 1; x f32 read-only, y f32 output, both
// 16-byte aligned, as many floats as four times the threads (eight times for `group`).
//
//             block
//   wait      32     no wait_group
//   commit    32     wait_group 0, but the copy was not committed to a group
//   group     32     waits for all but one of two groups, reads both
//   barrier   64     wait_group without a barrier, reads what another thread copied
//   first     64     a barrier before wait_group instead of after it, reads what another thread copied
//   store     32     a plain store to the destination of a copy under way

#include "violations.cuh"

// Macros, so that the line is that of their use.
#define COPY16(dst, src)                                                                                               \
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((unsigned)__cvta_generic_to_shared(dst)), "l"(src)  \
                 : "memory")
#define COMMIT asm volatile("cp.async.commit_group;" ::: "memory")
#define WAIT(groups) asm volatile("cp.async.wait_group " #groups ";" ::: "memory")

BODY wait(const float4 *x, float4 *y) {
    __shared__ float4 s[32];
    COPY16(&s[threadIdx.x], x + threadIdx.x);
    COMMIT;
    if (!BAD) WAIT(0);
    __syncthreads();
    y[threadIdx.x] = s[31 - threadIdx.x]; // BAD
}
TWINS(wait, (const float4 *x, float4 *y), (x, y))

BODY commit(const float4 *x, float4 *y) {
    __shared__ float4 s[32];
    COPY16(&s[threadIdx.x], x + threadIdx.x);
    if (!BAD) COMMIT;
    WAIT(0);
    __syncthreads();
    y[threadIdx.x] = s[31 - threadIdx.x]; // BAD
}
TWINS(commit, (const float4 *x, float4 *y), (x, y))

BODY group(const float4 *x, float4 *y) {
    __shared__ float4 s[64];
    COPY16(&s[threadIdx.x], x + threadIdx.x);
    COMMIT;
    COPY16(&s[32 + threadIdx.x], x + 32 + threadIdx.x);
    COMMIT;
    WAIT(1);
    __syncthreads();
    y[threadIdx.x] = s[31 - threadIdx.x];
    if (!BAD) WAIT(0);
    __syncthreads();
    y[32 + threadIdx.x] = s[63 - threadIdx.x]; // BAD
}
TWINS(group, (const float4 *x, float4 *y), (x, y))

BODY barrier(const float4 *x, float4 *y) {
    __shared__ float4 s[64];
    s[threadIdx.x] = make_float4(0, 0, 0, 0);
    __syncthreads();
    COPY16(&s[threadIdx.x], x + threadIdx.x); // BAD
    COMMIT;
    WAIT(0); // BAD
    if (!BAD) __syncthreads();
    y[threadIdx.x] = s[63 - threadIdx.x]; // BAD
}
TWINS(barrier, (const float4 *x, float4 *y), (x, y))

BODY first(const float4 *x, float4 *y) {
    __shared__ float4 s[64];
    COPY16(&s[threadIdx.x], x + threadIdx.x);
    COMMIT;
    if (BAD) __syncthreads();
    WAIT(0); // BAD
    if (!BAD) __syncthreads();
    y[threadIdx.x] = s[63 - threadIdx.x]; // BAD
}
TWINS(first, (const float4 *x, float4 *y), (x, y))

BODY store(const float4 *x, float4 *y) {
    __shared__ float4 s[32];
    COPY16(&s[threadIdx.x], x + threadIdx.x);
    COMMIT;
    if (!BAD) WAIT(0);
    s[threadIdx.x] = make_float4(0, 0, 0, 0); // BAD
    if (BAD) WAIT(0);
    __syncthreads();
    y[threadIdx.x] = s[31 - threadIdx.x];
}
TWINS(store, (const float4 *x, float4 *y), (x, y))
