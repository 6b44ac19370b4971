// C = A B on tensor cores: bf16 inputs, f32 sums and output. Tiles of 64x64x32, four warps of 32x32, two stages of
// cp.async, ldmatrix from swizzled shared memory, mma.m16n8k16.
//
// gemm_bf16_nt: A[m][k], B[n][k] (the product with B transposed), C[m][n] f32. k a multiple of 8.
// gemm_bf16_nn: A[m][k], B[k][n], C[m][n] f32 (ldmatrix.trans for B). k and n multiples of 8.
//   A, B bf16 read-only, 16-byte aligned; row-major, dense. Grid (ceil(n/64), ceil(m/64)), block 128. m, n >= 1, k >=
//   8.
//   Order: k in steps of 16 upwards; within a step the tensor core's own order, which is not IEEE: compare by
//   tolerance.

#include <cuda_bf16.h>

namespace {

constexpr int TILE = 64, DEPTH = 32;

// 16 bytes to shared memory; zeros where !inside. The address stays in bounds either way.
__device__ __forceinline__ void copy16(unsigned dst, const void *src, bool inside) {
    const int bytes = inside ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(bytes) : "memory");
}
__device__ __forceinline__ void ldmatrix4(unsigned (&r)[4], unsigned address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}
__device__ __forceinline__ void ldmatrix4_trans(unsigned (&r)[4], unsigned address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}
__device__ __forceinline__ void mma(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Byte offset of 16-byte chunk `chunk` of row `row`; the xor puts eight rows' equal chunks in different banks.
__device__ __forceinline__ unsigned at_k(int row, int chunk) { return row * 64 + ((chunk ^ (row >> 1 & 3)) << 4); }
__device__ __forceinline__ unsigned at_n(int row, int chunk) { return row * 128 + ((chunk ^ (row & 7)) << 4); }

template <bool NN>
__device__ __forceinline__ void load_stage(unsigned as, unsigned bs, const __nv_bfloat16 *a, const __nv_bfloat16 *b,
                                           int row0, int col0, int start, int m, int n, int k) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
        const int chunk_id = threadIdx.x + part * 128, row = chunk_id >> 2, chunk = chunk_id & 3;
        const int ak = start + chunk * 8;
        const bool inside = row0 + row < m && ak < k;
        copy16(as + at_k(row, chunk), a + (inside ? (size_t)(row0 + row) * k + ak : 0), inside);
        if (NN) {
            const int brow = chunk_id >> 3, bchunk = chunk_id & 7, bn = col0 + bchunk * 8;
            const bool ok = start + brow < k && bn < n;
            copy16(bs + at_n(brow, bchunk), b + (ok ? (size_t)(start + brow) * n + bn : 0), ok);
        } else {
            const bool ok = col0 + row < n && ak < k;
            copy16(bs + at_k(row, chunk), b + (ok ? (size_t)(col0 + row) * k + ak : 0), ok);
        }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <bool NN>
__device__ __forceinline__ void gemm(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c, int m, int n, int k) {
    __shared__ __align__(128) unsigned char as[2][TILE * DEPTH * 2], bs[2][TILE * DEPTH * 2];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int row0 = blockIdx.y * TILE, col0 = blockIdx.x * TILE;
    const int warp_row = (warp >> 1) * 32, warp_col = (warp & 1) * 32;
    const unsigned as0 = (unsigned)__cvta_generic_to_shared(as), bs0 = (unsigned)__cvta_generic_to_shared(bs);
    float sums[2][4][4] = {};
    const int steps = (k + DEPTH - 1) / DEPTH;
    load_stage<NN>(as0, bs0, a, b, row0, col0, 0, m, n, k);
    for (int step = 0; step < steps; ++step) {
        const unsigned stage = (step & 1) * (TILE * DEPTH * 2), other = stage ^ (TILE * DEPTH * 2);
        if (step + 1 < steps) {
            load_stage<NN>(as0 + other, bs0 + other, a, b, row0, col0, (step + 1) * DEPTH, m, n, k);
            asm volatile("cp.async.wait_group 1;" ::: "memory");
        } else {
            asm volatile("cp.async.wait_group 0;" ::: "memory");
        }
        __syncthreads();
#pragma unroll
        for (int kk = 0; kk < 2; ++kk) {
            unsigned fa[2][4], fb[2][4];
#pragma unroll
            for (int i = 0; i < 2; ++i)
                ldmatrix4(fa[i], as0 + stage + at_k(warp_row + i * 16 + (lane & 15), kk * 2 + (lane >> 4)));
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                // Matrices 0, 1: columns 0-7 of the pair with k 0-7, 8-15; matrices 2, 3: columns 8-15.
                if (NN)
                    ldmatrix4_trans(fb[j], bs0 + stage + at_n(kk * 16 + (lane & 15), (warp_col + j * 16) / 8 + (lane >> 4)));
                else
                    ldmatrix4(fb[j], bs0 + stage + at_k(warp_col + j * 16 + (lane & 7) + (lane >> 4) * 8,
                                                        kk * 2 + (lane >> 3 & 1)));
            }
#pragma unroll
            for (int i = 0; i < 2; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j) mma(sums[i][j], fa[i], fb[j >> 1][(j & 1) * 2], fb[j >> 1][(j & 1) * 2 + 1]);
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const int row = row0 + warp_row + i * 16 + (lane >> 2) + (e >> 1) * 8;
                const int col = col0 + warp_col + j * 8 + (lane & 3) * 2 + (e & 1);
                if (row < m && col < n) c[(size_t)row * n + col] = sums[i][j][e];
            }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(128) gemm_bf16_nt(const __nv_bfloat16 *__restrict__ a,
                                                               const __nv_bfloat16 *__restrict__ b,
                                                               float *__restrict__ c, int m, int n, int k) {
    gemm<false>(a, b, c, m, n, k);
}
extern "C" __global__ void __launch_bounds__(128) gemm_bf16_nn(const __nv_bfloat16 *__restrict__ a,
                                                               const __nv_bfloat16 *__restrict__ b,
                                                               float *__restrict__ c, int m, int n, int k) {
    gemm<true>(a, b, c, m, n, k);
}
