//! Data sets: the one embedded in the program, IDX files, and safetensors files brought by the user.
//!
//! [`open`] takes a name or a path and returns a [`Dataset`] that is complete and checked: what comes after may index
//! it without looking. Pixels keep the type they were stored in, in NCHW order.

mod dataset;
mod idx;
mod info;
mod open;
mod safetensors;

pub use dataset::{Dataset, MAX_CLASSES, Pixels, Split};
pub use info::{Info, SplitInfo, info};
pub use open::{Known, known, open, open_for};
