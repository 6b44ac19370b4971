//! Accuracy per class, and how unequal the classes are (docs/method.md, "Robust fairness").

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The standard normal quantile of a two-sided 95 % interval.
pub const Z_95: f64 = 1.959963984540054;

/// The 95 % Wilson score interval of a share of `correct` in `total`; `None` when `total` is 0.
///
/// Unlike p ± z·σ it stays inside [0, 1] and does not shrink to a point at 0 % or 100 %, which is where the worst
/// class under attack tends to be.
pub fn wilson(correct: u64, total: u64) -> Option<(f64, f64)> {
    if total == 0 {
        return None;
    }
    let (n, z2) = (total as f64, Z_95 * Z_95);
    let p = correct as f64 / n;
    let scale = 1.0 + z2 / n;
    let centre = (p + z2 / (2.0 * n)) / scale;
    let half = Z_95 / scale * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // Rounding may carry an end past p at p = 0 or 1, where the exact end is p itself.
    Some(((centre - half).clamp(0.0, p), (centre + half).clamp(p, 1.0)))
}

/// How many examples of each class were seen, and how many of them the model got right.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCounts {
    /// Correctly classified examples, per class.
    pub correct: Vec<u64>,
    /// Examples, per class.
    pub total: Vec<u64>,
    /// Examples by true class and the class they were taken for, row by row; empty where that was not looked at.
    pub confusion: Vec<u64>,
}

impl ClassCounts {
    /// Zero counts for `classes` classes.
    pub fn new(classes: usize) -> Self {
        ClassCounts { correct: vec![0; classes], total: vec![0; classes], confusion: Vec::new() }
    }

    /// Counts one example of class `label`.
    ///
    /// # Panics
    /// When `label` is not one of the classes.
    pub fn count(&mut self, label: usize, correct: bool) {
        self.total[label] += 1;
        self.correct[label] += u64::from(correct);
    }

    /// The fairness measures of these counts; an error when they hold no example or contradict themselves.
    pub fn fairness(&self) -> Result<Fairness> {
        let fail = |what: String| Err(Error::Op { op: "fairness", what });
        if self.correct.len() != self.total.len() {
            return fail(format!("{} classes in correct, {} in total", self.correct.len(), self.total.len()));
        }
        if let Some(c) = (0..self.total.len()).find(|&c| self.correct[c] > self.total[c]) {
            return fail(format!("class {c}: {} correct of {}", self.correct[c], self.total[c]));
        }
        let per_class: Vec<Option<ClassAccuracy>> =
            self.correct.iter().zip(&self.total).map(|(&correct, &total)| ClassAccuracy::of(correct, total)).collect();
        let Some(overall) = ClassAccuracy::of(self.correct.iter().sum(), self.total.iter().sum()) else {
            return fail("no example was evaluated".to_owned());
        };

        // Some class has an example, or there would be no overall accuracy. Ties: the lowest class index.
        let present: Vec<(usize, f64)> =
            per_class.iter().enumerate().filter_map(|(c, a)| a.map(|a| (c, a.accuracy))).collect();
        let (worst_class, worst) = present.iter().copied().reduce(|a, b| if b.1 < a.1 { b } else { a }).unwrap();
        let (best_class, best) = present.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a }).unwrap();
        let n = present.len() as f64;
        let class_mean = present.iter().map(|a| a.1).sum::<f64>() / n;
        let sd = (present.iter().map(|a| (a.1 - class_mean).powi(2)).sum::<f64>() / n).sqrt();
        let mean = overall.accuracy;
        Ok(Fairness {
            mean,
            low: overall.low,
            high: overall.high,
            per_class,
            worst,
            worst_class,
            best,
            best_class,
            gap: best - worst,
            sd,
            nsd: (mean > 0.0).then(|| sd / mean),
            confusion: (!self.confusion.is_empty())
                .then(|| self.confusion.chunks(self.total.len()).map(<[u64]>::to_vec).collect()),
        })
    }
}

/// The accuracy on one class with its 95 % Wilson interval; fractions in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassAccuracy {
    /// `correct / total`.
    pub accuracy: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Correctly classified examples.
    pub correct: u64,
    /// Examples.
    pub total: u64,
}

impl ClassAccuracy {
    /// The accuracy of `correct` in `total`; `None` when `total` is 0.
    pub fn of(correct: u64, total: u64) -> Option<Self> {
        let (low, high) = wilson(correct, total)?;
        Some(ClassAccuracy { accuracy: correct as f64 / total as f64, low, high, correct, total })
    }
}

/// Accuracy overall and per class, and the measures of robust fairness; fractions in [0, 1].
///
/// Classes without an example count for nothing: they are `None` in `per_class` and no part of worst, best or SD.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fairness {
    /// Accuracy over all examples (not the mean of the class accuracies).
    pub mean: f64,
    /// Lower end of the 95 % Wilson interval of `mean`.
    pub low: f64,
    /// Upper end of the 95 % Wilson interval of `mean`.
    pub high: f64,
    /// One entry per class; `None` where the class has no example.
    pub per_class: Vec<Option<ClassAccuracy>>,
    /// Accuracy of the worst class.
    pub worst: f64,
    /// Index of the worst class (ties: the lowest).
    pub worst_class: usize,
    /// Accuracy of the best class.
    pub best: f64,
    /// Index of the best class (ties: the lowest).
    pub best_class: usize,
    /// `best - worst`.
    pub gap: f64,
    /// Population standard deviation of the class accuracies.
    pub sd: f64,
    /// `sd / mean`; `None` where `mean` is 0.
    pub nsd: Option<f64>,
    /// Examples by true class (rows) and the class they were taken for; `None` where that was not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Vec<Vec<u64>>>,
}

impl Fairness {
    /// Examples of all classes.
    pub fn examples(&self) -> u64 {
        self.per_class.iter().flatten().map(|c| c.total).sum()
    }
}

/// The fairness gain of `run` over `baseline`: relative change of the worst class plus that of the mean.
///
/// `None` where the baseline's worst class or mean is 0.
pub fn rho(run: &Fairness, baseline: &Fairness) -> Option<f64> {
    let change = |new: f64, old: f64| (old > 0.0).then(|| (new - old) / old);
    Some(change(run.worst, baseline.worst)? + change(run.mean, baseline.mean)?)
}
