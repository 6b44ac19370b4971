#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod counters;
mod decode;
mod device;
mod error;
mod exec;
pub mod gpu;
mod inst;
mod launch;
mod local;
mod memory;
mod ops;
mod order;
mod parse;
mod races;
pub mod roofline;
mod shared;

pub use counters::{CLASSES, Class, Counters};
pub use device::{Device, DeviceOptions, Entry, Module, Param};
pub use error::{Error, Fault, FaultKind, Result};
pub use launch::{Arg, Checks, Shape};
#[doc(hidden)]
pub use ops::opcodes;
