// Races on global memory between blocks: see violations.cuh. Every kernel takes
//
//   y[32] i32 = 0, out[32] i32, flags[2] u32 = 0, ticket[1] u32 = 0
//
// and runs in blocks of 32. Blocks take tickets, and in a hand-over the one of ticket 0 comes first in time: it raises a
// flag that the one of ticket 1 waits for. Time alone orders nothing; release and acquire, or fences, do.
//
//                    grid
//   write_read       2     the first writes y, the second reads it; relaxed flag (the twins: release and acquire)
//   read_write       2     the first reads y, the second writes it
//   write_write      2     both write y
//   no_release       2     as write_read, flag raised relaxed and awaited by acquire
//   no_acquire       2     as write_read, flag raised by release and awaited relaxed
//   no_fence_before  2     as write_read, flag raised by atomicExch and awaited by atomicAdd, a fence only after it
//   no_fence_after   2     the same with a fence only before it
//   two_readers      3     tickets 0 and 1 read y; only ticket 1 releases to ticket 2, which writes it (the twin: ticket 0
//                          releases to 1, which passes it on)
//   increment        8     y[0] = y[0] + 1 by a thread of each block (the twin: atomicAdd)
//   after_atomic     2     an atomic, then a plain read
//   before_atomic    2     a plain write, then an atomic
//   bytes            4     two blocks write one byte (the twin: each its own byte of one word)
//   last_block       8     the last of all blocks adds up what the others wrote, no fences

#include "violations.cuh"

#define ARGUMENTS (int *y, int *out, unsigned *flags, unsigned *ticket)
#define PASSED (y, out, flags, ticket)

__device__ __forceinline__ unsigned take(unsigned *ticket) {
    __shared__ unsigned mine;
    if (threadIdx.x == 0) mine = atomicAdd(ticket, 1u);
    __syncthreads();
    return mine;
}

template <bool RELEASE> __device__ __forceinline__ void raise(unsigned *flag) {
    __syncthreads();
    if (threadIdx.x != 0) return;
    if (RELEASE)
        asm volatile("st.release.gpu.global.u32 [%0], 1;" ::"l"(flag) : "memory");
    else
        asm volatile("st.relaxed.gpu.global.u32 [%0], 1;" ::"l"(flag) : "memory");
}

template <bool ACQUIRE> __device__ __forceinline__ void await(unsigned *flag) {
    if (threadIdx.x == 0) {
        unsigned seen;
        do {
            if (ACQUIRE)
                asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(flag) : "memory");
            else
                asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(flag) : "memory");
        } while (seen == 0);
    }
    __syncthreads();
}

BODY write_read ARGUMENTS {
    if (take(ticket) == 0) {
        y[threadIdx.x] = threadIdx.x;
        raise<!BAD>(flags);
    } else {
        await<!BAD>(flags);
        out[threadIdx.x] = y[31 - threadIdx.x]; // BAD
    }
}
TWINS(write_read, ARGUMENTS, PASSED)

BODY read_write ARGUMENTS {
    if (take(ticket) == 0) {
        out[threadIdx.x] = y[31 - threadIdx.x];
        raise<!BAD>(flags);
    } else {
        await<!BAD>(flags);
        y[threadIdx.x] = threadIdx.x; // BAD
    }
}
TWINS(read_write, ARGUMENTS, PASSED)

BODY write_write ARGUMENTS {
    if (take(ticket) == 0) {
        y[threadIdx.x] = 1;
        raise<!BAD>(flags);
    } else {
        await<!BAD>(flags);
        y[threadIdx.x] = 2; // BAD
    }
}
TWINS(write_write, ARGUMENTS, PASSED)

BODY no_release ARGUMENTS {
    if (take(ticket) == 0) {
        y[threadIdx.x] = threadIdx.x;
        raise<!BAD>(flags);
    } else {
        await<true>(flags);
        out[threadIdx.x] = y[31 - threadIdx.x]; // BAD
    }
}
TWINS(no_release, ARGUMENTS, PASSED)

