//! The counters as the host has them.

use crate::batch::{BINS, counter};

/// What an epoch, or an evaluation, counted.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Counts {
    /// Examples loaded.
    pub examples: u64,
    /// Examples live at the end of their mini-batch.
    pub kept: u64,
    /// Mini-batches.
    pub batches: u64,
    /// Of them, those with nothing kept.
    pub skipped: u64,
    /// Example passes forward.
    pub fprop: u64,
    /// Example passes backward to the input.
    pub dgrad: u64,
    /// Example passes for weight gradients.
    pub wgrad: u64,
    /// The mini-batch, from 1, whose loss was not finite; 0 if none.
    pub halted: u64,
    /// Sum over the kept examples of their mini-batch's mean loss.
    pub loss: f64,
    /// Examples loaded, per class.
    pub class_examples: Vec<u64>,
    /// Examples kept, per class.
    pub class_kept: Vec<u64>,
    /// Kept examples that the last forward pass classified right, per class.
    pub class_correct: Vec<u64>,
    /// Examples by kappa, 0 to K, per class.
    pub class_kappa: Vec<Vec<u64>>,
    /// Examples that took part in each step of the attack.
    pub live: Vec<u64>,
    /// Kept examples by the true class's probability in the last forward pass, in [`BINS`] bins over [0, 1], per class.
    pub class_confidence: Vec<Vec<u64>>,
    /// Dropped examples by that in the pass that decided.
    pub class_dropped_confidence: Vec<Vec<u64>>,
}

impl Counts {
    /// Cost in units: one forward pass of one example is 1, each gradient pass another.
    pub fn units(&self) -> u64 {
        self.fprop + self.dgrad + self.wgrad
    }

    /// Kept share of the examples loaded (1 if none was).
    pub fn kept_share(&self) -> f64 {
        if self.examples == 0 { 1.0 } else { self.kept as f64 / self.examples as f64 }
    }

    /// Mean loss of the kept examples (0 if none was).
    pub fn mean_loss(&self) -> f64 {
        if self.kept == 0 { 0.0 } else { self.loss / self.kept as f64 }
    }

    /// The counters in the order of [`counter`], and the loss: what a checkpoint keeps.
    pub fn to_raw(&self) -> (Vec<u64>, f64) {
        let head =
            [self.examples, self.kept, self.batches, self.skipped, self.fprop, self.dgrad, self.wgrad, self.halted];
        let parts = [
            &head[..],
            &self.class_examples,
            &self.class_kept,
            &self.class_correct,
            &self.class_kappa.concat(),
            &self.live,
            &self.class_confidence.concat(),
            &self.class_dropped_confidence.concat(),
        ];
        (parts.concat(), self.loss)
    }

    /// From what [`Counts::to_raw`] made; `classes` tells the parts apart.
    pub fn from_raw(raw: &[u64], loss: f64, classes: usize) -> Counts {
        let part = |i: usize| {
            let start = counter::CLASSES + i * classes;
            raw[start..start + classes].to_vec()
        };
        let head = counter::CLASSES + 3 * classes;
        let (rest, bins) = raw[head..].split_at(raw.len() - head - 2 * classes * BINS);
        let (confidence, dropped) = bins.split_at(classes * BINS);
        // For each class a bin for each kappa of 0 to K, then a counter for each of K steps.
        let kappas = (rest.len() + 1) / (classes + 1);
        let (kappa, live) = rest.split_at(classes * kappas);
        let by_class = |counts: &[u64], bins: usize| counts.chunks(bins).map(<[u64]>::to_vec).collect();
        Counts {
            examples: raw[counter::EXAMPLES],
            kept: raw[counter::KEPT],
            batches: raw[counter::BATCHES],
            skipped: raw[counter::SKIPPED],
            fprop: raw[counter::FPROP],
            dgrad: raw[counter::DGRAD],
            wgrad: raw[counter::WGRAD],
            halted: raw[counter::HALTED],
            loss,
            class_examples: part(0),
            class_kept: part(1),
            class_correct: part(2),
            class_kappa: by_class(kappa, kappas),
            live: live.to_vec(),
            class_confidence: by_class(confidence, BINS),
            class_dropped_confidence: by_class(dropped, BINS),
        }
    }
}
