//! Loads the next mini-batch from the resident data set.
//!
//! The batch takes the examples `order[cursor .. min(cursor + capacity, end)]`; a u8 pixel v becomes v/255. Augmentation is
//! four pixels of zero padding, a random crop and a horizontal flip with probability 1/2, drawn per (epoch, sample).

mod cpu;
mod gpu;

use crate::batch::Batch;
use crate::ops::account::Stats;
use crate::program::{Buf, Shape};
use crate::rng::Philox;

/// Zero padding of the augmentation, in pixels.
const PAD: usize = 4;

/// Indices into the `control` buffer (u32).
pub mod control {
    /// Position in `order` of the next batch's first example.
    pub const CURSOR: usize = 0;
    /// Number of positions in the epoch.
    pub const END: usize = 1;
    /// Epoch, a counter of the random numbers; in an evaluation the run of the attack.
    pub const EPOCH: usize = 2;
    /// Iteration of an evaluation's attack with which the next program starts.
    pub const ITERATION: usize = 3;
    /// Length of the buffer.
    pub const LEN: usize = 4;
}

/// A data set in backend memory.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    /// Pixels `[N, C, H, W]`: u8, or f32 in [0, 1].
    pub images: Buf,
    /// Labels `[N]`, u32.
    pub labels: Buf,
    /// Sample ids in the order of the epoch, u32.
    pub order: Buf,
    /// See [`control`].
    pub control: Buf,
}

/// Fills the batch: `live`, images, labels, ids and fresh state. Loads nothing once the run has halted.
#[derive(Clone, Debug)]
pub struct LoadBatch {
    /// The data.
    pub data: Resident,
    /// Shape of an image.
    pub image: Shape,
    /// The batch to fill.
    pub batch: Batch,
    /// Where a halt is marked.
    pub stats: Stats,
    /// Whether to augment.
    pub augment: bool,
    /// Random numbers.
    pub rng: Philox,
}
