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
use crate::net::eval_pass::EvalPass;
use crate::ops::account::NetPass;
use crate::ops::head::Loss;
use crate::ops::load::control;
use crate::ops::mine::formula::{Formula, crossed};
use crate::ops::mine::{Compact, Select};
use crate::ops::stem::StemSink;
use crate::program::{Buf, Op, Program};

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

/// Which iteration an op belongs to: the number, from 0, is `control[ITERATION] + offset`. The host sets the first before a
/// program of several iterations is replayed, the op knows the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iteration {
    /// See [`control`].
    pub control: Buf,
    /// Place in the program.
    pub offset: u32,
}

impl Iteration {
    /// Its number, from the content of `control`.
    pub fn number(&self, control: &[u32]) -> u32 {
        control[control::ITERATION] + self.offset
    }
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
        self.pass.forward(p, &self.scene.batch, input, false, false);
        self.scene.tally(p, NetPass::Fprop);
    }

    /// The backward pass of `loss` to the input that the last forward pass had.
    pub fn backward(&self, p: &mut Program, loss: Loss, sink: StemSink) {
        self.pass.backward(p, &self.scene.batch, loss, sink);
        self.scene.tally(p, NetPass::Dgrad);
    }

    /// Takes who is `broken` out of the batch. Not between a forward pass and its backward pass, whose state does not move.
    pub fn leave_if(&self, p: &mut Program, broken: Formula) {
        let Scene { image, batch, .. } = *self.scene;
        p.push(Op::Select(Select { batch, keep: !broken, keep_easy: 0.0 }));
        p.push(Op::Compact(Compact { image, batch, bits: vec![] }));
    }

    /// Takes who the last forward pass misclassified out of the batch.
    pub fn leave_crossed(&self, p: &mut Program) {
        self.leave_if(p, crossed());
    }
}
