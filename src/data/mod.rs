//! Data sets: the one embedded in the program, those known by name, and those that a user brings.
//!
//! [`Source::open`] takes a name or a path and returns a [`Dataset`] that is complete and checked: what comes after may index
//! it without looking. Pixels keep the type they were stored in, in NCHW order.
//!
//! Files of the known sets are fetched into a data folder ([`data_folder`]) by [`fetch`], and what has been decoded once is
//! kept there.

mod archives;
mod arrays;
mod cifar;
mod dataset;
mod fetch;
mod folder;
mod idx;
mod info;
mod known;
mod npz;
mod open;
mod pictures;
mod place;
mod raster;
mod safetensors;
mod svhn;
mod tarball;

pub use dataset::{Dataset, MAX_CLASSES, Pixels, Split};
pub use fetch::{Fetch, fetch};
pub use info::{Info, SplitInfo, info};
pub use known::{Known, RemoteFile, known};
pub use open::{Source, open};
pub use pictures::Size;
pub use place::{FileCheck, data_folder, verify};

/// Is told how far a long work is: what is being done, how much of it is done, and of how much (0: unknown).
pub type Watch<'a> = &'a (dyn Fn(&str, u64, u64) + Sync);
