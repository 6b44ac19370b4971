//! What the report module shows must be right: numbers against hand calculation, files by round trip, tables by
//! their alignment, figures by their text.

mod comparison;
mod comparison_figures;
mod display;
mod numbers;

use ham_engine::results::{AttackResult, ClassCounts, Epoch, Fairness};

fn counts(correct: &[u64], total: &[u64]) -> ClassCounts {
    ClassCounts { correct: correct.to_vec(), total: total.to_vec(), ..ClassCounts::default() }
}

fn fairness_of(correct: &[u64], total: &[u64]) -> Fairness {
    counts(correct, total).fairness().unwrap()
}

fn names(n: usize) -> Vec<String> {
    let cifar = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
    (0..n).map(|i| cifar.get(i).map_or(format!("name_{i}"), |s| (*s).to_owned())).collect()
}

/// An attack whose class c has accuracy (base + 7 c mod 30) %.
fn attack(name: &str, classes: usize, base: u64) -> AttackResult {
    let correct: Vec<u64> = (0..classes as u64).map(|c| base + 7 * c % 30).collect();
    AttackResult {
        name: name.to_owned(),
        fairness: fairness_of(&correct, &vec![100; classes]),
        confidence_per_class: vec![],
        parts: vec![],
    }
}

fn epoch(epoch: u64) -> Epoch {
    let evaluated = epoch.is_multiple_of(2);
    Epoch {
        epoch,
        method: if epoch < 4 { "pgd-at" } else { "ham" }.to_owned(),
        train_seconds: 12.25,
        data_seconds: 0.25,
        attack_seconds: 10.5,
        update_seconds: 1.75,
        eval_seconds: if evaluated { 2.5 } else { 0.0 },
        examples: 1000,
        kept: 1000 / epoch,
        batches: 8,
        batches_skipped: 1,
        units: 23000.0,
        loss: 2.3 / epoch as f64,
        lr: 0.1,
        clean_accuracy: evaluated.then_some(0.5),
        pgd_accuracy: evaluated.then_some(0.3),
        clean_worst: evaluated.then_some(0.25),
        pgd_worst: evaluated.then_some(0.125),
        clean_per_class: evaluated.then(|| vec![Some(0.75), Some(0.25), None]),
        pgd_per_class: evaluated.then(|| vec![Some(0.5), Some(0.125), None]),
        kept_per_class: vec![3, 2, 1],
        examples_per_class: vec![500, 300, 200],
        kappa_histogram: vec![10, 20, 30, 940],
        kappa_per_class: vec![vec![10, 0, 0, 490], vec![0, 20, 0, 280], vec![0, 0, 30, 170]],
        kept_confidence_per_class: vec![vec![1, 2], vec![3, 4], vec![0, 0]],
        dropped_confidence_per_class: vec![vec![0, 5], vec![6, 0], vec![7, 8]],
        live_per_step: vec![1000, 1000, 990],
        passes: [12000, 9000, 2000].into(),
    }
}
