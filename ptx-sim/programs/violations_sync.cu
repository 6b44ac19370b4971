// Barriers that not all reach, shuffles and votes without all their lanes, a kernel that doesn't end: see violations.cuh.
// Grid 1; "x[n]" f32 read-only input, "y[n]" output, i32 unless noted.
//
//                    block
//   barrier_part     32     y[32]               half a warp reaches __syncthreads, the other half passes it by
//   barrier_two      32     y[32]               half a warp at one barrier instruction, half at another
//   barrier_block    64     y[64]               one warp at barrier 1, the other at barrier 2
//   barrier_count    64     y[64]               a barrier of 96 threads in a block of 64
//   shuffle_source   32     x[32], y[32] f32    half a warp reads lanes of the other half
//   shuffle_absent   32     x[32], y[32] f32    the mask names lanes that take another way
//   shuffle_self     32     x[32], y[32] f32    the mask leaves out the lanes that execute it
//   syncwarp_apart   32     y[32]               the halves of a warp wait for each other, at __syncwarp and __syncthreads
//   endless          64     flag[1] u32 = 0,    the first warp spins on a flag that nobody raises, the other one waits at a
//                           y[64] u32           barrier
//   trap             32     y[32]               thread 3 traps
//   bounded_threads  64     y[64]               __launch_bounds__(32): an error of the launch

#include "violations.cuh"

#define BARRIER(id) asm volatile("bar.sync " #id ";" ::: "memory")

BODY barrier_part(int *y) {
    __shared__ int s[32];
    s[threadIdx.x] = threadIdx.x;
    if (!BAD || threadIdx.x < 16) {
        __syncthreads(); // BAD
        s[threadIdx.x] += 1;
    }
    y[threadIdx.x] = s[threadIdx.x];
}
TWINS(barrier_part, (int *y), (y))

BODY barrier_two(int *y) {
    __shared__ int s[32];
    s[threadIdx.x] = threadIdx.x;
    if (BAD) {
        if (threadIdx.x < 16) {
            BARRIER(0); // BAD
            s[threadIdx.x] += 1;
        } else {
            BARRIER(0); // BAD
            s[threadIdx.x] += 2;
        }
    } else {
        BARRIER(0);
        s[threadIdx.x] += threadIdx.x < 16 ? 1 : 2;
    }
    y[threadIdx.x] = s[threadIdx.x];
}
TWINS(barrier_two, (int *y), (y))

BODY barrier_block(int *y) {
    __shared__ int s[64];
    s[threadIdx.x] = threadIdx.x;
    if (BAD) {
        if (threadIdx.x < 32)
            BARRIER(1); // BAD
        else
            BARRIER(2); // BAD
    } else {
        BARRIER(1);
    }
    y[threadIdx.x] = s[63 - threadIdx.x];
}
TWINS(barrier_block, (int *y), (y))

BODY barrier_count(int *y) {
    __shared__ int s[64];
    s[threadIdx.x] = threadIdx.x;
    if (BAD)
        asm volatile("bar.sync 1, 96;" ::: "memory"); // BAD
    else
        asm volatile("bar.sync 1, 64;" ::: "memory");
    y[threadIdx.x] = s[63 - threadIdx.x];
}
TWINS(barrier_count, (int *y), (y))

BODY shuffle_source(const float *x, float *y) {
    float v = x[threadIdx.x];
    if (threadIdx.x < 16) v += __shfl_xor_sync(0xffffu, v, BAD ? 16 : 8); // BAD
    y[threadIdx.x] = v;
}
TWINS(shuffle_source, (const float *x, float *y), (x, y))

BODY shuffle_absent(const float *x, float *y) {
    float v = x[threadIdx.x];
    if (threadIdx.x < 24) v += __shfl_xor_sync(BAD ? 0xffffffffu : 0xffffffu, v, 1); // BAD
    y[threadIdx.x] = v;
}
TWINS(shuffle_absent, (const float *x, float *y), (x, y))

BODY shuffle_self(const float *x, float *y) {
    y[threadIdx.x] = __shfl_xor_sync(BAD ? 0xffffu : 0xffffffffu, x[threadIdx.x], 1); // BAD
}
TWINS(shuffle_self, (const float *x, float *y), (x, y))

BODY syncwarp_apart(int *y) {
    if (BAD) {
        if (threadIdx.x < 16) {
            __syncwarp(); // BAD
            y[threadIdx.x] = 1;
        } else {
            y[threadIdx.x] = 2;
            __syncthreads(); // BAD
        }
    } else {
        __syncwarp();
        y[threadIdx.x] = 3;
    }
}
TWINS(syncwarp_apart, (int *y), (y))

BODY endless(volatile unsigned *flag, unsigned *y) {
    if (!BAD && threadIdx.x == 0) flag[0] = 1;
    if (threadIdx.x < 32) {
        while (flag[0] == 0) { // BAD
        }
    }
    __syncthreads();
    y[threadIdx.x] = threadIdx.x;
}
TWINS(endless, (volatile unsigned *flag, unsigned *y), (flag, y))

BODY trap(int *y) {
    if (threadIdx.x == (BAD ? 3 : 99)) __trap(); // BAD
    y[threadIdx.x] = 0;
}
TWINS(trap, (int *y), (y))

KERNEL __launch_bounds__(32) bounded_threads_bad(int *y) { y[threadIdx.x] = threadIdx.x; }
KERNEL __launch_bounds__(64) bounded_threads_ok(int *y) { y[threadIdx.x] = threadIdx.x; }
