// Batch norm: folding for eval mode, and fprop and bprop of train mode with the ReLU that follows. m = live*pixels rows.
//
//   fold    scale = gamma / sqrt(running_var + eps);  shift = beta - running_mean*scale
//   fprop   mean, var (biased) over the rows;  scale = gamma / sqrt(var + eps);  shift = beta - mean*scale
//           a = max(0, x*scale + shift);  mean and the unbiased variance go to the batch statistics
//   bprop   g = grad where a > 0, else 0;  dbeta = sum g;  dgamma = rstd * sum g*(x - mean);  rstd = 1/sqrt(var + eps)
//           grad = gamma*rstd*(g - dbeta/m - (x - mean)*rstd*dgamma/m) + residual
//
// x, a, grad, residual   T [capacity * pixels, cp]: x in; a out of fprop, in of bprop; grad in and out of bprop; residual in,
//                        nullable
// parts                  f32 [parts][2][cp] workspace: of the rows of a part mean and sum of squared deviations (fprop), or
//                        sum g and sum g*(x - mean) (bprop). Part i has the rows from i*rows on, `rows` of them at most.
//                        Those of fprop may be the tiles of the kernel that made x instead: see moments.cuh.
// counts                 u32 [parts] in, null where parts have the rows above: rows of a tile. `group` slots have `tiles` of
//                        them; groups come in order, and of those with a live slot every tile has rows.
// affine                 f32 [2][cp] workspace: scale, shift
// terms                  f32 [4][cp] workspace: gamma*rstd, dbeta/m, mean, rstd*dgamma/m
// gamma, beta            f32 [channels] in;  mean, var (unbiased) f32 [channels]: out of fprop, in of bprop
// dgamma, dbeta          f32 [channels] out
// live                   u32 [2] in; with nothing live nothing is written
//
// norm_fold: a block of 256 threads for each job. Every operation rounds by itself, as on the CPU.
// The passes over maps: grid (parts, ceil(groups / width)), 256 threads; a block has the rows of a part and `width` vectors of
// 16 bytes of each, a thread one vector of every `lanes`-th row.
// The finalise kernels: grid ceil(cp / 8), 256 threads, 32 of them for a channel; a thread adds every 32nd part, in f64.
// They need no more than parts, whoever made them.
// Shared memory: 17 KiB at most (static).
// Order of sums: rows of a thread ascending, then the lanes (f32); parts of a thread ascending, then a tree (f64).
// Variance: each thread subtracts its first value from all. As it is one of them, the squares that are added up exceed those
// of the deviations by no more than the number of values: nothing else cancels, however large the mean. Partial means and
// squares combine as Chan, Golub and LeVeque have it.
// Preconditions: cp is a multiple of 8, width <= 8, width*lanes <= 256.
#include "vector.cuh"

constexpr u32 THREADS = 256, CHANNELS = 8, ALL_LANES = THREADS / CHANNELS, FOLDS = 64;
// Most vectors of a row that a block has, and most channels.
constexpr u32 WIDTH = 8, SPAN = WIDTH * LANES<__nv_bfloat16>;
constexpr float NORM_EPS = 1e-5f;

struct FoldJob {
    const float* gamma;
    const float* beta;
    const float* mean;
    const float* var;
    float* affine;
    u32 channels;
    u32 cp;
};

struct FoldDims {
    FoldJob jobs[FOLDS];
};

extern "C" __global__ void __launch_bounds__(THREADS) norm_fold(const __grid_constant__ FoldDims d) {
    FoldJob job = d.jobs[blockIdx.x];
    for (u32 c = threadIdx.x; c < job.cp; c += THREADS) {
        float scale = 0.0f, shift = 0.0f;
        if (c < job.channels) {
            scale = __fdiv_rn(job.gamma[c], __fsqrt_rn(__fadd_rn(job.var[c], NORM_EPS)));
            shift = __fsub_rn(job.beta[c], __fmul_rn(job.mean[c], scale));
        }
        job.affine[c] = scale;
        job.affine[job.cp + c] = shift;
    }
}

struct NormDims {
    u32 pixels;
    u32 channels;
    u32 cp;
    // Rows of a part.
    u32 rows;
    // Vectors of a row that a block has, and rows that its threads have at a time.
    u32 width;
    u32 lanes;
    // Slots of a group of tiles, and its tiles.
    u32 group;
    u32 tiles;
};

