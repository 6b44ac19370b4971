//! Targeted FAB: looks for the nearest image of each of the likeliest other classes, and is done where one lies within eps.

use super::apgd::targets;
use super::stage::{Attack, Stage};
use super::{Budget, Scene};
use crate::batch::Iteration;
use crate::ops::Program;
use crate::ops::ball::Norm;
use crate::ops::compact::Compact;
use crate::ops::fab::{FabBack, FabStep};
use crate::ops::head::Loss;
use crate::ops::start::{Draw, Noise, Start};
use crate::ops::target_class::TargetClass;
use crate::rng::{Philox, Stream};

/// FAB towards one target class after another, each with all restarts.
pub struct Fab {
    norm: Norm,
    eps: f32,
    iterations: usize,
    restarts: usize,
    classes: usize,
    start: Draw,
}

impl Fab {
    /// The attack of so many iterations. The first run towards a class starts at the image, the others at random on
    /// the surface of half the ball.
    pub fn new(scene: &Scene, iterations: usize, budget: &Budget) -> Fab {
        let Budget { norm, eps, random_start, restarts, seed } = *budget;
        let restarts = if random_start { restarts } else { 1 };
        let noise = Noise::Surface { norm, length: eps / 2.0, clean: restarts as u32 };
        let start = Draw { noise, rng: Philox::new(seed), stream: Stream::Eval };
        Fab { norm, eps, iterations, restarts, classes: scene.batch.classes, start }
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
        p.push(TargetClass { batch, data, restarts: self.restarts as u32 });
        p.push(Start { image, batch, data, noise: Some(self.start) });
    }

    fn iterate(&self, p: &mut Program, stage: &Stage, _: Iteration) {
        let (Scene { image, batch, .. }, &Fab { norm, eps, .. }) = (*stage.scene, self);
        stage.forward(p, batch.x_adv);
        stage.backward(p, Loss::Difference);
        p.push(FabStep { image, batch, gradient: batch.x_gradient, norm });
        stage.forward(p, batch.x_adv);
        p.push(FabBack { image, batch, norm, eps });
        p.push(Compact { image, batch, bits: vec![] });
    }

    fn finish(&self, p: &mut Program, stage: &Stage) {
        // Where it went last may lie outside the bound: who survives has the confidence of the image itself.
        stage.forward(p, stage.scene.batch.x);
    }
}
