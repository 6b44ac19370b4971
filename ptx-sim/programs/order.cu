// What depends on the order of blocks and warps. Grid any (1-D), block any size.
//
// blocks: order[b] = how many blocks took their ticket before block b. order[gridDim.x] u32 written, ticket[1] u32 zeroed.
// warps: the same of a block's warps, by a ticket in shared memory: order[gridDim.x * warps] u32 written.
// sum: total[0] += x[i] (f32, atomicAdd), whose rounding depends on the order. x[gridDim.x * blockDim.x] read-only.
// stop: the threads of value x[i] != 0 (i32) trap, in whichever block comes first.

extern "C" __global__ void blocks(unsigned *__restrict__ order, unsigned *ticket) {
    if (threadIdx.x == 0) order[blockIdx.x] = atomicAdd(ticket, 1u);
}

extern "C" __global__ void warps(unsigned *__restrict__ order) {
    __shared__ unsigned ticket;
    if (threadIdx.x == 0) ticket = 0;
    __syncthreads();
    const unsigned warp = threadIdx.x >> 5, count = (blockDim.x + 31) >> 5;
    if ((threadIdx.x & 31) == 0) order[blockIdx.x * count + warp] = atomicAdd(&ticket, 1u);
}

extern "C" __global__ void sum(const float *__restrict__ x, float *total) {
    atomicAdd(total, x[blockIdx.x * blockDim.x + threadIdx.x]);
}

extern "C" __global__ void stop(const int *__restrict__ x, int *y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (x[i] != 0) __trap();
    y[i] = i;
}