// What a thread has: the vectors `at + i*stride` for i below `count`.
struct Walk {
    u32 count;
    size_t at;
    size_t stride;
};

template <class T> __device__ __forceinline__ Walk walk(u32 live, const NormDims& d) {
    u32 groups = d.cp / LANES<T>, lane = threadIdx.x / d.width, group = blockIdx.y * d.width + threadIdx.x % d.width;
    u32 total = live * d.pixels, first = blockIdx.x * d.rows, rows = first < total ? min(d.rows, total - first) : 0;
    u32 count = lane < d.lanes && group < groups && lane < rows ? (rows - lane + d.lanes - 1) / d.lanes : 0;
    return {count, (size_t)(first + lane) * groups + group, (size_t)d.lanes * groups};
}

// Rows of lane `lane` of a part of `rows`.
__device__ __forceinline__ float lane_rows(u32 lane, u32 rows, u32 lanes) {
    return (float)(rows / lanes + (lane < rows % lanes ? 1 : 0));
}

// Copies K values of each of the block's channels to shared memory, from rows `stride` apart; zero from channel `end` on.
template <class T, u32 K>
__device__ __forceinline__ void stage(float (&to)[K][SPAN], const float* __restrict__ from, u32 stride, u32 end,
                                      const NormDims& d) {
    static_assert(K * SPAN <= THREADS, "a value a thread");
    u32 k = threadIdx.x / SPAN, i = threadIdx.x % SPAN, c = blockIdx.y * d.width * LANES<T> + i;
    if (k < K) to[k][i] = i < d.width * LANES<T> && c < end ? from[k * stride + c] : 0.0f;
    __syncthreads();
}

// Columns of a thread's values in shared memory: so spaced that neither writing vector by vector nor reading channel by
// channel meets a bank conflict.
template <class T> constexpr u32 COLUMNS = THREADS + 32 / LANES<T>;

template <class T>
__device__ __forceinline__ void stats(float* __restrict__ parts, const T* __restrict__ x, const u32* __restrict__ live,
                                      const NormDims& d) {
    constexpr u32 N = LANES<T>, AHEAD = 4;
    __shared__ float means[N][COLUMNS<T>], squares[N][COLUMNS<T>];
    u32 n = live[0];
    if (blockIdx.x * d.rows >= n * d.pixels) return;
    Walk w = walk<T>(n, d);
    const uint4* vectors = (const uint4*)x + w.at;
    float pivot[N] = {}, sum[N] = {}, square[N] = {};
    for (u32 i = 0; i < w.count; i += AHEAD) {
        uint4 raw[AHEAD];
#pragma unroll
        for (u32 j = 0; j < AHEAD; j++)
            if (i + j < w.count) raw[j] = vectors[(i + j) * w.stride];
        if (i == 0) unpack(raw[0], pivot);
#pragma unroll
        for (u32 j = 0; j < AHEAD; j++) {
            if (i + j >= w.count) break;
            float v[N];
            unpack(raw[j], v);
#pragma unroll
            for (u32 c = 0; c < N; c++) {
                float off = v[c] - pivot[c];
                sum[c] += off;
                square[c] = fmaf(off, off, square[c]);
            }
        }
    }
    float inverse = w.count > 0 ? 1.0f / (float)w.count : 0.0f;
#pragma unroll
    for (u32 c = 0; c < N; c++) {
        float mean = sum[c] * inverse;
        means[c][threadIdx.x] = pivot[c] + mean;
        squares[c][threadIdx.x] = fmaxf(fmaf(-sum[c], mean, square[c]), 0.0f);
    }
    __syncthreads();
    u32 rows = min(d.rows, n * d.pixels - blockIdx.x * d.rows), lanes = min(d.lanes, rows);
    for (u32 i = threadIdx.x; i < d.width * N; i += THREADS) {
        u32 c = (blockIdx.y * d.width) * N + i, v = i % N, column = i / N;
        if (c >= d.cp) break;
        // Again relative to one of the values.
        float base = means[v][column], total = 0.0f, square = 0.0f;
        for (u32 lane = 1; lane < lanes; lane++)
            total = fmaf(lane_rows(lane, rows, d.lanes), means[v][lane * d.width + column] - base, total);
        float mean = base + total / (float)rows;
        for (u32 lane = 0; lane < lanes; lane++) {
            float off = means[v][lane * d.width + column] - mean;
            square += fmaf(lane_rows(lane, rows, d.lanes) * off, off, squares[v][lane * d.width + column]);
        }
        float* part = parts + (size_t)blockIdx.x * 2 * d.cp;
        part[c] = mean;
        part[d.cp + c] = square;
    }
}

