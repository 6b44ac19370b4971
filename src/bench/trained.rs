//! What runs of several methods measured, put side by side.

use super::{Round, Scale, cost, median};
use crate::ops::statistics::Counts;
use crate::results::comparison::{MethodRow, SeedResult};
use crate::results::{AttackResult, Epoch, Seconds, rho};

/// What a run of a method measured.
#[derive(Clone, Debug)]
pub struct TrainedRun {
    /// The seed.
    pub seed: u64,
    /// What its epochs are called from where the method does its own work.
    pub name: &'static str,
    /// Its epochs.
    pub epochs: Vec<Epoch>,
    /// Its results on the test set.
    pub attacks: Vec<AttackResult>,
    /// Bytes that it took, where an epoch was trained by this process.
    pub memory: Option<u64>,
}

fn round(e: &Epoch) -> Round {
    let counts = Counts {
        examples: e.examples,
        kept: e.kept,
        fprop: e.passes.fprop,
        dgrad: e.passes.dgrad,
        wgrad: e.passes.wgrad,
        live: e.live_per_step.clone(),
        ..Counts::default()
    };
    let parts = Seconds { data: e.data_seconds, attack: e.attack_seconds, update: e.update_seconds };
    Round { parts, seconds: e.train_seconds, counts }
}

/// The row of a method from its runs, one a seed; `baseline` has the baseline's runs of the same seeds, in the same order.
///
/// Its cost is that of the epochs in which it does its own work, each against the baseline's of the same number and seed.
pub fn row<'a>(
    method: &str,
    runs: &'a [TrainedRun],
    baseline: &'a [TrainedRun],
    examples: usize,
    macs: usize,
    peak: Option<f64>,
) -> Option<MethodRow> {
    // Each epoch of its own, and the baseline's beside it.
    let own = |(run, base): (&'a TrainedRun, &'a TrainedRun)| {
        let own = run.epochs.iter().filter(|e| e.method == run.name);
        own.filter_map(|e| Some((e, base.epochs.iter().find(|b| b.epoch == e.epoch)?)))
    };
    let epochs: Vec<(&Epoch, &Epoch)> = runs.iter().zip(baseline).flat_map(own).collect();
    let times: Vec<f64> = epochs.iter().map(|(_, b)| b.train_seconds).collect();
    let rounds: Vec<Round> = epochs.iter().map(|(e, _)| round(e)).collect();
    let memory = runs.iter().filter_map(|r| r.memory).max();
    let mut cost = cost(&rounds, &times, Scale { examples: examples as f64, macs, peak }, memory)?;
    let evaluated =
        epochs.iter().filter(|(e, _)| e.clean_accuracy.is_some()).map(|(e, _)| e.eval_seconds).collect::<Vec<_>>();
    cost.eval = (!evaluated.is_empty()).then(|| median(evaluated.into_iter()));
    let result = |(run, base): (&TrainedRun, &TrainedRun)| SeedResult {
        seed: run.seed,
        kept_share: run.epochs.iter().filter_map(Epoch::kept_share).collect(),
        attacks: run.attacks.clone(),
        rho: run
            .attacks
            .iter()
            .map(|a| {
                let b = base.attacks.iter().find(|b| b.name == a.name).filter(|_| !std::ptr::eq(run, base))?;
                rho(&a.fairness, &b.fairness)
            })
            .collect(),
    };
    Some(MethodRow { method: method.to_owned(), cost, results: runs.iter().zip(baseline).map(result).collect() })
}
