//! What operations may use of a GPU: the driver, the kernels and the tiles of convolutions that there are, and launches.

pub mod cuda;
pub mod devices;
pub mod driver;
pub mod kernels;
pub mod launches;
mod nvtx;
mod precision;
pub mod sim;
pub mod tiles;

use crate::Error;

pub use precision::Precision;

/// An [`Error::Op`] for a shape that a kernel does not support.
pub fn unsupported(op: &'static str, what: impl Into<String>) -> Error {
    Error::Op { op, what: what.into() }
}
