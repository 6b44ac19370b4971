// Convolution wgrad.
//
//   dw[k,r,s,c] = sum over live n, p, q of dy[n,p,q,k] * x[n, p*stride + r - pad, q*stride + s - pad, c]
//
// parts  f32 [parts, K, R*S, cp]: sums of the blocks, out; in of conv_wgrad_sum
// dw     f32 [K, R*S, C] out, overwritten
// x      T [capacity, H, W, cp] in
// dy     T [capacity, P, Q, kp] in
// live   u32 [2] in
//
// Grid (chunks of K, chunks of C, parts), a chunk being 128 bytes of channels. A block adds up every parts-th tile of pixels
// (patch.cuh says what tiles and patches are) for a chunk of K, a chunk of C and all taps. With stride 2 x is four patches: its
// even and odd rows and columns. Two tiles are in shared memory: while one is added the next is on its way. Shared memory:
// twice x's patches and dy's pixels (144 bytes apart), twice the tables of both, and the place in a patch of each pixel.
// Threads: R groups, each with the taps of a row of the filter. bf16: four warps of 32 k x 32 c with mma.m16n8k16. f32: two
// warps, a thread has 4 k x 4 c.
// Order of the sum: tiles, then their pixels; then parts (groups of every so many, then the groups) in order.
// Preconditions: pointers are multiples of 16 but dw, cp and kp of 8.
#include "mma.cuh"
#include "patch.cuh"

// Threads of a block of the sum over parts, and the depth of an mma, which pixels are padded to.
constexpr u32 SUM_THREADS = 256, DEPTH = 16;

struct ConvWgradDims {
    // Tiles of output pixels; the same without gaps between pixels, for dy.
    Tile tile, dense;
    Patch dy, x[4];
    u32 patches;
    // In shared memory: bytes from patch to patch and from tile to tile, where dy's pixels, the tables and the places are;
    // entries of a table before those of each patch, dy's being the last.
    u32 patch_bytes, stage_bytes, dy_at, tables, places;
    u32 entries[5], entries_all;
    // Byte offset of what each tap reads from the place of a pixel.
    u32 tap[9];
    u32 c, k, cp, taps, parts;
    // Pixels of a tile, and the same rounded up to 16.
    u32 pixels, padded;
    // Threads that share the parts of an element.
    u32 groups;
};

// Parts that have a tile.
__device__ __forceinline__ u32 used_parts(const ConvWgradDims& d, u32 live) {
    return min(d.parts, (live + d.tile.images - 1) / d.tile.images * d.tile.down * d.tile.across);
}

// Sums of S taps in a row of the filter, of 32 k x 32 c, in fragments.
template <int S> struct Bf16Sums {
    typedef __nv_bfloat16 Type;
    static const u32 WARPS = 4;
    float sum[S][2][4][4];

    // First k and c of this warp in the chunks.
    __device__ __forceinline__ static u32 k0() { return threadIdx.x / 64 % 2 * 32; }
    __device__ __forceinline__ static u32 c0() { return threadIdx.x / 32 % 2 * 32; }

    __device__ __forceinline__ void add(const char* shared, u32 stage, const u32 (&tap)[S], const ConvWgradDims& d) {
        u32 lane = threadIdx.x % 32, base = shared_address(shared) + stage;
        const u32* place = (const u32*)(shared + d.places) + lane % 16;
        u32 a = base + d.dy_at + lane % 16 * PITCH + lane / 16 * 16 + k0() * 2, b = base + lane / 16 * 16 + c0() * 2;
#pragma unroll 1
        for (u32 m = 0; m < d.padded; m += DEPTH) {
            u32 left[2][4], at = b + place[m];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                // Pixels and channels by eights: (0,0) (1,0) (0,1) (1,1). An mma wants channels first.
                u32 r[4];
                ldmatrix_trans(a + m * PITCH + i * 32, r);
                left[i][0] = r[0], left[i][1] = r[2], left[i][2] = r[1], left[i][3] = r[3];
            }
#pragma unroll
            for (int s = 0; s < S; s++)
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    u32 right[4];
                    ldmatrix_trans(at + tap[s] + j * 32, right);
#pragma unroll
                    for (int i = 0; i < 2; i++) {
                        mma(sum[s][i][2 * j], left[i], right[0], right[1]);
                        mma(sum[s][i][2 * j + 1], left[i], right[2], right[3]);
                    }
                }
        }
    }

    // Stores to `parts`, whose element (k, tap, c) is at (k*taps + tap)*cp + c, from tap `first` on.
    __device__ __forceinline__ void store(float* parts, u32 k, u32 c, u32 first, const ConvWgradDims& d) {
        u32 lane = threadIdx.x % 32;
        k += k0() + lane / 4, c += c0() + lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (k + i * 8 >= d.k) continue;
#pragma unroll
            for (int s = 0; s < S; s++) {
                float* row = parts + ((size_t)(k + i * 8) * d.taps + first + s) * d.cp;
#pragma unroll
                for (int j = 0; j < 4; j++)
                    if (c + j * 8 < d.cp)
                        *(float2*)(row + c + j * 8) =
                            make_float2(sum[s][i / 2][j][i % 2 * 2], sum[s][i / 2][j][i % 2 * 2 + 1]);
            }
        }
    }
};

