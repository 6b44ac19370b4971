// The walk that is every fprop and dgrad; conv_bf16.cu and conv_f32.cu have its entries and say what they take.
#pragma once
#include "moments.cuh"
#include "patch.cuh"
#include "vector.cuh"
#include "warp.cuh"

constexpr u32 MOST_PHASES = 4, MOST_SEGMENTS = 5, MOST_TAPS = 9;

// A filter tap: byte offsets of its pixel in a patch and of its rows in a filter.
struct Tap {
    u32 place, filter;
};

// A part of the sum that reads one patch: `chunks` of channels, the last of `last` steps, times `taps`.
struct Segment {
    Patch patch;
    // Which of the two inputs; where its table starts.
    u32 operand, table;
    u32 chunks, last, taps;
    Tap tap[MOST_TAPS];
};

// Output pixels (step*i + y, step*j + x) for i < rows, j < cols, whose sums have the segments [first, end).
struct Phase {
    u32 first, end, rows, cols, y, x;
};

struct ConvDims {
    Tile tile;
    // Tiles of channels; channels of the output in memory.
    u32 columns, channels;
    u32 h, w, step;
    // Patches in shared memory at a time; where the tables are in it.
    u32 buffers, tables;
    Phase phase[MOST_PHASES];
    Segment segment[MOST_SEGMENTS];
};

struct ConvArgs {
    void* y;
    void* a;
    u8* bits;
    float* moments;
    u32* counts;
    const void *x0, *filter0, *x1, *filter1;
    const float *bias, *scale, *shift;
    const u8* mask;
    const void* residual;
    const u32* live;
};

// Bits of all eight channels from those of V: lanes of a pair have four each.
template <int V> __device__ __forceinline__ u32 whole_byte(u32 bits) {
    if (V == 4) {
        bits <<= threadIdx.x % 2 * 4;
        bits |= __shfl_xor_sync(ALL, bits, 1);
    }
    return bits;
}

// Finishes the sums in `sums`, [BM][PITCH] f32, and writes them: a thread V channels of one pixel at a time. With MOMENTS those of
// y too.
template <bool MOMENTS, int V, int BM, int BN, int THREADS, int SUMS>
__device__ __forceinline__ void conv_epilogue(float* sums, const u32* pixels, u32 n0, u32 channels,
                                              const ConvArgs& p, u32 tile) {
    const u32 VECTORS = BN / V, STEP = THREADS / VECTORS;
    const int BATCH = 4 < BM / STEP ? 4 : BM / STEP;
    u32 vector = threadIdx.x % VECTORS, n = n0 + vector * V;
    bool column = n < channels;
    float bias[V], scale[V], shift[V];
    if (column && p.bias) load_floats(p.bias + n, bias);
    if (column && p.scale) {
        load_floats(p.scale + n, scale);
        load_floats(p.shift + n, shift);
    }
    // From here on all pointers are those of this thread's channels at pixel 0.
    u32 stride = channels * (16 / V), bits_stride = channels / 8;
    char *y = (char*)p.y + n * (16 / V), *a = (char*)p.a + n * (16 / V);
    const char* other = (const char*)p.residual + n * (16 / V);
    // Sums of 32 bytes are read in halves, in such an order that eight lanes meet all banks.
    u32 swap = V == 8 ? vector / 4 % 2 * 4 : 0;
    Moments<V> moments;
#pragma unroll 1
    for (u32 first = threadIdx.x / VECTORS; first < BM; first += BATCH * STEP) {
        u32 pixel[BATCH];
        uint4 residual[BATCH];
        u32 mask[BATCH];
        // All loads before the first store: the residual may be y itself, and then nothing could be moved before one.
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            pixel[i] = pixels[first + i * STEP];
            if (!column || pixel[i] == ~0u) continue;
            if (p.residual) residual[i] = *(const uint4*)(other + (size_t)pixel[i] * stride);
            if (p.mask) mask[i] = p.mask[(size_t)pixel[i] * bits_stride + n / 8] >> n % 8;
        }
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            bool on = column && pixel[i] != ~0u;
            u32 m = first + i * STEP, positive = 0;
            float v[V];
            if (on) {
                const float* sum = sums + m * SUMS + vector * V;
                if (V == 8) {
                    float4 low = *(const float4*)(sum + swap), high = *(const float4*)(sum + 4 - swap);
                    float4 l = swap ? high : low, h = swap ? low : high;
                    v[0] = l.x, v[1] = l.y, v[2] = l.z, v[3] = l.w;
                    v[V - 4] = h.x, v[V - 3] = h.y, v[V - 2] = h.z, v[V - 1] = h.w;
                } else {
                    load_floats(sum, v);
                }
                if (p.bias) {
#pragma unroll
                    for (int c = 0; c < V; c++) v[c] += bias[c];
                }
                if (p.mask) {
#pragma unroll
                    for (int c = 0; c < V; c++) v[c] = mask[i] >> c & 1 ? v[c] : 0.0f;
                }
                if (p.residual) {
                    float r[V];
                    unpack(residual[i], r);
#pragma unroll
                    for (int c = 0; c < V; c++) v[c] += r[c];
                }
                if (p.y) {
                    uint4 stored = pack(v);
                    *(uint4*)(y + (size_t)pixel[i] * stride) = stored;
                    if (MOMENTS) {
                        float s[V];
                        unpack(stored, s);
                        moments.add(s);
                    }
                }
                if (p.a) {
                    if (p.scale) {
#pragma unroll
                        for (int c = 0; c < V; c++) v[c] = fmaf(v[c], scale[c], shift[c]);
                    }
#pragma unroll
                    for (int c = V - 1; c >= 0; c--) {
                        // 0 - v has the sign that says v > 0, for zeros too; it is shifted in.
                        positive = __funnelshift_l(__float_as_uint(0.0f - v[c]), positive, 1);
                        v[c] = fmaxf(v[c], 0.0f);
                    }
                    *(uint4*)(a + (size_t)pixel[i] * stride) = pack(v);
                }
            }
            if (p.bits) {
                positive = whole_byte<V>(positive);
                if (on && n % 8 == 0) p.bits[(size_t)pixel[i] * bits_stride + n / 8] = positive;
            }
        }
    }
    if (MOMENTS) {
        static_assert(moments_shared(V, THREADS, VECTORS) <= BM * SUMS, "moments take the place of the sums");
        moments_write(p.moments, p.counts, sums, moments, THREADS, VECTORS, n0, channels, tile);
    }
}

