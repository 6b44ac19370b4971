// Moments of the map that a kernel writes, tile by tile, for the batch norm that follows it.
//
// moments   f32 [tiles][2][channels] out: of the pixels of a tile, as they are stored, mean and sum of squared deviations
// counts    u32 [tiles] out: pixels of a tile
//
// Of a tile without a live slot neither is written. Order of the sums: a thread's pixels, then the threads of a channel, both
// ascending: nothing depends on the order of blocks. Means and squares combine as Chan, Golub and LeVeque have it.
#pragma once
#include "common.cuh"

// Moments of what a thread stores of V channels. Its first value is subtracted from all: as it is one of them, the squares that
// are added up exceed those of the deviations by no more than the number of values, however large the mean.
template <int V> struct Moments {
    u32 count = 0;
    float pivot[V] = {}, sum[V] = {}, square[V] = {};

    __device__ __forceinline__ void add(const float (&v)[V]) {
#pragma unroll
        for (int c = 0; c < V; c++) {
            pivot[c] = count > 0 ? pivot[c] : v[c];
            float off = v[c] - pivot[c];
            sum[c] += off;
            square[c] = fmaf(off, off, square[c]);
        }
        count++;
    }
};

// Floats of shared memory that moments_write takes of a block of so many threads with `vectors` vectors of channels.
__host__ __device__ constexpr u32 moments_shared(u32 V, u32 threads, u32 vectors) {
    return 2 * V * (threads + 32 / V) + threads / vectors;
}

// Combines the moments of a block's threads, of which thread i has vector i mod `vectors` of the channels from n0 on, and
// writes those of its tile. Thread 0 has stored a pixel, and with it all of the first `vectors` threads whose channels exist.
template <int V>
__device__ __forceinline__ void moments_write(float* __restrict__ moments, u32* __restrict__ counts, float* shared,
                                              const Moments<V>& m, u32 threads, u32 vectors, u32 n0, u32 channels, u32 tile) {
    // So spaced that neither writing vector by vector nor reading channel by channel meets a bank conflict.
    u32 columns = threads + 32 / V, lanes = threads / vectors;
    float *means = shared, *squares = means + V * columns, *pixels = squares + V * columns;
    float inverse = m.count > 0 ? 1.0f / (float)m.count : 0.0f;
    __syncthreads();
#pragma unroll
    for (int c = 0; c < V; c++) {
        float mean = m.sum[c] * inverse;
        means[c * columns + threadIdx.x] = m.pivot[c] + mean;
        squares[c * columns + threadIdx.x] = fmaxf(fmaf(-m.sum[c], mean, m.square[c]), 0.0f);
    }
    if (threadIdx.x % vectors == 0) pixels[threadIdx.x / vectors] = (float)m.count;
    __syncthreads();
    float* part = moments + (size_t)tile * 2 * channels;
    for (u32 i = threadIdx.x; i < vectors * V && n0 + i < channels; i += threads) {
        u32 at = i % V * columns + i / V;
        // Again relative to one of the values.
        float base = means[at], count = 0.0f, total = 0.0f, square = 0.0f;
#pragma unroll 8
        for (u32 lane = 0; lane < lanes; lane++) {
            count += pixels[lane];
            total = fmaf(pixels[lane], means[at + lane * vectors] - base, total);
        }
        float mean = base + total / count;
#pragma unroll 8
        for (u32 lane = 0; lane < lanes; lane++) {
            float off = means[at + lane * vectors] - mean;
            square += fmaf(pixels[lane] * off, off, squares[at + lane * vectors]);
        }
        part[n0 + i] = mean;
        part[channels + n0 + i] = square;
        if (n0 + i == 0) counts[tile] = (u32)count;
    }
}
