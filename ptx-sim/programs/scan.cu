// Inclusive scan y[i] = x[0] + ... + x[i] (u32, wrapping) in one pass with decoupled look-back.
//
// Blocks take tiles of 256 elements by a ticket, so that a tile's predecessors are always running or done, and spin on
// their predecessors' words. Block 256 threads exactly; grid = ceil(n / 256), 1-D; n >= 1. Exact in any order.
//
// scan_packed: status[grid] u64, ticket[1] u32, both zeroed by the caller. A word holds flag << 32 | value, so that one
//   ld.acquire sees both; flag 1 = sum of the tile, 2 = sum of all tiles up to it.
// scan_flags: aggregate[grid], prefix[grid] u32 (any contents), flag[grid] u32 and ticket[1] u32 zeroed. The values are
//   plain stores published by st.release of the flag, and plain loads after its ld.acquire: message passing, which is
//   no race.
// scan_fence: as scan_flags, with volatile flags and __threadfence() (the older idiom).

__device__ __forceinline__ unsigned long long load_acquire(const unsigned long long *p) {
    unsigned long long v;
    asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
    return v;
}
__device__ __forceinline__ void store_release(unsigned long long *p, unsigned long long v) {
    asm volatile("st.release.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}
__device__ __forceinline__ unsigned load_acquire(const unsigned *p) {
    unsigned v;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
}
__device__ __forceinline__ void store_release(unsigned *p, unsigned v) {
    asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

// Inclusive scan of one value per thread of a 256-thread block; *total is the block's sum.
__device__ __forceinline__ unsigned block_scan(unsigned v, unsigned *total) {
    __shared__ unsigned warp_sums[8];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    for (int offset = 1; offset < 32; offset <<= 1) {
        const unsigned other = __shfl_up_sync(0xffffffffu, v, offset);
        if (lane >= offset) v += other;
    }
    if (lane == 31) warp_sums[warp] = v;
    __syncthreads();
    unsigned before = 0, all = 0;
    for (int w = 0; w < 8; ++w) {
        if (w < warp) before += warp_sums[w];
        all += warp_sums[w];
    }
    *total = all;
    return v + before;
}

__device__ __forceinline__ unsigned take_ticket(unsigned *ticket) {
    __shared__ unsigned tile;
    if (threadIdx.x == 0) tile = atomicAdd(ticket, 1u);
    __syncthreads();
    return tile;
}

extern "C" __global__ void scan_packed(const unsigned *__restrict__ x, unsigned *__restrict__ y,
                                       unsigned long long *status, unsigned *ticket, int n) {
    __shared__ unsigned exclusive;
    const int tile = take_ticket(ticket), i = tile * 256 + threadIdx.x;
    unsigned total;
    const unsigned v = block_scan(i < n ? x[i] : 0u, &total);
    if (threadIdx.x == 0) {
        unsigned sum = 0;
        if (tile > 0) {
            store_release(status + tile, 1ull << 32 | total);
            for (int p = tile - 1; p >= 0;) {
                const unsigned long long word = load_acquire(status + p);
                if (word >> 32 == 0) continue;
                sum += (unsigned)word;
                if (word >> 32 == 2) break;
                --p;
            }
        }
        store_release(status + tile, 2ull << 32 | (sum + total));
        exclusive = sum;
    }
    __syncthreads();
    if (i < n) y[i] = v + exclusive;
}

extern "C" __global__ void scan_flags(const unsigned *__restrict__ x, unsigned *__restrict__ y, unsigned *aggregate,
                                      unsigned *prefix, unsigned *flag, unsigned *ticket, int n) {
    __shared__ unsigned exclusive;
    const int tile = take_ticket(ticket), i = tile * 256 + threadIdx.x;
    unsigned total;
    const unsigned v = block_scan(i < n ? x[i] : 0u, &total);
    if (threadIdx.x == 0) {
        unsigned sum = 0;
        aggregate[tile] = total;
        if (tile > 0) {
            store_release(flag + tile, 1u);
            for (int p = tile - 1; p >= 0;) {
                const unsigned f = load_acquire(flag + p);
                if (f == 2) {
                    sum += prefix[p];
                    break;
                }
                if (f == 1) sum += aggregate[p--];
            }
        }
        prefix[tile] = sum + total;
        store_release(flag + tile, 2u);
        exclusive = sum;
    }
    __syncthreads();
    if (i < n) y[i] = v + exclusive;
}

extern "C" __global__ void scan_fence(const unsigned *__restrict__ x, unsigned *__restrict__ y,
                                      volatile unsigned *aggregate, volatile unsigned *prefix, volatile unsigned *flag,
                                      unsigned *ticket, int n) {
    __shared__ unsigned exclusive;
    const int tile = take_ticket(ticket), i = tile * 256 + threadIdx.x;
    unsigned total;
    const unsigned v = block_scan(i < n ? x[i] : 0u, &total);
    if (threadIdx.x == 0) {
        unsigned sum = 0;
        aggregate[tile] = total;
        if (tile > 0) {
            __threadfence();
            flag[tile] = 1u;
            for (int p = tile - 1; p >= 0;) {
                const unsigned f = flag[p];
                __threadfence();
                if (f == 2) {
                    sum += prefix[p];
                    break;
                }
                if (f == 1) sum += aggregate[p--];
            }
        }
        prefix[tile] = sum + total;
        __threadfence();
        flag[tile] = 2u;
        exclusive = sum;
    }
    __syncthreads();
    if (i < n) y[i] = v + exclusive;
}
