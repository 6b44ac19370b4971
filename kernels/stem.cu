// The stem: a 3x3 convolution, stride 1, of an image, and its gradients. In f32 on CUDA cores: with one to four input
// channels it is bound by the map that it writes or reads.
//
//   z = (image[c,h,w] - mean[c]) / std[c], and 0 outside the image
//   fprop  y [n,h,w,k] = sum over c,r,s of z[n,c,h+r-1,w+s-1] * w[k,r,s,c] + bias[k];  a = max(0, scale[k]*y + shift[k])
//   dgrad  g [n,c,h,w] = sum over r,s,k of dy[n,h+1-r,w+1-s,k] * w[k,r,s,c] / std[c]
//          and that, or x_adv = clamp(clamp(x_adv + alpha*sign(g), x-eps, x+eps), 0, 1)
//   wgrad  dw[k,r,s,c] = sum over n,h,w of dy[n,h,w,k] * z[n,c,h+r-1,w+s-1]
//
// image, x      f32 [capacity, C, H, W] in; x null for the gradient
// x_adv, gradient  f32 [capacity, C, H, W]: x_adv in and out, gradient out
// y, a, dy      T [capacity, H, W, kp]: y and a out, nullable; dy in
// bits          u8 [capacity, H, W, kp/8] out, nullable
// bias, scale, shift  f32 [kp] in, nullable
// weights, dw   f32 [K, 3, 3, C]: weights in, dw out
// filter        f32, made by stem_prepare: fprop [C][r,s][kp]; dgrad [C/M][r][kp][F], where F holds [s][M] and zeros, r and s
//               are mirrored, M (channels of a block) is 1 or 3, and F is 4 or 12
// parts         f32 [parts, C, r,s, kp]: sums of wgrad's blocks, out; in of stem_wgrad_sum
// moments, counts  what moments.cuh says, of y and the tiles of fprop
// live          u32 [2] in
//
// Sums: fprop by thread over c, r, s. dgrad by thread over chunks of k, r, k, s, then over the warps in order. wgrad by thread
// over tiles and columns, then rows as a tree, then halves of the tile, then parts (every eighth, then those eight) in order.
// Each kernel's grid, block and shared memory are above it. Preconditions: 1 to 256 image channels; kp is a multiple of 8; pointers
// of T, bias, scale, shift and filter are multiples of 16.
#include "moments.cuh"
#include "patch.cuh"
#include "vector.cuh"
#include "warp.cuh"

constexpr u32 THREADS = 256, MAX_CHANNELS = 256;
// Channels of the image that are in shared memory at a time.
constexpr u32 CHANNELS = 4;
// Vectors of a chunk of dy's channels.
constexpr u32 VECTORS = 8;

struct StemDims {
    u32 c, h, w, k, kp;
    // Tiles across an image and in all; log2 of the groups of four pixels across a tile.
    u32 across, tiles, quads;
    // f32 of a row of an image's tile in shared memory.
    u32 pitch;
    // fprop: log2 of the groups of eight channels of a block; wgrad: log2 of the vectors of dy's pixel.
    u32 vectors;
    // fprop: warps with the same channels; wgrad: 16-byte vectors of a row of dy in shared memory.
    u32 sets;
    // wgrad: columns of a tile, and sums that are made.
    u32 cols, parts;
    float eps, alpha;
    float mean[MAX_CHANNELS], scale[MAX_CHANNELS];
};

// Rows `y0-1 ..` of channels `c0 ..` of an image to shared memory, normalised first and then padded with zeros.
__device__ __forceinline__ void image_tile(float* patch, const float* image, const StemDims& d, u32 slot, u32 c0, u32 channels,
                                           int y0, int x0, u32 rows, u32 cols) {
    u32 warps = blockDim.x / 32, lane = threadIdx.x % 32;
    for (u32 i = threadIdx.x / 32; i < channels * rows; i += warps) {
        u32 c = i / rows, row = i - c * rows;
        int y = y0 - 1 + (int)row;
        bool in = c0 + c < d.c && (u32)y < d.h;
        float mean = in ? d.mean[c0 + c] : 0.0f, scale = in ? d.scale[c0 + c] : 0.0f;
        const float* from = image + (((size_t)slot * d.c + (in ? c0 + c : 0)) * d.h + (in ? y : 0)) * d.w;
        for (u32 col = lane; col < cols; col += 32) {
            int x = x0 - 1 + (int)col;
            patch[i * d.pitch + col] = in && (u32)x < d.w ? (from[x] - mean) * scale : 0.0f;
        }
    }
}

