// histogram: bins[v] += how many x equal v. x[n] u8 read-only, bins[256] u32 (added to, so zeroed by the caller).
//   Counts in shared memory by atomics, then added to global memory. Grid any (1-D), block any size. Exact.
// atomics: every atomic of one word over all threads i < n, v = x[i] (i32): out[0] += v, out[1] = max, out[2] = min,
//   out[3] &= v, out[4] |= v, out[5] ^= v (i32, preset by the caller to 0, INT_MIN, INT_MAX, -1, 0, 0); out[6] =
//   product of (2|v| + 1), wrapping, by a compare-and-swap loop (preset 1); out[7] counts with atomicInc modulo 1000
//   (preset 0); fsum[0] (f32, preset 0) += (float)(v & 255), exact while below 2^24; wide[0] (u64, preset 0) += (u32)v;
//   last[0] = some thread's i (atomicExch). Grid covers n once, block any size.

extern "C" __global__ void histogram(const unsigned char *__restrict__ x, unsigned *bins, int n) {
    __shared__ unsigned counts[256];
    for (int i = threadIdx.x; i < 256; i += blockDim.x) counts[i] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) atomicAdd(&counts[x[i]], 1u);
    __syncthreads();
    for (int i = threadIdx.x; i < 256; i += blockDim.x)
        if (counts[i] != 0) atomicAdd(&bins[i], counts[i]);
}

extern "C" __global__ void atomics(const int *__restrict__ x, int *out, float *fsum, unsigned long long *wide,
                                   int *last, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const int v = x[i];
    atomicAdd(out, v);
    atomicMax(out + 1, v);
    atomicMin(out + 2, v);
    atomicAnd(out + 3, v);
    atomicOr(out + 4, v);
    atomicXor(out + 5, v);
    const unsigned factor = 2u * (unsigned)abs(v) + 1u;
    unsigned *product = (unsigned *)(out + 6);
    unsigned old = atomicAdd(product, 0u), assumed;
    do {
        assumed = old;
        old = atomicCAS(product, assumed, assumed * factor);
    } while (old != assumed);
    atomicInc((unsigned *)(out + 7), 999u);
    atomicAdd(fsum, (float)(v & 255));
    atomicAdd(wide, (unsigned long long)(unsigned)v);
    atomicExch(last, i);
}
