//! Runs read back from their folders, those that differ in the seed alone together.

use super::evaluations::Results;
use crate::results::comparison::Spread;
use crate::results::metrics::{self, Epoch};
use crate::results::paired::Paired;
use crate::results::{AttackResult, Report};
use crate::train::options::Options;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A run's folder, read.
#[derive(Debug, Clone)]
pub struct ReadRun {
    /// The folder.
    pub root: PathBuf,
    /// Everything it was told.
    pub options: Options,
    /// Its epochs so far.
    pub epochs: Vec<Epoch>,
    /// Its results; none before its last epoch is done.
    pub report: Option<Report>,
    /// What it was found to be under attack, at its end and by evaluations since.
    pub results: Results,
}

impl ReadRun {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// Where a file of it can't be read.
    pub fn read(root: &Path) -> Result<ReadRun> {
        let options = Options::read(&root.join("config.toml"))?;
        let (epochs, report) = (root.join("metrics.jsonl"), root.join("report.json"));
        let epochs = if epochs.exists() { metrics::read(&epochs)? } else { Vec::new() };
        let report = report.exists().then(|| Report::read(&report)).transpose()?;
        let results = report.as_ref().map(|r| Results::read(root, r)).transpose()?.unwrap_or_default();
        Ok(ReadRun { root: root.to_owned(), options, epochs, report, results })
    }

    /// The name of its folder.
    pub fn name(&self) -> String {
        let full = std::path::absolute(&self.root).unwrap_or_else(|_| self.root.clone());
        full.file_name().map_or_else(|| self.root.display().to_string(), |n| n.to_string_lossy().into_owned())
    }

    /// The name of the method that ran, as far as its report tells; else of that which it was told.
    pub fn method(&self) -> &'static str {
        let ran = self.report.as_ref().and_then(|r| r.contract.training.as_ref()).map(|t| t.method);
        ran.or(self.options.method).map_or("unknown", |m| m.name())
    }

    /// Its seed.
    pub fn seed(&self) -> u64 {
        self.options.seed.unwrap_or(0)
    }

    /// Its result under the attack that breaks most.
    pub fn worst_case(&self) -> Option<&AttackResult> {
        // Of equal ones the first.
        self.results.attacks.iter().min_by(|a, b| a.fairness.mean.total_cmp(&b.fairness.mean))
    }

    /// Its result under an attack.
    pub fn under(&self, attack: &str) -> Option<&AttackResult> {
        self.results.attacks.iter().find(|a| a.name == attack)
    }
}

/// The folders of runs that a path names: itself, or those in it, sorted by name.
///
/// # Errors
/// Where there is none.
pub fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    if path.join("config.toml").exists() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(Error::io(path, "cannot read the run's folder"))?;
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.join("config.toml").exists()).collect();
    found.sort();
    if found.is_empty() {
        let what = format!("{}: no run here (no config.toml), nor in the folders in it", path.display());
        return Err(Error::usage(what));
    }
    Ok(found)
}

/// Runs with the same options but for the seed.
#[derive(Debug, Clone)]
pub struct Group {
    /// What tells it from the other groups.
    pub name: String,
    /// Its runs, by seed; at least one.
    pub runs: Vec<ReadRun>,
}

impl Group {
    /// The run that is shown in detail.
    pub fn first(&self) -> &ReadRun {
        &self.runs[0]
    }

    /// A number of the results under an attack, over those of its runs that have one.
    pub fn over_seeds(&self, attack: &str, value: impl Fn(&AttackResult) -> Option<f64>) -> Option<Spread> {
        let values: Vec<f64> = self.runs.iter().filter_map(|r| value(r.under(attack)?)).collect();
        Spread::of(&values)
    }

    /// The same minus that of `baseline`, seed by seed.
    pub fn against(
        &self,
        baseline: &Group,
        attack: &str,
        value: impl Fn(&AttackResult) -> Option<f64>,
    ) -> Option<Paired> {
        let differences: Vec<f64> =
            self.pairs(baseline, attack).filter_map(|(a, b)| Some(value(a)? - value(b)?)).collect();
        Paired::of(&differences)
    }

    /// Robust fairness against `baseline`, over the seeds that both have.
    pub fn rho(&self, baseline: &Group, attack: &str) -> Option<Spread> {
        let values: Vec<f64> =
            self.pairs(baseline, attack).filter_map(|(a, b)| crate::results::rho(&a.fairness, &b.fairness)).collect();
        Spread::of(&values)
    }

    /// Results under an attack and the baseline's: of the same seed or, where each has but one run, of these.
    fn pairs<'a>(
        &'a self,
        baseline: &'a Group,
        attack: &'a str,
    ) -> impl Iterator<Item = (&'a AttackResult, &'a AttackResult)> {
        let single = self.runs.len() == 1 && baseline.runs.len() == 1;
        self.runs.iter().filter_map(move |run| {
            let other = baseline.runs.iter().find(|b| single || b.seed() == run.seed())?;
            Some((run.under(attack)?, other.under(attack)?))
        })
    }
}

/// Puts runs together that differ in the seed alone, in the order in which each kind first appears.
pub fn group(runs: Vec<ReadRun>) -> Vec<Group> {
    let key = |o: &Options| Options { seed: None, tensorboard: None, ..o.clone() };
    let mut groups: Vec<Group> = Vec::new();
    for run in runs {
        let same = |g: &&mut Group| key(&g.first().options) == key(&run.options);
        match groups.iter_mut().find(same) {
            // The same run twice is one.
            Some(group) if group.runs.iter().any(|r| r.seed() == run.seed()) => {
                if group.runs.iter().all(|r| r.root != run.root) {
                    groups.push(Group { name: String::new(), runs: vec![run] });
                }
            }
            Some(group) => group.runs.push(run),
            None => groups.push(Group { name: String::new(), runs: vec![run] }),
        }
    }
    for group in &mut groups {
        group.runs.sort_by_key(ReadRun::seed);
    }
    // The method where that tells them apart, else the folder.
    let methods: Vec<&str> = groups.iter().map(|g| g.first().method()).collect();
    let names: Vec<String> = groups
        .iter()
        .zip(&methods)
        .map(|(g, method)| {
            let alone = methods.iter().filter(|m| *m == method).count() == 1;
            if alone { (*method).to_owned() } else { g.first().name() }
        })
        .collect();
    for (group, name) in groups.iter_mut().zip(names) {
        group.name = name;
    }
    groups
}
