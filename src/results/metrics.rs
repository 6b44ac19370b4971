//! One line per epoch: `metrics.jsonl` and the same as CSV.

use crate::fsio::write_atomic;
use crate::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize};
use std::path::Path;

/// One epoch of a run: a line of `metrics.jsonl`. Accuracies are fractions in [0, 1].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// Epoch, from 1.
    pub epoch: u64,
    /// What this epoch ran, for example `pgd-at` before `begin_epoch` and `ham` from there on.
    pub method: String,
    /// Seconds of training, without evaluation.
    pub train_seconds: f64,
    /// Of these, in loading mini-batches.
    #[serde(default)]
    pub data_seconds: f64,
    /// Of these, in attacks (with the boundary check).
    pub attack_seconds: f64,
    /// Of these, in weight updates.
    pub update_seconds: f64,
    /// Seconds of the evaluation at the end of the epoch; 0 where there was none.
    pub eval_seconds: f64,
    /// Training examples seen.
    pub examples: u64,
    /// Examples kept after the boundary check, that is, trained on.
    pub kept: u64,
    /// Mini-batches.
    pub batches: u64,
    /// Mini-batches of which nothing was kept, so that no step was taken.
    pub batches_skipped: u64,
    /// Cost in units of the cost model: forward passes of one example.
    pub units: f64,
    /// Mean training loss; not a number (`null` in JSON) where no step was taken.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// Learning rate.
    pub lr: f64,
    /// Accuracy on clean inputs; `None` in epochs without evaluation, as with the next five.
    pub clean_accuracy: Option<f64>,
    /// Accuracy under PGD.
    pub pgd_accuracy: Option<f64>,
    /// Clean accuracy of the worst class.
    pub clean_worst: Option<f64>,
    /// PGD accuracy of the worst class.
    pub pgd_worst: Option<f64>,
    /// Clean accuracy per class; `None` inside for a class without examples.
    pub clean_per_class: Option<Vec<Option<f64>>>,
    /// PGD accuracy per class.
    pub pgd_per_class: Option<Vec<Option<f64>>>,
    /// Kept examples, per class.
    pub kept_per_class: Vec<u64>,
    /// Training examples, per class.
    pub examples_per_class: Vec<u64>,
    /// Entry k: the examples with kappa = k.
    pub kappa_histogram: Vec<u64>,
    /// The same per class.
    #[serde(default)]
    pub kappa_per_class: Vec<Vec<u64>>,
    /// Per class, kept examples by the true class's probability in the training step's forward pass, in ten bins over
    /// [0, 1].
    #[serde(default)]
    pub kept_confidence_per_class: Vec<Vec<u64>>,
    /// Per class, dropped examples by that at the check which dropped them.
    #[serde(default)]
    pub dropped_confidence_per_class: Vec<Vec<u64>>,
    /// Entry k: the examples that took part in step k of the attack.
    #[serde(default)]
    pub live_per_step: Vec<u64>,
    /// Example passes: forward, gradients to the input, weight gradients.
    #[serde(default)]
    pub passes: Passes<u64>,
}

/// Passes through the network by kind, in examples or in units of the cost model; an array of three in files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    from = "[N; 3]",
    into = "[N; 3]",
    bound(serialize = "N: Copy + Serialize", deserialize = "N: Deserialize<'de>")
)]
pub struct Passes<N> {
    /// Forward.
    pub fprop: N,
    /// Gradients to the input.
    pub dgrad: N,
    /// Weight gradients.
    pub wgrad: N,
}

impl<N> From<[N; 3]> for Passes<N> {
    fn from([fprop, dgrad, wgrad]: [N; 3]) -> Passes<N> {
        Passes { fprop, dgrad, wgrad }
    }
}

impl<N> From<Passes<N>> for [N; 3] {
    fn from(p: Passes<N>) -> [N; 3] {
        [p.fprop, p.dgrad, p.wgrad]
    }
}

impl<N: std::iter::Sum> Passes<N> {
    /// All of them.
    pub fn sum(self) -> N {
        <[N; 3]>::from(self).into_iter().sum()
    }
}

/// JSON has no NaN: serde_json writes one as `null`, and this reads it back.
fn null_is_nan<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(d)?.unwrap_or(f64::NAN))
}

