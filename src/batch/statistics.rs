//! Where an epoch's statistics are counted.

use crate::program::Buf;

/// Indices into the counters (u64).
pub mod counter {
    /// Examples loaded.
    pub const EXAMPLES: usize = 0;
    /// Examples live at the end of their mini-batch.
    pub const KEPT: usize = 1;
    /// Mini-batches.
    pub const BATCHES: usize = 2;
    /// Mini-batches that ended with no live example.
    pub const SKIPPED: usize = 3;
    /// Forward passes, in examples.
    pub const FPROP: usize = 4;
    /// Backward passes to the input, in examples.
    pub const DGRAD: usize = 5;
    /// Weight-gradient passes, in examples.
    pub const WGRAD: usize = 6;
    /// The mini-batch (from 1) whose loss was not finite, or 0.
    pub const HALTED: usize = 7;
    /// The per-class counts start here: examples, kept, correct, a block of `classes` each. Then a kappa histogram per
    /// class; the examples that took part in each step of the attack; and, per class, a histogram of the true class's
    /// probability of the kept examples, in the last forward pass; and one of the dropped, in the pass that decided.
    pub const CLASSES: usize = 8;
}

/// Bins of a histogram of probabilities, of equal width over [0, 1].
pub const BINS: usize = 10;

/// The bin of a probability.
pub fn bin(probability: f32) -> usize {
    ((probability * BINS as f32) as usize).min(BINS - 1)
}

/// Where the statistics are.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// u64, see [`counter`] and [`Stats::len`].
    pub counters: Buf,
    /// f64: the sum over kept examples of the mini-batch's mean loss.
    pub loss: Buf,
    /// Number of classes.
    pub classes: usize,
    /// Bins of a kappa histogram: K + 1; larger values count in the last.
    pub kappas: usize,
}

impl Stats {
    /// Length of the counters: of the attack's K = `kappas - 1` steps each has one.
    pub fn len(classes: usize, kappas: usize) -> usize {
        counter::CLASSES + (3 + kappas + 2 * BINS) * classes + kappas - 1
    }

    /// Steps of the attack that have a counter.
    pub fn steps(&self) -> usize {
        self.kappas - 1
    }

    /// The counter of a step of the attack.
    pub fn step(&self, step: usize) -> usize {
        self.kappa(self.classes, 0) + step
    }

    /// The counter of the examples of a class that were right at `kappa` iterates.
    pub fn kappa(&self, class: usize, kappa: usize) -> usize {
        counter::CLASSES + 3 * self.classes + class * self.kappas + kappa.min(self.kappas - 1)
    }

    /// The counter of the examples of a class, kept or dropped, whose true class has this probability.
    pub fn confidence(&self, dropped: bool, class: usize, probability: f32) -> usize {
        self.step(self.steps()) + (usize::from(dropped) * self.classes + class) * BINS + bin(probability)
    }
}
