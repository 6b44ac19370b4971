//! Where an attack starts: `x_adv = clamp(x + U(-eps, eps), 0, 1)`, or `x_adv = x`.

mod cpu;
mod gpu;

use crate::batch::Batch;
use crate::ops::load::Resident;
use crate::program::Shape;
use crate::rng::{Philox, Stream};

/// A uniform random start within the bound.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// Bound, in pixels of [0, 1].
    pub eps: f32,
    /// Random numbers.
    pub rng: Philox,
    /// Their stream.
    pub stream: Stream,
}

/// Sets `x_adv` of every live slot.
#[derive(Clone, Debug)]
pub struct Start {
    /// Shape of an image.
    pub image: Shape,
    /// The batch.
    pub batch: Batch,
    /// Where the epoch is read from.
    pub data: Resident,
    /// The noise, or none to start from the clean image.
    pub noise: Option<Noise>,
}
