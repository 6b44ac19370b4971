// Control flow. Grid covers n once (1-D), block any size unless said otherwise; x[n] read-only, y[n] written. Exact.
//
// collatz: y[i] = steps of the 3v + 1 iteration from x[i] (u32 >= 1, wrapping) to 1, at most 1000: a loop that each
//   lane leaves when it likes.
// nested: for each j < x[i] (u32): skip where j % 3 == 1, stop where y > 50, else y += inner count of k < j with
//   (k ^ j) & 1, where the inner loop stops at k*k > 2j. continue, break and loops within loops.
// early: threads with x[i] (i32) < 0 write -1 and return before a shuffle among those left and a barrier; the others
//   write the block's sum of x >= 0 over all threads of the block. Block 64; n a multiple of 64; each warp keeps a
//   lane.
// dense_switch: y[i] (u32) = one of seventeen formulas by x[i] & 31 (nvcc makes a tree of branches).
// sparse_switch: the same over scattered case values, with fall-through.
// jump_table: y[i] (u32), by an indirect branch (brx.idx, inline PTX) on x & 3: 0: x + 100, 1: x * 3, 2: ~x, 3: x / 2 +
//   100 (which goes on into case 0).
// device_call: y[i] (f32) = poly(x[i], i & 3), a function that is not inlined, called under divergence; poly evaluates
//   c0 + v(c1 + v(c2 + v c3)) by fma with c = {1, 1/2, 1/4, 1/8} * (kind + 1), and negates the result for odd kinds.
// call_twice: two levels of calls and a by-pointer result: y[i] (u32) = gcd(x[i], 360) * 1000 + steps of Euclid.
// local_array: y[i] (u32) = digits of x[i] in base 7 sorted descending, read back in base 10 (local memory, dynamic
//   index; at most 12 digits, the value modulo 2^32).
// warp_rotate: y[i] (i32) = x at lane (lane * 5 + 3) & 31 of the same warp (shfl.idx), plus x of the lane below when
//   there is one (shfl.up with a predicate); n and the block multiples of 32.

extern "C" __global__ void collatz(const unsigned *__restrict__ x, unsigned *__restrict__ y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned v = x[i], steps = 0;
    while (v != 1 && steps < 1000) {
        v = v & 1 ? 3 * v + 1 : v >> 1;
        ++steps;
    }
    y[i] = steps;
}

extern "C" __global__ void nested(const unsigned *__restrict__ x, unsigned *__restrict__ y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned sum = 0;
    for (unsigned j = 0; j < x[i]; ++j) {
        if (j % 3 == 1) continue;
        if (sum > 50) break;
        for (unsigned k = 0; k < j; ++k) {
            if (k * k > 2 * j) break;
            if ((k ^ j) & 1) ++sum;
        }
    }
    y[i] = sum;
}

extern "C" __global__ void early(const int *__restrict__ x, int *__restrict__ y) {
    __shared__ int sums[2];
    const int i = blockIdx.x * 64 + threadIdx.x, warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    const int v = x[i];
    const unsigned left = __ballot_sync(0xffffffffu, v >= 0);
    if (v < 0) {
        y[i] = -1;
        return;
    }
    const int sum = __reduce_add_sync(left, v);
    if (lane == __ffs(left) - 1) sums[warp] = sum;
    __syncthreads();
    y[i] = sums[0] + sums[1];
}

extern "C" __global__ void dense_switch(const unsigned *__restrict__ x, unsigned *__restrict__ y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const unsigned v = x[i];
    unsigned r = i;
    switch (v & 31) {
    case 0: r = v + 1; break;
    case 1: r = v * 3; break;
    case 2: r = v ^ 0x55555555u; break;
    case 3: r = __brev(v); break;
    case 4: r = __clz(v); break;
    case 5: r = v / 7; break;
    case 6: r = __popc(v) * v; break;
    case 7: for (r = 0; r * r < (v >> 5 & 1023); ++r) {} break;
    case 8: r = v << (v >> 5 & 7); break;
    case 9: r ^= v; // falls through
    case 10: r = r * 5 + 3; break;
    case 11: y[i] = 11; return;
    case 12: r = v % 1000; break;
    case 13: for (unsigned k = 0; k < (v >> 5 & 15); ++k) r = r * 31 + k; break;
    case 14: r = ~v; break;
    case 15: r = v >> 3; break;
    default: r = 0xdeadbeefu; break;
    }
    y[i] = r;
}

