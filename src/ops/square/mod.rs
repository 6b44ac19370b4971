//! Square Attack (Andriushchenko et al., ECCV 2020): random search over squares, which needs logits only.
//!
//! Every query looks at an image that differs from the best one so far in a square at a random place, and keeps it where the
//! margin `z_y - max over j != y of z_j` falls. The square's side follows a schedule: its area is the share `p` of the image,
//! and `p` halves as queries pass.
//!
//! ```text
//! L-inf  start  x + eps*r[c, w], r a random sign for each channel and column, clamped to [0, 1]
//!        query  x + eps*r[c] in the square, clamped; elsewhere the best image
//! L2     start  x + eps*d/|d|, d a grid of squares of side floor(h/5), each r[c]*eta
//!        query  d = best - x;  in the square u = r[c]*eta + d/|d|_square,  d = u/|u| * sqrt(max(eps^2 - |d|^2, 0)/C + |d|_both^2)
//!               per channel, where `both` is the square and a second one, in which d becomes 0;  x + eps*d/|d|, clamped
//! ```
//! `eta` is a pair of pyramids of opposite signs, one above or beside the other, of norm 1.
//!
//! Places, signs and directions are drawn for each example. A square starts at `floor(u*(h - s))`, u in [0, 1), as in the
//! authors' code: never in the last place.

mod cpu;
mod gpu;
pub mod schedule;

use crate::batch::Batch;
use crate::batch::Iteration;
use crate::batch::Resident;
use crate::ops::ball::Norm;
use crate::program::{Buf, Extent, Operation, Shape, Uses, Values};
use crate::rng::Philox;
use schedule::Schedule;

/// Bits of a block of random numbers.
const BLOCK_BITS: usize = 128;

/// What the attack keeps of each example, and its tables.
#[derive(Clone, Copy, Debug)]
pub struct SquareState {
    /// f32 `[position, C, H, W]`: the best image so far.
    pub best: Buf,
    /// f32 `[position]`: its margin.
    pub margin: Buf,
    /// f32: the tables of [`Schedule::tables`], for L2.
    pub eta: Buf,
}

/// Writes the image of the next query to `x_adv` of every live slot; but for the start, after keeping the last one where its
/// logits say that it is better.
#[derive(Clone, Debug)]
pub struct Square {
    /// Shape of an image.
    pub image: Shape,
    /// The batch.
    pub batch: Batch,
    /// Where the run is read from, a counter of the random numbers.
    pub data: Resident,
    /// What is kept of an example.
    pub state: SquareState,
    /// The norm that is bounded.
    pub norm: Norm,
    /// The bound, pixels in [0, 1].
    pub eps: f32,
    /// Sides of the squares.
    pub schedule: Schedule,
    /// Random numbers.
    pub rng: Philox,
    /// Which query behind the start it is; none for the start.
    pub query: Option<Iteration>,
}

impl Square {
    /// Squares of the start's grid along an image's height, and along its width.
    fn grid(&self) -> [usize; 2] {
        let (s, at) = (self.schedule.start.side as usize, self.schedule.corner as usize);
        [self.image.h, self.image.w].map(|n| (n / s).min(n.saturating_sub(at) / s))
    }

    /// Blocks of random numbers that a query takes: one for places, then one bit for each sign and direction.
    fn blocks(&self) -> usize {
        let Shape { c, w, .. } = self.image;
        let start = match self.norm {
            Norm::Linf => c * w,
            Norm::L2 => self.grid().iter().product::<usize>() * (1 + c),
        };
        1 + start.max(1 + c).div_ceil(BLOCK_BITS)
    }
}

impl Operation for Square {
    fn name(&self) -> &'static str {
        "square"
    }

    fn extent(&self) -> Extent {
        Extent::Example
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        let query = self.query.map_or("start".into(), |at| format!("query {} of this program", at.offset));
        format!("{query}, {} of at most {}", self.norm.suffix(), self.eps)
    }
}
