// Indices into the small buffers that several ops share, named as in src/ops.
#pragma once
#include "common.cuh"

// Of `control`, u32: where the epoch is.
namespace control {
enum : u32 { CURSOR, END, EPOCH, ITERATION, LEN };
}

// Of the counters, u64; from CLASSES on there are those of each class.
namespace counter {
enum : u32 { EXAMPLES, KEPT, BATCHES, SKIPPED, FPROP, DGRAD, WGRAD, HALTED, CLASSES };
}
