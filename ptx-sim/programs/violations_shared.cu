// Races on shared memory: see violations.cuh. Grid 1; "x[n]" is read-only input, "y[n]" output, f32 unless noted.
// Shared memory is initialised before a barrier wherever a racing read could otherwise come first.
//
//                     block
//   write_read        64     x[64], y[64]      warps: reverses through shared memory, no barrier after the write
//   read_write        64     x[256], y[256]    warps: the same in a loop, no barrier before the tile is overwritten
//   write_write       64     y[1] i32          warps: one thread of each writes one word
//   lane_write_read   32     x[32], y[32]      lanes of one warp: as write_read, no __syncwarp
//   lane_volatile     32     x[32], y[32]      the same in volatile memory, which orders nothing
//   lane_read_write   32     x[32], y[32]      lanes: reads a neighbour's word, then overwrites its own
//   lane_write_write  32     y[16] i32         lanes: two write one word with one instruction
//   lane_shuffle      32     x[32], y[32]      a shuffle between write and read, which orders no memory
//   half_warps        32     x[32], y[32]      __syncwarp of each half, then reads the other half's words
//   bytes             64     y[64] u8          two threads write one byte (the twin: each its own byte of a word)
//   halves            64     y[64] u16         two warps write one half of a word (the twin: the two halves)
//   counter           64     y[1] i32          s = s + 1 by a thread of each warp (the twin: atomicAdd)
//   after_atomic      64     y[64] i32         a plain read after another warp's atomic without a barrier
//   half_blocks       128    y[128] i32        named barriers of two warps each, then reads the other two warps' words
//   chained           96     y[32] i32         warp 0 writes, barriers of warps 1 and 2 and of 0 and 1, warp 2 reads (the
//                                              twin has the barriers in the order that passes the write on)
//   two_readers       96     y[64] i32         warps 0 and 1 read, only warp 1 meets warp 2 at a barrier, warp 2 writes

#include "violations.cuh"

#define BARRIER(id, threads) asm volatile("bar.sync " #id ", " #threads ";" ::: "memory")

BODY write_read(const float *x, float *y) {
    __shared__ float s[64];
    s[threadIdx.x] = 0.0f;
    __syncthreads();
    s[threadIdx.x] = x[threadIdx.x]; // BAD
    if (!BAD) __syncthreads();
    y[threadIdx.x] = s[63 - threadIdx.x]; // BAD
}
TWINS(write_read, (const float *x, float *y), (x, y))

BODY read_write(const float *x, float *y) {
    __shared__ float s[64];
#pragma unroll 1
    for (int round = 0; round < 4; ++round) {
        s[threadIdx.x] = x[round * 64 + threadIdx.x]; // BAD
        __syncthreads();
        y[round * 64 + threadIdx.x] = s[63 - threadIdx.x]; // BAD
        if (!BAD) __syncthreads();
    }
}
TWINS(read_write, (const float *x, float *y), (x, y))

BODY write_write(int *y) {
    __shared__ int s;
    if ((threadIdx.x & 31) == 0 && (BAD || threadIdx.x == 0)) s = threadIdx.x; // BAD
    __syncthreads();
    if (threadIdx.x == 0) y[0] = s;
}
TWINS(write_write, (int *y), (y))

BODY lane_write_read(const float *x, float *y) {
    __shared__ float s[32];
    s[threadIdx.x] = x[threadIdx.x];
    if (!BAD) __syncwarp();
    y[threadIdx.x] = s[31 - threadIdx.x]; // BAD
}
TWINS(lane_write_read, (const float *x, float *y), (x, y))

BODY lane_volatile(const float *x, float *y) {
    __shared__ volatile float s[32];
    s[threadIdx.x] = x[threadIdx.x];
    if (!BAD) __syncwarp();
    y[threadIdx.x] = s[31 - threadIdx.x]; // BAD
}
TWINS(lane_volatile, (const float *x, float *y), (x, y))

BODY lane_read_write(const float *x, float *y) {
    __shared__ float s[32];
    s[threadIdx.x] = x[threadIdx.x];
    __syncwarp();
    const float other = s[threadIdx.x ^ 1];
    if (!BAD) __syncwarp();
    s[threadIdx.x] = 2.0f * other; // BAD
    __syncwarp();
    y[threadIdx.x] = s[threadIdx.x ^ 3];
}
TWINS(lane_read_write, (const float *x, float *y), (x, y))

