// Convolution fprop and dgrad in bf16, on tensor cores.
//
//   v = sum over segments, taps and channels of  x[pixel the tap wants, c] * filter[tap, n, c]
//   v = v + bias[n];  v = 0 where the mask's bit is 0;  v = v + residual;  y = v;  v = scale[n]*v + shift[n];
//   a = max(0, v);  bit = v > 0                                    each where its pointer isn't null
//
// fprop is one segment; with stride 2 four, one for even or odd rows and columns of the input. dgrad is fprop of dy with other
// taps; with stride 2 each parity of the output's rows and columns is a phase (blockIdx.z) with taps of its own, perhaps none.
// A 1x1 convolution that is added to the sum is one more segment, with the second input.
//
// y, a      bf16 [capacity, h, w, cp] out
// bits      u8 [capacity, h, w, cp/8] out
// moments, counts  what moments.cuh says, of y and its pixel tiles
// x0, x1    bf16 [capacity, patch.h, patch.w, patch.pixel bytes] in
// filter0/1 bf16 [taps, cp rounded up to 64, channels of the input] in
// bias, scale, shift  f32 [cp] in
// mask      u8 [capacity, h, w, cp/8] in
// residual  bf16 [capacity, h, w, cp] in; may be y
// live      u32 [2] in
// (all pointers but x0, filter0 and live may be null; y and a not both)
//
// Grid (pixel tiles x channel tiles, channel tiles fastest; 1; phases), 256 threads for 256x128 and else 128, shared memory as
// conv_walk.cuh lays it out. A block makes BM output pixels (patch.cuh says which) x BN channels: for each 128 bytes of input
// channels it brings the patch that all taps reach into shared memory once, and for each tap BN filter rows. A warp makes WM x WN
// of it with mma.m16n8k16.
// Order of the sum: segments, then chunks of channels, taps, channels. Preconditions: pointers are multiples of 16, cp of 8.
// The kernels with moments have no a, bits, scale, shift and mask, and one phase.
#include "conv_walk.cuh"
#include "mma.cuh"

// MW x NW warps of WM x WN sums each.
template <int WM, int WN, int MW, int NW, int STAGES_> struct Bf16Core {
    typedef __nv_bfloat16 Type;
    static const int BM = WM * MW, BN = WN * NW, THREADS = 32 * MW * NW, STAGES = STAGES_;
    // A step is 16 channels, two vectors of 16 bytes; a chunk has four. Rows of sums are 8 mod 32 words apart, so that the
    // pairs of a fragment's four rows lie in different banks.
    static const int STEPS = 4, VECTORS = 2, SUMS = BN + 8;
    float sum[WM / 16][WN / 8][4];
    u32 a[WM / 16], b;

    __device__ __forceinline__ static u32 lane() { return threadIdx.x % 32; }
    __device__ __forceinline__ static u32 m0() { return threadIdx.x / 32 % MW * WM; }
    __device__ __forceinline__ static u32 n0() { return threadIdx.x / 32 / MW * WN; }

    __device__ __forceinline__ void begin(const Tile& t) {
        u32 last = t.images * t.rows.by * t.cols.by - 1;
#pragma unroll
        for (int i = 0; i < WM / 16; i++) {
            a[i] = patch_offset(t, min(m0() + i * 16 + lane() % 16, last)) + lane() / 16 * 16;
#pragma unroll
            for (int j = 0; j < WN / 8; j++) sum[i][j][0] = sum[i][j][1] = sum[i][j][2] = sum[i][j][3] = 0.0f;
        }
        b = (n0() + lane() / 16 * 8 + lane() % 8) * PITCH + lane() / 8 % 2 * 16;
    }

    __device__ __forceinline__ void step(u32 filter, u32 patch) {
        u32 left[WM / 16][4];
#pragma unroll
        for (int i = 0; i < WM / 16; i++) ldmatrix(patch + a[i], left[i]);
#pragma unroll
        for (int j = 0; j < WN / 16; j++) {
            u32 right[4];
            ldmatrix(filter + b + j * 16 * PITCH, right);
#pragma unroll
            for (int i = 0; i < WM / 16; i++) {
                mma(sum[i][2 * j], left[i], right[0], right[1]);
                mma(sum[i][2 * j + 1], left[i], right[2], right[3]);
            }
        }
    }

    __device__ __forceinline__ void add(const char* shared, u32 filter, u32 patch, u32 steps) {
        filter += shared_address(shared);
        patch += shared_address(shared);
        if (steps == STEPS) {
#pragma unroll
            for (int k = 0; k < STEPS; k++) step(filter + k * 32, patch + k * 32);
        } else {
#pragma unroll 1
            for (u32 k = 0; k < steps; k++) step(filter + k * 32, patch + k * 32);
        }
    }

    __device__ __forceinline__ void store(float* sums) {
        float* at = sums + (m0() + lane() / 4) * SUMS + n0() + lane() % 4 * 2;
#pragma unroll
        for (int i = 0; i < WM / 16; i++) {
#pragma unroll
            for (int j = 0; j < WN / 8; j++) {
                *(float2*)(at + i * 16 * SUMS + j * 8) = make_float2(sum[i][j][0], sum[i][j][1]);
                *(float2*)(at + (i * 16 + 8) * SUMS + j * 8) = make_float2(sum[i][j][2], sum[i][j][3]);
            }
        }
    }
};

CONV_ENTRY(conv_walk_256x128_bf16, Bf16Core<64, 64, 4, 2, 2>)
CONV_ENTRY(conv_walk_128x128_bf16, Bf16Core<64, 64, 2, 2, 2>)
CONV_ENTRY(conv_walk_256x64_bf16, Bf16Core<64, 64, 4, 1, 3>)
CONV_ENTRY(conv_walk_128x64_bf16, Bf16Core<64, 32, 2, 2, 3>)
CONV_ENTRY(conv_walk_128x32_bf16, Bf16Core<32, 32, 4, 1, 3>)
CONV_ENTRY(conv_walk_128x16_bf16, Bf16Core<32, 16, 4, 1, 3>)

CONV_MOMENTS_ENTRY(conv_walk_moments_256x128_bf16, Bf16Core<64, 64, 4, 2, 2>)
CONV_MOMENTS_ENTRY(conv_walk_moments_128x128_bf16, Bf16Core<64, 64, 2, 2, 2>)
CONV_MOMENTS_ENTRY(conv_walk_moments_256x64_bf16, Bf16Core<64, 64, 4, 1, 3>)
CONV_MOMENTS_ENTRY(conv_walk_moments_128x64_bf16, Bf16Core<64, 32, 2, 2, 3>)
CONV_MOMENTS_ENTRY(conv_walk_moments_128x32_bf16, Bf16Core<32, 32, 4, 1, 3>)
CONV_MOMENTS_ENTRY(conv_walk_moments_128x16_bf16, Bf16Core<32, 16, 4, 1, 3>)