// Prepares a filter.
//
// Grid (ceil(elements / 256)), 256 threads, no shared memory: an element each. `block` is M of dgrad, 0 for fprop.
struct StemPrepareDims {
    u32 c, k, kp, block, len;
    float std[MAX_CHANNELS];
};

extern "C" __global__ void __launch_bounds__(THREADS)
    stem_prepare(float* __restrict__ filter, const float* __restrict__ weights, StemPrepareDims d) {
    u32 i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= d.len) return;
    u32 c, k, tap;
    bool in = true;
    if (d.block == 0) {
        u32 row = i / d.kp;
        k = i - row * d.kp, c = row / 9, tap = row - c * 9;
    } else {
        u32 wide = d.block == 1 ? 4 : 12, rest = i / wide, at = i - rest * wide;
        u32 s = at / d.block;
        k = rest % d.kp, rest /= d.kp;
        u32 r = rest % 3;
        c = rest / 3 * d.block + at % d.block;
        tap = 8 - (r * 3 + s);
        in = s < 3 && c < d.c;
    }
    float v = 0.0f;
    if (in && k < d.k) {
        v = weights[((size_t)k * 9 + tap) * d.c + c];
        if (d.block != 0) v = __fdiv_rn(v, d.std[c]);
    }
    filter[i] = v;
}

// Writes four of a thread's pixels, those of half `u` of its tile: through shared memory, so that a warp writes whole lines.
// With MOMENTS those of what a thread writes too: always of the same channels.
template <class T, bool MOMENTS = false>
__device__ __forceinline__ void store_half(T* out, u8* bits, uint4* stage, const float (&v)[4][8], u32 u, const StemDims& d,
                                           u32 slot, u32 y0, u32 x0, u32 k0, Moments<LANES<T>>& moments) {
    constexpr u32 VEC = LANES<T>, OWN = 8 / VEC, OWN_LOG2 = OWN / 2;
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, log2 = d.vectors + OWN_LOG2;
    u32 group = warp & ((1u << d.vectors) - 1), quad = (warp >> d.vectors) * 32 + lane;
    __syncthreads();
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        u32 at = ((quad * 4 + i) << log2) + group * OWN;
        // The key spreads the quads of a row over the banks.
        if constexpr (VEC == 4) {
            stage[at ^ (quad & 7)] = pack({v[i][0], v[i][1], v[i][2], v[i][3]});
            stage[(at + 1) ^ (quad & 7)] = pack({v[i][4], v[i][5], v[i][6], v[i][7]});
        } else {
            stage[at ^ (quad & 7)] = pack(v[i]);
        }
    }
    __syncthreads();
    u32 half = 32u >> d.quads;
#pragma unroll
    for (u32 j = 0; j < 4 * OWN; j++) {
        u32 i = j * blockDim.x + threadIdx.x, pixel = i >> log2, vector = i & ((1u << log2) - 1), quad = pixel / 4;
        uint4 raw = stage[i ^ (quad & 7)];
        u32 row = (quad / 32 * 2 + u) * half + (quad % 32 >> d.quads);
        u32 col = (quad & ((1u << d.quads) - 1)) * 4 + pixel % 4;
        u32 y = y0 + row, x = x0 + col, k = k0 + vector * VEC;
        bool in = y < d.h && x < d.w && k < d.kp;
        size_t at = (((size_t)slot * d.h + y) * d.w + x) * d.kp + k;
        if (in) *reinterpret_cast<uint4*>(out + at) = raw;
        if (MOMENTS && in) {
            float stored[VEC];
            unpack(raw, stored);
            moments.add(stored);
        }
        if (bits) {
            float a[VEC];
            unpack(raw, a);
            u32 mask = 0;
#pragma unroll
            for (u32 e = 0; e < VEC; e++) mask |= (a[e] > 0.0f ? 1u : 0u) << e;
            if (VEC == 4) {
                mask <<= vector % 2 * 4;
                mask |= __shfl_xor_sync(ALL, mask, 1);
            }
            if (in && vector % OWN == 0) bits[at / 8] = (u8)mask;
        }
    }
}

