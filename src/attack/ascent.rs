//! FGSM, PGD and CW as an evaluation runs them: gradient steps, and who is misclassified at any iterate leaves.

use super::stage::{Attack, Stage};
use super::{Pgd, Scene};
use crate::batch::Iteration;
use crate::ops::Program;
use crate::ops::pgd_step::PgdStep;
use crate::ops::start::{Draw, Start};
use crate::rng::{Philox, Stream};

/// Projected gradient steps, from a start of their own in each restart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ascent {
    /// Bound, step size, steps, start and loss.
    pub pgd: Pgd,
    /// Runs.
    pub restarts: usize,
    /// Seed of the starts.
    pub seed: u64,
}

impl Attack for Ascent {
    fn runs(&self) -> usize {
        self.restarts
    }

    fn iterations(&self) -> usize {
        self.pgd.steps
    }

    fn begin(&self, p: &mut Program, stage: &Stage) {
        let scene = stage.scene;
        let noise = self.pgd.start.map(|noise| Draw { noise, rng: Philox::new(self.seed), stream: Stream::Eval });
        p.push(Start { image: scene.image, batch: scene.batch, data: scene.data, noise });
    }

    fn iterate(&self, p: &mut Program, stage: &Stage, _: Iteration) {
        let (Scene { image, batch, .. }, Pgd { eps, alpha, loss, .. }) = (*stage.scene, self.pgd);
        stage.forward(p, batch.x_adv);
        stage.backward(p, loss);
        p.push(PgdStep { image, batch, gradient: batch.x_gradient, eps, alpha });
        stage.leave_crossed(p);
    }

    fn finish(&self, p: &mut Program, stage: &Stage) {
        stage.forward(p, stage.scene.batch.x_adv);
        stage.leave_crossed(p);
    }
}
