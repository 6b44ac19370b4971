// What the violations share. Each is a template over BAD, so that the kernel `<name>_bad`, which breaks a rule, and its twin
// `<name>_ok`, which takes the same launch and arguments and must pass, differ in nothing else.
//
// The fault must name a line that ends in "// BAD": the one that breaks the rule, or each of the two that race, where it
// depends on the order of warps which of them comes second.

#pragma once

#define KERNEL extern "C" __global__ void
#define TWINS(name, params, args)                                                                                      \
    KERNEL name##_bad params { name<true> args; }                                                                      \
    KERNEL name##_ok params { name<false> args; }
#define BODY template <bool BAD> __device__ __forceinline__ void
