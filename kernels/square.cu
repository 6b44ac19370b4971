// Square Attack: the image of the next query, after keeping the last one where it is better.
//
//   start_linf  adv = clamp(x + eps*r[c, w]);  margin = infinity
//   start_l2    adv = clamp(x + eps*d/|d|), d a grid of squares, each r[c]*eta;  margin = infinity
//   step        m = z_y - max over j != y of z_j;  if m < margin: margin = m, best = adv;  adv = the next query's image, of best
//   step_linf   adv = clamp(x + eps*r[c]) in the square, else best
//   step_l2     d = best - x;  in the square u = r[c]*eta + d/|d|_square, d = u/|u| * sqrt(max(eps^2 - |d|^2, 0)/C + |d|_both^2),
//               in the second square d = 0;  adv = clamp(x + eps*d/|d|)
//
// r are random signs, clamp is to [0, 1]; |d| without a name is over the image, the others over one channel's pixels there.
//
// adv       f32 [capacity, C, H, W]: out of start; in (the last query) and out of step
// best      f32 [capacity, C, H, W] by position, in and out
// margin    f32 [capacity] by position: out of start, in and out of step
// x         f32 [capacity, C, H, W] in
// logits    f32 [capacity, classes] by position, in
// eta       f32 tables [side, side] in
// label     u32 [capacity] in, by position, as is sample: counter of the random numbers
// control   u32 [4] in: the epoch, which is the run, and the iteration: the number of the program's first query
// position  u32 [capacity] in: the position of a slot;  live u32 [2] in
//
// Random numbers of a query: block 0 has the corners of two squares, from block 1 on every bit is a sign or a direction.
// Grid capacity, 256 threads; a block has an example. Under L2 a warp has a channel, a lane every 32nd pixel of it.
// Shared memory: 2 KiB. Sums: pixels of a lane ascending, a butterfly, the channels ascending; each operation
// rounds by itself, as on the CPU.
// Preconditions: at most 256 channels; at least two classes; sides at most height and width.
#include "state.cuh"
#include "warp.cuh"

constexpr u32 THREADS = 256, WARPS = THREADS / 32, MAX_CHANNELS = 256, LEVELS = 10, BLOCK_BITS = 128;
constexpr float TINY = 1e-12f;

struct LevelDims {
    u32 side;
    // Its table's first element.
    u32 table;
};

struct SquareDims {
    u32 c, h, w;
    u32 classes;
    float eps;
    // The program's query, from its first.
    u32 offset;
    // Blocks of random numbers of a query.
    u32 blocks;
    Philox seed;
    u32 stream;
    LevelDims levels[LEVELS];
    // The first query of each level but the first.
    u32 from[LEVELS - 1];
    // The start's grid.
    LevelDims start;
    u32 corner;
    u32 grid[2];
};

// Random numbers of one query of one example.
struct Dice {
    const SquareDims& d;
    u32 run, sample, first;

    __device__ __forceinline__ uint4 block(u32 i) const { return philox(d.seed, d.stream, run, sample, first + i); }

    // Bit i, as a sign.
    __device__ __forceinline__ float sign(u32 i) const {
        uint4 r = block(1 + i / BLOCK_BITS);
        u32 k = i / 32 % 4, word = k == 0 ? r.x : k == 1 ? r.y : k == 2 ? r.z : r.w;
        return word >> (i % 32) & 1 ? 1.0f : -1.0f;
    }
};

__device__ __forceinline__ u32 place(u32 r, u32 n) { return (u32)__fmul_rn(uniform(r), (float)n); }

struct Corner {
    u32 y, x;

    __device__ __forceinline__ bool holds(u32 row, u32 col, u32 side) const { return row - y < side && col - x < side; }
};

__device__ __forceinline__ float shifted(float x, float step) { return __saturatef(__fadd_rn(x, step)); }

// Squares of the direction's channel, by a warp.
__device__ __forceinline__ float plane_square(const float* dir, u32 pixels) {
    float sum = 0.0f;
    for (u32 i = threadIdx.x % 32; i < pixels; i += 32) sum = __fadd_rn(sum, __fmul_rn(dir[i], dir[i]));
    return warp_sum(sum);
}

// The sum over the channels, of which each has put its own there; all threads get it.
__device__ __forceinline__ float over_channels(const float* sums, u32 channels) {
    __syncthreads();
    float sum = 0.0f;
    for (u32 c = 0; c < channels; c++) sum = __fadd_rn(sum, sums[c]);
    __syncthreads();
    return sum;
}

