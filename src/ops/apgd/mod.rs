//! A step of Auto-PGD (Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
//! attacks", ICML 2020), with the constants and the order of the authors' code.
//!
//! Given the loss f and its gradient g at the iterate x_k, per example:
//!
//! ```text
//! k = 0       step = 2 eps, best = x_0, f_best = f_checked = f, f_last = 0, halved = true
//! else        best = x_k, g_best = g, f_best = f where f > f_best;  rises += f > f_last;  f_last = f
//! checkpoint  of a period of m steps: halve if rises <= 0.75 m, or if not halved at the last one and f_checked >= f_best;
//!             then step /= 2 and x_k = best, g = g_best;  halved = whether it was;  f_checked = f_best;  rises = 0
//! step        z = P(x_k + step*direction(g));  x_{k+1} = P(x_k + a(z - x_k) + (1 - a)(x_k - x_{k-1})), a = 1 for k = 0, else 0.75
//! L-inf       direction(g) = sign(g);   P clamps to [x - eps, x + eps], then to [0, 1]
//! L2          direction(g) = g/|g|_2;   P shortens z - x to eps where it is longer, then clamps to [0, 1]
//! ```
//! The first rise is counted against 0, not against f(x_0): so has the authors' code it. Lengths are divided by with 1e-12 added.

mod cpu;
mod gpu;

use crate::Result;
use crate::batch::{Batch, Iteration};
use crate::ops::ball::Norm;
use crate::ops::head::Loss;
use crate::program::{Buf, Buffers, DType, Extent, Operation, Shape, Uses, Values};

/// Share of a period's steps that must raise the loss, or the step is halved.
const RHO: f32 = 0.75;
/// Weight of the new direction against the last move.
const NEW: f32 = 0.75;
/// What divisors are made positive with.
const TINY: f32 = 1e-12;

/// What the attack keeps of an example from iteration to iteration.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// f32 `[position, C, H, W]`: iterate of the highest loss.
    pub best: Buf,
    /// f32 `[position, C, H, W]`: gradient there.
    pub best_gradient: Buf,
    /// f32 `[position, C, H, W]`: last iterate but one.
    pub previous: Buf,
    /// f32 `[position, 6]`: step size, highest loss, last loss, highest loss at the last checkpoint, rises since then, and 1 if
    /// the step was halved there.
    pub progress: Buf,
}

/// Numbers of [`State::progress`].
pub const PROGRESS: usize = 6;

impl State {
    /// Allocates the state of `capacity` examples.
    ///
    /// # Errors
    /// Where the backend's memory does not suffice.
    pub fn alloc<B: Buffers>(backend: &mut B, capacity: usize, image: Shape) -> Result<State> {
        let mut f32s = |n: usize| backend.alloc(DType::F32, capacity * n);
        Ok(State {
            best: f32s(image.len())?,
            best_gradient: f32s(image.len())?,
            previous: f32s(image.len())?,
            progress: f32s(PROGRESS)?,
        })
    }
}

/// Moves `x_adv` of every live slot from one iterate to the next.
#[derive(Clone, Debug)]
pub struct Apgd {
    /// Shape of an image.
    pub image: Shape,
    /// The batch, after a forward pass of `x_adv`.
    pub batch: Batch,
    /// The gradient of the loss, f32 `[capacity, C, H, W]`, by slot.
    pub gradient: Buf,
    /// What is ascended: [`Loss::CrossEntropy`] or [`Loss::TargetedDlr`]; with a fixed step any.
    pub loss: Loss,
    /// Norm of the bound.
    pub norm: Norm,
    /// The bound, in pixels of [0, 1].
    pub eps: f32,
    /// A step of this size at every iterate, as plain PGD takes it: each is then like the first.
    pub fixed: Option<f32>,
    /// The iteration.
    pub at: Iteration,
    /// u32 `[iterations]`: of a checkpoint the steps since the last one, else 0; see [`schedule`].
    pub schedule: Buf,
    /// The state.
    pub state: State,
}

/// For each iteration of `n` the length of the period that ends there, or 0: periods begin with 0.22 n and shrink by 0.03 n, to 0.06 n.
pub fn schedule(n: usize) -> Vec<u32> {
    let share = |s: f64| ((s * n as f64) as usize).max(1);
    let (mut period, least, shrink) = (share(0.22), share(0.06), share(0.03));
    let (mut schedule, mut at) = (vec![0; n], 0);
    loop {
        at += period;
        let Some(checkpoint) = schedule.get_mut(at) else { return schedule };
        *checkpoint = period as u32;
        period = period.saturating_sub(shrink).max(least);
    }
}

impl Operation for Apgd {
    fn name(&self) -> &'static str {
        "apgd"
    }

    fn extent(&self) -> Extent {
        Extent::Example
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        format!("x_adv = the next iterate, {} of at most {}", self.norm.suffix(), self.eps)
    }
}

#[cfg(test)]
mod tests {
    /// The checkpoints that the paper gives for 100 iterations.
    #[test]
    fn checkpoints_of_a_hundred_iterations() {
        let schedule = super::schedule(100);
        let at: Vec<usize> = (0..100).filter(|i| schedule[*i] > 0).collect();
        assert_eq!(at, [22, 41, 57, 70, 80, 87, 93, 99]);
        assert_eq!(at.iter().map(|i| schedule[*i]).collect::<Vec<_>>(), [22, 19, 16, 13, 10, 7, 6, 6]);
        assert_eq!(super::schedule(1), [0]);
        assert_eq!(super::schedule(4), [0, 1, 1, 1]);
    }
}
