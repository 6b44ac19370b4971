// Elementwise kernels. Grid covers n (or the number of pairs) once (1-D), block any size; inputs read-only. Exact
// unless said otherwise: every operation rounds on its own (explicit intrinsics, no contraction).
//
// saxpy: y[i] = fma(a, x[i], y[i]) (f32); y read and written.
// bf16_axpy: the same in bf16 (a f32, rounded), eight elements a thread; n a multiple of 8, pointers 16-byte aligned.
// half_ops: x, y f16 pairs (4-byte aligned, n pairs), out 8n f16: per pair sum, difference, product, fma(x, y, x), max,
//   min, clamp(x, 0, 1) and |x| where x > y else -x. bf16_ops the same in bf16.
// half_convert: x[n] f32 to h[n] f16 and b[n] bf16 (nearest even), back[2n] f32 from them, down[n] i32 = f16 to integer
//   toward zero, up[n] f16 from the i32 x_int[n].
// pgd_step: x_adv[i] = clamp(clamp(x_adv[i] + alpha * sign(g[i]), x[i] - eps, x[i] + eps), 0, 1) in f32 with four
//   elements a thread; n a multiple of 4, pointers 16-byte aligned; x_adv read and written. The sum is fma(alpha, sign,
//   x_adv).
// integers: out[16n] u32, sixteen integer operations of a[i], b[i] (see the body).
// wide: out[6n] u64, 64-bit integer operations of a[i], b[i] (see the body); doubles: out[5n] f64.
// math: out[12n] f32: sqrt, 1/x, 1/sqrt, a/b (all correctly rounded but 1/sqrt: 2 ulp), exp, log, sin, tanh (2 ulp),
//   floor, round to even, truncation, fmod. b = y[i].
// bytes: rgba u8 quadruples (4-byte aligned) to their complement with the channels reversed; n quadruples.
// constants: out[i] = table[x[i] & 15] + bias (a __constant__ table with initial values, a __device__ variable);
//   set_bias: bias = value (grid 1, block 1).

#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" __global__ void saxpy(float a, const float *__restrict__ x, float *y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = fmaf(a, x[i], y[i]);
}

extern "C" __global__ void bf16_axpy(float a, const uint4 *__restrict__ x, uint4 *y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (8 * i >= n) return;
    const uint4 u = x[i];
    uint4 v = y[i];
    const __nv_bfloat162 factor = __float2bfloat162_rn(a);
    const __nv_bfloat162 *from = (const __nv_bfloat162 *)&u;
    __nv_bfloat162 *to = (__nv_bfloat162 *)&v;
#pragma unroll
    for (int k = 0; k < 4; ++k) to[k] = __hfma2(factor, from[k], to[k]);
    y[i] = v;
}

template <typename T2, typename T> __device__ __forceinline__ void pair_ops(T2 x, T2 y, T2 zero, T2 one, T2 *out) {
    out[0] = __hadd2_rn(x, y);
    out[1] = __hsub2_rn(x, y);
    out[2] = __hmul2_rn(x, y);
    out[3] = __hfma2(x, y, x);
    out[4] = __hmax2(x, y);
    out[5] = __hmin2(x, y);
    out[6] = __hmin2(__hmax2(x, zero), one);
    T2 r;
    r.x = __hgt(x.x, y.x) ? __habs(x.x) : __hneg(x.x);
    r.y = __hgt(x.y, y.y) ? __habs(x.y) : __hneg(x.y);
    out[7] = r;
}

extern "C" __global__ void half_ops(const __half2 *__restrict__ x, const __half2 *__restrict__ y,
                                    __half2 *__restrict__ out, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) pair_ops<__half2, __half>(x[i], y[i], __float2half2_rn(0.0f), __float2half2_rn(1.0f), out + 8 * i);
}
extern "C" __global__ void bf16_ops(const __nv_bfloat162 *__restrict__ x, const __nv_bfloat162 *__restrict__ y,
                                    __nv_bfloat162 *__restrict__ out, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        pair_ops<__nv_bfloat162, __nv_bfloat16>(x[i], y[i], __float2bfloat162_rn(0.0f), __float2bfloat162_rn(1.0f),
                                                out + 8 * i);
}

extern "C" __global__ void half_convert(const float *__restrict__ x, const int *__restrict__ x_int,
                                        __half *__restrict__ h, __nv_bfloat16 *__restrict__ b,
                                        float *__restrict__ back, int *__restrict__ down, __half *__restrict__ up,
                                        int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const __half half_value = __float2half_rn(x[i]);
    const __nv_bfloat16 bf16_value = __float2bfloat16_rn(x[i]);
    h[i] = half_value;
    b[i] = bf16_value;
    back[2 * i] = __half2float(half_value);
    back[2 * i + 1] = __bfloat162float(bf16_value);
    down[i] = __half2int_rz(half_value);
    up[i] = __int2half_rn(x_int[i]);
}