BODY no_acquire ARGUMENTS {
    if (take(ticket) == 0) {
        y[threadIdx.x] = threadIdx.x;
        raise<true>(flags);
    } else {
        await<!BAD>(flags);
        out[threadIdx.x] = y[31 - threadIdx.x]; // BAD
    }
}
TWINS(no_acquire, ARGUMENTS, PASSED)

template <bool FENCE> __device__ __forceinline__ void raise_atomically(unsigned *flag) {
    __syncthreads();
    if (threadIdx.x != 0) return;
    if (FENCE) __threadfence();
    atomicExch(flag, 1u);
}
template <bool FENCE> __device__ __forceinline__ void await_atomically(unsigned *flag) {
    if (threadIdx.x == 0) {
        while (atomicAdd(flag, 0u) == 0) {
        }
        if (FENCE) __threadfence();
    }
    __syncthreads();
}

BODY no_fence_before ARGUMENTS {
    if (take(ticket) == 0) {
        y[threadIdx.x] = threadIdx.x;
        raise_atomically<!BAD>(flags);
    } else {
        await_atomically<true>(flags);
        out[threadIdx.x] = y[31 - threadIdx.x]; // BAD
    }
}
TWINS(no_fence_before, ARGUMENTS, PASSED)

BODY no_fence_after ARGUMENTS {
    if (take(ticket) == 0) {
        y[threadIdx.x] = threadIdx.x;
        raise_atomically<true>(flags);
    } else {
        await_atomically<!BAD>(flags);
        out[threadIdx.x] = y[31 - threadIdx.x]; // BAD
    }
}
TWINS(no_fence_after, ARGUMENTS, PASSED)

BODY two_readers ARGUMENTS {
    const unsigned order = take(ticket);
    if (order == 0) {
        out[threadIdx.x] = y[31 - threadIdx.x];
        raise<!BAD>(flags);
    } else if (order == 1) {
        await<!BAD>(flags);
        if (y[31 - threadIdx.x] != 0) __trap();
        raise<true>(flags + 1);
    } else {
        await<true>(flags + 1);
        y[threadIdx.x] = threadIdx.x; // BAD
    }
}
TWINS(two_readers, ARGUMENTS, PASSED)

BODY increment ARGUMENTS {
    if (threadIdx.x != 0) return;
    if (BAD)
        y[0] = y[0] + 1; // BAD
    else
        atomicAdd(y, 1);
}
TWINS(increment, ARGUMENTS, PASSED)

BODY after_atomic ARGUMENTS {
    if (take(ticket) == 0) {
        atomicAdd(y, 1);
        raise<false>(flags);
    } else {
        await<false>(flags);
        out[threadIdx.x] = BAD ? y[0] : atomicAdd(y, 0); // BAD
    }
}
TWINS(after_atomic, ARGUMENTS, PASSED)

BODY before_atomic ARGUMENTS {
    if (take(ticket) == 0) {
        if (threadIdx.x == 0) {
            if (BAD)
                y[0] = 1;
            else
                atomicExch(y, 1);
        }
        raise<false>(flags);
    } else {
        await<false>(flags);
        atomicAdd(y, 1); // BAD
    }
}
TWINS(before_atomic, ARGUMENTS, PASSED)

BODY bytes ARGUMENTS {
    unsigned char *bytes = (unsigned char *)y;
    if (threadIdx.x == 0) bytes[BAD ? blockIdx.x & ~1 : blockIdx.x] = blockIdx.x; // BAD
}
TWINS(bytes, ARGUMENTS, PASSED)

BODY last_block ARGUMENTS {
    __shared__ bool last;
    if (threadIdx.x == 0) {
        y[blockIdx.x] = blockIdx.x;
        if (!BAD) __threadfence();
        last = atomicAdd(ticket, 1u) == gridDim.x - 1;
        if (!BAD) __threadfence();
    }
    __syncthreads();
    if (last && threadIdx.x < gridDim.x) out[threadIdx.x] = y[threadIdx.x]; // BAD
}
TWINS(last_block, ARGUMENTS, PASSED)
