// The counters of an epoch, the end of a mini-batch, and the time of phases. state.cuh has the counters' order.
//
//   count_pass   fprop, dgrad, wgrad += passes * live;  the counter of each of some steps of the attack += live
//   count_batch  of the loaded: examples and cursor += loaded; per class, and kappas per class, the last bin for all larger ones;
//            of the dropped (loaded, not live): the bin of their confidence, per class;
//            of the live: kept += live, batches += 1, skipped += (live == 0); per class, kept, kept and right, and the bin of
//            their confidence;
//            loss += live * sum over live of weight*loss; a sum that is not finite marks its batch as halted.
//            The loaded alone: kappas of the dropped only. The live alone: their kappas too. Nothing once halted, nor both
//            without a loaded example.
//   mark         time of the phase that ends += now - last mark; last mark = now
//
// counters  u64 [8 + (3 + kappas + 20)*classes + steps] in and out
// total     f64 [1] in and out: the loss
// control   u32 [4] in and out: the cursor
// label     u32 [capacity] in, by position, as are kappa and crossed (u32), confidence, weight and loss (f32)
// position  u32 [capacity] in: the position of a slot, increasing
// live      u32 [2] in: live, loaded
// times     u64 [4] in and out: nanoseconds of three phases, and when the last mark was passed
//
// count_pass: grid 1, 32 threads; a thread has a pass, and every 32nd step. count_batch: grid 1, 256 threads; the threads count their
// examples with integer atomics, and the first one adds the losses up in order of the slots, in f64; 2 KiB of shared memory.
// mark: grid 1, one thread.
// Preconditions: labels below classes.
#include "state.cuh"

constexpr u32 THREADS = 256, PASS_THREADS = 32;
// Bins of a histogram of probabilities.
constexpr u32 BINS = 10;
constexpr u32 PHASES = 3;

struct CountPassDims {
    u32 passes[3];
    // The first step's counter, and how many follow.
    u32 first;
    u32 steps;
};

extern "C" __global__ void count_pass(u64* __restrict__ counters, const u32* __restrict__ live, CountPassDims d) {
    u32 i = threadIdx.x;
    for (u32 step = i; step < d.steps; step += PASS_THREADS) counters[d.first + step] += live[0];
    if (i >= 3) return;
    u32 passes = i == 0 ? d.passes[0] : i == 1 ? d.passes[1] : d.passes[2];
    counters[counter::FPROP + i] += (u64)passes * live[0];
}

struct CountBatchDims {
    u32 classes;
    u32 kappas;
    // Whether the loaded examples are counted, and the live ones with the mini-batch.
    u32 loaded;
    u32 live;
};

// Whether a slot of the first n has this position.
__device__ __forceinline__ bool is_live(const u32* __restrict__ position, u32 n, u32 wanted) {
    u32 low = 0, high = n;
    while (low < high) {
        u32 middle = (low + high) / 2;
        if (position[middle] < wanted) low = middle + 1;
        else high = middle;
    }
    return low < n && position[low] == wanted;
}

__device__ __forceinline__ u32 bin_of(float probability) { return min((u32)(probability * (float)BINS), BINS - 1); }

extern "C" __global__ void __launch_bounds__(THREADS)
    count_batch(u64* __restrict__ counters, double* __restrict__ total, u32* __restrict__ control, const u32* __restrict__ label,
            const u32* __restrict__ kappa, const u32* __restrict__ crossed, const float* __restrict__ confidence,
            const float* __restrict__ weight, const float* __restrict__ loss, const u32* __restrict__ position,
            const u32* __restrict__ live, CountBatchDims d) {
    __shared__ double terms[THREADS];
    u32 n = live[0], loaded = live[1], t = threadIdx.x;
    if (counters[counter::HALTED] != 0 || (d.loaded && d.live && loaded == 0)) return;
    u64 *examples = counters + counter::CLASSES, *kept = examples + d.classes, *right = kept + d.classes;
    u64* kappas = right + d.classes;
    u64* kept_bins = kappas + d.classes * d.kappas + d.kappas - 1;
    u64* dropped_bins = kept_bins + d.classes * BINS;
    if (d.loaded) {
        for (u32 i = t; i < loaded; i += THREADS) {
            u32 c = label[i];
            bool dropped = !is_live(position, n, i);
            atomicAdd(examples + c, 1ull);
            // Of those that stay it may change yet.
            if (d.live || dropped) atomicAdd(kappas + c * d.kappas + min(kappa[i], d.kappas - 1), 1ull);
            if (dropped) atomicAdd(dropped_bins + c * BINS + bin_of(confidence[i]), 1ull);
        }
        if (t == 0) {
            counters[counter::EXAMPLES] += loaded;
            control[control::CURSOR] += loaded;
        }
    }
    if (!d.live) return;
    double sum = 0.0;
    for (u32 first = 0; first < n; first += THREADS) {
        if (first + t < n) {
            u32 p = position[first + t], c = label[p];
            atomicAdd(kept + c, 1ull);
            if (crossed[p] == 0) atomicAdd(right + c, 1ull);
            if (!d.loaded) atomicAdd(kappas + c * d.kappas + min(kappa[p], d.kappas - 1), 1ull);
            atomicAdd(kept_bins + c * BINS + bin_of(confidence[p]), 1ull);
            terms[t] = (double)weight[p] * (double)loss[p];
        }
        __syncthreads();
        if (t == 0) {
            u32 terms_here = min(THREADS, n - first);
#pragma unroll 4
            for (u32 i = 0; i < terms_here; i++) sum = __dadd_rn(sum, terms[i]);
        }
        __syncthreads();
    }
    if (t != 0) return;
    u64 batch = counters[counter::BATCHES] + 1;
    counters[counter::KEPT] += n;
    counters[counter::BATCHES] = batch;
    if (n == 0) counters[counter::SKIPPED] += 1;
    if (!isfinite(sum)) counters[counter::HALTED] = batch;
    total[0] = __dadd_rn(total[0], __dmul_rn(sum, (double)n));
}

struct MarkDims {
    // The phase that ends, or PHASES for none.
    u32 ended;
};

extern "C" __global__ void mark(u64* __restrict__ times, MarkDims d) {
    u64 now;
    // Volatile: the time of this launch, not of another.
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    u64 last = times[PHASES];
    // The timer may be reset while nobody uses the device.
    if (d.ended < PHASES && now > last) times[d.ended] += now - last;
    times[PHASES] = now;
}
