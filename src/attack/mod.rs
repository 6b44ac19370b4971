//! Attacks, and the mining that drops easy examples between their steps: all of it recorded, none of it computed here.

use crate::batch::Batch;
use crate::net::eval_pass::EvalPass;
use crate::ops::account::{NetPass, Stats, Tally};
use crate::ops::head::Loss;
use crate::ops::load::Resident;
use crate::ops::mine::{Compact, Select};
use crate::ops::start::{Noise, Start};
use crate::ops::stem::StemSink;
use crate::program::{Op, Program, Range, Shape};
use crate::rng::{Philox, Stream};
use crate::{Error, Result};

/// An L-inf attack of projected gradient steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pgd {
    /// Bound of the perturbation, pixels in [0, 1].
    pub eps: f32,
    /// Step size.
    pub alpha: f32,
    /// Steps K.
    pub steps: usize,
    /// Start at `x + U(-eps, eps)` instead of `x`.
    pub random_start: bool,
    /// What is ascended.
    pub loss: Loss,
}

impl Pgd {
    /// Checks the ranges: eps and alpha in [0, 1], at most 10,000 steps.
    ///
    /// # Errors
    /// One line naming the value.
    pub fn validate(self) -> Result<Pgd> {
        for (name, v) in [("eps", self.eps), ("alpha", self.alpha)] {
            if !(0.0..=1.0).contains(&v) {
                return Err(Error::usage(format!(
                    "{name} {v}: must be in [0, 1], in pixels of [0, 1] (8/255 is allowed)"
                )));
            }
        }
        if self.steps > 10_000 {
            return Err(Error::usage(format!("{} steps: at most 10000", self.steps)));
        }
        Ok(self)
    }
}

/// When easy examples are dropped.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Mining {
    /// A boundary check after each of these numbers of steps; those of K or more never happen.
    pub k_drop: Vec<usize>,
    /// Share of the easy examples that stays, those of the highest true-class confidence.
    pub keep_easy: f32,
}

/// The buffers an attack works on.
#[derive(Clone, Copy)]
pub struct Scene {
    /// Shape of an image.
    pub image: Shape,
    /// The batch.
    pub batch: Batch,
    /// The data set, for the epoch counter.
    pub data: Resident,
    /// Where passes are tallied.
    pub stats: Stats,
}

impl Scene {
    /// Records a tally of `pass`.
    pub fn tally(&self, p: &mut Program, pass: NetPass) {
        p.push(Op::Tally(Tally { pass, stats: self.stats }));
    }
}

/// Records an attack on all live examples, from `x` to `x_adv`.
///
/// `measure_step` keeps the largest move of the output probabilities, which costs a forward pass of the clean input and one of
/// the last iterate.
pub fn record(
    p: &mut Program,
    scene: &Scene,
    pass: &EvalPass,
    pgd: &Pgd,
    mining: &Mining,
    (seed, stream): (u64, Stream),
    measure_step: bool,
) {
    let Scene { image, batch, data, .. } = *scene;
    let noise = pgd.random_start.then(|| Noise { eps: pgd.eps, rng: Philox::new(seed), stream });
    p.push(Op::Start(Start { image, batch, data, noise }));
    let forward = |p: &mut Program, input, count_kappa, measure_step| {
        pass.forward(p, &batch, input, count_kappa, measure_step);
        scene.tally(p, NetPass::Fprop);
    };
    if measure_step {
        forward(p, batch.x, false, false);
    }
    for k in 0..pgd.steps {
        p.within(Range::Step(k), |p| {
            forward(p, batch.x_adv, true, measure_step);
            // The pass that decides is the first half of the kept examples' next step.
            if mining.k_drop.contains(&k) {
                p.within(Range::Check, |p| {
                    p.push(Op::Select(Select { batch, keep_easy: mining.keep_easy }));
                    p.push(Op::Compact(Compact { image, batch, bits: pass.masks() }));
                });
            }
            let sink = StemSink::Pgd { x: batch.x, x_adv: batch.x_adv, eps: pgd.eps, alpha: pgd.alpha };
            pass.backward(p, &batch, pgd.loss, sink);
            scene.tally(p, NetPass::Dgrad);
        });
    }
    if measure_step {
        forward(p, batch.x_adv, false, true);
    }
}
