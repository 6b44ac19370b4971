//! Who was kept and who was dropped, by class, epoch, kappa and confidence; and who was taken for whom.

use super::figures::heat;
use super::runs::ReadRun;
use crate::report::plot::heat::Heat;
use crate::report::table::class_name;
use crate::results::Epoch;
use crate::results::metrics::sum_over_classes;
use maud::{Markup, html};

/// The counts as shares of their sum; none where that is 0.
fn shares(counts: &[u64]) -> Vec<Option<f64>> {
    let all: u64 = counts.iter().sum();
    counts.iter().map(|n| (all > 0).then(|| *n as f64 / all as f64)).collect()
}

/// Bins of probabilities, in %.
fn bins(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{}–{}", 100 * i / n, 100 * (i + 1) / n)).collect()
}

/// A histogram an epoch: a column each, the highest bin on top.
fn by_epoch(run: &ReadRun, title: &str, names: &[String], of: impl Fn(&Epoch) -> Vec<u64>) -> Markup {
    let columns: Vec<Vec<Option<f64>>> = run.epochs.iter().map(|e| shares(&of(e))).collect();
    let row = |bin: usize| columns.iter().map(|c| c.get(bin).copied().flatten()).collect();
    let rows = names.iter().enumerate().rev().map(|(bin, name)| (name.clone(), row(bin))).collect();
    heat(&Heat { title, x: "epoch", columns: run.epochs.iter().map(|e| e.epoch.to_string()).collect(), rows })
}

/// A histogram a class: a row each.
fn by_class(title: &str, x: &str, columns: Vec<String>, class_names: &[String], of: &[Vec<u64>]) -> Markup {
    let rows = of.iter().enumerate().map(|(c, counts)| (class_name(class_names, c), shares(counts))).collect();
    heat(&Heat { title, x, columns, rows })
}

/// The last epoch that dropped anybody: it shows where that led.
fn last_that_dropped(run: &ReadRun) -> Option<&Epoch> {
    run.epochs.iter().rfind(|e| e.dropped_confidence_per_class.iter().flatten().any(|n| *n > 0))
}

/// The figures that a run's metrics have.
pub(super) fn figures(run: &ReadRun, class_names: &[String]) -> Markup {
    let classes = run.epochs.iter().map(|e| e.kept_per_class.len()).max().unwrap_or(0);
    let kept: Vec<Vec<Option<f64>>> = run.epochs.iter().map(Epoch::kept_shares).collect();
    let row = |class: usize| kept.iter().map(|shares| shares.get(class).copied().flatten()).collect();
    let rows = (0..classes).map(|c| (class_name(class_names, c), row(c)));
    let columns = run.epochs.iter().map(|e| e.epoch.to_string()).collect();
    let kept = Heat { title: "Kept share of each class, %", x: "epoch", columns, rows: rows.collect() };
    let kappas = run.epochs.iter().map(|e| e.kappa_histogram.len()).max().unwrap_or(0);
    let kappa_names: Vec<String> = (0..kappas).map(|k| k.to_string()).collect();
    let longest = |of: fn(&Epoch) -> &Vec<Vec<u64>>| run.epochs.iter().flat_map(of).map(Vec::len).max().unwrap_or(0);
    let confidences = longest(|e| &e.kept_confidence_per_class);
    let dropping = last_that_dropped(run);
    let last = run.epochs.last();
    html! {
        @if run.epochs.iter().any(|e| e.kept < e.examples) { (heat(&kept)) }
        @if kappas > 1 {
            @let title = "Examples by kappa: at how many iterates they were right, %";
            (by_epoch(run, title, &kappa_names, |e| e.kappa_histogram.clone()))
            @if let Some(e) = last.filter(|e| !e.kappa_per_class.is_empty()) {
                @let title = format!("Kappa by class in epoch {}, %", e.epoch);
                (by_class(&title, "kappa", kappa_names, class_names, &e.kappa_per_class))
            }
        }
        @if confidences > 0 {
            (by_epoch(run, "Trained-on examples by confidence in the true class, %", &bins(confidences), |e| {
                sum_over_classes(&e.kept_confidence_per_class)
            }))
        }
        @if let Some(e) = dropping {
            (by_epoch(run, "Dropped examples by confidence in the true class, %", &bins(confidences), |e| {
                sum_over_classes(&e.dropped_confidence_per_class)
            }))
            @let title = format!("Dropped by class and confidence in epoch {}, %", e.epoch);
            @let x = "confidence in the true class, %";
            (by_class(&title, x, bins(confidences), class_names, &e.dropped_confidence_per_class))
        }
    }
}

/// Who is taken for whom under the strongest attack, and how sure the network is, under that and others.
pub(super) fn under_attack(run: &ReadRun, class_names: &[String]) -> Markup {
    let Some(strongest) = run.worst_case() else { return html! {} };
    let name = &strongest.name;
    // Numbers are short enough for columns; the rows say whose they are.
    let classes = strongest.fairness.per_class.len();
    let columns = (0..classes).map(|c| c.to_string()).collect();
    let names: Vec<String> = (0..classes).map(|c| format!("{c} {}", class_name(class_names, c))).collect();
    let confidence = &strongest.confidence_per_class;
    let x = "confidence in the true class, %";
    html! {
        @if let Some(confusion) = &strongest.fairness.confusion {
            @let title = format!("Classes (rows) and what they are taken for under {name}, %");
            (by_class(&title, "taken for", columns, &names, confusion))
        }
        (confidence_by_attack(run))
        @if !confidence.is_empty() {
            @let title = format!("Test images by class and confidence under {name}, %");
            (by_class(&title, x, bins(sum_over_classes(confidence).len()), class_names, confidence))
        }
    }
}

/// Confidence of test images as they are and where each attack ended, above that of the training's last examples, kept and dropped.
fn confidence_by_attack(run: &ReadRun) -> Markup {
    let mut rows: Vec<(String, Vec<u64>)> = Vec::new();
    for attack in &run.results.attacks {
        rows.push((attack.name.clone(), sum_over_classes(&attack.confidence_per_class)));
    }
    if let Some(e) = last_that_dropped(run).or(run.epochs.last()) {
        rows.push(("kept".into(), sum_over_classes(&e.kept_confidence_per_class)));
        rows.push(("dropped".into(), sum_over_classes(&e.dropped_confidence_per_class)));
    }
    rows.retain(|(_, counts)| counts.iter().any(|n| *n > 0));
    let columns = rows.iter().map(|(_, counts)| counts.len()).max().unwrap_or(0);
    let rows: Vec<_> = rows.into_iter().map(|(name, counts)| (name, shares(&counts))).collect();
    let title = "Test images by confidence, clean and attacked; training examples, kept and dropped, %";
    html! {
        @if columns > 0 { (heat(&Heat { title, x: "confidence in the true class, %", columns: bins(columns), rows })) }
    }
}
