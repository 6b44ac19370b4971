// Products of bf16 tiles on tensor cores, for the matrix product and the convolution: C[64][64] = sum over steps of
// A[64][32] B[32][64] with f32 sums, by four warps of 32x32 in a block of 128. Two stages of shared memory are filled by
// cp.async and swizzled, so that ldmatrix has no bank conflicts.
//
// A stage is 64 rows of A, and of B either 64 columns of 32 deep (at_k) or 32 rows of 64 (at_n).

#pragma once

namespace tile {

constexpr int SIDE = 64, DEPTH = 32, BYTES = SIDE * DEPTH * 2;

// What a kernel leaves out: the wait for the copies (or only the last one), the barrier between the copies and the product,
// the barrier before a stage is filled anew; or fragments that it swaps, or a bound that is one too high.
enum Variant { RIGHT, NO_WAIT, NO_LAST_WAIT, NO_BARRIER, NO_LAST_BARRIER, SWAPPED, BOUND };

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

typedef float Sums[2][4][4];

// Adds the product of the stage at `as` and `bs` to the warp's sums. NN: B's tile is row-major.
template <Variant V, bool NN> __device__ __forceinline__ void multiply(Sums &sums, unsigned as, unsigned bs) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int warp_row = (warp >> 1) * 32, warp_col = (warp & 1) * 32;
#pragma unroll
    for (int kk = 0; kk < 2; ++kk) {
        unsigned fa[2][4], fb[2][4];
#pragma unroll
        for (int i = 0; i < 2; ++i) ldmatrix4(fa[i], as + at_k(warp_row + i * 16 + (lane & 15), kk * 2 + (lane >> 4)));
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            // Matrices 0, 1: columns 0-7 of the pair with k 0-7, 8-15; matrices 2, 3: columns 8-15.
            if (NN)
                ldmatrix4_trans(fb[j], bs + at_n(kk * 16 + (lane & 15), (warp_col + j * 16) / 8 + (lane >> 4)));
            else
                ldmatrix4(fb[j], bs + at_k(warp_col + j * 16 + (lane & 7) + (lane >> 4) * 8, kk * 2 + (lane >> 3 & 1)));
        }
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const unsigned b0 = fb[j >> 1][(j & 1) * 2], b1 = fb[j >> 1][(j & 1) * 2 + 1];
                mma(sums[i][j], fa[i], V == SWAPPED ? b1 : b0, V == SWAPPED ? b0 : b1);
            }
    }
}

// Runs all steps: load(step, as, bs) issues the copies of a step to a stage.
template <Variant V, bool NN, typename Load> __device__ __forceinline__ void run(Sums &sums, int steps, Load load) {
    __shared__ __align__(128) unsigned char as[2][BYTES], bs[2][BYTES];
    const unsigned a0 = (unsigned)__cvta_generic_to_shared(as), b0 = (unsigned)__cvta_generic_to_shared(bs);
    load(0, a0, b0);
    asm volatile("cp.async.commit_group;" ::: "memory");
    for (int step = 0; step < steps; ++step) {
        const unsigned stage = (step & 1) * BYTES, other = stage ^ BYTES;
        if (step + 1 < steps) {
            load(step + 1, a0 + other, b0 + other);
            asm volatile("cp.async.commit_group;" ::: "memory");
            if (V != NO_WAIT) asm volatile("cp.async.wait_group 1;" ::: "memory");
        } else if (V != NO_WAIT && V != NO_LAST_WAIT) {
            asm volatile("cp.async.wait_group 0;" ::: "memory");
        }
        if (V != NO_BARRIER) __syncthreads();
        multiply<V, NN>(sums, a0 + stage, b0 + stage);
        if (V != NO_LAST_BARRIER) __syncthreads();
    }
}

// Writes the sums to c[rows][columns], row-major, from row0 and col0 on.
__device__ __forceinline__ void store(const Sums &sums, float *c, int row0, int col0, int rows, int columns) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int first_row = row0 + (warp >> 1) * 32 + (lane >> 2), first_col = col0 + (warp & 1) * 32 + (lane & 3) * 2;
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const int row = first_row + i * 16 + (e >> 1) * 8, col = first_col + j * 8 + (e & 1);
                if (row < rows && col < columns) c[(size_t)row * columns + col] = sums[i][j][e];
            }
}

}  // namespace tile
