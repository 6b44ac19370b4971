//! What `eval` found of a run's checkpoints: reports in its folder, by default beside them.

use crate::fsio::file_hash;
use crate::results::{AttackResult, Report};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".report.json";

/// Results of a run, its own and those of evaluations beside its checkpoints.
#[derive(Debug, Clone, Default)]
pub struct Results {
    /// Under each attack; the names tell budgets apart.
    pub attacks: Vec<AttackResult>,
    /// What they warn of, and what was left out.
    pub warnings: Vec<String>,
}

impl Results {
    /// Those of the run in `root`, whose own report is `own`. Left out are evaluations of other data, and of a checkpoint that has
    /// been written again since.
    ///
    /// # Errors
    /// Where a file can't be read.
    pub fn read(root: &Path, own: &Report) -> Result<Results> {
        let mut results = Results { attacks: own.attacks.clone(), warnings: own.warnings.clone() };
        let entries = std::fs::read_dir(root).map_err(Error::io(root, "cannot read the run's folder"))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        paths.sort();
        let mut evaluations = Vec::new();
        for path in &paths {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if !name.ends_with(SUFFIX) {
                continue;
            }
            let evaluation = Report::read(path)?;
            let checkpoint = evaluation.checkpoint.as_deref().and_then(|c| Path::new(c).file_name());
            let checkpoint = root.join(checkpoint.unwrap_or_default());
            let now = checkpoint.is_file().then(|| file_hash(&checkpoint, &|_| {}));
            let now = now.transpose().map_err(Error::io(&checkpoint, "cannot read the checkpoint"))?;
            if evaluation.data.hash != own.data.hash || evaluation.class_names.len() != own.class_names.len() {
                results.warnings.push(format!("{name} is left out: it is of other data ({})", evaluation.data.name));
            } else if now.is_none() || evaluation.checkpoint_hash != now {
                results.warnings.push(format!("{name} is left out: it is of no checkpoint that is here now"));
            } else {
                let stem = checkpoint.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
                evaluations.push((stem, evaluation));
            }
        }
        // Those of the last checkpoint first.
        evaluations.sort_by_key(|(stem, _)| stem != "last");
        for (stem, evaluation) in evaluations {
            results.add(&stem, evaluation, own);
        }
        Ok(results)
    }

    fn add(&mut self, stem: &str, evaluation: Report, own: &Report) {
        let differs = differences(stem, &evaluation, own);
        let of = if differs.is_empty() { String::new() } else { format!(" ({})", differs.join(", ")) };
        for mut attack in evaluation.attacks {
            attack.name += &of;
            // Of the same budget it is what the run has found itself.
            if self.attacks.iter().all(|a| a.name != attack.name) {
                self.attacks.push(attack);
            }
        }
        self.warnings.extend(evaluation.warnings.into_iter().map(|w| format!("{w}{of}")));
    }
}

/// How an evaluation differs from what a run does at its end: the last checkpoint, all images, L-inf and eps as in training, from
/// one random start, with the run's seed.
fn differences(stem: &str, evaluation: &Report, own: &Report) -> Vec<String> {
    let (theirs, ours) = (&evaluation.contract, &own.contract);
    let mut differs = Vec::new();
    if stem != "last" {
        differs.push(stem.to_owned());
    }
    if theirs.norm != ours.norm {
        differs.push(theirs.norm.name().to_owned());
    }
    if theirs.eps != ours.eps {
        differs.push(format!("eps {}", theirs.eps));
    }
    if !theirs.random_start {
        differs.push("no random start".to_owned());
    }
    if theirs.restarts > 1 {
        differs.push(format!("{} restarts", theirs.restarts));
    }
    if evaluation.seed != own.seed {
        differs.push(format!("seed {}", evaluation.seed));
    }
    let examples = |r: &Report| r.attacks.first().map(|a| a.fairness.examples());
    let (few, all) = (examples(evaluation), examples(own));
    if let Some(few) = few.filter(|_| few != all) {
        differs.push(format!("{few} images"));
    }
    differs
}
