//! Targeted FAB: looks for the nearest image of each of the likeliest other classes, and is done where one lies within eps.

use super::apgd::targets;
use super::stage::{Attack, Iteration, Stage};
use super::{Budget, Norm, Scene};
use crate::Result;
use crate::backend::Backend;
use crate::ops::aim::Aim;
use crate::ops::fab::{FabBack, FabStep};
use crate::ops::head::Loss;
use crate::ops::mine::Compact;
use crate::ops::start::{Draw, Noise, Start};
use crate::ops::stem::StemSink;
use crate::program::{Buf, DType, Op, Program};
use crate::rng::{Philox, Stream};

/// FAB towards one target class after another, each with all restarts.
pub struct Fab {
    norm: Norm,
    eps: f32,
    iterations: usize,
    restarts: usize,
    classes: usize,
    start: Draw,
    gradient: Buf,
}

impl Fab {
    /// The attack of so many iterations, and its memory. The first run towards a class starts at the image, the others at random on
    /// the surface of half the ball.
    ///
    /// # Errors
    /// Where memory does not suffice.
    pub fn new<B: Backend>(backend: &mut B, scene: &Scene, iterations: usize, budget: &Budget) -> Result<Fab> {
        let Budget { norm, eps, random_start, restarts, seed } = *budget;
        let restarts = if random_start { restarts } else { 1 };
        let noise = Noise::Surface { norm, length: eps / 2.0, clean: restarts as u32 };
        let start = Draw { noise, rng: Philox::new(seed), stream: Stream::Eval };
        let gradient = backend.alloc(DType::F32, scene.batch.capacity * scene.image.len())?;
        Ok(Fab { norm, eps, iterations, restarts, classes: scene.batch.classes, start, gradient })
    }
}

impl Attack for Fab {
    fn runs(&self) -> usize {
        targets(self.classes) * self.restarts
    }

    fn iterations(&self) -> usize {
        self.iterations
    }

    fn begin(&self, p: &mut Program, stage: &Stage) {
        let Scene { image, batch, data, .. } = *stage.scene;
        p.push(Op::Aim(Aim { batch, data, restarts: self.restarts as u32 }));
        p.push(Op::Start(Start { image, batch, data, noise: Some(self.start) }));
    }

    fn iterate(&self, p: &mut Program, stage: &Stage, _: Iteration) {
        let (Scene { image, batch, .. }, &Fab { norm, eps, gradient, .. }) = (*stage.scene, self);
        stage.forward(p, batch.x_adv);
        stage.backward(p, Loss::Difference, StemSink::Gradient(gradient));
        p.push(Op::FabStep(FabStep { image, batch, gradient, norm }));
        stage.forward(p, batch.x_adv);
        p.push(Op::FabBack(FabBack { image, batch, norm, eps }));
        p.push(Op::Compact(Compact { image, batch, bits: vec![] }));
    }

    fn finish(&self, p: &mut Program, stage: &Stage) {
        // Where it went last may lie outside the bound: who survives has the confidence of the image itself.
        stage.forward(p, stage.scene.batch.x);
    }
}