impl Epoch {
    /// The share of the examples that was kept; `None` for an epoch without examples.
    pub fn kept_share(&self) -> Option<f64> {
        (self.examples > 0).then(|| self.kept as f64 / self.examples as f64)
    }

    /// The same per class; `None` inside for a class without examples.
    pub fn kept_shares(&self) -> Vec<Option<f64>> {
        let classes = self.kept_per_class.iter().zip(&self.examples_per_class);
        classes.map(|(kept, all)| (*all > 0).then(|| *kept as f64 / *all as f64)).collect()
    }

    /// Cost per training example, in units of the cost model; `None` for an epoch without examples.
    pub fn units_per_example(&self) -> Option<f64> {
        (self.examples > 0).then(|| self.units / self.examples as f64)
    }

    /// What contradicts itself in this epoch, if anything does.
    fn fault(&self) -> Option<String> {
        let numbers = [
            ("train_seconds", self.train_seconds),
            ("data_seconds", self.data_seconds),
            ("attack_seconds", self.attack_seconds),
            ("update_seconds", self.update_seconds),
            ("eval_seconds", self.eval_seconds),
            ("units", self.units),
            ("lr", self.lr),
        ];
        if let Some((name, value)) = numbers.into_iter().find(|(_, v)| !v.is_finite() || *v < 0.0) {
            return Some(format!("{name} is {value}, not a number from 0 up"));
        }
        if self.epoch == 0 {
            return Some("epoch is 0; epochs count from 1".to_owned());
        }
        if self.kept > self.examples {
            return Some(format!("kept {} of {} examples", self.kept, self.examples));
        }
        if self.batches_skipped > self.batches {
            return Some(format!("{} batches skipped of {}", self.batches_skipped, self.batches));
        }
        let accuracies =
            [self.clean_accuracy, self.pgd_accuracy, self.clean_worst, self.pgd_worst].into_iter().flatten();
        let per_class = [&self.clean_per_class, &self.pgd_per_class].into_iter().flatten().flatten().flatten();
        if let Some(a) = accuracies.chain(per_class.copied()).find(|a| !(0.0..=1.0).contains(a)) {
            return Some(format!("an accuracy of {a} is outside [0, 1]"));
        }
        None
    }

