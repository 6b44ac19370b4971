// gemm_f32: C = A B. A[m][k], B[k][n] read-only, C[m][n] written, all f32, row-major, dense.
//   Grid (ceil(n/16), ceil(m/16)), block (16, 16). m, n >= 1, k >= 0; no size need be a multiple of anything.
//   Order: fma(a[i][p], b[p][j], sum) with p upwards from 0.0f; the zero padding of the last tile adds fma(0, 0, sum).
//
// Violations: gemm_f32_no_barrier lacks the barrier between filling the tiles and reading them, gemm_f32_no_last_barrier
//   the one before they are filled anew, gemm_f32_bound reads A's column k (past the end in the last row, k % 16 != 0).

enum Variant { RIGHT, NO_BARRIER, NO_LAST_BARRIER, BOUND };

template <Variant V>
__device__ __forceinline__ void gemm(const float *a, const float *b, float *c, int m, int n, int k) {
    __shared__ float as[16][17], bs[16][17];
    const int row = blockIdx.y * 16 + threadIdx.y, col = blockIdx.x * 16 + threadIdx.x;
    const int columns = V == BOUND ? k + 1 : k;
    float sum = 0.0f;
    for (int start = 0; start < k; start += 16) {
        const int ak = start + threadIdx.x, bk = start + threadIdx.y;
        as[threadIdx.y][threadIdx.x] = row < m && ak < columns ? a[row * k + ak] : 0.0f;
        bs[threadIdx.y][threadIdx.x] = bk < k && col < n ? b[bk * n + col] : 0.0f;
        if (V != NO_BARRIER) __syncthreads();
#pragma unroll
        for (int p = 0; p < 16; ++p) sum = fmaf(as[threadIdx.y][p], bs[p][threadIdx.x], sum);
        if (V != NO_LAST_BARRIER) __syncthreads();
    }
    if (row < m && col < n) c[row * n + col] = sum;
}

extern "C" __global__ void gemm_f32(const float *__restrict__ a, const float *__restrict__ b, float *__restrict__ c,
                                    int m, int n, int k) {
    gemm<RIGHT>(a, b, c, m, n, k);
}
extern "C" __global__ void gemm_f32_no_barrier(const float *a, const float *b, float *c, int m, int n, int k) {
    gemm<NO_BARRIER>(a, b, c, m, n, k);
}
extern "C" __global__ void gemm_f32_no_last_barrier(const float *a, const float *b, float *c, int m, int n, int k) {
    gemm<NO_LAST_BARRIER>(a, b, c, m, n, k);
}
extern "C" __global__ void gemm_f32_bound(const float *a, const float *b, float *c, int m, int n, int k) {
    gemm<BOUND>(a, b, c, m, n, k);
}
