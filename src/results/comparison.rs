//! What methods cost and what they buy, side by side: the result of `ham-engine bench`, as data.

use super::paired::Paired;
use super::{AttackResult, Passes};
use crate::fsio::write_atomic;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A number measured several times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one of the values, or the mean of the middle two.
    pub median: f64,
    /// Their mean.
    pub mean: f64,
    /// Their sample standard deviation; 0 of one value.
    pub sd: f64,
    /// The smallest.
    pub low: f64,
    /// The largest.
    pub high: f64,
    /// How many there are.
    pub count: usize,
}

impl Spread {
    /// Of these values; none if there are none, or one is not a number.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        if count == 0 || sorted.iter().any(|v| v.is_nan()) {
            return None;
        }
        let mean = sorted.iter().sum::<f64>() / count as f64;
        let squares: f64 = sorted.iter().map(|v| (v - mean).powi(2)).sum();
        let sd = if count > 1 { (squares / (count - 1) as f64).sqrt() } else { 0.0 };
        let median = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2.0;
        Some(Spread { median, mean, sd, low: sorted[0], high: sorted[count - 1], count })
    }
}

/// What an epoch of a method costs. Seconds are medians over epochs or repeats, of all examples of an epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodCost {
    /// Seconds of an epoch, without evaluation.
    pub seconds: Spread,
    /// Of these, in loading (and augmenting) mini-batches.
    pub data: f64,
    /// Of these, in the attack, with checks and compaction.
    pub attack: f64,
    /// Of these, in the training step.
    pub update: f64,
    /// Seconds of the evaluation after an epoch; none where nothing was evaluated.
    pub eval: Option<f64>,
    /// Seconds relative to the baseline's in the same round.
    pub ratio: Spread,
    /// Training examples a second.
    pub images_per_second: f64,
    /// Units of the cost model an example: forward passes, gradients to the input, weight gradients.
    pub passes: Passes<f64>,
    /// Share of the examples that were trained on.
    pub kept_share: f64,
    /// Arithmetic of those passes in GFLOP/s; none where the network's is not known.
    pub gflops: Option<f64>,
    /// As a share of what the device reached in a loop of nothing but multiply-adds; none where that was not measured.
    pub peak_share: Option<f64>,
    /// Bytes of the backend's memory: buffers and the largest mini-batch program; none where they are not known.
    pub memory: Option<u64>,
    /// Share of the examples that took part in each step of the attack.
    pub live: Vec<f64>,
}

/// What a run of a method ended with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedResult {
    /// The seed.
    pub seed: u64,
    /// Kept share of each epoch.
    pub kept_share: Vec<f64>,
    /// Accuracy and fairness on the test set, clean and under each attack.
    pub attacks: Vec<AttackResult>,
    /// Robust fairness against the baseline's run of the same seed, by attack; none for the baseline itself.
    pub rho: Vec<Option<f64>>,
}

/// A method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodRow {
    /// Its name; a peer's says so.
    pub method: String,
    /// What it costs.
    pub cost: MethodCost,
    /// What it buys: a result for every seed; empty where only costs were measured.
    pub results: Vec<SeedResult>,
}

impl MethodRow {
    /// A number of a result under the attack `name`, over the seeds.
    pub fn over_seeds(&self, name: &str, value: impl Fn(&AttackResult) -> Option<f64>) -> Option<Spread> {
        let of = |r: &SeedResult| r.attacks.iter().find(|a| a.name == name).and_then(&value);
        Spread::of(&self.results.iter().map(of).collect::<Option<Vec<f64>>>()?)
    }

    /// Accuracy of a class under the attack `name`, over the seeds.
    pub fn class_over_seeds(&self, name: &str, class: usize) -> Option<Spread> {
        self.over_seeds(name, |a| Some(a.fairness.per_class.get(class).copied().flatten()?.accuracy))
    }

    /// Robust fairness against the baseline under the attack `name`, over the seeds.
    pub fn rho_over_seeds(&self, name: &str) -> Option<Spread> {
        let of = |r: &SeedResult| *r.rho.get(r.attacks.iter().position(|a| a.name == name)?)?;
        Spread::of(&self.results.iter().map(of).collect::<Option<Vec<f64>>>()?)
    }
}

/// Numbers of examples; an array of two in files.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "[usize; 2]", into = "[usize; 2]")]
pub struct Examples {
    /// Of an epoch.
    pub epoch: usize,
    /// Of a mini-batch.
    pub batch: usize,
}

impl From<[usize; 2]> for Examples {
    fn from([epoch, batch]: [usize; 2]) -> Examples {
        Examples { epoch, batch }
    }
}

impl From<Examples> for [usize; 2] {
    fn from(e: Examples) -> [usize; 2] {
        [e.epoch, e.batch]
    }
}

/// `bench.json`: methods side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The program and version that made it.
    pub created_by: String,
    /// The device, in words.
    pub device: String,
    /// The data set.
    pub data: String,
    /// The network, in words.
    pub network: String,
    /// How many examples there are.
    pub examples: Examples,
    /// Steps of the attack.
    pub steps: usize,
    /// Epochs trained; none where weights were fixed.
    pub epochs: Option<usize>,
    /// The method that ratios and rho are against.
    pub baseline: String,
    /// GFLOP/s of nothing but multiply-adds on this device, where that was measured.
    pub peak_gflops: Option<f64>,
    /// Class names, by class index.
    pub class_names: Vec<String>,
    /// The methods.
    pub methods: Vec<MethodRow>,
}

impl Comparison {
    /// Writes it as indented JSON, in one step.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomic(path, |out| {
            serde_json::to_writer_pretty(&mut *out, self)?;
            out.write_all(b"\n")
        })
    }

    /// Reads it back.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path, "cannot read the comparison"))?;
        serde_json::from_slice(&bytes).map_err(|e| Error::format(path, format!("not a comparison: {e}")))
    }

    /// Names of the attacks that were evaluated, in their order.
    pub fn attacks(&self) -> Vec<String> {
        let first = self.methods.iter().flat_map(|m| &m.results).next();
        first.map_or(vec![], |r| r.attacks.iter().map(|a| a.name.clone()).collect())
    }

    /// How many classes the results have at most.
    pub fn classes(&self) -> usize {
        let attacks = self.methods.iter().flat_map(|m| &m.results).flat_map(|r| &r.attacks);
        attacks.map(|a| a.fairness.per_class.len()).max().unwrap_or(0)
    }

    /// A number of a method's results under the attack `name` minus that of the baseline with the same seed; none for
    /// the baseline itself, or without a seed in common.
    pub fn against_baseline(
        &self,
        row: &MethodRow,
        name: &str,
        value: impl Fn(&AttackResult) -> Option<f64>,
    ) -> Option<Paired> {
        let baseline = self.baseline_row().filter(|b| b.method != row.method)?;
        let of = |r: &SeedResult| r.attacks.iter().find(|a| a.name == name).and_then(&value);
        let pair = |r: &SeedResult| Some(of(r)? - of(baseline.results.iter().find(|b| b.seed == r.seed)?)?);
        Paired::of(&row.results.iter().filter_map(pair).collect::<Vec<f64>>())
    }

    /// The baseline's row; none where it is not one of the methods.
    pub fn baseline_row(&self) -> Option<&MethodRow> {
        self.methods.iter().find(|m| m.method == self.baseline)
    }

    /// The seeds that any method was trained with, each once.
    pub fn seeds(&self) -> Vec<u64> {
        let seeds = self.methods.iter().flat_map(|m| &m.results).map(|r| r.seed);
        seeds.collect::<std::collections::BTreeSet<u64>>().into_iter().collect()
    }
}