    /// The single-valued columns of the CSV, in order.
    fn scalars(&self) -> [(&'static str, String); 21] {
        // An empty cell is what spreadsheets and data frames read as missing; "NaN" is text to some of them.
        let num = |v: f64| if v.is_finite() { v.to_string() } else { String::new() };
        let opt = |v: Option<f64>| v.map(num).unwrap_or_default();
        [
            ("epoch", self.epoch.to_string()),
            ("method", quote(&self.method)),
            ("train_seconds", num(self.train_seconds)),
            ("data_seconds", num(self.data_seconds)),
            ("attack_seconds", num(self.attack_seconds)),
            ("update_seconds", num(self.update_seconds)),
            ("eval_seconds", num(self.eval_seconds)),
            ("examples", self.examples.to_string()),
            ("kept", self.kept.to_string()),
            ("batches", self.batches.to_string()),
            ("batches_skipped", self.batches_skipped.to_string()),
            ("units", num(self.units)),
            ("fprop", self.passes.fprop.to_string()),
            ("dgrad", self.passes.dgrad.to_string()),
            ("wgrad", self.passes.wgrad.to_string()),
            ("loss", num(self.loss)),
            ("lr", num(self.lr)),
            ("clean_accuracy", opt(self.clean_accuracy)),
            ("pgd_accuracy", opt(self.pgd_accuracy)),
            ("clean_worst", opt(self.clean_worst)),
            ("pgd_worst", opt(self.pgd_worst)),
        ]
    }

    /// The column groups of the CSV that hold one value per class or per kappa, in order.
    ///
    /// Histograms are those of all classes; the JSON lines have them per class.
    fn vectors(&self) -> [(&'static str, Vec<String>); VECTORS] {
        let counts = |v: &[u64]| v.iter().map(u64::to_string).collect();
        let summed = |v: &[Vec<u64>]| counts(&sum_over_classes(v));
        let shares = |v: &Option<Vec<Option<f64>>>| {
            v.iter().flatten().map(|a| a.filter(|a| a.is_finite()).map(|a| a.to_string()).unwrap_or_default()).collect()
        };
        [
            ("clean_accuracy_class", shares(&self.clean_per_class)),
            ("pgd_accuracy_class", shares(&self.pgd_per_class)),
            ("kept_class", counts(&self.kept_per_class)),
            ("examples_class", counts(&self.examples_per_class)),
            ("kappa", counts(&self.kappa_histogram)),
            ("live_step", counts(&self.live_per_step)),
            ("kept_confidence", summed(&self.kept_confidence_per_class)),
            ("dropped_confidence", summed(&self.dropped_confidence_per_class)),
        ]
    }
}

/// Column groups of the CSV.
const VECTORS: usize = 8;

/// The first epoch that ran something else than the one before it: the method's own work begins.
pub fn change_of_method(epochs: &[Epoch]) -> Option<&Epoch> {
    epochs.windows(2).find(|w| w[1].method != w[0].method).map(|w| &w[1])
}

/// A histogram of all classes from those of each; empty where there is no class.
pub fn sum_over_classes(per_class: &[Vec<u64>]) -> Vec<u64> {
    let bins = per_class.iter().map(Vec::len).max().unwrap_or(0);
    (0..bins).map(|bin| per_class.iter().filter_map(|c| c.get(bin)).sum()).collect()
}

/// A CSV field: quoted only where it has to be.
pub(crate) fn quote(s: &str) -> String {
    if s.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", s.replace('"', "\"\"")) } else { s.to_owned() }
}

/// Rewrites the JSON-lines file at `path` as a whole, so that a killed run never leaves half a line.
pub fn write_all(path: &Path, epochs: &[Epoch]) -> Result<()> {
    write_atomic(path, |out| {
        for epoch in epochs {
            serde_json::to_writer(&mut *out, epoch)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// Reads and checks a JSON-lines file; the error names the line.
pub fn read(path: &Path) -> Result<Vec<Epoch>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path, "cannot read the metrics"))?;
    let mut epochs: Vec<Epoch> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let fail = |what: String| Error::format(path, format!("line {}: {what}", i + 1));
        let epoch: Epoch = serde_json::from_str(line).map_err(|e| {
            // serde_json counts lines inside the one it was given; only its column is of use here.
            let (what, column) = (e.to_string(), e.column());
            let what = what.split(" at line ").next().unwrap_or_default();
            fail(format!("not an epoch's metrics: {what} (column {column})"))
        })?;
        if let Some(what) = epoch.fault() {
            return Err(fail(what));
        }
        if let Some(last) = epochs.last().filter(|last| last.epoch >= epoch.epoch) {
            return Err(fail(format!("epoch {} follows epoch {}", epoch.epoch, last.epoch)));
        }
        epochs.push(epoch);
    }
    Ok(epochs)
}

/// Rewrites the CSV at `path`: the fields of [`Epoch`], vectors as columns like `pgd_accuracy_class_3` or `kappa_2`.
pub fn write_csv(path: &Path, epochs: &[Epoch]) -> Result<()> {
    // A vector takes as many columns as its longest epoch has entries; the cells of shorter ones stay empty.
    let mut widths = [0; VECTORS];
    for epoch in epochs {
        for (width, (_, cells)) in widths.iter_mut().zip(epoch.vectors()) {
            *width = cells.len().max(*width);
        }
    }
    write_atomic(path, |out| {
        let names = Epoch::default();
        let mut header: Vec<String> = names.scalars().iter().map(|(name, _)| (*name).to_owned()).collect();
        for ((name, _), width) in names.vectors().iter().zip(widths) {
            header.extend((0..width).map(|i| format!("{name}_{i}")));
        }
        writeln!(out, "{}", header.join(","))?;
        for epoch in epochs {
            let mut row: Vec<String> = epoch.scalars().into_iter().map(|(_, cell)| cell).collect();
            for ((_, mut cells), width) in epoch.vectors().into_iter().zip(widths) {
                cells.resize(width, String::new());
                row.extend(cells);
            }
            writeln!(out, "{}", row.join(","))?;
        }
        Ok(())
    })
}
