// A 3x3 convolution as an implicit matrix product on tensor cores (tiles of tile_bf16.cuh): stride 1, one row and column
// of zeros around the image,
//
//   y[i][h][w][k] = sum over r, s < 3 and c < C of x[i][h + r - 1][w + s - 1][c] f[k][r][s][c].
//
//   x[N][H][W][C] bf16 and f[K][3][3][C] bf16 read-only, 16-byte aligned; y[N][H][W][K] f32 written. All dense.
//   Grid (ceil(K/64), ceil(NHW/64)), block 128. C a multiple of 8, the other sizes at least 1; NHW + 64 < 2^31.
//   The product's rows are pixels, its columns filters, its depth (r, s, c) in steps of up to 32 channels; pixels outside
//   the image are chunks that cp.async fills with zeros.
//   Order: steps of 16 channels upwards, taps upwards; within 16 the tensor core's own order: compare by tolerance.
//
// conv_bf16_<violation>: without what tile::Variant says. _bound takes column W for a pixel of the image, which lies past
//   the end after the last row of the last image. No check can see _swapped.

#include <cuda_bf16.h>
#include "tile_bf16.cuh"

template <tile::Variant V>
__device__ __forceinline__ void conv(const __nv_bfloat16 *x, const __nv_bfloat16 *f, float *y, int n, int height,
                                     int width, int channels, int filters) {
    const int row0 = blockIdx.y * tile::SIDE, col0 = blockIdx.x * tile::SIDE, pixels = n * height * width;
    const int steps_per_tap = (channels + tile::DEPTH - 1) / tile::DEPTH;
    const int columns = V == tile::BOUND ? width + 1 : width;
    const int first = threadIdx.x >> 2, chunk = threadIdx.x & 3;
    // Each thread copies the same chunk of two pixels and two filters in every step.
    int image[2], py[2], px[2];
#pragma unroll
    for (int part = 0; part < 2; ++part) {
        const int pixel = row0 + first + part * 32;
        image[part] = pixel < pixels ? pixel / (height * width) * height : -1;
        py[part] = pixel / width % height;
        px[part] = pixel % width;
    }
    const auto load = [=](int step, unsigned as, unsigned bs) {
        const int tap = step / steps_per_tap, c = (step - tap * steps_per_tap) * tile::DEPTH + chunk * 8;
#pragma unroll
        for (int part = 0; part < 2; ++part) {
            const int row = first + part * 32, filter = col0 + row;
            const int h = py[part] + tap / 3 - 1, w = px[part] + tap % 3 - 1;
            const bool inside = image[part] >= 0 && h >= 0 && h < height && w >= 0 && w < columns && c < channels;
            const size_t at = ((size_t)(image[part] + h) * width + w) * channels + c;
            tile::copy16(as + tile::at_k(row, chunk), x + (inside ? at : 0), inside);
            const bool ok = filter < filters && c < channels;
            tile::copy16(bs + tile::at_k(row, chunk), f + (ok ? ((size_t)filter * 9 + tap) * channels + c : 0), ok);
        }
    };
    tile::Sums sums = {};
    tile::run<V, false>(sums, 9 * steps_per_tap, load);
    tile::store(sums, y, row0, col0, pixels, filters);
}

#define CONV(name, variant)                                                                                            \
    extern "C" __global__ void __launch_bounds__(128)                                                                  \
        name(const __nv_bfloat16 *__restrict__ x, const __nv_bfloat16 *__restrict__ f, float *__restrict__ y, int n,   \
             int height, int width, int channels, int filters) {                                                       \
        conv<tile::variant>(x, f, y, n, height, width, channels, filters);                                             \
    }
CONV(conv_bf16, RIGHT)
CONV(conv_bf16_no_wait, NO_WAIT)
CONV(conv_bf16_no_last_wait, NO_LAST_WAIT)
CONV(conv_bf16_no_barrier, NO_BARRIER)
CONV(conv_bf16_no_last_barrier, NO_LAST_BARRIER)
CONV(conv_bf16_swapped, SWAPPED)
CONV(conv_bf16_bound, BOUND)