template <class T>
__device__ __forceinline__ void fprop_apply(T* __restrict__ a, const T* __restrict__ x, const float* __restrict__ affine,
                                            const u32* __restrict__ live, const NormDims& d) {
    constexpr u32 N = LANES<T>, AHEAD = 4;
    __shared__ __align__(16) float staged[2][SPAN];
    u32 n = live[0], at = threadIdx.x % d.width * N;
    if (blockIdx.x * d.rows >= n * d.pixels) return;
    stage<T>(staged, affine, d.cp, d.cp, d);
    Walk w = walk<T>(n, d);
    const uint4* in = (const uint4*)x + w.at;
    uint4* out = (uint4*)a + w.at;
    float scale[N], shift[N];
    get(staged[0] + at, scale, threadIdx.x);
    get(staged[1] + at, shift, threadIdx.x);
    for (u32 i = 0; i < w.count; i += AHEAD) {
        uint4 raw[AHEAD];
#pragma unroll
        for (u32 j = 0; j < AHEAD; j++)
            if (i + j < w.count) raw[j] = in[(i + j) * w.stride];
#pragma unroll
        for (u32 j = 0; j < AHEAD; j++) {
            if (i + j >= w.count) break;
            float v[N];
            unpack(raw[j], v);
#pragma unroll
            for (u32 c = 0; c < N; c++) v[c] = fmaxf(fmaf(v[c], scale[c], shift[c]), 0.0f);
            out[(i + j) * w.stride] = pack(v);
        }
    }
}

template <class T>
__device__ __forceinline__ void sums(float* __restrict__ parts, const T* __restrict__ x, const T* __restrict__ a,
                                     const T* __restrict__ grad, const float* __restrict__ mean,
                                     const u32* __restrict__ live, const NormDims& d) {
    constexpr u32 N = LANES<T>, AHEAD = 2;
    __shared__ float plain[N][COLUMNS<T>], products[N][COLUMNS<T>];
    __shared__ __align__(16) float staged[1][SPAN];
    u32 n = live[0];
    if (blockIdx.x * d.rows >= n * d.pixels) return;
    stage<T>(staged, mean, 0, d.channels, d);
    Walk w = walk<T>(n, d);
    const uint4 *xs = (const uint4*)x + w.at, *as = (const uint4*)a + w.at, *gs = (const uint4*)grad + w.at;
    float sum[N] = {}, product[N] = {}, mu[N];
    get(staged[0] + threadIdx.x % d.width * N, mu, threadIdx.x);
    for (u32 i = 0; i < w.count; i += AHEAD) {
        uint4 raw_x[AHEAD], raw_a[AHEAD], raw_g[AHEAD];
#pragma unroll
        for (u32 j = 0; j < AHEAD; j++) {
            if (i + j >= w.count) break;
            size_t at = (i + j) * w.stride;
            raw_x[j] = xs[at], raw_a[j] = as[at], raw_g[j] = gs[at];
        }
#pragma unroll
        for (u32 j = 0; j < AHEAD; j++) {
            if (i + j >= w.count) break;
            float v[N], act[N], g[N];
            unpack(raw_x[j], v);
            unpack(raw_a[j], act);
            unpack(raw_g[j], g);
#pragma unroll
            for (u32 c = 0; c < N; c++) {
                float passed = act[c] > 0.0f ? g[c] : 0.0f;
                sum[c] += passed;
                product[c] = fmaf(passed, v[c] - mu[c], product[c]);
            }
        }
    }
#pragma unroll
    for (u32 c = 0; c < N; c++) {
        plain[c][threadIdx.x] = sum[c];
        products[c][threadIdx.x] = product[c];
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < d.width * N; i += THREADS) {
        u32 c = (blockIdx.y * d.width) * N + i, v = i % N, column = i / N;
        if (c >= d.cp) break;
        float total = 0.0f, dot = 0.0f;
        for (u32 lane = 0; lane < d.lanes; lane++) {
            total += plain[v][lane * d.width + column];
            dot += products[v][lane * d.width + column];
        }
        float* part = parts + (size_t)blockIdx.x * 2 * d.cp;
        part[c] = total;
        part[d.cp + c] = dot;
    }
}

