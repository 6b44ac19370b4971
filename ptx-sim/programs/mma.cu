// One-warp matrix products whose fragments are gathered element by element, as the PTX ISA's figures place them: they
// test mma alone, without ldmatrix. D[16][8] = A[16][K] B[K][8] + C[16][8], row-major, dense.
//   mma_bf16 (K = 16), mma_f16 (K = 16), mma_tf32 (K = 8): C and D f32; mma_bf16_k8 (K = 8).
//   A, B in the named type (tf32 in f32 bits, low 13 mantissa bits ignored), read-only; C f32 read-only; D f32 written.
//   Grid 1, block 32. Order within the product: the tensor core's, compare by tolerance (exact for small integers).

#include <cuda_bf16.h>
#include <cuda_fp16.h>

template <typename T> __device__ __forceinline__ unsigned pair(const T *low, const T *high) {
    return (unsigned)*(const unsigned short *)low | (unsigned)*(const unsigned short *)high << 16;
}

#define GATHER_K16(T)                                                                                                  \
    const int lane = threadIdx.x, g = lane >> 2, t = lane & 3;                                                         \
    unsigned fa[4], fb[2];                                                                                             \
    for (int i = 0; i < 4; ++i) {                                                                                      \
        const T *p = a + (g + (i & 1) * 8) * 16 + t * 2 + (i >> 1) * 8;                                                \
        fa[i] = pair(p, p + 1);                                                                                        \
    }                                                                                                                  \
    for (int i = 0; i < 2; ++i) {                                                                                      \
        const T *p = b + (t * 2 + i * 8) * 8 + g;                                                                      \
        fb[i] = pair(p, p + 8);                                                                                        \
    }

#define LOAD_C                                                                                                         \
    float s[4];                                                                                                        \
    for (int i = 0; i < 4; ++i) s[i] = c[(g + (i >> 1) * 8) * 8 + t * 2 + (i & 1)];
#define STORE_D                                                                                                        \
    for (int i = 0; i < 4; ++i) d[(g + (i >> 1) * 8) * 8 + t * 2 + (i & 1)] = s[i];

extern "C" __global__ void mma_bf16(const __nv_bfloat16 *__restrict__ a, const __nv_bfloat16 *__restrict__ b,
                                    const float *__restrict__ c, float *__restrict__ d) {
    GATHER_K16(__nv_bfloat16)
    LOAD_C
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
        : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    STORE_D
}

extern "C" __global__ void mma_f16(const __half *__restrict__ a, const __half *__restrict__ b,
                                   const float *__restrict__ c, float *__restrict__ d) {
    GATHER_K16(__half)
    LOAD_C
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
        : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    STORE_D
}

extern "C" __global__ void mma_bf16_k8(const __nv_bfloat16 *__restrict__ a, const __nv_bfloat16 *__restrict__ b,
                                       const float *__restrict__ c, float *__restrict__ d) {
    const int lane = threadIdx.x, g = lane >> 2, t = lane & 3;
    unsigned fa[2];
    for (int i = 0; i < 2; ++i) {
        const __nv_bfloat16 *p = a + (g + i * 8) * 8 + t * 2;
        fa[i] = pair(p, p + 1);
    }
    const unsigned fb = pair(b + t * 16 + g, b + t * 16 + 8 + g);
    LOAD_C
    asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3]) : "r"(fa[0]), "r"(fa[1]), "r"(fb));
    STORE_D
}

extern "C" __global__ void mma_tf32(const unsigned *__restrict__ a, const unsigned *__restrict__ b,
                                    const float *__restrict__ c, float *__restrict__ d) {
    const int lane = threadIdx.x, g = lane >> 2, t = lane & 3;
    unsigned fa[4], fb[2];
    for (int i = 0; i < 4; ++i) fa[i] = a[(g + (i & 1) * 8) * 8 + t + (i >> 1) * 4];
    for (int i = 0; i < 2; ++i) fb[i] = b[(t + i * 4) * 8 + g];
    LOAD_C
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
        : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    STORE_D
}
