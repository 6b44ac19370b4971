//! Loads the next mini-batch from the resident data set.
//!
//! The batch takes the examples `order[cursor .. min(cursor + capacity, end)]`; a u8 pixel v becomes v/255. Augmentation is
//! four pixels of zero padding, a random crop and a horizontal flip with probability 1/2, drawn per (epoch, sample).

mod cpu;
mod gpu;

use crate::batch::Batch;
use crate::batch::{Resident, Stats};
use crate::program::{Extent, Operation, Shape, Uses, Values};
use crate::rng::Philox;

/// Zero padding of the augmentation, in pixels.
const PAD: usize = 4;

/// Fills the batch: `live`, images, labels, ids and fresh state. Loads nothing once the run has halted.
#[derive(Clone, Debug)]
pub struct Load {
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

impl Operation for Load {
    fn name(&self) -> &'static str {
        "load"
    }

    fn extent(&self) -> Extent {
        Extent::Live
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        let augmented = if self.augment { ", augmented" } else { "" };
        format!("x, labels and ids of the next examples {}{augmented}; live = loaded", self.image)
    }
}
