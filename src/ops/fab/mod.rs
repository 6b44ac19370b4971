//! FAB, the fast adaptive boundary attack (Croce and Hein, ICML 2020), towards a target class t.
//!
//! It looks for the nearest image of another class. With `f(x) = z_t - z_y` and its gradient `w` at the iterate `x'`, the
//! boundary is taken for the hyperplane `w.(v - x') + f(x') = 0`, and both the iterate and the image itself are projected onto
//! it within the box [0, 1]:
//!
//! ```text
//! step  d1 = project(x'), d2 = project(x);  a = min(|d1| / (|d1| + |d2|), alpha_max), each norm at least 1e-8
//!       x' = clamp((1 - a)*(x' + eta*d1) + a*(x + eta*d2), 0, 1)
//! back  where x' has crossed: it is done if |x' - x| <= eps, else x' = x + beta*(x' - x)
//! ```
//! The projection is the smallest `d` with `w.d = -f` and `0 <= v + d <= 1`, or the farthest corner in that direction if there is
//! none: `d_i = -sign(w_i f) min(l m_i, room_i)`, m_i = 1 under L-inf and |w_i| under L2, room_i what the box leaves. The sum of
//! `|w_i| min(l m_i, room_i)` is concave and piecewise linear in l, so Newton's iterates from l = 0 rise to the solution and
//! reach it once they are on its piece. At each of them what is missing, relative to its first value, times the slope, relative
//! to its, shrinks to a quarter at the most: after 32 one of the two is lost in f32's rounding.

mod cpu;
mod gpu;

use crate::batch::Batch;
use crate::ops::ball::Norm;
use crate::program::{Buf, Extent, Operation, Shape, Uses, Values};

/// Share of the way towards the projection of the image itself, at most.
const ALPHA_MAX: f32 = 0.1;
/// Overshoot beyond the hyperplane.
const ETA: f32 = 1.05;
/// What is left of a perturbation that has crossed.
const BETA: f32 = 0.9;
/// The norm of a projection, at least.
const LEAST: f32 = 1e-8;
/// Newton's iterates.
const ITERATES: usize = 32;

/// Moves `x_adv` of every live slot to and across the boundary that its logits and gradient show.
#[derive(Clone, Debug)]
pub struct FabStep {
    /// Shape of an image.
    pub image: Shape,
    /// The batch, with logits of `x_adv` and targets.
    pub batch: Batch,
    /// f32 `[slot, C, H, W]`: gradient of `z_t - z_y`.
    pub gradient: Buf,
    /// The norm that is minimised.
    pub norm: Norm,
}

/// Sets the keep flag of every live example: 0 if it has crossed within `eps`. Who has crossed farther out moves back.
#[derive(Clone, Debug)]
pub struct FabBack {
    /// Shape of an image.
    pub image: Shape,
    /// The batch, with `crossed` of `x_adv`.
    pub batch: Batch,
    /// The norm that is minimised.
    pub norm: Norm,
    /// The bound, pixels in [0, 1].
    pub eps: f32,
}

impl Operation for FabStep {
    fn name(&self) -> &'static str {
        "fab step"
    }

    fn extent(&self) -> Extent {
        Extent::Example
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        format!("x_adv = to and across the boundary, {}", self.norm.suffix())
    }
}

impl Operation for FabBack {
    fn name(&self) -> &'static str {
        "fab back"
    }

    fn extent(&self) -> Extent {
        Extent::Example
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        format!("done where crossed within {} in {}, else x_adv back towards x", self.eps, self.norm.suffix())
    }
}
