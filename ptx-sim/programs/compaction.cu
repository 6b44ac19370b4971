// Stream compaction by ballot: the indices i with x[i] > threshold.
//
// compact: indices[0..count) in ascending order within a warp's 32 elements, warps in any order (the caller sorts).
//   x[n] f32 read-only, indices[n] i32 (the first *count written), count[1] i32 zeroed by the caller.
//   Grid covers n once (1-D), block any size.
// compact_stable: the same in ascending order, and *count written, by one block. Grid 1, block a multiple of 32.
// peers: leader[i] = lowest lane of i's warp whose key equals keys[i], size[i] = how many (match.sync); n a multiple of
//   32, grid covers n once, block a multiple of 32.
// compact_active: as compact, but the branch is taken first and the ballot is over __activemask().

extern "C" __global__ void compact(const float *__restrict__ x, int *__restrict__ indices, int *count, float threshold,
                                   int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31;
    const unsigned members = __activemask();
    const bool keep = i < n && x[i] > threshold;
    const unsigned mask = __ballot_sync(members, keep);
    int base = 0;
    if (lane == 0) base = atomicAdd(count, __popc(mask));
    base = __shfl_sync(members, base, 0);
    if (keep) indices[base + __popc(mask & ((1u << lane) - 1u))] = i;
}

extern "C" __global__ void compact_stable(const float *__restrict__ x, int *__restrict__ indices,
                                          int *__restrict__ count, float threshold, int n) {
    __shared__ int counts[32];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    int done = 0;
    for (int start = 0; start < n; start += blockDim.x) {
        const int i = start + threadIdx.x;
        const bool keep = i < n && x[i] > threshold;
        const unsigned mask = __ballot_sync(0xffffffffu, keep);
        if (lane == 0) counts[warp] = __popc(mask);
        __syncthreads();
        int base = done;
        for (int w = 0; w < warps; ++w) {
            if (w < warp) base += counts[w];
            done += counts[w];
        }
        if (keep) indices[base + __popc(mask & ((1u << lane) - 1u))] = i;
        __syncthreads();
    }
    if (threadIdx.x == 0) *count = done;
}

extern "C" __global__ void peers(const int *__restrict__ keys, int *__restrict__ leader, int *__restrict__ size, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const unsigned same = __match_any_sync(0xffffffffu, keys[i]);
    leader[i] = __ffs(same) - 1;
    size[i] = __popc(same);
}

extern "C" __global__ void compact_active(const float *__restrict__ x, int *__restrict__ indices, int *count,
                                          float threshold, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n && x[i] > threshold) {
        const unsigned active = __activemask();
        const int lane = threadIdx.x & 31, first = __ffs(active) - 1;
        int base = 0;
        if (lane == first) base = atomicAdd(count, __popc(active));
        base = __shfl_sync(active, base, first);
        indices[base + __popc(active & ((1u << lane) - 1u))] = i;
    }
}