// fprop. y, a, bits out, nullable; bias, scale and shift nullable; scale and shift only together; bits only with a.
//
// Grid (tiles of an image, capacity, ceil(kp / 64)), 32 * 2^vectors * sets threads (at most 256). A warp has 8 channels of
// 64 groups of four pixels, 2^quads across, a thread two such groups half a warp's rows apart. Shared memory: the image's tile
// with its border and the filter, CHANNELS image channels at a time; then half of the outputs; then moments_shared. With moments
// there is y and no a.
template <class T, bool MOMENTS = false>
__device__ __forceinline__ void fprop(T* y, T* a, u8* bits, float* moments, u32* counts, const float* image,
                                      const float* filter, const float* bias, const float* scale, const float* shift,
                                      const u32* live, const StemDims& d) {
    extern __shared__ __align__(16) float shared[];
    u32 slot = blockIdx.y;
    if (slot >= live[0]) return;
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = warp & ((1u << d.vectors) - 1), set = warp >> d.vectors;
    u32 half = 32u >> d.quads, rows = d.sets * 2 * half + 2, cols = (4u << d.quads) + 2;
    u32 y0 = blockIdx.x / d.across * (rows - 2), x0 = blockIdx.x % d.across * (cols - 2), k0 = blockIdx.z * 64;
    u32 wide = 8u << d.vectors, plane = rows * d.pitch;
    float* taps = shared + CHANNELS * plane;
    const float* corner =
        shared + (set * 2 * half + (lane >> d.quads)) * d.pitch + (lane & ((1u << d.quads) - 1)) * 4;

    float acc[2][4][8] = {};
    for (u32 c0 = 0; c0 < d.c; c0 += CHANNELS) {
        u32 channels = min(CHANNELS, d.c - c0);
        if (c0 > 0) __syncthreads();
        // Two columns more than the border: vectors of four reach there.
        image_tile(shared, image, d, slot, c0, channels, y0, x0, rows, cols + 2);
        for (u32 i = threadIdx.x; i < channels * 9 * wide / 4; i += blockDim.x) {
            u32 row = i * 4 / wide, k = i * 4 - row * wide;
            float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (k0 + k < d.kp) v = *reinterpret_cast<const float4*>(filter + ((size_t)c0 * 9 + row) * d.kp + k0 + k);
            reinterpret_cast<float4*>(taps)[i] = v;
        }
        __syncthreads();
#pragma unroll 1
        for (u32 c = 0; c < channels; c++) {
#pragma unroll
            for (u32 r = 0; r < 3; r++) {
                float x[2][8];
#pragma unroll
                for (u32 u = 0; u < 2; u++) load_floats(corner + c * plane + (u * half + r) * d.pitch, x[u]);
#pragma unroll
                for (u32 s = 0; s < 3; s++) {
                    float w[8];
                    load_floats(taps + (c * 9 + r * 3 + s) * wide + group * 8, w);
#pragma unroll
                    for (u32 u = 0; u < 2; u++)
#pragma unroll
                        for (u32 i = 0; i < 4; i++)
#pragma unroll
                            for (u32 k = 0; k < 8; k++) acc[u][i][k] = fmaf(x[u][i + s], w[k], acc[u][i][k]);
                }
            }
        }
    }

    u32 k = k0 + group * 8;
    bool in = k < d.kp;
    uint4* stage = reinterpret_cast<uint4*>(shared);
    if (bias && in) {
        float b[8];
        load_floats(bias + k, b);
#pragma unroll
        for (u32 u = 0; u < 2; u++)
#pragma unroll
            for (u32 i = 0; i < 4; i++)
#pragma unroll
                for (u32 k = 0; k < 8; k++) acc[u][i][k] += b[k];
    }
    Moments<LANES<T>> of_y, of_a;
#pragma unroll
    for (u32 u = 0; u < 2; u++) {
        if (y) store_half<T, MOMENTS>(y, nullptr, stage, acc[u], u, d, slot, y0, x0, k0, of_y);
        if (a) {
            if (scale && in) {
                float m[8], t[8];
                load_floats(scale + k, m);
                load_floats(shift + k, t);
#pragma unroll
                for (u32 i = 0; i < 4; i++)
#pragma unroll
                    for (u32 k = 0; k < 8; k++) acc[u][i][k] = fmaf(acc[u][i][k], m[k], t[k]);
            }
#pragma unroll
            for (u32 i = 0; i < 4; i++)
#pragma unroll
                for (u32 k = 0; k < 8; k++) acc[u][i][k] = fmaxf(acc[u][i][k], 0.0f);
            store_half<T>(a, bits, stage, acc[u], u, d, slot, y0, x0, k0, of_a);
        }
    }
    if (MOMENTS) {
        u32 tile = slot * d.tiles + blockIdx.x, vectors = wide / LANES<T>;
        moments_write(moments, counts, shared, of_y, blockDim.x, vectors, k0, d.kp, tile);
    }
}

