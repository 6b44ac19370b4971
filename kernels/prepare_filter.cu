// Filters for conv_bf16.cu and conv_f32.cu from parameters.
//
//   fprop  f[t, k, c] = w[k, t, c] * scale_k[k] * scale_c[c]        dgrad  f[t, c, k] = the same, with scales of its own
//
// params  f32 in: the arena that holds each w, KRSC, t = r*S + s
// jobs    by value: for each w where its filters go (0: not wanted), T [taps, kr, cp] and T [taps, cr, kp] out, and the scales,
//         f32 [kp] and [cp] in (0: none); p means rounded up to 8, r to 64; what is beyond k or c is written zero
//
// Grid (blocks of all jobs, of which each has its share from `first` on), 256 threads, 4.2 KB of shared memory. A block has 32
// x 32 values of one tap, a thread four. Products are rounded in f32, then once to T. Nothing is summed.
// Preconditions: as many blocks as the jobs take.
#include "common.cuh"

// Threads of a block, rows and columns of its values, and filters of a launch at most.
constexpr u32 THREADS = 256, TILE = 32, JOBS = 48;
// Filters have rows for a multiple of so many channels.
constexpr u32 ROWS = 64;

struct PrepareFilterJob {
    u64 out[2];
    u64 scale_k[2], scale_c[2];
    u64 weights;
    u32 k, c, taps, first;
};

struct PrepareFilterDims {
    u32 jobs, pad;
    PrepareFilterJob job[JOBS];
};

template <class T> __device__ __forceinline__ void prepare(const float* params, const PrepareFilterDims& d) {
    __shared__ float tile[TILE][TILE + 1];
    u32 n = 0;
    while (n + 1 < d.jobs && blockIdx.x >= d.job[n + 1].first) n++;
    const PrepareFilterJob& job = d.job[n];
    u32 kp = (job.k + 7) / 8 * 8, cp = (job.c + 7) / 8 * 8, across = (job.c + ROWS - 1) / ROWS * (ROWS / TILE);
    u32 block = blockIdx.x - job.first;
    u32 tap = block % job.taps, c0 = block / job.taps % across * TILE, k0 = block / job.taps / across * TILE;
    u32 low = threadIdx.x % TILE, high = threadIdx.x / TILE;
    const float* w = params + job.weights;
#pragma unroll
    for (u32 i = high; i < TILE; i += THREADS / TILE) {
        u32 k = k0 + i, c = c0 + low;
        tile[i][low] = k < job.k && c < job.c ? w[((size_t)k * job.taps + tap) * job.c + c] : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (u32 pass = 0; pass < 2; pass++) {
        T* out = (T*)job.out[pass];
        if (!out) continue;
        const float *scale_k = (const float*)job.scale_k[pass], *scale_c = (const float*)job.scale_c[pass];
#pragma unroll
        for (u32 i = high; i < TILE; i += THREADS / TILE) {
            u32 k = k0 + (pass ? low : i), c = c0 + (pass ? i : low);
            if (pass ? k >= kp : c >= cp) continue;
            float v = tile[k - k0][c - c0];
            if (scale_k && k < job.k) v *= scale_k[k];
            if (scale_c && c < job.c) v *= scale_c[c];
            u32 rows = ((pass ? job.c : job.k) + ROWS - 1) / ROWS * ROWS;
            out[pass ? ((size_t)tap * rows + c) * kp + k : ((size_t)tap * rows + k) * cp + c] = from_f32<T>(v);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) prepare_filter_f32(const float* __restrict__ params, const PrepareFilterDims d) {
    prepare<float>(params, d);
}

extern "C" __global__ void __launch_bounds__(THREADS) prepare_filter_bf16(const float* __restrict__ params, const PrepareFilterDims d) {
    prepare<__nv_bfloat16>(params, d);
}
