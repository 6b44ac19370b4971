//! Attacks as an evaluation runs them: an iteration at a time on who is left, until nobody is.
//!
//! A *run* of an attack goes over a batch of examples like this; runs are restarts, times target classes:
//!
//! ```text
//! begin     load; clean pass, who is wrong leaves; Attack::begin
//! iterate   Attack::iterate, again and again: one program has a few iterations, and is replayed
//! finish    Attack::finish
//! ```
//! Whoever an attack breaks leaves the batch on the spot, so that the rest costs nothing: [`Stage::leave_if`]. Who is live
//! at the end has survived. The next run, and the next attack of a sequence, load the survivors only.

use super::Scene;
use crate::batch::Iteration;
use crate::net::eval_pass::EvalPass;
use crate::ops::Program;
use crate::ops::compact::Compact;
use crate::ops::formula::{Formula, crossed};
use crate::ops::head::{Loss, Measures};
use crate::ops::select::Select;
use crate::ops::statistics::NetPass;
use crate::program::Buf;

/// An attack of an evaluation, which records what it does. It keeps what it needs per example in buffers of its own, by
/// *position*, so that nothing of it moves when examples leave; `x` and `x_adv` of the batch, by slot, move.
pub trait Attack {
    /// Runs over the survivors: restarts, times target classes.
    fn runs(&self) -> usize;

    /// Iterations of a run.
    fn iterations(&self) -> usize;

    /// Records what comes before the first iteration; the batch has the clean pass's logits, and `x_adv` is not set.
    fn begin(&self, p: &mut Program, stage: &Stage);

    /// Records iteration `at`.
    fn iterate(&self, p: &mut Program, stage: &Stage, at: Iteration);

    /// Records what comes after the last iteration.
    fn finish(&self, p: &mut Program, stage: &Stage);
}

/// What an attack records onto: the scene, and the network's lean pass in this program.
pub struct Stage<'a> {
    /// Data, batch and statistics.
    pub scene: &'a Scene,
    /// The network.
    pub pass: &'a EvalPass<'a>,
}

impl Stage<'_> {
    /// The forward pass of `input` (by slot): logits, crossed, loss and confidence of the live examples.
    pub fn forward(&self, p: &mut Program, input: Buf) {
        self.pass.forward(p, &self.scene.batch, input, Measures::default());
        self.scene.count_pass(p, NetPass::Fprop);
    }

    /// The backward pass of `loss` to the input that the last forward pass had: its gradient in the batch's `x_gradient`.
    pub fn backward(&self, p: &mut Program, loss: Loss) {
        let batch = &self.scene.batch;
        self.pass.backward(p, batch, loss, batch.x_gradient);
        self.scene.count_pass(p, NetPass::Dgrad);
    }

    /// Takes who is `broken` out of the batch. Not between a forward pass and its backward pass, whose state does not move.
    pub fn leave_if(&self, p: &mut Program, broken: Formula) {
        let Scene { image, batch, .. } = *self.scene;
        p.push(Select { batch, keep: !broken, keep_easy: 0.0 });
        p.push(Compact { image, batch, bits: vec![] });
    }

    /// Takes who the last forward pass misclassified out of the batch.
    pub fn leave_crossed(&self, p: &mut Program) {
        self.leave_if(p, crossed());
    }
}
