// Block reductions.
//
// reduce_sum: partial[b] = sum of x[i] over the i that block b visits.
//   x[n] f32 read-only, partial[gridDim.x] f32 written.
//   Grid any (1-D), block a multiple of 32 up to 1024. n >= 0.
//   Order: a thread adds its elements i = b*B + t, + B*gridDim.x, ... upwards from 0.0f; a warp adds lane + 16, 8, 4,
//   2, 1 (shuffle down); warp 0 adds the warp sums in the same tree, absent warps being 0.0f. A second launch with one
//   block reduces `partial`.
//
// reduce_minmax: out[0] = min, out[1] = max over all x (u32), combined over blocks by global atomics.
//   x[n] read-only, out[2] preset by the caller to {UINT_MAX, 0}. Grid any, block a multiple of 32. Exact in any order.
//
//   reduce_sum_no_barrier lacks the barrier before warp 0 reads the warp sums, reduce_sum_bound visits x[n]: violations.
//
// any_all: per block three words: some x != 0, every x != 0, how many x != 0 (threads past n count as absent: they vote
//   0, 1, 0). x[n] u32, out[3*gridDim.x] u32. Grid covers n once, block any size.

enum Variant { RIGHT, NO_BARRIER, BOUND };

template <Variant V> __device__ __forceinline__ void reduce(const float *x, float *partial, int n) {
    __shared__ float warp_sums[32];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    const int end = V == BOUND ? n + 1 : n;
    float sum = 0.0f;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < end; i += blockDim.x * gridDim.x) sum += x[i];
    for (int offset = 16; offset > 0; offset >>= 1) sum += __shfl_down_sync(0xffffffffu, sum, offset);
    if (lane == 0) warp_sums[warp] = sum;
    if (V != NO_BARRIER) __syncthreads();
    if (warp == 0) {
        sum = lane < warps ? warp_sums[lane] : 0.0f;
#pragma unroll
        for (int offset = 16; offset > 0; offset >>= 1) sum += __shfl_down_sync(0xffffffffu, sum, offset);
        if (lane == 0) partial[blockIdx.x] = sum;
    }
}

extern "C" __global__ void reduce_sum(const float *__restrict__ x, float *__restrict__ partial, int n) {
    reduce<RIGHT>(x, partial, n);
}
extern "C" __global__ void reduce_sum_no_barrier(const float *x, float *partial, int n) {
    reduce<NO_BARRIER>(x, partial, n);
}
extern "C" __global__ void reduce_sum_bound(const float *x, float *partial, int n) { reduce<BOUND>(x, partial, n); }

extern "C" __global__ void reduce_minmax(const unsigned *__restrict__ x, unsigned *out, int n) {
    unsigned low = 0xffffffffu, high = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) {
        low = min(low, x[i]);
        high = max(high, x[i]);
    }
    low = __reduce_min_sync(0xffffffffu, low);
    high = __reduce_max_sync(0xffffffffu, high);
    if ((threadIdx.x & 31) == 0) {
        atomicMin(out, low);
        atomicMax(out + 1, high);
    }
}

extern "C" __global__ void any_all(const unsigned *__restrict__ x, unsigned *__restrict__ out, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const bool inside = i < n;
    const bool set = inside && x[i] != 0;
    const int some = __syncthreads_or(set);
    const int every = __syncthreads_and(set || !inside);
    const int count = __syncthreads_count(set);
    if (threadIdx.x == 0) {
        out[3 * blockIdx.x] = some != 0;
        out[3 * blockIdx.x + 1] = every != 0;
        out[3 * blockIdx.x + 2] = count;
    }
}
