//! What operations may use of a CPU: SIMD levels, the layout of feature maps, and the slots and values that one sees while it runs.

pub mod context;
pub mod lanes;
pub mod layout;
pub mod memory;
pub mod peak;
pub mod simd;
pub mod storage;
