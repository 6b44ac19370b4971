// Hard-example mining: who stays, moving the kept together, putting others aside, and what they weigh.
//
//   select   keep = 1 where the formula is not 0, and for the floor(keep_easy * easy) of the easy ones (formula = 0) that have
//            the highest confidence, ties by slot; floats are ordered by IEEE's total order, as on the CPU
//   compact  kept slots move to the front, in order: position, and each slot's record of every buffer of the job table
//   freeze   frozen[position[slot]] = x_adv[slot] of the live slots that are not kept, or of all live ones
//   thaw     live[0] = live[1];  position[slot] = slot
//   weigh    weight = raw / sum of raw over live, or 1/live if that sum is not positive; raw is the formula
//
// A formula is postfix code over an example's state; each operation rounds by itself. Its values under way are in shared memory,
// a column a thread: local memory would go to global memory.
//
// keep        u32 [capacity] by position: out of select, in of compact and freeze
// crossed     u32 [capacity] in, by position, as are kappa and label (u32), confidence, loss and step (f32)
// weight      f32 [capacity] out, by position
// position    u32 [capacity]: in; compact_scan moves it; out of thaw
// live        u32 [2]: in; compact_scan and thaw set the first
// moves       u32 [1 + capacity] workspace: the first slot that was not kept, then the slot of each kept example
// jobs        buffers [capacity, record] whose records move in place
// frozen      f32 [capacity, len] by position, out;  x_adv  f32 [capacity, len] in
//
// select: grid ceil(capacity / 256), 256 threads; a thread has a slot and counts the easy ones that come before it, tile by
// tile of 256. compact_scan: one block of 256, tile by tile. compact: a thread has one unit (16, 4 or 1 byte) of the record
// of one buffer and takes the kept slots in order; a slot only ever moves to the front, so no unit is overwritten before it
// has moved. 64 threads a block, so that few units spread over many SMs. freeze: grid (ceil(len / 1024), capacity), 256 threads;
// a thread has four elements of a slot's image. thaw: one block of 256. weigh: one block of 256; the first thread adds in f64, in
// order of the slots. Shared memory: of select and weigh 10 KiB, of compact_scan 36 bytes.
// Preconditions: a record is a multiple of its unit, and its buffer is aligned to it; a formula has at most 32 codes and 8 values
// under way.
#include "warp.cuh"

constexpr u32 THREADS = 256, WARPS = THREADS / 32;
// Of compact: threads of a block, buffers of a launch at most, and slots that a thread loads at a time.
constexpr u32 COMPACT_THREADS = 64, JOBS = 128, AHEAD = 8;
// Elements of an image that a block puts aside.
constexpr u32 FREEZE_PART = 4 * THREADS;
// Codes of a formula, and its values under way, at most.
constexpr u32 LONGEST = 32, DEEPEST = 8;

// First what pushes a value, then what takes two, then what takes one.
namespace opcode {
enum : u32 { NUMBER, CROSSED, KAPPA, CONFIDENCE, LOSS, STEP, LABEL, POSITION, ADD, SUB, MUL, DIV, MAX, LESS, TANH };
}

struct FormulaCode {
    // A number of `opcode`.
    u32 op;
    float value;
};

struct FormulaDims {
    FormulaCode codes[LONGEST];
    u32 len;
};

struct State {
    const u32* __restrict__ crossed;
    const u32* __restrict__ kappa;
    const float* __restrict__ confidence;
    const float* __restrict__ loss;
    const float* __restrict__ step;
    const u32* __restrict__ label;
};

// The formula's value for the example at position p.
__device__ __forceinline__ float value(const FormulaDims& f, const State& s, u32 p, float (&stack)[DEEPEST][THREADS]) {
    float* next = &stack[0][threadIdx.x];
    for (u32 i = 0; i < f.len; i++) {
        FormulaCode code = f.codes[i];
        if (code.op < opcode::ADD) {
            float v = code.value;
            switch (code.op) {
                case opcode::CROSSED: v = (float)s.crossed[p]; break;
                case opcode::KAPPA: v = (float)s.kappa[p]; break;
                case opcode::CONFIDENCE: v = s.confidence[p]; break;
                case opcode::LOSS: v = s.loss[p]; break;
                case opcode::STEP: v = s.step[p]; break;
                case opcode::LABEL: v = (float)s.label[p]; break;
                case opcode::POSITION: v = (float)p; break;
            }
            *next = v;
            next += THREADS;
            continue;
        }
        float b = next[-(int)THREADS], a = b;
        next -= THREADS;
        if (code.op < opcode::TANH) {
            next -= THREADS;
            a = *next;
        }
        float v = b > a ? b : a;
        switch (code.op) {
            case opcode::ADD: v = __fadd_rn(a, b); break;
            case opcode::SUB: v = __fsub_rn(a, b); break;
            case opcode::MUL: v = __fmul_rn(a, b); break;
            case opcode::DIV: v = __fdiv_rn(a, b); break;
            case opcode::LESS: v = a < b ? 1.0f : 0.0f; break;
            case opcode::TANH: v = tanhf(a); break;
        }
        *next = v;
        next += THREADS;
    }
    return stack[0][threadIdx.x];
}