// dgrad. out: the gradient, or x_adv where x is given (in and out).
//
// Grid (tiles of an image, capacity, ceil(C / M)), 256 threads. A tile is 64 groups of four pixels, 2^quads across, a thread's
// two half a tile apart. A warp has a 16-byte vector of channels of dy of all pixels of the tile, chunk of 128 bytes by chunk;
// then a thread adds up the warps' sums for one pixel. Shared memory: a chunk of dy's tile with its border, and its filter;
// then the sums.
template <class T, u32 M>
__device__ __forceinline__ void dgrad(float* out, const float* x, const T* dy, const float* filter, const u32* live,
                                      const StemDims& d) {
    constexpr u32 VEC = LANES<T>, F = M == 1 ? 4 : 12;
    extern __shared__ __align__(16) float shared[];
    u32 slot = blockIdx.y;
    if (slot >= live[0]) return;
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u32 half = 32u >> d.quads, rows = 2 * half + 2, cols = (4u << d.quads) + 2;
    u32 y0 = blockIdx.x / d.across * (rows - 2), x0 = blockIdx.x % d.across * (cols - 2);
    u32 vectors = d.kp / VEC;
    const T* base = dy + (size_t)slot * d.h * d.w * d.kp;
    const float* weights = filter + (size_t)blockIdx.z * 3 * d.kp * F;
    const uint4* patch = reinterpret_cast<const uint4*>(shared);
    float* taps = shared + rows * cols * 32;
    u32 patch_at = shared_address(shared), taps_at = shared_address(taps);
    u32 row = lane >> d.quads, quad = lane & ((1u << d.quads) - 1);

    float acc[2][4][M] = {};
    for (u32 v0 = 0; v0 < vectors; v0 += VECTORS) {
        if (v0 > 0) __syncthreads();
        u32 v = threadIdx.x % VECTORS, r = 0, q = threadIdx.x / VECTORS;
        for (;;) {
            while (q >= cols) q -= cols, r++;
            if (r >= rows) break;
            u32 py = y0 + r - 1, px = x0 + q - 1;
            bool in = py < d.h && px < d.w && v0 + v < vectors;
            const T* from = in ? base + ((size_t)py * d.w + px) * d.kp + (v0 + v) * VEC : base;
            // The key spreads the groups of four pixels over the banks.
            u32 key = (q / 4 + (r << d.quads)) & 7;
            cp_async(patch_at + ((r * cols + q) * VECTORS + (v ^ key)) * VECTOR, from, in ? 16 : 0);
            q += THREADS / VECTORS;
        }
        u32 channels = min(VECTORS * VEC, d.kp - v0 * VEC), each = channels * F / 4;
        for (u32 i = threadIdx.x; i < 3 * each; i += THREADS) {
            u32 r = i / each, at = i - r * each;
            const float* from = weights + ((size_t)r * d.kp + v0 * VEC) * F + at * 4;
            cp_async(taps_at + (r * VECTORS * VEC * F + at * 4) * 4, from, 16);
        }
        cp_async_commit();
        cp_async_wait<0>();
        __syncthreads();
        if (v0 + warp >= vectors) continue;
#pragma unroll 1
        for (u32 r = 0; r < 3; r++) {
            uint4 raw[2][6];
#pragma unroll
            for (u32 u = 0; u < 2; u++)
#pragma unroll
                for (u32 i = 0; i < 6; i++) {
                    u32 pr = u * half + row + r, pq = quad * 4 + i;
                    u32 key = (quad + i / 4 + (pr << d.quads)) & 7;
                    raw[u][i] = patch[(pr * cols + pq) * VECTORS + (warp ^ key)];
                }
            float g[2][6][VEC];
#pragma unroll
            for (u32 u = 0; u < 2; u++)
#pragma unroll
                for (u32 i = 0; i < 6; i++) unpack(raw[u][i], g[u][i]);
#pragma unroll
            for (u32 k = 0; k < VEC; k++) {
                float w[F];
                const float4* from = reinterpret_cast<const float4*>(taps + ((r * VECTORS + warp) * VEC + k) * F);
#pragma unroll
                for (u32 i = 0; i < F / 4; i++) {
                    float4 f = from[i];
                    w[4 * i] = f.x, w[4 * i + 1] = f.y, w[4 * i + 2] = f.z, w[4 * i + 3] = f.w;
                }
#pragma unroll
                for (u32 s = 0; s < 3; s++)
#pragma unroll
                    for (u32 u = 0; u < 2; u++)
#pragma unroll
                        for (u32 i = 0; i < 4; i++)
#pragma unroll
                            for (u32 c = 0; c < M; c++)
                                acc[u][i][c] = fmaf(g[u][i + s][k], w[s * M + c], acc[u][i][c]);
            }
        }
    }

    __syncthreads();
#pragma unroll
    for (u32 u = 0; u < 2; u++)
#pragma unroll
        for (u32 c = 0; c < M; c++)
            reinterpret_cast<float4*>(shared)[(warp * M + c) * 64 + u * 32 + lane] =
                make_float4(acc[u][0][c], acc[u][1][c], acc[u][2][c], acc[u][3][c]);
    __syncthreads();
    u32 px = x0 + (threadIdx.x & ((4u << d.quads) - 1)), py = y0 + (threadIdx.x >> (d.quads + 2));
    if (px >= d.w || py >= d.h) return;
#pragma unroll
    for (u32 i = 0; i < M; i++) {
        u32 c = blockIdx.z * M + i;
        if (c >= d.c) break;
        float g = 0.0f;
#pragma unroll
        for (u32 w = 0; w < VECTORS; w++) g += shared[(w * M + i) * THREADS + threadIdx.x];
        size_t at = (((size_t)slot * d.c + c) * d.h + py) * d.w + px;
        if (x) {
            float step = g > 0.0f ? d.alpha : g < 0.0f ? -d.alpha : 0.0f, clean = x[at];
            float v = __fadd_rn(out[at], step);
            v = fminf(fmaxf(v, __fsub_rn(clean, d.eps)), __fadd_rn(clean, d.eps));
            g = fminf(fmaxf(v, 0.0f), 1.0f);
        }
        out[at] = g;
    }
}

