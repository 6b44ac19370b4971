// Formulas over an example's state, as postfix code (src/ops/formula): each operation rounds by itself.
//
// The values under way are in shared memory, a column a thread of a block of THREADS: local memory would go to global memory.
// Preconditions: a formula has at most LONGEST codes and DEEPEST values under way.
#pragma once
#include "common.cuh"

// Threads of a block that evaluates formulas.
constexpr u32 THREADS = 256;
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
