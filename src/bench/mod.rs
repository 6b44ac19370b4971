//! What methods cost and what they buy, side by side.
//!
//! [`fixed`] times mini-batches at fixed weights, [`trained`] gathers what runs measured. Both take turns: a round has one
//! mini-batch, or one epoch, of every method, and a ratio is of times in the same round, so that a machine that slows down slows
//! all of them.

pub mod fixed;
pub mod ledger;
pub mod peer;
pub mod trained;

use crate::ops::statistics::Counts;
use crate::results::comparison::{MethodCost, Spread};
use crate::results::{Passes, Seconds};

/// What a round of a method took.
#[derive(Clone, Debug)]
pub struct Round {
    /// Seconds by what they went into.
    pub parts: Seconds,
    /// Seconds in all.
    pub seconds: f64,
    /// What was counted.
    pub counts: Counts,
}

/// What all methods are measured by.
#[derive(Clone, Copy, Debug)]
struct Scale {
    /// Examples of an epoch.
    examples: f64,
    /// Multiply-adds of a forward pass of one example.
    macs: usize,
    /// GFLOP/s at most.
    peak: Option<f64>,
}

/// The larger one of two measured peaks.
pub fn better(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.into_iter().chain(b).reduce(f64::max)
}

/// The middle one of these.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    Spread::of(&values.collect::<Vec<_>>()).map_or(0.0, |s| s.median)
}

/// The cost of a method whose rounds these are; `baseline` has the seconds that an epoch of the baseline took in the same rounds.
fn cost(rounds: &[Round], baseline: &[f64], scale: Scale, memory: Option<u64>) -> Option<MethodCost> {
    let counts = &rounds.first()?.counts;
    let per_epoch = |r: &Round| scale.examples / (r.counts.examples.max(1)) as f64;
    let seconds = Spread::of(&rounds.iter().map(|r| r.seconds * per_epoch(r)).collect::<Vec<_>>())?;
    let part = |of: fn(&Seconds) -> f64| median(rounds.iter().map(|r| of(&r.parts) * per_epoch(r)));
    let ratio =
        Spread::of(&rounds.iter().zip(baseline).map(|(r, b)| r.seconds * per_epoch(r) / b).collect::<Vec<_>>())?;
    let sum = |f: fn(&Counts) -> u64| rounds.iter().map(|r| f(&r.counts)).sum::<u64>() as f64;
    let examples = sum(|c| c.examples).max(1.0);
    let passes = Passes {
        fprop: sum(|c| c.fprop) / examples,
        dgrad: sum(|c| c.dgrad) / examples,
        wgrad: sum(|c| c.wgrad) / examples,
    };
    // Each unit is a pass of as many multiply-adds.
    let gflops = 2.0 * scale.macs as f64 * passes.sum() * scale.examples / seconds.median / 1e9;
    let live =
        |k: usize| rounds.iter().map(|r| r.counts.live.get(k).copied().unwrap_or(0)).sum::<u64>() as f64 / examples;
    Some(MethodCost {
        seconds,
        data: part(|s| s.data),
        attack: part(|s| s.attack),
        update: part(|s| s.update),
        eval: None,
        ratio,
        images_per_second: scale.examples / seconds.median,
        passes,
        kept_share: sum(|c| c.kept) / examples,
        gflops: Some(gflops),
        peak_share: scale.peak.map(|p| gflops / p),
        memory,
        live: (0..counts.live.len()).map(live).collect(),
    })
}