// `adv`, so far a direction, whose channels' squares are in `sums`, becomes x + eps*d/|d|.
__device__ __forceinline__ void normalise(float* adv, const float* __restrict__ x, const float* sums, const SquareDims& d) {
    float norm = __fadd_rn(__fsqrt_rn(over_channels(sums, d.c)), TINY);
    for (u32 i = threadIdx.x; i < d.c * d.h * d.w; i += THREADS)
        adv[i] = shifted(x[i], __fmul_rn(__fdiv_rn(adv[i], norm), d.eps));
}

template <bool L2>
__device__ __forceinline__ void start(float* __restrict__ adv, float* __restrict__ margin, const float* __restrict__ x,
                                      const float* __restrict__ eta, const u32* __restrict__ sample,
                                      const u32* __restrict__ control, const u32* __restrict__ position,
                                      const u32* __restrict__ live, const SquareDims& d) {
    __shared__ float sums[MAX_CHANNELS];
    u32 slot = blockIdx.x, t = threadIdx.x, pixels = d.h * d.w;
    if (slot >= live[0]) return;
    u32 at = position[slot];
    adv += (size_t)slot * d.c * pixels, x += (size_t)slot * d.c * pixels;
    Dice dice = {d, control[control::EPOCH], sample[at], 0};
    if (t == 0) margin[at] = INFINITY;
    if constexpr (!L2) {
        for (u32 column = t; column < d.c * d.w; column += THREADS) {
            float step = __fmul_rn(dice.sign(column), d.eps);
            u32 c = column / d.w, first = c * pixels + column - c * d.w;
            for (u32 row = 0; row < d.h; row++) adv[first + row * d.w] = shifted(x[first + row * d.w], step);
        }
    } else {
        for (u32 c = t / 32; c < d.c; c += WARPS) {
            float sum = 0.0f;
            for (u32 i = t % 32; i < pixels; i += 32) {
                u32 side = d.start.side, row = i / d.w, col = i - row * d.w, y = row - d.corner, x = col - d.corner;
                float v = 0.0f;
                if (row >= d.corner && col >= d.corner && y < d.grid[0] * side && x < d.grid[1] * side) {
                    u32 down = y / side, right = x / side, first = (down * d.grid[1] + right) * (1 + d.c);
                    y -= down * side, x -= right * side;
                    bool across = dice.sign(first) > 0.0f;
                    v = __fmul_rn(dice.sign(first + 1 + c), eta[d.start.table + (across ? x * side + y : y * side + x)]);
                }
                adv[c * pixels + i] = v;
                sum = __fadd_rn(sum, __fmul_rn(v, v));
            }
            sum = warp_sum(sum);
            if (t % 32 == 0) sums[c] = sum;
        }
        normalise(adv, x, sums, d);
    }
}

// The direction of one channel, by a warp, and the sum of its squares.
__device__ __forceinline__ float pyramid(float* dir, const float* __restrict__ eta, float sign, bool across, u32 side,
                                         const Corner (&corners)[2], float free, const SquareDims& d) {
    u32 lane = threadIdx.x % 32, pixels = d.h * d.w;
    float first = 0.0f, both = 0.0f, norm = 0.0f;
    for (u32 i = lane; i < pixels; i += 32) {
        u32 row = i / d.w, col = i - row * d.w;
        bool in = corners[0].holds(row, col, side), or_in = in || corners[1].holds(row, col, side);
        float v = __fmul_rn(dir[i], dir[i]);
        if (in) first = __fadd_rn(first, v);
        if (or_in) both = __fadd_rn(both, v);
    }
    first = __fadd_rn(__fsqrt_rn(warp_sum(first)), TINY);
    both = warp_sum(both);
    for (u32 i = lane; i < pixels; i += 32) {
        u32 row = i / d.w, col = i - row * d.w, y = row - corners[0].y, x = col - corners[0].x;
        if (corners[0].holds(row, col, side)) {
            float v = __fmul_rn(sign, eta[across ? x * side + y : y * side + x]);
            dir[i] = v = __fadd_rn(v, __fdiv_rn(dir[i], first));
            norm = __fadd_rn(norm, __fmul_rn(v, v));
        } else if (corners[1].holds(row, col, side)) {
            dir[i] = 0.0f;
        }
    }
    norm = __fadd_rn(__fsqrt_rn(warp_sum(norm)), TINY);
    float scale = __fdiv_rn(__fsqrt_rn(__fadd_rn(free, both)), norm);
    for (u32 i = lane; i < pixels; i += 32) {
        u32 row = i / d.w, col = i - row * d.w;
        if (corners[0].holds(row, col, side)) dir[i] = __fmul_rn(dir[i], scale);
    }
    return plane_square(dir, pixels);
}