// Starts the copy of BN rows of a filter, channels from byte `offset` on; `rows` is the first of them.
template <int BN, int THREADS>
__device__ __forceinline__ void filter_load(u32 to, const char* rows, u32 row_bytes, u32 offset, u32 vectors) {
    u32 vector = threadIdx.x % 8 * 16, row = threadIdx.x / 8;
    if (vector >= vectors * 16) return;
    u32 bytes = offset + vector < row_bytes ? 16 : 0;
    const char* from = rows + row * row_bytes + (bytes ? offset + vector : 0);
    to += row * PITCH + vector;
#pragma unroll
    for (u32 i = 0; i < BN; i += THREADS / 8) {
        cp_async(to + i * PITCH, from, bytes);
        from += THREADS / 8 * row_bytes;
    }
}

// Shared memory: STAGES filter tiles, d.buffers patches, then at d.tables the output pixel of each tile pixel (or ~0) and the
// patches' tables. The sums take the place of filters and patches in the end.
template <class Core, bool MOMENTS = false> __device__ __forceinline__ void conv_walk(const ConvArgs& p, const ConvDims& d) {
    const u32 BM = Core::BM, BN = Core::BN, THREADS = Core::THREADS, STAGES = Core::STAGES;
    extern __shared__ __align__(128) char shared[];
    u32 n0 = blockIdx.x % d.columns * BN, tile = blockIdx.x / d.columns;
    Origin o = tile_origin(d.tile, tile);
    u32 live = p.live[0];
    if (o.slot >= live) return;
    const Phase& phase = d.phase[blockIdx.z];
    u32* pixels = (u32*)(shared + d.tables);
    u32* tables = pixels + BM;
    for (u32 m = threadIdx.x; m < BM; m += THREADS) {
        u32 g, ty, tx;
        tile_pixel(d.tile, m, g, ty, tx);
        u32 y = o.y + ty, x = o.x + tx;
        bool inside = g < d.tile.images && o.slot + g < live && y < phase.rows && x < phase.cols;
        u32 pixel = ((o.slot + g) * d.h + y * d.step + phase.y) * d.w + x * d.step + phase.x;
        pixels[m] = inside ? pixel : ~0u;
    }
    for (u32 s = phase.first; s < phase.end; s++) {
        patch_table(tables + d.segment[s].table, d.tile, d.segment[s].patch, o, live);
    }
    __syncthreads();

    const u32 FILTER = BN * PITCH;
    u32 patch_bytes = d.tile.images * d.tile.image_pitch;
    u32 filters = shared_address(shared), patches = filters + STAGES * FILTER;
    u32 fill_segment = phase.first, fill_chunk = 0, fill_tap = 0, fill_stage = 0, fill_buffer = 0;
    // Starts the copies for the next tap: its filter rows and, where it is the first of a patch, the patch.
    auto fill = [&]() {
        if (fill_segment < phase.end) {
            const Segment& s = d.segment[fill_segment];
            u32 vectors = fill_chunk + 1 == s.chunks ? s.last * Core::VECTORS : 8;
            if (fill_tap == 0) {
                const char* base = patch_base(s.operand ? p.x1 : p.x0, s.patch, o);
                patch_gather<THREADS>(patches + fill_buffer * patch_bytes, tables + s.table, patch_pixels(d.tile, s.patch),
                                      base, s.patch.pixel, fill_chunk * CHUNK, vectors);
                fill_buffer = fill_buffer + 1 == d.buffers ? 0 : fill_buffer + 1;
            }
            const char* rows = (const char*)(s.operand ? p.filter1 : p.filter0) + s.tap[fill_tap].filter;
            filter_load<BN, THREADS>(filters + fill_stage * FILTER, rows + (size_t)n0 * s.patch.pixel, s.patch.pixel,
                                     fill_chunk * CHUNK, vectors);
            fill_stage = fill_stage + 1 == STAGES ? 0 : fill_stage + 1;
            if (++fill_tap == s.taps) {
                fill_tap = 0;
                if (++fill_chunk == s.chunks) fill_chunk = 0, fill_segment++;
            }
        }
        cp_async_commit();
    };
#pragma unroll 1
    for (u32 i = 1; i < STAGES; i++) fill();

    Core core;
    core.begin(d.tile);
    u32 chunk = 0, tap = 0, stage = 0, buffer = 0;
    for (u32 segment = phase.first; segment < phase.end;) {
        const Segment& s = d.segment[segment];
        // All copies for this tap have arrived, and nobody reads what the next fill overwrites.
        cp_async_wait<STAGES - 2>();
        __syncthreads();
        fill();
        u32 steps = chunk + 1 == s.chunks ? s.last : Core::STEPS;
        core.add(shared, filters - shared_address(shared) + stage * FILTER,
                 STAGES * FILTER + buffer * patch_bytes + s.tap[tap].place, steps);
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        if (++tap == s.taps) {
            tap = 0;
            buffer = buffer + 1 == d.buffers ? 0 : buffer + 1;
            if (++chunk == s.chunks) chunk = 0, segment++;
        }
    }
    cp_async_wait<0>();
    __syncthreads();
    core.store((float*)shared);
    __syncthreads();
    conv_epilogue<MOMENTS, 16 / sizeof(typename Core::Type), Core::BM, Core::BN, Core::THREADS, Core::SUMS>(
        (float*)shared, pixels, n0, d.channels, p, tile);
}