BODY lane_write_write(int *y) {
    __shared__ int s[16];
    if (BAD || (threadIdx.x & 1) == 0) s[threadIdx.x >> 1] = threadIdx.x; // BAD
    __syncwarp();
    if (threadIdx.x < 16) y[threadIdx.x] = s[threadIdx.x];
}
TWINS(lane_write_write, (int *y), (y))

BODY lane_shuffle(const float *x, float *y) {
    __shared__ float s[32];
    s[threadIdx.x] = x[threadIdx.x];
    const float other = __shfl_xor_sync(0xffffffffu, x[threadIdx.x], 1);
    if (!BAD) __syncwarp();
    y[threadIdx.x] = s[31 - threadIdx.x] + other; // BAD
}
TWINS(lane_shuffle, (const float *x, float *y), (x, y))

BODY half_warps(const float *x, float *y) {
    __shared__ float s[32];
    s[threadIdx.x] = x[threadIdx.x];
    if (BAD)
        __syncwarp(threadIdx.x < 16 ? 0x0000ffffu : 0xffff0000u);
    else
        __syncwarp();
    y[threadIdx.x] = s[31 - threadIdx.x]; // BAD
}
TWINS(half_warps, (const float *x, float *y), (x, y))

BODY bytes(unsigned char *y) {
    __shared__ unsigned char s[64];
    s[threadIdx.x] = 0;
    __syncthreads();
    s[BAD ? threadIdx.x & ~1 : threadIdx.x] = threadIdx.x; // BAD
    __syncthreads();
    y[threadIdx.x] = s[63 - threadIdx.x];
}
TWINS(bytes, (unsigned char *y), (y))

BODY halves(unsigned short *y) {
    __shared__ unsigned short s[64];
    s[threadIdx.x] = 0;
    __syncthreads();
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    s[2 * lane + (BAD ? 0 : warp)] = threadIdx.x; // BAD
    __syncthreads();
    y[threadIdx.x] = s[63 - threadIdx.x];
}
TWINS(halves, (unsigned short *y), (y))

BODY counter(int *y) {
    __shared__ int s;
    if (threadIdx.x == 0) s = 0;
    __syncthreads();
    if ((threadIdx.x & 31) == 0) {
        if (BAD)
            s = s + 1; // BAD
        else
            atomicAdd(&s, 1);
    }
    __syncthreads();
    if (threadIdx.x == 0) y[0] = s;
}
TWINS(counter, (int *y), (y))

BODY after_atomic(int *y) {
    __shared__ int s;
    if (threadIdx.x == 0) s = 0;
    __syncthreads();
    if (threadIdx.x < 32) atomicAdd(&s, 1); // BAD
    if (!BAD) __syncthreads();
    y[threadIdx.x] = threadIdx.x < 32 ? 0 : s; // BAD
}
TWINS(after_atomic, (int *y), (y))

BODY half_blocks(int *y) {
    __shared__ int s[128];
    s[threadIdx.x] = 0;
    __syncthreads();
    s[threadIdx.x] = threadIdx.x; // BAD
    if (threadIdx.x < 64)
        BARRIER(1, 64);
    else
        BARRIER(2, 64);
    y[threadIdx.x] = s[threadIdx.x ^ (BAD ? 127 : 63)]; // BAD
}
TWINS(half_blocks, (int *y), (y))

BODY chained(int *y) {
    __shared__ int s[32];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    if (warp == 0) s[lane] = 0;
    __syncthreads();
    if (warp == 0) {
        s[lane] = lane; // BAD
        BARRIER(1, 64);
    } else if (warp == 1) {
        if (!BAD) BARRIER(1, 64);
        BARRIER(2, 64);
        if (BAD) BARRIER(1, 64);
    } else {
        BARRIER(2, 64);
        y[lane] = s[31 - lane]; // BAD
    }
}
TWINS(chained, (int *y), (y))

BODY two_readers(int *y) {
    __shared__ int s[32];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    if (warp == 2) s[lane] = lane;
    __syncthreads();
    if (warp == 0) {
        y[lane] = s[31 - lane]; // BAD
        if (!BAD) BARRIER(1, 96);
    } else if (warp == 1) {
        y[32 + lane] = s[31 - lane];
        if (BAD)
            BARRIER(1, 64);
        else
            BARRIER(1, 96);
    } else {
        if (BAD)
            BARRIER(1, 64);
        else
            BARRIER(1, 96);
        s[lane] = 2 * lane; // BAD
    }
}
TWINS(two_readers, (int *y), (y))
