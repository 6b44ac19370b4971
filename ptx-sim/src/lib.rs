//! Executes PTX, the assembly language of CUDA, on a CPU: faithfully, strictly, and counting what a profiler would.
#![warn(missing_docs)]

mod counters;
mod error;

pub use counters::{CLASSES, Class, Counters};
pub use error::{Error, Fault, FaultKind, Result};
