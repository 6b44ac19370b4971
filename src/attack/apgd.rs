//! Auto-PGD as an evaluation runs it: on the cross-entropy, or on the targeted DLR loss of one class after another. With a fixed
//! step it is PGD; in L2 that is where steps are taken so.

use super::stage::{Attack, Stage};
use super::{Budget, Scene};
use crate::backend::Backend;
use crate::batch::Iteration;
use crate::ops::Program;
use crate::ops::apgd::{self, State};
use crate::ops::ball::Norm;
use crate::ops::head::Loss;
use crate::ops::start::{Draw, Noise, Start};
use crate::ops::target_class::TargetClass;
use crate::program::{Buf, DType};
use crate::rng::{Philox, Stream};
use crate::{Error, Result};

/// Classes that targeted attacks try at most: those of the largest logits after the label's.
const TARGETS: usize = 9;

/// Target classes of a network of `classes`.
pub fn targets(classes: usize) -> usize {
    TARGETS.min(classes.saturating_sub(1))
}

/// Auto-PGD. A run is a restart or, of the targeted attack, a restart for a target class.
pub struct Apgd {
    loss: Loss,
    norm: Norm,
    eps: f32,
    fixed: Option<f32>,
    iterations: usize,
    restarts: usize,
    classes: usize,
    start: Option<Draw>,
    schedule: Buf,
    state: State,
}

impl Apgd {
    /// The attack on `loss`, [`Loss::CrossEntropy`] or [`Loss::TargetedDlr`], or with `fixed` steps on any, and its memory.
    ///
    /// # Errors
    /// If the network has too few classes for the loss, or memory does not suffice.
    pub fn new<B: Backend>(
        backend: &mut B,
        scene: &Scene,
        loss: Loss,
        fixed: Option<f32>,
        iterations: usize,
        budget: &Budget,
    ) -> Result<Apgd> {
        let (classes, capacity) = (scene.batch.classes, scene.batch.capacity);
        if loss == Loss::TargetedDlr && classes < 4 {
            return Err(Error::usage(format!(
                "apgd-t: its loss takes 4 classes, the network has {classes}; use apgd-ce"
            )));
        }
        let Budget { norm, eps, random_start, restarts, seed } = *budget;
        let schedule = backend.alloc(DType::U32, iterations)?;
        backend.write(schedule, 0, &apgd::schedule(iterations))?;
        let (noise, rng) = (Noise::Surface { norm, length: eps, clean: 0 }, Philox::new(seed));
        Ok(Apgd {
            loss,
            norm,
            eps,
            fixed,
            iterations,
            restarts: if random_start { restarts } else { 1 },
            classes,
            start: random_start.then_some(Draw { noise, rng, stream: Stream::Eval }),
            schedule,
            state: State::alloc(backend, capacity, scene.image)?,
        })
    }
}

impl Attack for Apgd {
    fn runs(&self) -> usize {
        match self.loss {
            Loss::TargetedDlr => targets(self.classes) * self.restarts,
            _ => self.restarts,
        }
    }

    fn iterations(&self) -> usize {
        self.iterations
    }

    fn begin(&self, p: &mut Program, stage: &Stage) {
        let Scene { image, batch, data, .. } = *stage.scene;
        if self.loss == Loss::TargetedDlr {
            p.push(TargetClass { batch, data, restarts: self.restarts as u32 });
        }
        p.push(Start { image, batch, data, noise: self.start });
    }

    fn iterate(&self, p: &mut Program, stage: &Stage, at: Iteration) {
        let Scene { image, batch, .. } = *stage.scene;
        let Apgd { loss, norm, eps, fixed, schedule, state, .. } = *self;
        stage.forward(p, batch.x_adv);
        stage.backward(p, loss);
        let gradient = batch.x_gradient;
        p.push(apgd::Apgd { image, batch, gradient, loss, norm, eps, fixed, at, schedule, state });
        stage.leave_crossed(p);
    }

    fn finish(&self, p: &mut Program, stage: &Stage) {
        stage.forward(p, stage.scene.batch.x_adv);
        stage.leave_crossed(p);
    }
}