struct SelectDims {
    FormulaDims keep;
    float keep_easy;
};

// Order of an easy example: a larger key comes first. 0 is nobody's.
__device__ __forceinline__ u64 easy_key(float confidence, u32 slot) {
    u32 b = __float_as_uint(confidence);
    u32 ordered = b & 0x80000000u ? ~b : b | 0x80000000u;
    return (u64)ordered << 32 | ~slot;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    mine_select(u32* __restrict__ keep, const u32* __restrict__ crossed, const u32* __restrict__ kappa,
           const float* __restrict__ confidence, const float* __restrict__ loss, const float* __restrict__ step,
           const u32* __restrict__ label, const u32* __restrict__ position, const u32* __restrict__ live,
           const __grid_constant__ SelectDims d) {
    __shared__ float stack[DEEPEST][THREADS];
    __shared__ u64 keys[THREADS];
    u32 n = live[0], t = threadIdx.x, slot = blockIdx.x * THREADS + t;
    if (blockIdx.x * THREADS >= n) return;
    State s = {crossed, kappa, confidence, loss, step, label};
    u32 p = slot < n ? position[slot] : 0, hard = 0;
    if (slot < n) hard = value(d.keep, s, p, stack) != 0.0f;
    u64 key = slot < n && hard == 0 ? easy_key(confidence[p], slot) : 0;
    u32 easy = 0, before = 0;
    if (d.keep_easy > 0.0f) {
        for (u32 first = 0; first < n; first += THREADS) {
            u64 other = 0;
            if (first + t < n) {
                u32 q = position[first + t];
                if (value(d.keep, s, q, stack) == 0.0f) other = easy_key(confidence[q], first + t);
            }
            keys[t] = other;
            __syncthreads();
            u32 here = min(THREADS, n - first);
#pragma unroll 8
            for (u32 i = 0; i < here; i++) {
                easy += keys[i] != 0;
                before += keys[i] > key;
            }
            __syncthreads();
        }
    }
    if (slot >= n) return;
    u32 share = (u32)__dmul_rn((double)d.keep_easy, (double)easy);
    keep[p] = key != 0 && before < share ? 1 : hard;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    mine_compact_scan(u32* position, u32* live, u32* __restrict__ moves, const u32* __restrict__ keep) {
    __shared__ u32 sums[WARPS], dropped;
    u32 n = live[0], t = threadIdx.x, lane = t % 32, warp = t / 32, kept = 0;
    if (t == 0) dropped = n;
    __syncthreads();
    for (u32 first = 0; first < n; first += THREADS) {
        u32 slot = first + t, p = slot < n ? position[slot] : 0;
        bool stays = slot < n && keep[p] != 0;
        u32 votes = __ballot_sync(ALL, stays);
        if (lane == 0) sums[warp] = __popc(votes);
        if (slot < n && !stays) atomicMin(&dropped, slot);
        // Also: all positions of this tile are read before one is written.
        __syncthreads();
        u32 to = kept + __popc(votes & ((1u << lane) - 1));
#pragma unroll
        for (u32 w = 0; w < WARPS; w++) {
            if (w < warp) to += sums[w];
            kept += sums[w];
        }
        if (stays) {
            position[to] = p;
            moves[1 + to] = slot;
        }
        __syncthreads();
    }
    if (t == 0) {
        live[0] = kept;
        moves[0] = dropped;
    }
}

struct CompactJob {
    u64 buffer;
    // Units of a record, and bytes of a unit.
    u32 units;
    u32 unit;
    // The job's first block.
    u32 block;
    u32 unused;
};

struct CompactDims {
    CompactJob jobs[JOBS];
    u32 count;
    u32 unused;
};

template <class T> __device__ __forceinline__ void gather(T* at, u32 units, const u32* __restrict__ slots, u32 to, u32 n) {
    // Without a branch between them all loads of a batch are under way at once.
    for (; to + AHEAD <= n; to += AHEAD) {
        u32 from[AHEAD];
        T v[AHEAD];
#pragma unroll
        for (u32 i = 0; i < AHEAD; i++) from[i] = slots[to + i];
#pragma unroll
        for (u32 i = 0; i < AHEAD; i++) v[i] = at[(size_t)from[i] * units];
#pragma unroll
        for (u32 i = 0; i < AHEAD; i++) at[(size_t)(to + i) * units] = v[i];
    }
    T v[AHEAD];
#pragma unroll
    for (u32 i = 0; i < AHEAD; i++)
        if (to + i < n) v[i] = at[(size_t)slots[to + i] * units];
#pragma unroll
    for (u32 i = 0; i < AHEAD; i++)
        if (to + i < n) at[(size_t)(to + i) * units] = v[i];
}

extern "C" __global__ void __launch_bounds__(COMPACT_THREADS)
    mine_compact(const u32* __restrict__ moves, const u32* __restrict__ live, const __grid_constant__ CompactDims d) {
    u32 n = live[0], to = moves[0], low = 0, high = d.count;
    if (to >= n) return;
    while (high - low > 1) {
        u32 mid = (low + high) / 2;
        if (d.jobs[mid].block <= blockIdx.x) low = mid;
        else high = mid;
    }
    CompactJob job = d.jobs[low];
    u32 i = (blockIdx.x - job.block) * COMPACT_THREADS + threadIdx.x;
    if (i >= job.units) return;
    const u32* slots = moves + 1;
    if (job.unit == 16) gather((uint4*)job.buffer + i, job.units, slots, to, n);
    else if (job.unit == 4) gather((u32*)job.buffer + i, job.units, slots, to, n);
    else gather((u8*)job.buffer + i, job.units, slots, to, n);
}

struct FreezeDims {
    u32 len;
    u32 all;
};

extern "C" __global__ void __launch_bounds__(THREADS)
    mine_freeze(float* __restrict__ frozen, const float* __restrict__ x_adv, const u32* __restrict__ keep,
           const u32* __restrict__ position, const u32* __restrict__ live, FreezeDims d) {
    u32 slot = blockIdx.y;
    if (slot >= live[0]) return;
    u32 p = position[slot];
    if (!d.all && keep[p] != 0) return;
    const float* from = x_adv + (size_t)slot * d.len;
    float* to = frozen + (size_t)p * d.len;
#pragma unroll
    for (u32 q = 0; q < FREEZE_PART / THREADS; q++) {
        u32 i = blockIdx.x * FREEZE_PART + q * THREADS + threadIdx.x;
        if (i < d.len) to[i] = from[i];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) mine_thaw(u32* __restrict__ position, u32* __restrict__ live) {
    u32 n = live[1], t = threadIdx.x;
    if (t == 0) live[0] = n;
    for (u32 slot = t; slot < n; slot += THREADS) position[slot] = slot;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    mine_weigh(float* __restrict__ weight, const u32* __restrict__ crossed, const u32* __restrict__ kappa,
          const float* __restrict__ confidence, const float* __restrict__ loss, const float* __restrict__ step,
          const u32* __restrict__ label, const u32* __restrict__ position, const u32* __restrict__ live,
          const __grid_constant__ FormulaDims f) {
    __shared__ float stack[DEEPEST][THREADS];
    __shared__ double raw[THREADS], total;
    State s = {crossed, kappa, confidence, loss, step, label};
    u32 n = live[0], t = threadIdx.x;
    double sum = 0.0;
    for (u32 first = 0; first < n; first += THREADS) {
        if (first + t < n) raw[t] = value(f, s, position[first + t], stack);
        __syncthreads();
        if (t == 0) {
            u32 here = min(THREADS, n - first);
#pragma unroll 4
            for (u32 i = 0; i < here; i++) sum = __dadd_rn(sum, raw[i]);
        }
        __syncthreads();
    }
    if (t == 0) total = sum;
    __syncthreads();
    sum = total;
    for (u32 slot = t; slot < n; slot += THREADS) {
        u32 p = position[slot];
        double w = sum > 0.0 ? (double)value(f, s, p, stack) / sum : 1.0 / (double)n;
        weight[p] = (float)w;
    }
}
