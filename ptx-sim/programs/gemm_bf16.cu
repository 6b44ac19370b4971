// C = A B on tensor cores: bf16 inputs, f32 sums and output, tiles of tile_bf16.cuh.
//
// gemm_bf16_nt: A[m][k], B[n][k] (the product with B transposed), C[m][n] f32. k a multiple of 8.
// gemm_bf16_nn: A[m][k], B[k][n], C[m][n] f32 (ldmatrix.trans for B). k and n multiples of 8.
//   A, B bf16 read-only, 16-byte aligned; row-major, dense. Grid (ceil(n/64), ceil(m/64)), block 128. m, n >= 1, k >=
//   8.
//   Order: k in steps of 16 upwards; within a step the tensor core's own order, which is not IEEE: compare by
//   tolerance.
//
// gemm_bf16_<violation>: gemm_bf16_nt without what tile::Variant says. _bound reads A's row m (m % 64 != 0), and
//   _no_last_barrier shows from three steps on (k > 64). No check can see _swapped: only the result is wrong.

#include <cuda_bf16.h>
#include "tile_bf16.cuh"

template <tile::Variant V, bool NN>
__device__ __forceinline__ void gemm(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c, int m, int n, int k) {
    const int row0 = blockIdx.y * tile::SIDE, col0 = blockIdx.x * tile::SIDE;
    const int rows = V == tile::BOUND ? m + 1 : m;
    const auto load = [=](int step, unsigned as, unsigned bs) {
        const int start = step * tile::DEPTH;
#pragma unroll
        for (int part = 0; part < 2; ++part) {
            const int id = threadIdx.x + part * 128, row = id >> 2, chunk = id & 3, ak = start + chunk * 8;
            const bool inside = row0 + row < rows && ak < k;
            tile::copy16(as + tile::at_k(row, chunk), a + (inside ? (size_t)(row0 + row) * k + ak : 0), inside);
            if (NN) {
                const int brow = id >> 3, bchunk = id & 7, bn = col0 + bchunk * 8;
                const bool ok = start + brow < k && bn < n;
                tile::copy16(bs + tile::at_n(brow, bchunk), b + (ok ? (size_t)(start + brow) * n + bn : 0), ok);
            } else {
                const bool ok = col0 + row < n && ak < k;
                tile::copy16(bs + tile::at_k(row, chunk), b + (ok ? (size_t)(col0 + row) * k + ak : 0), ok);
            }
        }
    };
    tile::Sums sums = {};
    tile::run<V, NN>(sums, (k + tile::DEPTH - 1) / tile::DEPTH, load);
    tile::store(sums, c, row0, col0, m, n);
}

#define GEMM(name, variant, nn)                                                                                        \
    extern "C" __global__ void __launch_bounds__(128)                                                                  \
        name(const __nv_bfloat16 *__restrict__ a, const __nv_bfloat16 *__restrict__ b, float *__restrict__ c, int m,   \
             int n, int k) {                                                                                           \
        gemm<tile::variant, nn>(a, b, c, m, n, k);                                                                     \
    }
GEMM(gemm_bf16_nt, RIGHT, false)
GEMM(gemm_bf16_nn, RIGHT, true)
GEMM(gemm_bf16_no_wait, NO_WAIT, false)
GEMM(gemm_bf16_no_last_wait, NO_LAST_WAIT, false)
GEMM(gemm_bf16_no_barrier, NO_BARRIER, false)
GEMM(gemm_bf16_no_last_barrier, NO_LAST_BARRIER, false)
GEMM(gemm_bf16_swapped, SWAPPED, false)
GEMM(gemm_bf16_bound, BOUND, false)
