// Where an attack starts.
//
//   uniform  x_adv = clamp(x + scale*(2u - 1), 0, 1),  u uniform in [0, 1)
//   normal   x_adv = x + scale*n,  n = sqrt(-2 log(1 - u))*cos(2 pi v) and the same with sin, of two numbers u, v each
//   neither  x_adv = x
//   surface  x_adv = clamp(x + scale*t/(|t| + 1e-12), 0, 1),  t = 2u - 1 and |t| its largest magnitude, or t = n and |t| its length;
//            x_adv = x in every clean-th epoch, from 0 on (clean 0: in none)
//
// x_adv     f32 [capacity, len] out
// x         f32 [capacity, len] in
// position  u32 [capacity] in: the position of a slot
// sample    u32 [capacity] in, by position: counter of the random numbers
// control   u32 [4] in: the epoch
// live      u32 [2] in
//
// Grid (ceil(len / 4 / 256), capacity), 256 threads, no shared memory. A block has a part of one slot's image, a thread four
// elements of it and one Philox block. start_surface: grid capacity, 256 threads; a block has one slot, and draws its numbers twice
// rather than keep them; 64 bytes of shared memory. Summation of squares: a thread's quads ascending, a butterfly in each warp, the
// warps ascending. Preconditions: none.
#include "block.cuh"
#include "state.cuh"

struct StartDims {
    u32 len;
    // A number of `noise`.
    u32 noise;
    float scale;
    Philox seed;
    u32 stream;
    // start_surface only.
    u32 clean;
};

// Threads of a block, and elements of a Philox block.
constexpr u32 THREADS = 256, WARPS = THREADS / 32, QUAD = 4;

namespace noise {
enum : u32 { NONE, UNIFORM, NORMAL };
}

// Two independent standard normals, by Box and Muller's transform of two uniform numbers.
__device__ __forceinline__ void normal_pair(float& u, float& v) {
    // Of pi, since the sine of an angle takes local memory to bring large ones down.
    float radius = sqrtf(__fmul_rn(-2.0f, logf(1.0f - u))), sine, cosine;
    sincospif(2.0f * v, &sine, &cosine);
    u = __fmul_rn(radius, cosine);
    v = __fmul_rn(radius, sine);
}

extern "C" __global__ void start(float* __restrict__ x_adv, const float* __restrict__ x, const u32* __restrict__ position,
                                 const u32* __restrict__ sample, const u32* __restrict__ control,
                                 const u32* __restrict__ live, StartDims d) {
    u32 slot = blockIdx.y, quad = blockIdx.x * blockDim.x + threadIdx.x;
    if (slot >= live[0] || quad * QUAD >= d.len) return;
    size_t at = (size_t)slot * d.len + quad * QUAD;
    u32 n = min(QUAD, d.len - quad * QUAD);
    uint4 r = make_uint4(0, 0, 0, 0);
    if (d.noise != noise::NONE) r = philox(d.seed, d.stream, control[control::EPOCH], sample[position[slot]], quad);
    float random[QUAD] = {uniform(r.x), uniform(r.y), uniform(r.z), uniform(r.w)};
    if (d.noise == noise::NORMAL) {
        normal_pair(random[0], random[1]);
        normal_pair(random[2], random[3]);
    }
#pragma unroll
    for (u32 i = 0; i < QUAD; i++) {
        if (i >= n) break;
        float v = x[at + i];
        // Separate roundings, as on the CPU: no fused multiply-add.
        if (d.noise == noise::UNIFORM)
            v = __saturatef(__fadd_rn(v, __fmul_rn(d.scale, __fadd_rn(__fmul_rn(2.0f, random[i]), -1.0f))));
        if (d.noise == noise::NORMAL) v = __fadd_rn(v, __fmul_rn(d.scale, random[i]));
        x_adv[at + i] = v;
    }
}

// Four numbers of the noise that is scaled to the surface.
__device__ __forceinline__ void surface_quad(float (&t)[QUAD], const StartDims& d, u32 epoch, u32 sample, u32 quad) {
    uint4 r = philox(d.seed, d.stream, epoch, sample, quad);
    t[0] = uniform(r.x), t[1] = uniform(r.y), t[2] = uniform(r.z), t[3] = uniform(r.w);
    if (d.noise == noise::NORMAL) {
        normal_pair(t[0], t[1]);
        normal_pair(t[2], t[3]);
    } else {
#pragma unroll
        for (u32 i = 0; i < QUAD; i++) t[i] = __fadd_rn(__fmul_rn(2.0f, t[i]), -1.0f);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    start_surface(float* __restrict__ x_adv, const float* __restrict__ x, const u32* __restrict__ position,
                  const u32* __restrict__ sample, const u32* __restrict__ control, const u32* __restrict__ live, StartDims d) {
    u32 slot = blockIdx.x, thread = threadIdx.x, quads = (d.len + QUAD - 1) / QUAD;
    if (slot >= live[0]) return;
    u32 epoch = control[control::EPOCH], id = sample[position[slot]];
    x += (size_t)slot * d.len, x_adv += (size_t)slot * d.len;
    if (d.clean && epoch % d.clean == 0) {
        for (u32 i = thread; i < d.len; i += THREADS) x_adv[i] = x[i];
        return;
    }
    bool squares = d.noise == noise::NORMAL;
    float far[1] = {}, t[QUAD];
    for (u32 quad = thread; quad < quads; quad += THREADS) {
        surface_quad(t, d, epoch, id, quad);
#pragma unroll
        for (u32 i = 0; i < QUAD; i++) {
            if (quad * QUAD + i < d.len) far[0] = squares ? far[0] + t[i] * t[i] : fmaxf(far[0], fabsf(t[i]));
        }
    }
    if (squares) over_block<true, WARPS>(far);
    else over_block<false, WARPS>(far);
    float length = (squares ? sqrtf(far[0]) : far[0]) + 1e-12f;
    for (u32 quad = thread; quad < quads; quad += THREADS) {
        surface_quad(t, d, epoch, id, quad);
#pragma unroll
        for (u32 i = 0; i < QUAD; i++) {
            u32 at = quad * QUAD + i;
            if (at < d.len) x_adv[at] = __saturatef(__fadd_rn(x[at], __fmul_rn(d.scale, __fdiv_rn(t[i], length))));
        }
    }
}
