// static_shared_bad takes 49,156 bytes of static shared memory, four more than any GPU allows: ptxas and the driver refuse
// its module, which is why it has one of its own. static_shared_ok takes 49,152. y[32] i32 = 31 - i. Grid 1, block 32.

template <bool BAD> __device__ __forceinline__ void static_shared(int *y) {
    __shared__ int s[BAD ? 12289 : 12288];
    s[threadIdx.x * 300] = threadIdx.x;
    __syncthreads();
    y[threadIdx.x] = s[(31 - threadIdx.x) * 300];
}
extern "C" __global__ void static_shared_bad(int *y) { static_shared<true>(y); }
extern "C" __global__ void static_shared_ok(int *y) { static_shared<false>(y); }
