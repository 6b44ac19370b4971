//! ham-engine: adversarial training with hard adversarial example mining (HAM, arXiv 2308.01823).
#![warn(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]
// Kernels and launchers take their operands one by one, as the field writes them.
#![allow(clippy::too_many_arguments)]

pub mod cpu;
pub mod error;
pub mod fsio;
pub mod ops;
pub mod report;

pub use error::{Error, Result};
