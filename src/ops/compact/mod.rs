//! Compaction: the kept examples move to the front, in order. Per-example state is indexed by position in the batch, so only
//! what is indexed by slot moves: positions, images and the ReLU masks of the forward pass that made the decision.

mod cpu;
mod gpu;

use crate::batch::Batch;
use crate::program::{Bits, Extent, Operation, Shape, Uses, Values};

/// Moves the kept examples to the front, in order, and sets `live` to their number.
#[derive(Clone, Debug)]
pub struct Compact {
    /// Shape of an image.
    pub image: Shape,
    /// The batch.
    pub batch: Batch,
    /// The masks to move.
    pub bits: Vec<Bits>,
}

impl Operation for Compact {
    fn name(&self) -> &'static str {
        "compact"
    }

    fn extent(&self) -> Extent {
        Extent::Live
    }

    fn uses(&self) -> Uses {
        Uses::none().reads(self.bits.iter().copied())
    }

    fn describe(&self, _: &Values) -> String {
        format!("live = kept; moves {} images and {} masks", self.image, self.bits.len())
    }
}
