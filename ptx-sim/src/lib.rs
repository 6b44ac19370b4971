//! Executes PTX, the assembly language of CUDA, on a CPU: faithfully, strictly, and counting what a profiler would.
#![warn(missing_docs)]

mod counters;
mod decode;
mod device;
mod error;
mod exec;
pub mod gpu;
mod inst;
mod memory;
mod ops;
mod parse;
pub mod roofline;
mod shared;

pub use counters::{CLASSES, Class, Counters};
pub use device::{Checks, Device, DeviceOptions, Entry, Module};
pub use error::{Error, Fault, FaultKind, Result};
#[doc(hidden)]
pub use ops::opcodes;
