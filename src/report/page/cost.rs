//! What a run cost, added up over the epochs that ran the same.

use super::details::Text;
use crate::report::Epoch;

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
    /// Seconds in data, attack, update, in the rest of training, and in evaluation.
    pub seconds: [f64; 5],
    /// Example passes: forward, gradients to the input, weight gradients.
    pub passes: [u64; 3],
    /// Examples in each step of the attack.
    pub live: Vec<u64>,
}

impl Stretch {
    fn of(name: String, epochs: &[Epoch]) -> Stretch {
        let sum = |f: fn(&Epoch) -> f64| epochs.iter().map(f).sum::<f64>();
        let phases = [sum(|e| e.data_seconds), sum(|e| e.attack_seconds), sum(|e| e.update_seconds)];
        let rest = (sum(|e| e.train_seconds) - phases.iter().sum::<f64>()).max(0.0);
        let steps = epochs.iter().map(|e| e.live_per_step.len()).max().unwrap_or(0);
        let live = |k: usize| epochs.iter().filter_map(|e| e.live_per_step.get(k)).sum();
        Stretch {
            name,
            epochs: epochs.len(),
            examples: epochs.iter().map(|e| e.examples).sum(),
            kept: epochs.iter().map(|e| e.kept).sum(),
            seconds: [phases[0], phases[1], phases[2], rest, sum(|e| e.eval_seconds)],
            passes: [0, 1, 2].map(|i| epochs.iter().map(|e| e.passes[i]).sum()),
            live: (0..steps).map(live).collect(),
        }
    }

    /// Units of the cost model an example; none without an example.
    pub fn units(&self) -> Option<f64> {
        (self.examples > 0).then(|| self.passes.iter().sum::<u64>() as f64 / self.examples as f64)
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
    let seconds = |i: usize| move |s: &Stretch| Some(format!("{:.2}", s.seconds[i] / s.epochs as f64));
    let pass = |i: usize| {
        move |s: &Stretch| (s.examples > 0).then(|| format!("{:.2}", s.passes[i] as f64 / s.examples as f64))
    };
    let rows = vec![
        row("seconds per epoch: data", &seconds(0)),
        row("… attack", &seconds(1)),
        row("… update", &seconds(2)),
        row("… other training", &seconds(3)),
        row("… evaluation", &seconds(4)),
        row("kept share, %", &|s| {
            (s.examples > 0).then(|| format!("{:.1}", 100.0 * s.kept as f64 / s.examples as f64))
        }),
        row("per example: forward passes", &pass(0)),
        row("… gradients to the input", &pass(1)),
        row("… weight gradients", &pass(2)),
        row("… units", &|s| Some(format!("{:.2}", s.units()?))),
    ];
    Text { corner: "", columns: stretches.iter().map(|s| s.name.clone()).collect(), rows }
}
