//! The CPU backend: SIMD levels, the layout of feature maps, and the executor of recorded programs.

pub mod layout;
pub mod simd;
