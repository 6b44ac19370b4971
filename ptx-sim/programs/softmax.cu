// y[r][j] = exp(x[r][j] - max_r) / sum_r, by row. x[rows][cols] f32 read-only, y the same shape, written.
//   softmax uses expf and a division, softmax_fast __expf (ex2.approx) and __fdividef.
//   Grid = rows, block a multiple of 32 up to 1024. cols >= 1.
//   Order: a thread's elements t, t + B, ... upwards from 0.0f; then a butterfly (xor 16, 8, 4, 2, 1) in the warp; then
//   every warp adds the warp results upwards from 0.0f.

template <bool FAST> __device__ __forceinline__ void rows(const float *x, float *y, int cols) {
    __shared__ float maxima[32], sums[32];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    x += (size_t)blockIdx.x * cols;
    y += (size_t)blockIdx.x * cols;
    float top = __int_as_float(0xff800000);
    for (int j = threadIdx.x; j < cols; j += blockDim.x) top = fmaxf(top, x[j]);
    for (int mask = 16; mask > 0; mask >>= 1) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, mask));
    if (lane == 0) maxima[warp] = top;
    __syncthreads();
    for (int w = 0; w < warps; ++w) top = fmaxf(top, maxima[w]);
    float sum = 0.0f;
    for (int j = threadIdx.x; j < cols; j += blockDim.x) sum += FAST ? __expf(x[j] - top) : expf(x[j] - top);
    for (int mask = 16; mask > 0; mask >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, mask);
    if (lane == 0) sums[warp] = sum;
    __syncthreads();
    sum = 0.0f;
    for (int w = 0; w < warps; ++w) sum += sums[w];
    for (int j = threadIdx.x; j < cols; j += blockDim.x)
        y[j] = FAST ? __fdividef(__expf(x[j] - top), sum) : expf(x[j] - top) / sum;
}

extern "C" __global__ void softmax(const float *__restrict__ x, float *__restrict__ y, int cols) {
    rows<false>(x, y, cols);
}
extern "C" __global__ void softmax_fast(const float *__restrict__ x, float *__restrict__ y, int cols) {
    rows<true>(x, y, cols);
}
