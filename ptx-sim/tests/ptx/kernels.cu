// Kernels of the tests in tests/nvcc.rs. Compiled with: nvcc -arch=compute_80 -ptx -lineinfo kernels.cu
#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" __global__ void saxpy(float a, const float *x, float *y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}

// A loop whose length differs by lane.
extern "C" __global__ void collatz(const unsigned *x, unsigned *steps, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned v = x[i], s = 0;
    while (v != 1) {
        v = v % 2 ? 3 * v + 1 : v / 2;
        s++;
    }
    steps[i] = s;
}

extern "C" __global__ void block_sum(const float *x, float *out, int n) {
    __shared__ float part[32];
    float s = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) s += x[blockIdx.x * n + i];
    for (int d = 16; d; d /= 2) s += __shfl_down_sync(~0u, s, d);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = s;
    __syncthreads();
    if (threadIdx.x < 32) {
        s = threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0;
        for (int d = 16; d; d /= 2) s += __shfl_xor_sync(~0u, s, d);
        if (threadIdx.x == 0) out[blockIdx.x] = s;
    }
}

// The reversal of a block through shared memory; `barrier` 0 drops the barrier.
extern "C" __global__ void reverse(int *x, int barrier) {
    extern __shared__ int tile[];
    tile[threadIdx.x] = x[threadIdx.x];
    if (barrier) __syncthreads();
    x[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void compact(const int *x, int *out, unsigned *count, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    bool keep = i < n && x[i] > 0;
    unsigned votes = __ballot_sync(~0u, keep);
    unsigned lane = threadIdx.x % 32, at = 0;
    if (lane == 0) at = atomicAdd(count, __popc(votes));
    at = __shfl_sync(~0u, at, 0);
    if (keep) out[at + __popc(votes & ((1u << lane) - 1))] = x[i];
}

__device__ __noinline__ float poly(float x, int k) {
    switch (k) {
    case 0: return x;
    case 1: return x * x;
    case 2: return x * x * x;
    case 3: return 1 / x;
    case 4: return sqrtf(x);
    case 5: return expf(x);
    case 6: return logf(x);
    default: return -x;
    }
}

extern "C" __global__ void functions(const float *x, float *y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = poly(x[i], i % 8);
}

extern "C" __global__ void halves(const __half2 *x, const __nv_bfloat162 *b, __half2 *y, __nv_bfloat162 *c) {
    int i = threadIdx.x;
    y[i] = __hfma2(x[i], x[i], __hmax2(x[i], __float2half2_rn(0.5f)));
    c[i] = __hadd2(__hmul2(b[i], b[i]), b[i]);
}

extern "C" __global__ void local_sort(int *x) {
    int v[8];
    for (int i = 0; i < 8; i++) v[i] = x[threadIdx.x * 8 + i];
#pragma unroll 1
    for (int i = 1; i < 8; i++)
#pragma unroll 1
        for (int j = i; j > 0 && v[j - 1] > v[j]; j--) {
            int t = v[j];
            v[j] = v[j - 1];
            v[j - 1] = t;
        }
    for (int i = 0; i < 8; i++) x[threadIdx.x * 8 + i] = v[i];
}

// c (16x8, f32) = a (16x16, row-major) * b (16x8, row-major), one warp; `wait` 0 drops the wait.
extern "C" __global__ void tile_mma(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c, int wait) {
    __shared__ __align__(16) __nv_bfloat16 sa[256], sb[128];
    int lane = threadIdx.x;
    unsigned pa = (unsigned)__cvta_generic_to_shared(sa), pb = (unsigned)__cvta_generic_to_shared(sb);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(pa + 16 * lane), "l"(a + 8 * lane));
    if (lane < 16) asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(pb + 16 * lane), "l"(b + 8 * lane));
    asm volatile("cp.async.commit_group;");
    if (wait) asm volatile("cp.async.wait_group 0;");
    __syncthreads();
    unsigned fa[4], fb[2];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(fa[0]), "=r"(fa[1]), "=r"(fa[2]), "=r"(fa[3])
                 : "r"(pa + (lane % 16) * 32 + lane / 16 * 16));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(fb[0]), "=r"(fb[1])
                 : "r"(pb + (lane % 16) * 16));
    float d[4] = {0, 0, 0, 0};
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    int g = lane / 4, t = lane % 4 * 2;
    c[g * 8 + t] = d[0];
    c[g * 8 + t + 1] = d[1];
    c[(g + 8) * 8 + t] = d[2];
    c[(g + 8) * 8 + t + 1] = d[3];
}

// Every block waits for the one before it.
extern "C" __global__ void chain(unsigned *ticket, volatile unsigned *done, unsigned *sum) {
    __shared__ unsigned mine;
    if (threadIdx.x == 0) {
        mine = atomicAdd(ticket, 1);
        while (mine > 0 && done[mine - 1] == 0) {
        }
        __threadfence();
        *sum = *sum * 3 + mine;
        __threadfence();
        done[mine] = 1;
    }
}