// grad may be read and written: a thread reads its vectors before it writes them.
template <class T>
__device__ __forceinline__ void bprop_apply(T* grad, const T* __restrict__ x, const T* __restrict__ a,
                                            const T* __restrict__ residual, const float* __restrict__ terms,
                                            const u32* __restrict__ live, const NormDims& d) {
    constexpr u32 N = LANES<T>, AHEAD = 2;
    __shared__ __align__(16) float staged[4][SPAN];
    u32 n = live[0], column = threadIdx.x % d.width * N;
    if (blockIdx.x * d.rows >= n * d.pixels) return;
    stage<T>(staged, terms, d.cp, d.cp, d);
    Walk w = walk<T>(n, d);
    const uint4 *xs = (const uint4*)x + w.at, *as = (const uint4*)a + w.at, *rs = (const uint4*)residual + w.at;
    uint4* gs = (uint4*)grad + w.at;
    float scale[N], mean_g[N], mean[N], slope[N];
    get(staged[0] + column, scale, threadIdx.x);
    get(staged[1] + column, mean_g, threadIdx.x);
    get(staged[2] + column, mean, threadIdx.x);
    get(staged[3] + column, slope, threadIdx.x);
    for (u32 i = 0; i < w.count; i += AHEAD) {
        uint4 raw_x[AHEAD], raw_a[AHEAD], raw_g[AHEAD], raw_r[AHEAD];
#pragma unroll
        for (u32 j = 0; j < AHEAD; j++) {
            if (i + j >= w.count) break;
            size_t at = (i + j) * w.stride;
            raw_x[j] = xs[at], raw_a[j] = as[at], raw_g[j] = gs[at];
            raw_r[j] = residual ? rs[at] : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (u32 j = 0; j < AHEAD; j++) {
            if (i + j >= w.count) break;
            float v[N], act[N], g[N], r[N];
            unpack(raw_x[j], v);
            unpack(raw_a[j], act);
            unpack(raw_g[j], g);
            unpack(raw_r[j], r);
#pragma unroll
            for (u32 c = 0; c < N; c++) {
                float passed = act[c] > 0.0f ? g[c] : 0.0f;
                v[c] = fmaf(scale[c], fmaf(mean[c] - v[c], slope[c], passed - mean_g[c]), r[c]);
            }
            gs[(i + j) * w.stride] = pack(v);
        }
    }
}

// The parts of a channel, added in f64. All threads of the block call it; those of lane 0 have the sums.
struct Sums {
    double count;
    double first;
    double second;
};

// `moments`: parts are means and squares, and what is added up is n*(mean - pivot) and square + n*(mean - pivot)^2.
template <bool MOMENTS>
__device__ __forceinline__ Sums add_parts(const float* __restrict__ parts, const u32* __restrict__ counts, u32 c, double pivot,
                                          u32 live, const NormDims& d) {
    __shared__ double shared[2][ALL_LANES][CHANNELS];
    u32 lane = threadIdx.x / CHANNELS, total = live * d.pixels;
    u32 count = counts ? (live + d.group - 1) / d.group * d.tiles : (total + d.rows - 1) / d.rows;
    double first = 0.0, second = 0.0;
    // Counted, so that the loads of several parts go ahead.
    u32 times = lane < count ? (count - lane + ALL_LANES - 1) / ALL_LANES : 0;
#pragma unroll 4
    for (u32 j = 0; j < times; j++) {
        u32 i = lane + j * ALL_LANES;
        const float* part = parts + (size_t)i * 2 * d.cp;
        double a = part[c], b = part[d.cp + c];
        if (MOMENTS) {
            double n = counts ? counts[i] : min(d.rows, total - i * d.rows), off = a - pivot;
            a = n * off;
            b += a * off;
        }
        first += a;
        second += b;
    }
    u32 column = threadIdx.x % CHANNELS;
    shared[0][lane][column] = first;
    shared[1][lane][column] = second;
    for (u32 half = ALL_LANES / 2; half > 0; half /= 2) {
        __syncthreads();
        if (lane < half) {
            shared[0][lane][column] += shared[0][lane + half][column];
            shared[1][lane][column] += shared[1][lane + half][column];
        }
    }
    return {(double)total, shared[0][0][column], shared[1][0][column]};
}

extern "C" __global__ void __launch_bounds__(THREADS)
    norm_fprop_finalise(float* __restrict__ affine, float* __restrict__ mean, float* __restrict__ var,
                        const float* __restrict__ parts, const u32* __restrict__ counts,
                        const float* __restrict__ gamma, const float* __restrict__ beta, const u32* __restrict__ live,
                        NormDims d) {
    u32 total = live[0] * d.pixels, c = blockIdx.x * CHANNELS + threadIdx.x % CHANNELS;
    if (total == 0) return;
    double pivot = parts[c];
    Sums s = add_parts<true>(parts, counts, c, pivot, live[0], d);
    if (threadIdx.x >= CHANNELS) return;
    double scale = 0.0, shift = 0.0;
    if (c < d.channels) {
        double off = s.first / s.count, m = pivot + off, squares = s.second - s.first * off;
        squares = squares > 0.0 ? squares : 0.0;
        scale = (double)gamma[c] / sqrt(squares / s.count + (double)NORM_EPS);
        shift = (double)beta[c] - m * scale;
        mean[c] = (float)m;
        // A single value per channel has no unbiased variance; its biased one, 0, stands in.
        var[c] = (float)(squares / (total > 1 ? s.count - 1.0 : 1.0));
    }
    affine[c] = (float)scale;
    affine[d.cp + c] = (float)shift;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    norm_bprop_finalise(float* __restrict__ terms, float* __restrict__ dgamma, float* __restrict__ dbeta,
                        const float* __restrict__ parts, const float* __restrict__ gamma, const float* __restrict__ mean,
                        const float* __restrict__ var, const u32* __restrict__ live, NormDims d) {
    u32 total = live[0] * d.pixels, c = blockIdx.x * CHANNELS + threadIdx.x % CHANNELS;
    if (total == 0) return;
    Sums s = add_parts<false>(parts, nullptr, c, 0.0, live[0], d);
    if (threadIdx.x >= CHANNELS) return;
    float scale = 0.0f, mean_g = 0.0f, mu = 0.0f, slope = 0.0f;
    if (c < d.channels) {
        double biased = (double)var[c] * (total > 1 ? s.count - 1.0 : 1.0) / s.count;
        double rstd = 1.0 / sqrt(biased + (double)NORM_EPS), dot = s.second * rstd;
        dbeta[c] = (float)s.first;
        dgamma[c] = (float)dot;
        scale = (float)((double)gamma[c] * rstd);
        mean_g = (float)(s.first / s.count);
        mu = mean[c];
        slope = (float)(rstd * dot / s.count);
    }
    terms[c] = scale;
    terms[d.cp + c] = mean_g;
    terms[2 * d.cp + c] = mu;
    terms[3 * d.cp + c] = slope;
}

#define ENTRIES(T, suffix)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS) norm_fprop_stats_##suffix(                                         \
        float* __restrict__ parts, const T* __restrict__ x, const u32* __restrict__ live, NormDims d) {                       \
        stats<T>(parts, x, live, d);                                                                                          \
    }                                                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS) norm_fprop_apply_##suffix(                                          \
        T* __restrict__ a, const T* __restrict__ x, const float* __restrict__ affine, const u32* __restrict__ live,           \
        NormDims d) {                                                                                                         \
        fprop_apply<T>(a, x, affine, live, d);                                                                                \
    }                                                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS) norm_bprop_sums_##suffix(                                           \
        float* __restrict__ parts, const T* __restrict__ x, const T* __restrict__ a, const T* __restrict__ grad,              \
        const float* __restrict__ mean, const u32* __restrict__ live, NormDims d) {                                           \
        sums<T>(parts, x, a, grad, mean, live, d);                                                                            \
    }                                                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS) norm_bprop_apply_##suffix(                                          \
        T* grad, const T* __restrict__ x, const T* __restrict__ a, const T* __restrict__ residual,                            \
        const float* __restrict__ terms, const u32* __restrict__ live, NormDims d) {                                          \
        bprop_apply<T>(grad, x, a, residual, terms, live, d);                                                                 \
    }

ENTRIES(float, f32)
ENTRIES(__nv_bfloat16, bf16)