#define CONV_ENTRY(name, ...)                                                                                              \
    extern "C" __global__ void __launch_bounds__(__VA_ARGS__::THREADS)                                                     \
        name(void* y, void* a, u8* bits, const void* __restrict__ x0, const void* __restrict__ filter0,                    \
             const void* __restrict__ x1, const void* __restrict__ filter1, const float* __restrict__ bias,                \
             const float* __restrict__ scale, const float* __restrict__ shift, const u8* __restrict__ mask,                \
             const void* residual, const u32* __restrict__ live, const ConvDims d) {                                      \
        ConvArgs p = {y,    a,     bits,  nullptr, nullptr,  x0,  filter0, x1, filter1,                                   \
                      bias, scale, shift, mask,    residual, live};                                                       \
        conv_walk<__VA_ARGS__>(p, d);                                                                                      \
    }

// Kernels of their own, so that the others have no register more.
#define CONV_MOMENTS_ENTRY(name, ...)                                                                                      \
    extern "C" __global__ void __launch_bounds__(__VA_ARGS__::THREADS)                                                     \
        name(void* y, float* __restrict__ moments, u32* __restrict__ counts, const void* __restrict__ x0,                  \
             const void* __restrict__ filter0, const void* __restrict__ x1, const void* __restrict__ filter1,              \
             const float* __restrict__ bias, const void* residual, const u32* __restrict__ live, const ConvDims d) {      \
        ConvArgs p = {y,    nullptr, nullptr, moments, counts,   x0,  filter0, x1, filter1,                               \
                      bias, nullptr, nullptr, nullptr, residual, live};                                                   \
        conv_walk<__VA_ARGS__, true>(p, d);                                                                                \
    }
