// Kernels whose counts follow from their headers by hand. One-dimensional; grid 1 and block 32 unless said otherwise.
//
// gather: y[i] = x[i * stride + offset] (f32). Grid any.
// copy16: y[i] = x[i] (float4).
// bytes: y[i] = x[i] (u8).
// banks: fills s[1056] with its indices, conflict-free, in 33 rounds of 32 words; then y[t] = s[t * stride] (u32); stride <=
//   33.
// banks_wide8, 16: fills s[512] the same way in 16 rounds; then reads 8 or 16 bytes at word (t * stride) % 512, stride a
//   multiple of 2 or 4, and writes their first word to y[t] (u32).
// matrices: fills 32 rows of `pitch` bytes (64 or 128; s has 4096 bytes, filled by words in 32 rounds) and reads four 8x8
//   matrices by ldmatrix, lane l the row l's chunk 0, or with swizzle chunk (l / (128 / pitch)) % (pitch / 16); y[t] (u32).
// meet: each thread adds 1 to s[t % targets] and to y[t % targets] (u32), atomically. Block any size, targets <= 64.
// barriers: `count` block barriers. Grid and block any.

extern "C" __global__ void gather(const float *__restrict__ x, float *__restrict__ y, int stride, int offset) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = x[i * stride + offset];
}

extern "C" __global__ void copy16(const float4 *__restrict__ x, float4 *__restrict__ y) {
    y[threadIdx.x] = x[threadIdx.x];
}

extern "C" __global__ void bytes(const unsigned char *__restrict__ x, unsigned char *__restrict__ y) {
    y[threadIdx.x] = x[threadIdx.x];
}

extern "C" __global__ void banks(unsigned *__restrict__ y, int stride) {
    __shared__ unsigned s[1056];
#pragma unroll 1
    for (int i = threadIdx.x; i < 1056; i += 32) s[i] = i;
    __syncthreads();
    y[threadIdx.x] = s[threadIdx.x * stride];
}

#define WIDE(name, load)                                                                                               \
    extern "C" __global__ void name(unsigned *__restrict__ y, int stride) {                                            \
        __shared__ __align__(16) unsigned s[512];                                                                      \
        _Pragma("unroll 1") for (int i = threadIdx.x; i < 512; i += 32) s[i] = i;                                      \
        __syncthreads();                                                                                               \
        const unsigned at = (unsigned)__cvta_generic_to_shared(s + threadIdx.x * stride % 512);                        \
        unsigned v;                                                                                                    \
        asm volatile("{ .reg .b32 a; " load " }" : "=r"(v) : "r"(at) : "memory");                                      \
        y[threadIdx.x] = v;                                                                                            \
    }
WIDE(banks_wide8, "ld.shared.v2.u32 {%0, a}, [%1];")
WIDE(banks_wide16, "ld.shared.v4.u32 {%0, a, a, a}, [%1];")

extern "C" __global__ void matrices(unsigned *__restrict__ y, int pitch, int swizzle) {
    __shared__ __align__(128) unsigned s[1024];
#pragma unroll 1
    for (int i = threadIdx.x; i < 1024; i += 32) s[i] = i;
    __syncthreads();
    const int lane = threadIdx.x, chunk = swizzle ? lane / (128 / pitch) % (pitch / 16) : 0;
    unsigned a, b, c, d;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
                 : "r"((unsigned)__cvta_generic_to_shared(s) + lane * pitch + chunk * 16));
    y[threadIdx.x] = a + b + c + d;
}

extern "C" __global__ void meet(unsigned *y, int targets) {
    __shared__ unsigned s[64];
    if (threadIdx.x < 64) s[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(&s[threadIdx.x % targets], 1u);
    atomicAdd(&y[threadIdx.x % targets], 1u);
}

extern "C" __global__ void barriers(int count) {
#pragma unroll 1
    for (int i = 0; i < count; ++i) __syncthreads();
}