// The same of 32 k x 16 c of a warp, 4 k x 4 c of a thread.
template <int S> struct F32Sums {
    typedef float Type;
    static const u32 WARPS = 2;
    float sum[S][4][4];

    __device__ __forceinline__ static u32 k0() { return 0; }
    __device__ __forceinline__ static u32 c0() { return threadIdx.x / 32 % 2 * 16; }

    __device__ __forceinline__ void add(const char* shared, u32 stage, const u32 (&tap)[S], const ConvWgradDims& d) {
        u32 lane = threadIdx.x % 32;
        const u32* place = (const u32*)(shared + d.places);
        const char* left = shared + stage + d.dy_at + lane % 8 * 16;
        const char* right = shared + stage + (lane / 8 * 4 + c0()) * 4;
#pragma unroll 2
        for (u32 m = 0; m < d.pixels; m++) {
            float4 g4 = *(const float4*)(left + m * PITCH);
            float g[4] = {g4.x, g4.y, g4.z, g4.w};
            const char* at = right + place[m];
#pragma unroll
            for (int s = 0; s < S; s++) {
                float4 x4 = *(const float4*)(at + tap[s]);
                float x[4] = {x4.x, x4.y, x4.z, x4.w};
#pragma unroll
                for (int k = 0; k < 4; k++)
#pragma unroll
                    for (int c = 0; c < 4; c++) sum[s][k][c] = fmaf(g[k], x[c], sum[s][k][c]);
            }
        }
    }

    __device__ __forceinline__ void store(float* parts, u32 k, u32 c, u32 first, const ConvWgradDims& d) {
        u32 lane = threadIdx.x % 32;
        k += lane % 8 * 4, c += c0() + lane / 8 * 4;
        if (c >= d.cp) return;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (k + i >= d.k) break;
#pragma unroll
            for (int s = 0; s < S; s++)
                *(float4*)(parts + ((size_t)(k + i) * d.taps + first + s) * d.cp + c) =
                    make_float4(sum[s][i][0], sum[s][i][1], sum[s][i][2], sum[s][i][3]);
        }
    }
};

// A tile as its group of images, row and column of tiles; also how far it is from one tile to the next.
struct Place {
    u32 group, down, across;
};

__device__ __forceinline__ Place place_of(const Tile& t, u32 tile) {
    u32 rest = tile / t.across;
    return {rest / t.down, rest % t.down, tile % t.across};
}

__device__ __forceinline__ Place operator+(Place a, Place b) {
    return {a.group + b.group, a.down + b.down, a.across + b.across};
}

__device__ __forceinline__ Place carried(const Tile& t, Place p) {
    if (p.across >= t.across) p.across -= t.across, p.down++;
    if (p.down >= t.down) p.down -= t.down, p.group++;
    return p;
}

__device__ __forceinline__ Origin origin(const Tile& t, Place p) {
    return {p.group * t.images, p.down * t.rows.by, p.across * t.cols.by};
}

// The tables of the tile at `o`. A filter of one tap has one patch.
template <int R> __device__ __forceinline__ void fill_tables(u32* table, const ConvWgradDims& d, Origin o, u32 live) {
#pragma unroll 1
    for (u32 i = 0; i < (R == 1 ? 1 : d.patches); i++) patch_table(table + d.entries[i], d.tile, d.x[i], o, live);
    patch_table(table + d.entries[4], d.dense, d.dy, o, live);
}

// Starts the copy of the tile at `o`: the chunk of C from byte `c` of its pixels on and that of K from byte `k` on.
template <int R, int THREADS>
__device__ __forceinline__ void gather(u32 stage, const u32* table, const void* x, const void* dy, const ConvWgradDims& d,
                                       Origin o, u32 c, u32 k) {
#pragma unroll 1
    for (u32 i = 0; i < (R == 1 ? 1 : d.patches); i++)
        patch_gather<THREADS>(stage + i * d.patch_bytes, table + d.entries[i], patch_pixels(d.tile, d.x[i]),
                              patch_base(x, d.x[i], o), d.x[i].pixel, c, 8);
    patch_gather<THREADS>(stage + d.dy_at, table + d.entries[4], d.pixels, patch_base(dy, d.dy, o), d.dy.pixel, k, 8);
    cp_async_commit();
}

