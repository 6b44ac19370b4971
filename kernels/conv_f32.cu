// Convolution fprop and dgrad in f32.
//
//   v = sum over segments, taps and channels of  x[pixel the tap wants, c] * filter[tap, n, c]
//   v = v + bias[n];  v = 0 where the mask's bit is 0;  v = v + residual;  y = v;  v = scale[n]*v + shift[n];
//   a = max(0, v);  bit = v > 0                                    each where its pointer isn't null
//
// fprop is one segment; with stride 2 four, one for even or odd rows and columns of the input. dgrad is fprop of dy with other
// taps; with stride 2 each parity of the output's rows and columns is a phase (blockIdx.z) with taps of its own, perhaps none.
// A 1x1 convolution that is added to the sum is one more segment, with the second input.
//
// y, a      f32 [capacity, h, w, cp] out
// bits      u8 [capacity, h, w, cp/8] out
// moments, counts  what moments.cuh says, of y and its pixel tiles
// x0, x1    f32 [capacity, patch.h, patch.w, patch.pixel bytes] in
// filter0/1 f32 [taps, cp rounded up to 64, channels of the input] in
// bias, scale, shift  f32 [cp] in
// mask      u8 [capacity, h, w, cp/8] in
// residual  f32 [capacity, h, w, cp] in; may be y
// live      u32 [2] in
// (all pointers but x0, filter0 and live may be null; y and a not both)
//
// Grid (pixel tiles x channel tiles, channel tiles fastest; 1; phases), 128 threads, shared memory as conv_walk.cuh lays it
// out. A block makes BM output pixels (patch.cuh says which) x BN channels: for each 128 bytes of input channels it brings
// the patch that all taps reach into shared memory once, and for each tap BN filter rows. A thread makes every eighth row and every
// fourth column of its warp's WM x WN.
// Order of the sum: segments, then chunks of channels, taps, channels. Preconditions: pointers are multiples of 16, cp of 8.
// The kernels with moments have no a, bits, scale, shift and mask, and one phase.
#include "conv_walk.cuh"

// MW x NW warps of WM x WN sums each; a lane has every eighth row and every fourth column of its warp's.
template <int WM, int WN, int MW, int NW, int STAGES_> struct F32Core {
    typedef float Type;
    static const int BM = WM * MW, BN = WN * NW, THREADS = 32 * MW * NW, STAGES = STAGES_;
    // A step is a vector of 4 channels; a chunk has eight. Rows of sums are 4 mod 32 words apart, so that eight rows of four
    // columns lie in different banks.
    static const int STEPS = 8, VECTORS = 1, SUMS = BN + 4;
    static const int TM = WM / 8, TN = WN / 4;
    float sum[TM][TN];
    u32 a[TM], b;

    __device__ __forceinline__ static u32 lane() { return threadIdx.x % 32; }
    __device__ __forceinline__ static u32 m0() { return threadIdx.x / 32 % MW * WM + lane() % 8; }
    __device__ __forceinline__ static u32 n0() { return threadIdx.x / 32 / MW * WN + lane() / 8; }

    __device__ __forceinline__ void begin(const Tile& t) {
        u32 last = t.images * t.rows.by * t.cols.by - 1;
#pragma unroll
        for (int i = 0; i < TM; i++) {
            a[i] = patch_offset(t, min(m0() + i * 8, last));
#pragma unroll
            for (int j = 0; j < TN; j++) sum[i][j] = 0.0f;
        }
        b = n0() * PITCH;
    }

    __device__ __forceinline__ void add(const char* shared, u32 filter, u32 patch, u32 steps) {
#pragma unroll 1
        for (u32 k = 0; k < steps; k++) {
            float left[TM][4];
#pragma unroll
            for (int i = 0; i < TM; i++) load_floats((const float*)(shared + patch + a[i] + k * 16), left[i]);
#pragma unroll
            for (int j = 0; j < TN; j++) {
                float right[4];
                load_floats((const float*)(shared + filter + b + j * 4 * PITCH + k * 16), right);
#pragma unroll
                for (int c = 0; c < 4; c++) {
#pragma unroll
                    for (int i = 0; i < TM; i++) sum[i][j] = fmaf(left[i][c], right[c], sum[i][j]);
                }
            }
        }
    }

    __device__ __forceinline__ void store(float* sums) {
#pragma unroll
        for (int i = 0; i < TM; i++) {
#pragma unroll
            for (int j = 0; j < TN; j++) sums[(m0() + i * 8) * SUMS + n0() + j * 4] = sum[i][j];
        }
    }
};

CONV_ENTRY(conv_walk_128x64_f32, F32Core<64, 32, 2, 2, 3>)
CONV_ENTRY(conv_walk_128x32_f32, F32Core<32, 32, 4, 1, 3>)
CONV_ENTRY(conv_walk_128x16_f32, F32Core<32, 16, 4, 1, 3>)

CONV_MOMENTS_ENTRY(conv_walk_moments_128x64_f32, F32Core<64, 32, 2, 2, 3>)
CONV_MOMENTS_ENTRY(conv_walk_moments_128x32_f32, F32Core<32, 32, 4, 1, 3>)
CONV_MOMENTS_ENTRY(conv_walk_moments_128x16_f32, F32Core<32, 16, 4, 1, 3>)
