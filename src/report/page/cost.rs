//! What a run cost, added up over the epochs that ran the same.

use super::details::Text;
use crate::results::{Epoch, Passes};

/// Epochs in a row of the same method.
pub(super) struct Stretch {
    /// The method, and which epochs.
    pub name: String,
    /// How many.
    pub epochs: usize,
    /// Training examples.
    pub examples: u64,
    /// Of these, kept.
    pub kept: u64,
    /// What its seconds were spent on.
    pub seconds: Seconds,
    /// Example passes.
    pub passes: Passes<u64>,
    /// Examples in each step of the attack.
    pub live: Vec<u64>,
}

/// Seconds of a stretch.
pub(super) struct Seconds {
    data: f64,
    attack: f64,
    update: f64,
    /// Of training, what the three are not.
    other: f64,
    evaluation: f64,
}

impl Stretch {
    fn of(name: String, epochs: &[Epoch]) -> Stretch {
        let sum = |f: fn(&Epoch) -> f64| epochs.iter().map(f).sum::<f64>();
        let (data, attack, update) = (sum(|e| e.data_seconds), sum(|e| e.attack_seconds), sum(|e| e.update_seconds));
        let other = (sum(|e| e.train_seconds) - (data + attack + update)).max(0.0);
        let passes = |f: fn(&Passes<u64>) -> u64| epochs.iter().map(|e| f(&e.passes)).sum();
        let steps = epochs.iter().map(|e| e.live_per_step.len()).max().unwrap_or(0);
        let live = |k: usize| epochs.iter().filter_map(|e| e.live_per_step.get(k)).sum();
        Stretch {
            name,
            epochs: epochs.len(),
            examples: epochs.iter().map(|e| e.examples).sum(),
            kept: epochs.iter().map(|e| e.kept).sum(),
            seconds: Seconds { data, attack, update, other, evaluation: sum(|e| e.eval_seconds) },
            passes: Passes { fprop: passes(|p| p.fprop), dgrad: passes(|p| p.dgrad), wgrad: passes(|p| p.wgrad) },
            live: (0..steps).map(live).collect(),
        }
    }

    /// Units of the cost model an example; none without an example.
    pub fn units(&self) -> Option<f64> {
        (self.examples > 0).then(|| self.passes.sum() as f64 / self.examples as f64)
    }

    /// Share of the examples in each step of the attack; empty where none was attacked.
    pub fn live_shares(&self) -> Vec<f64> {
        if self.live.iter().all(|n| *n == 0) {
            return Vec::new();
        }
        self.live.iter().map(|n| *n as f64 / self.examples.max(1) as f64).collect()
    }
}

/// The stretches of a run, in order.
pub(super) fn stretches(epochs: &[Epoch]) -> Vec<Stretch> {
    let name = |run: &[Epoch]| {
        let (first, last) = (run[0].epoch, run[run.len() - 1].epoch);
        if first == last {
            format!("{}, epoch {first}", run[0].method)
        } else {
            format!("{}, epochs {first}–{last}", run[0].method)
        }
    };
    epochs.chunk_by(|a, b| a.method == b.method).map(|run| Stretch::of(name(run), run)).collect()
}

/// The costs as a table, a column per stretch.
pub(super) fn table(stretches: &[Stretch]) -> Text {
    let row = |name: &str, cell: &dyn Fn(&Stretch) -> Option<String>| {
        (name.to_owned(), stretches.iter().map(|s| cell(s).unwrap_or("–".to_owned())).collect())
    };
    let seconds = |f: fn(&Seconds) -> f64| move |s: &Stretch| Some(format!("{:.2}", f(&s.seconds) / s.epochs as f64));
    let passes = |f: fn(&Passes<u64>) -> u64| {
        move |s: &Stretch| (s.examples > 0).then(|| format!("{:.2}", f(&s.passes) as f64 / s.examples as f64))
    };
    let rows = vec![
        row("seconds per epoch: data", &seconds(|s| s.data)),
        row("… attack", &seconds(|s| s.attack)),
        row("… update", &seconds(|s| s.update)),
        row("… other training", &seconds(|s| s.other)),
        row("… evaluation", &seconds(|s| s.evaluation)),
        row("kept share, %", &|s| {
            (s.examples > 0).then(|| format!("{:.1}", 100.0 * s.kept as f64 / s.examples as f64))
        }),
        row("per example: forward passes", &passes(|p| p.fprop)),
        row("… gradients to the input", &passes(|p| p.dgrad)),
        row("… weight gradients", &passes(|p| p.wgrad)),
        row("… units", &|s| Some(format!("{:.2}", s.units()?))),
    ];
    Text { corner: "", columns: stretches.iter().map(|s| s.name.clone()).collect(), rows }
}