template <bool L2>
__device__ __forceinline__ void step(float* adv, float* __restrict__ best, float* __restrict__ margin,
                                     const float* __restrict__ x, const float* __restrict__ logits,
                                     const float* __restrict__ eta, const u32* __restrict__ label,
                                     const u32* __restrict__ sample, const u32* __restrict__ control,
                                     const u32* __restrict__ position, const u32* __restrict__ live, const SquareDims& d) {
    __shared__ float sums[MAX_CHANNELS], signs[MAX_CHANNELS];
    u32 slot = blockIdx.x, t = threadIdx.x, pixels = d.h * d.w, len = d.c * pixels;
    if (slot >= live[0]) return;
    u32 at = position[slot], y = label[at];
    adv += (size_t)slot * len, x += (size_t)slot * len, best += (size_t)at * len;
    const float* z = logits + (size_t)at * d.classes;
    float now = __fsub_rn(z[y], z[warp_argmax(z, d.classes, y)]);
    bool better = now < margin[at];
    u32 query = control[control::ITERATION] + d.offset;
    Dice dice = {d, control[control::EPOCH], sample[at], (query + 1) * d.blocks};
    if (t < d.c) signs[t] = dice.sign(1 + t);
    // Also: everybody has read the margin.
    __syncthreads();
    if (t == 0 && better) margin[at] = now;
    LevelDims level = d.levels[0];
#pragma unroll
    for (u32 i = 1; i < LEVELS; i++)
        if (query >= d.from[i - 1]) level = d.levels[i];
    uint4 r = dice.block(0);
    u32 rows = d.h - level.side, cols = d.w - level.side;
    Corner corners[2] = {{place(r.x, rows), place(r.y, cols)}, {place(r.z, rows), place(r.w, cols)}};
    if constexpr (!L2) {
#pragma unroll 4
        for (u32 i = t; i < len; i += THREADS) {
            float v = better ? adv[i] : best[i];
            if (better) best[i] = v;
            u32 c = i / pixels, row = i / d.w - c * d.h, col = i % d.w;
            adv[i] = corners[0].holds(row, col, level.side) ? shifted(x[i], __fmul_rn(signs[c], d.eps)) : v;
        }
    } else {
        for (u32 c = t / 32; c < d.c; c += WARPS) {
            float sum = 0.0f;
            for (u32 i = c * pixels + t % 32; i < (c + 1) * pixels; i += 32) {
                float v = better ? adv[i] : best[i];
                if (better) best[i] = v;
                adv[i] = v = __fsub_rn(v, x[i]);
                sum = __fadd_rn(sum, __fmul_rn(v, v));
            }
            sum = warp_sum(sum);
            if (t % 32 == 0) sums[c] = sum;
        }
        float length = __fsqrt_rn(over_channels(sums, d.c));
        float free = __fsub_rn(__fmul_rn(d.eps, d.eps), __fmul_rn(length, length));
        free = __fdiv_rn(fmaxf(free, 0.0f), (float)d.c);
        bool across = dice.sign(0) > 0.0f;
        for (u32 c = t / 32; c < d.c; c += WARPS) {
            float sum = pyramid(adv + c * pixels, eta + level.table, signs[c], across, level.side, corners, free, d);
            if (t % 32 == 0) sums[c] = sum;
        }
        normalise(adv, x, sums, d);
    }
}

#define ENTRIES(L2, suffix)                                                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS) square_start_##suffix(                                              \
        float* __restrict__ adv, float* __restrict__ margin, const float* __restrict__ x, const float* __restrict__ eta,      \
        const u32* __restrict__ sample, const u32* __restrict__ control, const u32* __restrict__ position,                    \
        const u32* __restrict__ live, const __grid_constant__ SquareDims d) {                                                 \
        start<L2>(adv, margin, x, eta, sample, control, position, live, d);                                                   \
    }                                                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS) square_step_##suffix(                                               \
        float* __restrict__ adv, float* __restrict__ best, float* __restrict__ margin, const float* __restrict__ x,           \
        const float* __restrict__ logits, const float* __restrict__ eta, const u32* __restrict__ label,                       \
        const u32* __restrict__ sample, const u32* __restrict__ control, const u32* __restrict__ position,                    \
        const u32* __restrict__ live, const __grid_constant__ SquareDims d) {                                                 \
        step<L2>(adv, best, margin, x, logits, eta, label, sample, control, position, live, d);                               \
    }

ENTRIES(false, linf)
ENTRIES(true, l2)