// The tiles of wgrad's live images, and the parts that have any.
__device__ __forceinline__ u32 wgrad_parts(const StemDims& d, u32 live) { return min(d.parts, live * d.tiles); }

// wgrad. parts out.
//
// Grid (parts, ceil(C / CHANNELS), ceil(kp / chunk)), where a chunk is 128 bytes of channels; 64 threads for each image
// channel of a block. A block adds up every parts-th tile. A tile has 2*(32 >> vectors) rows of `cols` columns, a warp half of
// the rows and one image channel, a thread a row and a 16-byte vector of dy's channels: all nine taps of them. Shared memory:
// dy's tile, and the image's with its border; then the sums of both halves.
template <class T>
__device__ __forceinline__ void wgrad(float* parts, const float* image, const T* dy, const u32* live, const StemDims& d) {
    constexpr u32 VEC = LANES<T>;
    extern __shared__ __align__(16) float shared[];
    u32 n = live[0], used = wgrad_parts(d, n);
    if (blockIdx.x >= used) return;
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, channels = min(CHANNELS, d.c);
    u32 c0 = blockIdx.y * CHANNELS, c = warp / 2, set = warp % 2;
    u32 wide = 1u << d.vectors, v0 = blockIdx.z * VECTORS, vectors = d.kp / VEC;
    u32 half = 32u >> d.vectors, rows = 2 * half, row = set * half + (lane >> d.vectors), vector = lane & (wide - 1);
    const uint4* grads = reinterpret_cast<const uint4*>(shared);
    float* patch = shared + rows * d.sets * 4;
    u32 grads_at = shared_address(shared);
    const float* corner = patch + (c * (rows + 2) + row) * d.pitch;

    float acc[VEC][9] = {};
    for (u32 t = blockIdx.x; t < n * d.tiles; t += used) {
        u32 slot = t / d.tiles, tile = t - slot * d.tiles;
        u32 y0 = tile / d.across * rows, x0 = tile % d.across * d.cols;
        const T* base = dy + (size_t)slot * d.h * d.w * d.kp;
        if (t != blockIdx.x) __syncthreads();
        u32 v = threadIdx.x & (wide - 1), r = 0, q = threadIdx.x >> d.vectors;
        for (;;) {
            while (q >= d.cols) q -= d.cols, r++;
            if (r >= rows) break;
            bool in = y0 + r < d.h && x0 + q < d.w && v0 + v < vectors;
            const T* from = in ? base + ((size_t)(y0 + r) * d.w + x0 + q) * d.kp + (v0 + v) * VEC : base;
            cp_async(grads_at + (r * d.sets + q * wide + v) * VECTOR, from, in ? 16 : 0);
            q += blockDim.x >> d.vectors;
        }
        cp_async_commit();
        image_tile(patch, image, d, slot, c0, channels, y0, x0, rows + 2, d.cols + 2);
        cp_async_wait<0>();
        __syncthreads();
        float x[3][3];
#pragma unroll
        for (u32 r = 0; r < 3; r++) x[r][1] = corner[r * d.pitch], x[r][2] = corner[r * d.pitch + 1];
#pragma unroll 3
        for (u32 q = 0; q < d.cols; q++) {
            float g[VEC];
            unpack(grads[row * d.sets + q * wide + vector], g);
#pragma unroll
            for (u32 r = 0; r < 3; r++) {
                x[r][0] = x[r][1], x[r][1] = x[r][2], x[r][2] = corner[r * d.pitch + q + 2];
#pragma unroll
                for (u32 s = 0; s < 3; s++)
#pragma unroll
                    for (u32 k = 0; k < VEC; k++) acc[k][r * 3 + s] = fmaf(g[k], x[r][s], acc[k][r * 3 + s]);
            }
        }
    }

    for (u32 off = wide; off < 32; off *= 2)
#pragma unroll
        for (u32 k = 0; k < VEC; k++)
#pragma unroll
            for (u32 tap = 0; tap < 9; tap++) acc[k][tap] += __shfl_xor_sync(ALL, acc[k][tap], off);
    __syncthreads();
    u32 len = channels * 9 * wide * VEC;
    if (lane < wide)
#pragma unroll
        for (u32 tap = 0; tap < 9; tap++)
#pragma unroll
            for (u32 i = 0; i < VEC; i += 4) {
                // Where a vector has two halves, every second four lanes store theirs in the other order: all banks differ.
                bool other = VEC == 8 && vector / 4 % 2;
                u32 j = VEC == 8 ? 4 - i : i, at = other ? j : i;
                float4 v = make_float4(other ? acc[j][tap] : acc[i][tap], other ? acc[j + 1][tap] : acc[i + 1][tap],
                                       other ? acc[j + 2][tap] : acc[i + 2][tap], other ? acc[j + 3][tap] : acc[i + 3][tap]);
                *reinterpret_cast<float4*>(shared + set * len + ((c * 9 + tap) * wide + vector) * VEC + at) = v;
            }
    __syncthreads();
    for (u32 i = threadIdx.x; i < len; i += blockDim.x) {
        u32 row = i / (wide * VEC), k = v0 * VEC + i - row * wide * VEC;
        if (k < d.kp && c0 + row / 9 < d.c)
            parts[((size_t)blockIdx.x * d.c * 9 + c0 * 9 + row) * d.kp + k] = shared[i] + shared[len + i];
    }
}

