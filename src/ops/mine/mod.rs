//! Hard-example mining: which examples stay, moving them together, and what they weigh.
//!
//! Per-example state is indexed by position in the batch, so compaction moves only what is indexed by slot: positions,
//! images and the ReLU masks of the forward pass that made the decision.

mod cpu;
mod gpu;

use crate::batch::Batch;
use crate::program::{Bits, Shape};
use serde::{Deserialize, Serialize};

/// Sets the keep flag of every live example: 1 if it has crossed the boundary. Of the others the share `keep_easy` with
/// the highest true-class confidence stays as well: `floor(keep_easy * easy)` of them, ties by slot.
#[derive(Clone, Debug)]
pub struct Select {
    /// The batch.
    pub batch: Batch,
    /// Share of the easy examples to keep, in [0, 1].
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

/// How a kept example's loss is weighted (METHOD: "step size needed to cross the boundary").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Weights {
    /// All the same: what the authors' public code runs.
    Uniform,
    /// The largest move of the output probabilities during the attack.
    StepSize,
    /// GAIRAT's `(1 + tanh(-1 + 5*(h - kappa)/h)) / 2`, h = floor(K/2).
    Kappa,
}

/// Sets the weights of the live examples, scaled to a sum of 1 (all equal if they sum to 0).
#[derive(Clone, Debug)]
pub struct Weigh {
    /// The batch.
    pub batch: Batch,
    /// The formula.
    pub weights: Weights,
    /// Steps K of the attack.
    pub steps: usize,
}
