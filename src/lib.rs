//! ham-engine: adversarial training with hard adversarial example mining (HAM, arXiv 2308.01823).
#![warn(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]
// Kernels and launchers take their operands one by one, as the field writes them.
#![allow(clippy::too_many_arguments)]

pub mod attack;
pub mod backend;
pub mod batch;
pub mod bench;
pub mod cli;
pub mod cpu;
pub mod data;
pub mod engine;
pub mod error;
pub mod eval;
pub mod fsio;
pub mod gpu;
pub mod method;
pub mod named;
pub mod net;
pub mod ops;
pub mod perf;
pub mod program;
pub mod report;
pub mod results;
pub mod rng;
pub mod train;

pub use error::{Error, Result};
