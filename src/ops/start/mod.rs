//! Where an attack starts: `x_adv = clamp(x + U(-eps, eps), 0, 1)`, `x_adv = x + sigma N(0, 1)`, `x_adv = x`, or on the surface of the
//! ball around x: `x_adv = clamp(x + eps t/(|t| + 1e-12), 0, 1)`, t uniform in [-1, 1) for L-inf and normal for L2.

mod cpu;
mod gpu;

use crate::batch::Batch;
use crate::batch::Resident;
use crate::ops::ball::Norm;
use crate::program::{Extent, Operation, Shape, Uses, Values};
use crate::rng::{Philox, Stream};

/// What is added to an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    /// Uniform within this bound, in pixels of [0, 1]; the sum is clamped to [0, 1].
    Uniform(f32),
    /// Normal with this standard deviation; the sum is not clamped.
    Normal(f32),
    /// Scaled to a length in a norm; the sum is clamped to [0, 1].
    Surface {
        /// The norm.
        norm: Norm,
        /// The length.
        length: f32,
        /// Every so many epochs, from the first on, start at the image itself: 1 for all, 0 for none.
        clean: u32,
    },
}

/// Where the noise is drawn from.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// What is drawn.
    pub noise: Noise,
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
    pub noise: Option<Draw>,
}

impl Operation for Start {
    fn name(&self) -> &'static str {
        "start"
    }

    fn extent(&self) -> Extent {
        Extent::Example
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        match self.noise.map(|draw| draw.noise) {
            None => "x_adv = x".into(),
            Some(Noise::Uniform(bound)) => format!("x_adv = clamp(x + U(-{bound}, {bound}), 0, 1)"),
            Some(Noise::Normal(sigma)) => format!("x_adv = x + {sigma} N(0, 1)"),
            Some(Noise::Surface { norm, length, .. }) => {
                format!("x_adv = clamp(x + t, 0, 1), |t| = {length} in {}", norm.suffix())
            }
        }
    }
}
