//! A step of projected gradient ascent in L-inf:
//!
//! ```text
//! x_adv = clamp(clamp(x_adv + alpha*sign(g), x - eps, x + eps), 0, 1),   sign(0) = 0
//! ```
//! A GPU takes it where the stem's dgrad makes g, so that the gradient is never stored: what the buffer of g holds after the step
//! is not defined.

mod cpu;
mod gpu;

use crate::batch::Batch;
use crate::program::{Buf, Extent, Operation, Shape, Uses, Values};

/// Moves `x_adv` of every live slot.
#[derive(Clone, Debug)]
pub struct PgdStep {
    /// Shape of an image.
    pub image: Shape,
    /// The batch.
    pub batch: Batch,
    /// The gradient g of what is ascended, f32 `[capacity, C, H, W]`, by slot; used up.
    pub gradient: Buf,
    /// Bound of the perturbation, in pixels of [0, 1].
    pub eps: f32,
    /// Step size.
    pub alpha: f32,
}

impl Operation for PgdStep {
    fn name(&self) -> &'static str {
        "pgd step"
    }

    fn extent(&self) -> Extent {
        Extent::Example
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        format!("x_adv = clamp(clamp(x_adv + {} sign(g), x - {e}, x + {e}), 0, 1)", self.alpha, e = self.eps)
    }
}
