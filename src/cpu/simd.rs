//! SIMD levels chosen at run time.
