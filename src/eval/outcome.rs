//! What an evaluation finds out of each example, and what it took.

use super::Threat;
use crate::Result;
use crate::batch::{BINS, bin};
use crate::results::fairness::ClassCounts;
use crate::results::{AttackPart, AttackResult};

/// What has become of the examples so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Labels, by example.
    pub labels: Vec<u32>,
    /// Whether nothing has changed the right answer, by example.
    pub robust: Vec<bool>,
    /// The class at the iterate that broke it, by example; the label if none did.
    pub predicted: Vec<u32>,
    /// The true class's probability, by example: at the iterate that broke it or, of a survivor, the lowest of those at the last
    /// iterate of each run.
    pub confidence: Vec<f32>,
    /// The parts, in their order.
    pub parts: Vec<AttackPart>,
}

impl Outcome {
    /// Before anything happens.
    pub fn new(labels: &[u32]) -> Outcome {
        let labels = labels.to_vec();
        let n = labels.len();
        Outcome {
            robust: vec![true; n],
            predicted: labels.clone(),
            confidence: vec![1.0; n],
            labels,
            parts: Vec::new(),
        }
    }

    /// The indices of the survivors.
    pub fn survivors(&self) -> Vec<u32> {
        (0..self.labels.len() as u32).filter(|i| self.robust[*i as usize]).collect()
    }

    /// Share of the examples that survive.
    pub fn accuracy(&self) -> f64 {
        self.survivors().len() as f64 / self.robust.len().max(1) as f64
    }

    /// Survivors and examples per class.
    pub fn counts(&self, classes: usize) -> ClassCounts {
        let mut counts = ClassCounts::new(classes);
        counts.confusion = vec![0; classes * classes];
        for ((label, robust), predicted) in self.labels.iter().zip(&self.robust).zip(&self.predicted) {
            counts.count(*label as usize, *robust);
            counts.confusion[*label as usize * classes + *predicted as usize] += 1;
        }
        counts
    }

    /// Per class, the examples by confidence in [`BINS`] bins over [0, 1].
    pub fn confidence_per_class(&self, classes: usize) -> Vec<Vec<u64>> {
        let mut counts = vec![vec![0; BINS]; classes];
        for (label, confidence) in self.labels.iter().zip(&self.confidence) {
            counts[*label as usize][bin(*confidence)] += 1;
        }
        counts
    }

    /// The result as reports have it.
    ///
    /// # Errors
    /// If there is no example.
    pub fn result(&self, threat: Threat, classes: usize) -> Result<AttackResult> {
        let fairness = self.counts(classes).fairness()?;
        let confidence_per_class = self.confidence_per_class(classes);
        Ok(AttackResult { name: threat.to_string(), fairness, confidence_per_class, parts: self.parts.clone() })
    }
}
