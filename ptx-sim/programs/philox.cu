// Philox4x32-10 (Salmon et al. 2011): thread i writes the four words of counter (i, 0, offset low, offset high) under
// key (seed low, seed high).
//   philox: out[4n] u32, 16-byte aligned, one 16-byte store a thread.
//   philox_uniform: out[4n] f32 = (word >> 8) * 2^-24, in [0, 1); same alignment.
//   Grid covers n once (1-D), block any size. Exact.

__device__ __forceinline__ uint4 words(unsigned i, unsigned long long seed, unsigned long long offset) {
    uint4 c = make_uint4(i, 0u, (unsigned)offset, (unsigned)(offset >> 32));
    unsigned k0 = (unsigned)seed, k1 = (unsigned)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const unsigned high0 = __umulhi(0xD2511F53u, c.x), low0 = 0xD2511F53u * c.x;
        const unsigned high1 = __umulhi(0xCD9E8D57u, c.z), low1 = 0xCD9E8D57u * c.z;
        c = make_uint4(high1 ^ c.y ^ k0, low1, high0 ^ c.w ^ k1, low0);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

extern "C" __global__ void philox(uint4 *__restrict__ out, unsigned long long seed, unsigned long long offset, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = words(i, seed, offset);
}
extern "C" __global__ void philox_uniform(float4 *__restrict__ out, unsigned long long seed, unsigned long long offset,
                                          int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const uint4 w = words(i, seed, offset);
    const float scale = 1.0f / 16777216.0f;
    out[i] = make_float4((w.x >> 8) * scale, (w.y >> 8) * scale, (w.z >> 8) * scale, (w.w >> 8) * scale);
}