// dw = sum of the parts; 0 without any. dw out.
//
// Grid (ceil(C * 9 * kp / 32)), 256 threads, 1 KiB of shared memory: a warp adds up every eighth part of 32 elements, then one
// those eight sums.
extern "C" __global__ void __launch_bounds__(THREADS)
    stem_wgrad_sum(float* __restrict__ dw, const float* __restrict__ parts, const u32* __restrict__ live, StemDims d) {
    __shared__ float sums[8][32];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, i = blockIdx.x * 32 + lane;
    u32 len = d.c * 9 * d.kp, used = wgrad_parts(d, live[0]);
    float sum = 0.0f;
    if (i < len)
        for (u32 p = warp; p < used; p += 8) sum += parts[(size_t)p * len + i];
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || i >= len) return;
    for (u32 w = 1; w < 8; w++) sum += sums[w][lane];
    u32 row = i / d.kp, k = i - row * d.kp, c = row / 9, tap = row - c * 9;
    if (k < d.k) dw[((size_t)k * 9 + tap) * d.c + c] = sum;
}

#define STEM_ENTRIES(T, SUFFIX)                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                       \
        stem_fprop_##SUFFIX(T* __restrict__ y, T* __restrict__ a, u8* __restrict__ bits, const float* __restrict__ image,   \
                            const float* __restrict__ filter, const float* __restrict__ bias,                               \
                            const float* __restrict__ scale, const float* __restrict__ shift,                               \
                            const u32* __restrict__ live, const __grid_constant__ StemDims d) {                             \
        fprop<T>(y, a, bits, nullptr, nullptr, image, filter, bias, scale, shift, live, d);                                 \
    }                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                       \
        stem_fprop_moments_##SUFFIX(T* __restrict__ y, float* __restrict__ moments, u32* __restrict__ counts,               \
                                    const float* __restrict__ image, const float* __restrict__ filter,                      \
                                    const float* __restrict__ bias, const u32* __restrict__ live,                           \
                                    const __grid_constant__ StemDims d) {                                                   \
        fprop<T, true>(y, nullptr, nullptr, moments, counts, image, filter, bias, nullptr, nullptr, live, d);               \
    }                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                       \
        stem_dgrad_one_##SUFFIX(float* __restrict__ out, const float* __restrict__ x, const T* __restrict__ dy,             \
                                const float* __restrict__ filter, const u32* __restrict__ live,                             \
                                const __grid_constant__ StemDims d) {                                                       \
        dgrad<T, 1>(out, x, dy, filter, live, d);                                                                           \
    }                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                       \
        stem_dgrad_three_##SUFFIX(float* __restrict__ out, const float* __restrict__ x, const T* __restrict__ dy,           \
                                  const float* __restrict__ filter, const u32* __restrict__ live,                           \
                                  const __grid_constant__ StemDims d) {                                                     \
        dgrad<T, 3>(out, x, dy, filter, live, d);                                                                           \
    }                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                                       \
        stem_wgrad_##SUFFIX(float* __restrict__ parts, const float* __restrict__ image, const T* __restrict__ dy,           \
                            const u32* __restrict__ live, const __grid_constant__ StemDims d) {                             \
        wgrad<T>(parts, image, dy, live, d);                                                                                \
    }

STEM_ENTRIES(float, f32)
STEM_ENTRIES(__nv_bfloat16, bf16)
