//! Hard-example mining: which examples stay, moving them together, and what they weigh.
//!
//! Per-example state is indexed by position in the batch, so compaction moves only what is indexed by slot: positions,
//! images and the ReLU masks of the forward pass that made the decision. What a policy decides by is a [`Formula`] of that
//! state.

mod cpu;
pub mod formula;
mod gpu;

use crate::batch::Batch;
use crate::program::{Bits, Shape};
use formula::Formula;

/// Sets the keep flag of every live example: 1 where `keep` is not zero. Of the others, the easy ones, the share `keep_easy`
/// with the highest true-class confidence stays as well: `floor(keep_easy * easy)` of them, ties by slot.
#[derive(Clone, Debug)]
pub struct Select {
    /// The batch.
    pub batch: Batch,
    /// Who stays.
    pub keep: Formula,
    /// Share of the others to keep, in [0, 1].
    pub keep_easy: f32,
}

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

/// Puts adversarial images aside, to `frozen` by position: those of the live examples that are not kept, or of `all` live ones.
#[derive(Clone, Debug)]
pub struct Freeze {
    /// Shape of an image.
    pub image: Shape,
    /// The batch.
    pub batch: Batch,
    /// Whether those of the kept ones too.
    pub all: bool,
}

/// Makes every loaded example live again, each in the slot of its position, as `frozen` has their images. `x` and `x_adv` are
/// not put back.
#[derive(Clone, Debug)]
pub struct Thaw {
    /// The batch.
    pub batch: Batch,
}

/// Sets the weights of the live examples: the formula, scaled to a sum of 1 (all equal if it does not sum to more than 0).
#[derive(Clone, Debug)]
pub struct Weigh {
    /// The batch.
    pub batch: Batch,
    /// The formula.
    pub weight: Formula,
}