template <int R, class Sums>
__device__ __forceinline__ void wgrad(float* parts, const void* x, const void* dy, const u32* live, const ConvWgradDims& d) {
    constexpr u32 THREADS = R * Sums::WARPS * 32, CHANNELS = CHUNK / sizeof(typename Sums::Type);
    extern __shared__ __align__(256) char shared[];
    u32 n = live[0], step = used_parts(d, n);
    if (blockIdx.z >= step) return;
    u32 tiles = (n + d.tile.images - 1) / d.tile.images * d.tile.down * d.tile.across;
    u32 k = blockIdx.x * CHANNELS, c = blockIdx.y * CHANNELS, base = shared_address(shared);
    u32* tables = (u32*)(shared + d.tables);
    u32* places = (u32*)(shared + d.places);
    for (u32 m = threadIdx.x; m < d.padded; m += THREADS) places[m] = patch_offset(d.tile, min(m, d.pixels - 1));
    // What dy's pixels beyond the tile's last are: they add nothing.
    for (u32 i = threadIdx.x; i < (d.padded - d.pixels) * 2 * (CHUNK / 16); i += THREADS) {
        u32 pixel = d.pixels + i / 16, at = i / 8 % 2 * d.stage_bytes + d.dy_at + pixel * PITCH + i % 8 * 16;
        *(uint4*)(shared + at) = make_uint4(0, 0, 0, 0);
    }
    u32 row = threadIdx.x / (32 * Sums::WARPS), tap[R];
#pragma unroll
    for (int s = 0; s < R; s++) tap[s] = d.tap[row * R + s];
    Sums sums = {};
    // A warp whose channels don't exist only copies.
    bool active = k + Sums::k0() < d.k && c + Sums::c0() < d.c;

    u32 k_at = k * sizeof(typename Sums::Type), c_at = c * sizeof(typename Sums::Type);
    // While a tile is added, the next one's copy is started, and the tables of the one after that are made.
    Place next = place_of(d.tile, blockIdx.z), stride = place_of(d.tile, step);
    fill_tables<R>(tables, d, origin(d.tile, next), n);
    __syncthreads();
    gather<R, THREADS>(base, tables, x, dy, d, origin(d.tile, next), c_at, k_at);
    next = carried(d.tile, next + stride);
    if (blockIdx.z + step < tiles) fill_tables<R>(tables + d.entries_all, d, origin(d.tile, next), n);
    for (u32 t = blockIdx.z, parity = 0; t < tiles; t += step, parity ^= 1) {
        cp_async_wait<0>();
        __syncthreads();
        if (t + step < tiles)
            gather<R, THREADS>(base + (parity ^ 1) * d.stage_bytes, tables + (parity ^ 1) * d.entries_all, x, dy, d,
                            origin(d.tile, next), c_at, k_at);
        if (t + 2 * step < tiles) {
            next = carried(d.tile, next + stride);
            fill_tables<R>(tables + parity * d.entries_all, d, origin(d.tile, next), n);
        }
        if (active) sums.add(shared, parity * d.stage_bytes, tap, d);
    }
    if (active) sums.store(parts + (size_t)blockIdx.z * d.k * d.taps * d.cp, k, c, row * R, d);
}

// Grid (ceil(K*taps*cp / (256 / groups))), 256 threads, 1 KiB of shared memory: `groups` threads for an element, each with every
// groups-th part.
extern "C" __global__ void __launch_bounds__(SUM_THREADS)
    conv_wgrad_sum(float* __restrict__ dw, const float* __restrict__ parts, const u32* __restrict__ live,
                   const __grid_constant__ ConvWgradDims d) {
    __shared__ float sums[SUM_THREADS];
    u32 each = SUM_THREADS / d.groups, group = threadIdx.x / each, element = threadIdx.x % each;
    u32 len = d.k * d.taps * d.cp, i = blockIdx.x * each + element, used = used_parts(d, live[0]);
    float sum = 0.0f;
    if (i < len) {
#pragma unroll 4
        for (u32 p = group; p < used; p += d.groups) sum += parts[(size_t)p * len + i];
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (group > 0 || i >= len) return;
    for (u32 g = 1; g < d.groups; g++) sum += sums[g * each + element];
    u32 row = i / d.cp, c = i - row * d.cp;
    if (c < d.c) dw[(size_t)row * d.c + c] = sum;
}

#define WGRAD_ENTRY(NAME, R, SUMS)                                                                                           \
    extern "C" __global__ void __launch_bounds__(R * SUMS<R>::WARPS * 32)                                                   \
        NAME(float* __restrict__ parts, const void* __restrict__ x, const void* __restrict__ dy,                            \
             const u32* __restrict__ live, const __grid_constant__ ConvWgradDims d) {                                           \
        wgrad<R, SUMS<R>>(parts, x, dy, live, d);                                                                           \
    }

WGRAD_ENTRY(conv_wgrad_3x3_bf16, 3, Bf16Sums)
WGRAD_ENTRY(conv_wgrad_1x1_bf16, 1, Bf16Sums)
WGRAD_ENTRY(conv_wgrad_3x3_f32, 3, F32Sums)
WGRAD_ENTRY(conv_wgrad_1x1_f32, 1, F32Sums)
