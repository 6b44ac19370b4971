//! What a run or an evaluation leaves for people: numbers (`report.json`, metrics), terminal tables and figures.

pub mod comparison;
pub mod comparison_csv;
pub mod comparison_table;
pub mod fairness;
pub mod metrics;
pub mod page;
pub mod paired;
pub mod plot;
pub mod table;
pub mod tensorboard;

pub use fairness::{ClassAccuracy, ClassCounts, Fairness, rho};
pub use metrics::{Epoch, Passes};

use crate::fsio::write_atomic;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// `report.json`: the result of a run or of an evaluation, with all that is needed to trace it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The program and version that made it; see [`created_by`].
    pub created_by: String,
    /// The device it ran on, in words.
    pub device: String,
    /// Hash of the sources of the GPU kernels that ran, if any did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernels: Option<String>,
    /// The seed of all random numbers.
    pub seed: u64,
    /// The data set.
    pub data: DataId,
    /// The network, in words.
    pub network: String,
    /// The threat and its budget: eps, alpha, steps and whatever else the attacks were given.
    pub contract: serde_json::Value,
    /// The checkpoint evaluated, if it was read from a file.
    pub checkpoint: Option<String>,
    /// Its SHA-256, where it is an evaluation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_hash: Option<String>,
    /// Class names, by class index.
    pub class_names: Vec<String>,
    /// One result per attack; `clean` is one of them.
    pub attacks: Vec<AttackResult>,
    /// Signs that the attacks overestimate robustness, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Robust fairness against another report by attack, where it was asked for and is defined; see [`rho`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rho: BTreeMap<String, f64>,
    /// What the run cost; `None` for an evaluation alone.
    pub cost: Option<Cost>,
}

/// Which data a report is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataId {
    /// Name of the data set.
    pub name: String,
    /// Hash of its content.
    pub hash: String,
}

/// Accuracy and fairness under one attack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttackResult {
    /// The attack, for example `clean` or `pgd-20`.
    pub name: String,
    /// Its accuracies.
    pub fairness: Fairness,
    /// Per class, the examples by the true class's probability where the attack ended, in ten bins over [0, 1].
    #[serde(default)]
    pub confidence_per_class: Vec<Vec<u64>>,
    /// What it is made of: one part, or those of a sequence, each on the survivors of the one before.
    #[serde(default)]
    pub parts: Vec<AttackPart>,
}

/// What a part of an attack left, and what it cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackPart {
    /// Its name.
    pub name: String,
    /// Examples that have survived this part and all before.
    pub survivors: u64,
    /// Forward passes of one example, and gradients of one with respect to the input (the unit of the cost model).
    pub units: u64,
}

/// What a run cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds in attacks.
    pub attack_seconds: f64,
    /// Seconds in weight updates.
    pub update_seconds: f64,
    /// Seconds in evaluation.
    pub eval_seconds: f64,
    /// Forward passes of one example (the unit of the cost model).
    pub units: f64,
    /// `units` per training example seen; `None` if none was.
    pub units_per_example: Option<f64>,
}

impl Cost {
    /// The sum over the epochs of a run.
    pub fn of(epochs: &[Epoch]) -> Self {
        let sum = |f: fn(&Epoch) -> f64| epochs.iter().map(f).sum::<f64>();
        let examples: u64 = epochs.iter().map(|e| e.examples).sum();
        let units = sum(|e| e.units);
        Cost {
            attack_seconds: sum(|e| e.attack_seconds),
            update_seconds: sum(|e| e.update_seconds),
            eval_seconds: sum(|e| e.eval_seconds),
            units,
            units_per_example: (examples > 0).then(|| units / examples as f64),
        }
    }
}

/// This crate's name and version.
pub fn created_by() -> String {
    format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
}

impl Report {
    /// Writes the report as indented JSON, in one step.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomic(path, |out| {
            serde_json::to_writer_pretty(&mut *out, self)?;
            out.write_all(b"\n")
        })
    }

    /// Robust fairness of `attacks` against this report, by the names of attacks in both; without those whose baseline
    /// is 0.
    ///
    /// # Errors
    /// Where this report is of other data or classes.
    pub fn rho_of(&self, attacks: &[AttackResult], data: &DataId, path: &Path) -> Result<BTreeMap<String, f64>> {
        if self.data.hash != data.hash {
            let what = format!("is of other data ({}), so that nothing can be held against it", self.data.name);
            return Err(Error::format(path, what));
        }
        let of = |a: &AttackResult| {
            let base = self.attacks.iter().find(|b| b.name == a.name)?;
            Some((a.name.clone(), rho(&a.fairness, &base.fairness)?))
        };
        Ok(attacks.iter().filter_map(of).collect())
    }

    /// Reads a report back and checks that its parts fit each other.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path, "cannot read the report"))?;
        let report: Report =
            serde_json::from_slice(&bytes).map_err(|e| Error::format(path, format!("not a report: {e}")))?;
        let classes = report.class_names.len();
        for AttackResult { name, fairness: f, .. } in &report.attacks {
            // The class indices are used to look names up, so they must be valid from here on.
            if f.per_class.len() != classes || f.worst_class >= classes || f.best_class >= classes {
                let found = f.per_class.len();
                return Err(Error::format(path, format!("{name}: {found} classes, but {classes} class names")));
            }
        }
        Ok(report)
    }
}
