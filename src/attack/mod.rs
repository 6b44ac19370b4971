//! Attacks, and the mining that drops easy examples between their steps: all of it recorded, none of it computed here.

pub mod apgd;
pub mod ascent;
mod budget;
pub mod fab;
pub mod square;
pub mod stage;

pub use budget::Budget;

use crate::batch::{Batch, Resident, Stats};
use crate::net::eval_pass::EvalPass;
use crate::ops::Program;
use crate::ops::compact::Compact;
use crate::ops::formula::Formula;
use crate::ops::freeze::{Freeze, Thaw};
use crate::ops::head::{Loss, Measures};
use crate::ops::load::Load;
use crate::ops::pgd_step::PgdStep;
use crate::ops::refill::{Pool, Refill};
use crate::ops::select::Select;
use crate::ops::start::{Draw, Noise, Start};
use crate::ops::statistics::{CountBatch, CountPass, NetPass, Part};
use crate::program::{Buf, Range, Shape};
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
    /// What is added to `x` to start from; uniform noise is within eps in training and evaluation.
    pub start: Option<Noise>,
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

/// A look at the live examples during an attack, after which some take no more steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// On which iterate: after so many steps, before the next one's gradient.
    pub iterate: usize,
    /// Who goes on.
    pub keep: Formula,
    /// Share of the others that goes on as well, those of the highest true-class confidence.
    pub keep_easy: f32,
    /// What becomes of those that don't.
    pub fate: Fate,
}

/// What becomes of examples that leave an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They leave the batch.
    Dropped,
    /// Their image stays as it is, and they are back when the attack is over.
    Frozen,
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
    /// Where survivors wait for a full batch, in runs that refill.
    pub pool: Option<Pool>,
}

impl Scene {
    /// Records a count of `pass`.
    pub fn count_pass(&self, p: &mut Program, pass: NetPass) {
        p.push(CountPass { pass, step: None, stats: self.stats });
    }

    /// Records the loading of the next mini-batch, augmented if there is a seed for it.
    pub fn load(&self, p: &mut Program, augmentation: Option<u64>) {
        let Scene { image, batch, data, stats, .. } = *self;
        let load = Load {
            data,
            image,
            batch,
            stats,
            augment: augmentation.is_some(),
            rng: Philox::new(augmentation.unwrap_or(0)),
        };
        p.within(Range::Load, |p| p.push(load));
    }

    /// Records the count of the mini-batch, or of a part of it.
    pub fn count_batch(&self, p: &mut Program, part: Part) {
        let Scene { batch, data, stats, .. } = *self;
        p.push(CountBatch { part, batch, data, stats });
    }
}

/// Records an attack on all live examples, and returns the buffer that has the attacked images of those that are live after it,
/// by slot.
///
/// Checks of iterates that the attack does not reach never happen. With `refill` who has passed the last of them goes into that
/// pool, and the rest of the attack is of who comes out of it; the loaded examples are counted before. `measure_step` keeps the
/// largest move of the output probabilities, which costs a forward pass of the clean input and one of the last iterate. An attack
/// on the divergence takes a forward pass of the clean input, which stays in the batch's clean twin.
pub fn record(
    p: &mut Program,
    scene: &Scene,
    pass: &EvalPass,
    pgd: &Pgd,
    checks: &[Check],
    refill: Option<Pool>,
    (seed, stream): (u64, Stream),
    measure_step: bool,
) -> Buf {
    let Scene { image, batch, data, .. } = *scene;
    let noise = pgd.start.map(|noise| Draw { noise, rng: Philox::new(seed), stream });
    p.push(Start { image, batch, data, noise });
    let forward = |p: &mut Program, batch: &Batch, input, measures| {
        pass.forward(p, batch, input, measures);
        scene.count_pass(p, NetPass::Fprop);
    };
    if measure_step {
        forward(p, &batch, batch.x, Measures::default());
    }
    if pgd.loss == Loss::Divergence {
        forward(p, &batch.clean(), batch.x, Measures::default());
    }
    let last = checks.iter().map(|c| c.iterate).filter(|i| *i < pgd.steps).max();
    for k in 0..pgd.steps {
        p.within(Range::Step(k), |p| {
            forward(p, &batch, batch.x_adv, Measures { kappa: true, step: measure_step });
            // The pass that decides is the first half of the kept examples' next step.
            for check in checks.iter().filter(|c| c.iterate == k) {
                p.within(Range::Check, |p| {
                    p.push(Select { batch, keep: check.keep.clone(), keep_easy: check.keep_easy });
                    if check.fate == Fate::Frozen {
                        p.push(Freeze { image, batch, all: false });
                    }
                    p.push(Compact { image, batch, bits: pass.masks() });
                });
            }
            if let Some(pool) = refill.filter(|_| last == Some(k)) {
                p.within(Range::Check, |p| {
                    scene.count_batch(p, Part::Loaded);
                    p.push(Refill { image, batch, pool });
                });
                // The weights may have changed since these outputs were computed, and no masks come out of the pool.
                if pgd.loss == Loss::Divergence {
                    forward(p, &batch.clean(), batch.x, Measures::default());
                }
                forward(p, &batch, batch.x_adv, Measures::default());
            }
            pass.backward(p, &batch, pgd.loss, batch.x_gradient);
            p.push(PgdStep { image, batch, gradient: batch.x_gradient, eps: pgd.eps, alpha: pgd.alpha });
            p.push(CountPass { pass: NetPass::Dgrad, step: Some(k), stats: scene.stats });
        });
    }
    if measure_step {
        forward(p, &batch, batch.x_adv, Measures { kappa: false, step: true });
    }
    if !checks.iter().any(|c| c.fate == Fate::Frozen && c.iterate < pgd.steps) {
        return batch.x_adv;
    }
    p.push(Freeze { image, batch, all: true });
    p.push(Thaw { batch });
    batch.frozen
}