extern "C" __global__ void sparse_switch(const unsigned *__restrict__ x, unsigned *__restrict__ y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned r = 1;
    switch (x[i]) {
    case 3: r += 10; break;
    case 77: r *= 5;
    case 78: r += 2; break;
    case 1000: r = 9;
    case 100000: r <<= 3;
    case 0xffffffffu: r ^= 0xf0; break;
    default: r = 0;
    }
    y[i] = r;
}

extern "C" __global__ void jump_table(const unsigned *__restrict__ x, unsigned *__restrict__ y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned r;
    asm volatile("{\n\t"
                 ".reg .u32 case, v;\n\t"
                 "mov.u32 v, %1;\n\t"
                 "and.b32 case, v, 3;\n\t"
                 "cases: .branchtargets case0, case1, case2, case3;\n\t"
                 "brx.idx case, cases;\n\t"
                 "case3:\n\t"
                 "shr.u32 v, v, 1;\n\t"
                 "case0:\n\t"
                 "add.u32 v, v, 100;\n\t"
                 "bra.uni done;\n\t"
                 "case1:\n\t"
                 "mul.lo.u32 v, v, 3;\n\t"
                 "bra.uni done;\n\t"
                 "case2:\n\t"
                 "not.b32 v, v;\n\t"
                 "done:\n\t"
                 "mov.u32 %0, v;\n\t"
                 "}"
                 : "=r"(r) : "r"(x[i]));
    y[i] = r;
}

__device__ __noinline__ float poly(float v, int kind) {
    const float s = (float)(kind + 1);
    const float r = fmaf(v, fmaf(v, fmaf(v, 0.125f * s, 0.25f * s), 0.5f * s), s);
    if (kind & 1) return -r;
    return r;
}

extern "C" __global__ void device_call(const float *__restrict__ x, float *__restrict__ y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = poly(x[i], i & 3);
}

__device__ __noinline__ unsigned step(unsigned a, unsigned b, unsigned *count) {
    *count += 1;
    return a % b;
}
__device__ __noinline__ unsigned gcd(unsigned a, unsigned b, unsigned *count) {
    while (b != 0) {
        const unsigned r = step(a, b, count);
        a = b;
        b = r;
    }
    return a;
}
extern "C" __global__ void call_twice(const unsigned *__restrict__ x, unsigned *__restrict__ y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned count = 0;
    const unsigned g = gcd(x[i], 360u, &count);
    y[i] = g * 1000u + count;
}

extern "C" __global__ void local_array(const unsigned *__restrict__ x, unsigned *__restrict__ y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned digits[12];
    int count = 0;
    for (unsigned v = x[i]; v != 0; v /= 7) digits[count++] = v % 7;
    for (int a = 1; a < count; ++a) {
        const unsigned d = digits[a];
        int b = a;
        for (; b > 0 && digits[b - 1] < d; --b) digits[b] = digits[b - 1];
        digits[b] = d;
    }
    unsigned r = 0;
    for (int a = 0; a < count; ++a) r = r * 10 + digits[a];
    y[i] = r;
}

extern "C" __global__ void warp_rotate(const int *__restrict__ x, int *__restrict__ y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31;
    if (i >= n) return;
    const int v = x[i], turned = __shfl_sync(0xffffffffu, v, (lane * 5 + 3) & 31);
    int below, valid;
    asm volatile("{ .reg .pred p; shfl.sync.up.b32 %0|p, %2, 1, 0, -1; selp.s32 %1, 1, 0, p; }"
                 : "=r"(below), "=r"(valid) : "r"(v));
    y[i] = turned + (valid ? below : 0);
}