__device__ __forceinline__ float step(float adv, float x, float g, float alpha, float eps) {
    const float sign = g > 0.0f ? 1.0f : g < 0.0f ? -1.0f : 0.0f;
    const float moved = fmaf(alpha, sign, adv);
    return __saturatef(fminf(fmaxf(moved, __fsub_rn(x, eps)), __fadd_rn(x, eps)));
}
extern "C" __global__ void pgd_step(float4 *x_adv, const float4 *__restrict__ x, const float4 *__restrict__ g,
                                    float alpha, float eps, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (4 * i >= n) return;
    const float4 a = x_adv[i], o = x[i], d = g[i];
    x_adv[i] = make_float4(step(a.x, o.x, d.x, alpha, eps), step(a.y, o.y, d.y, alpha, eps),
                           step(a.z, o.z, d.z, alpha, eps), step(a.w, o.w, d.w, alpha, eps));
}

extern "C" __global__ void integers(const int *__restrict__ a, const int *__restrict__ b, unsigned *__restrict__ out,
                                    int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const int x = a[i], y = b[i];
    const unsigned u = x, v = y;
    unsigned *o = out + 16 * i;
    o[0] = u + v;
    o[1] = u * v - v;
    o[2] = (unsigned)__mulhi(x, y);
    o[3] = __umulhi(u, v);
    o[4] = y != 0 && !(x == (int)0x80000000 && y == -1) ? (unsigned)(x / y) : 7u;
    o[5] = y != 0 && !(x == (int)0x80000000 && y == -1) ? (unsigned)(x % y) : 7u;
    o[6] = v != 0 ? u / v : 7u;
    o[7] = (unsigned)(x >> (y & 31));
    o[8] = u >> (v & 31) | v << 3;
    o[9] = __funnelshift_l(u, v, u);
    o[10] = __byte_perm(u, v, v & 0x7777);
    o[11] = __popc(u) + 100 * __clz(y) + 10000 * __ffs(x);
    o[12] = __brev(u) ^ ~v;
    o[13] = (unsigned)max(min(x, y), -100) + max(u, v);
    o[14] = (unsigned)abs(x) - (unsigned)(x < y) + (unsigned)(u < v) * 2;
    o[15] = (u & 0xff00ff00u) | ((v & u) ^ 0x1234u);
}

extern "C" __global__ void wide(const long long *__restrict__ a, const long long *__restrict__ b,
                                unsigned long long *__restrict__ out, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const long long x = a[i], y = b[i];
    unsigned long long *o = out + 6 * i;
    o[0] = (unsigned long long)x + y;
    o[1] = (unsigned long long)x * y;
    o[2] = (unsigned long long)(x >> (y & 63)) ^ ((unsigned long long)x << (y & 63));
    o[3] = (unsigned long long)__mul64hi(x, y);
    o[4] = (unsigned long long)max(x, y) - (x < y);
    o[5] = (unsigned long long)__popcll(x) + 100 * (unsigned long long)__clzll(y) + (unsigned)(int)x;
}

extern "C" __global__ void doubles(const double *__restrict__ a, const double *__restrict__ b,
                                   double *__restrict__ out, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    double *o = out + 5 * i;
    o[0] = __dadd_rn(a[i], b[i]);
    o[1] = __dmul_rn(a[i], b[i]);
    o[2] = fma(a[i], b[i], a[i]);
    o[3] = (double)(float)a[i];
    o[4] = (double)(int)b[i];
}

extern "C" __global__ void math(const float *__restrict__ x, const float *__restrict__ y, float *__restrict__ out,
                                int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float v = x[i], w = y[i];
    float *o = out + 12 * i;
    o[0] = __fsqrt_rn(v);
    o[1] = __frcp_rn(v);
    o[2] = rsqrtf(v);
    o[3] = __fdiv_rn(v, w);
    o[4] = expf(v);
    o[5] = logf(v);
    o[6] = sinf(v);
    o[7] = tanhf(v);
    o[8] = floorf(v);
    o[9] = rintf(v);
    o[10] = truncf(v);
    o[11] = fmodf(v, w);
}

extern "C" __global__ void bytes(const uchar4 *__restrict__ x, uchar4 *__restrict__ y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const uchar4 c = x[i];
    y[i] = make_uchar4(255 - c.w, 255 - c.z, 255 - c.y, 255 - c.x);
}

__constant__ int table[16] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};
__device__ int bias = 1000;

extern "C" __global__ void constants(const int *__restrict__ x, int *__restrict__ out, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = table[x[i] & 15] + bias;
}
extern "C" __global__ void set_bias(int value) { bias = value; }
