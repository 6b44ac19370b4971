//! What of a run both pages show as text: what it was, and its accuracies under each attack.

use super::Page;
use super::runs::{Group, ReadRun};
use crate::report::table::class_name;
use crate::results::comparison::Spread;
use crate::results::paired::Paired;
use crate::results::{AttackResult, Contract, Fairness};

/// A table: what its rows are of, its columns, and rows of cells.
pub(super) struct Text {
    pub corner: &'static str,
    pub columns: Vec<String>,
    pub rows: Vec<(String, Vec<String>)>,
}

/// A share in %.
pub(super) fn percent(v: f64) -> String {
    format!("{:.1}", 100.0 * v)
}

/// A p value; small ones by their bound.
fn probability(p: Option<f64>) -> String {
    match p {
        None => "–".to_owned(),
        Some(p) if p < 0.001 => "< 0.001".to_owned(),
        Some(p) => format!("{p:.3}"),
    }
}

/// A mean in %, with the standard deviation where there are several.
fn spread(s: Option<Spread>) -> String {
    match s {
        None => "–".to_owned(),
        Some(s) if s.count > 1 => format!("{} ± {}", percent(s.mean), percent(s.sd)),
        Some(s) => percent(s.mean),
    }
}

fn plain(s: Option<Spread>, decimals: usize) -> String {
    match s {
        None => "–".to_owned(),
        Some(s) if s.count > 1 => format!("{:.decimals$} ± {:.decimals$}", s.mean, s.sd),
        Some(s) => format!("{:.decimals$}", s.mean),
    }
}

/// All groups side by side: a column each.
pub(super) fn overview(page: &Page) -> Text {
    let columns = page.groups.iter().enumerate();
    let columns =
        columns.map(|(i, g)| if page.baseline == Some(i) { format!("{} (baseline)", g.name) } else { g.name.clone() });
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    let mut row = |name: String, cell: &dyn Fn(usize, &Group) -> String| {
        rows.push((name, page.groups.iter().enumerate().map(|(i, g)| cell(i, g)).collect()));
    };
    row("runs (seeds)".into(), &|_, g| g.runs.len().to_string());
    row("epochs".into(), &|_, g| g.runs.iter().map(|r| r.epochs.len()).max().unwrap_or(0).to_string());
    type Value = fn(&Fairness) -> Option<f64>;
    for attack in page.attacks() {
        let values: [(&str, Value); 4] = [
            ("accuracy, %", |f| Some(f.mean)),
            ("worst class, %", |f| Some(f.worst)),
            ("best − worst, % points", |f| Some(f.gap)),
            ("SD over classes, % points", |f| Some(f.sd)),
        ];
        for (name, value) in values {
            row(format!("{attack}: {name}"), &|_, g| spread(g.over_seeds(&attack, |a| value(&a.fairness))));
        }
        row(format!("{attack}: NSD"), &|_, g| plain(g.over_seeds(&attack, |a| a.fairness.nsd), 3));
        if page.baseline.is_some() {
            row(format!("{attack}: rho"), &|i, g| plain(page.baseline_of(i).and_then(|b| g.rho(b, &attack)), 3));
        }
    }
    let epochs = |g: &Group, value: &dyn Fn(&crate::results::Epoch) -> f64| {
        let all: Vec<f64> = g.runs.iter().flat_map(|r| &r.epochs).map(value).collect();
        Spread::of(&all).map_or("–".to_owned(), |s| format!("{:.2}", s.mean))
    };
    row("seconds per epoch, without evaluation".into(), &|_, g| epochs(g, &|e| e.train_seconds));
    row("units per example".into(), &|_, g| {
        let (units, examples) =
            g.runs.iter().flat_map(|r| &r.epochs).fold((0.0, 0), |s, e| (s.0 + e.units, s.1 + e.examples));
        if examples == 0 { "–".to_owned() } else { format!("{:.2}", units / examples as f64) }
    });
    Text { corner: "", columns: columns.collect(), rows }
}

/// Paired tests of each group against the baseline; none without a baseline or with fewer than two seeds in common.
pub(super) fn tests(page: &Page) -> Option<Text> {
    let mut rows = Vec::new();
    for (i, group) in page.groups.iter().enumerate() {
        let Some(baseline) = page.baseline_of(i) else { continue };
        for attack in page.attacks() {
            type Value = fn(&AttackResult) -> Option<f64>;
            let values: [(&str, Value); 2] =
                [("all classes", |a| Some(a.fairness.mean)), ("worst class", |a| Some(a.fairness.worst))];
            for (name, value) in values {
                let Some(p) = group.against(baseline, &attack, value).filter(|p| p.pairs > 1) else { continue };
                let Paired { pairs, mean, sd, t_test, sign_flip } = p;
                rows.push((
                    format!("{}: {attack}, {name}", group.name),
                    vec![
                        format!("{:+.2} ± {:.2}", 100.0 * mean, 100.0 * sd),
                        pairs.to_string(),
                        probability(t_test),
                        probability(sign_flip),
                    ],
                ));
            }
        }
    }
    let columns = ["difference, % points", "seeds", "p, paired t", "p, sign flips"].map(String::from).into();
    (!rows.is_empty()).then_some(Text { corner: "against the baseline", columns, rows })
}

/// What the tests are.
pub(super) const TESTS: &str = "Differences to the baseline's run of the same seed, mean ± SD. Two-sided p values of the \
    paired t-test and of the exact sign-flip permutation test; the latter can't be below 2/2ⁿ of n seeds.";

/// What a run was, as name and value.
pub(super) fn what(run: &ReadRun) -> Vec<(&'static str, String)> {
    let mut rows = vec![("folder", run.root.display().to_string()), ("method", run.method().to_owned())];
    let Some(r) = &run.report else {
        rows.push(("state", format!("not finished: {} epochs so far, no test results", run.epochs.len())));
        return rows;
    };
    rows.extend([
        ("data", format!("{} (sha-256 {})", r.data.name, r.data.hash)),
        ("network", r.network.clone()),
        ("contract", contract(&r.contract)),
        ("seed", r.seed.to_string()),
        ("device", r.device.clone()),
        ("made by", r.created_by.clone()),
    ]);
    if let Some(kernels) = &r.kernels {
        rows.push(("GPU kernels", format!("sources {kernels}")));
    }
    if let Some(checkpoint) = &r.checkpoint {
        rows.push(("checkpoint", checkpoint.clone()));
    }
    rows
}

/// The contract's entries in a row.
fn contract(contract: &Contract) -> String {
    contract.entries().iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

/// Accuracies of a run: a row an attack.
pub(super) fn fairness(run: &ReadRun, class_names: &[String], baseline: Option<&ReadRun>) -> Text {
    let mut columns: Vec<String> =
        ["all, %", "95 % interval", "worst class, %", "best class, %", "gap", "SD", "NSD"].map(String::from).into();
    if baseline.is_some() {
        columns.push("rho".into());
    }
    let attacks = run.results.attacks.iter();
    let row = |AttackResult { name, fairness: f, .. }: &AttackResult| {
        let class = |v: f64, c: usize| format!("{} {}", percent(v), class_name(class_names, c));
        let mut cells = vec![
            percent(f.mean),
            format!("{}–{}", percent(f.low), percent(f.high)),
            class(f.worst, f.worst_class),
            class(f.best, f.best_class),
            percent(f.gap),
            percent(f.sd),
            f.nsd.map_or("–".to_owned(), |v| format!("{v:.3}")),
        ];
        if let Some(baseline) = baseline {
            let rho = baseline.under(name).and_then(|b| crate::results::rho(f, &b.fairness));
            cells.push(rho.map_or("–".to_owned(), |v| format!("{v:+.3}")));
        }
        (name.clone(), cells)
    };
    Text { corner: "attack", columns, rows: attacks.map(row).collect() }
}

/// Accuracies of a run by class, with their intervals: a row a class, a column an attack.
pub(super) fn classes(run: &ReadRun, class_names: &[String]) -> Text {
    let attacks = &run.results.attacks;
    let classes = attacks.iter().map(|a| a.fairness.per_class.len()).max().unwrap_or(0);
    let cell = |a: &AttackResult, class: usize| match a.fairness.per_class.get(class).copied().flatten() {
        None => "–".to_owned(),
        Some(c) => {
            let worst = if class == a.fairness.worst_class { " ◂" } else { "" };
            format!("{} [{}–{}]{worst}", percent(c.accuracy), percent(c.low), percent(c.high))
        }
    };
    let row = |class| (class_name(class_names, class), attacks.iter().map(|a| cell(a, class)).collect());
    let columns = attacks.iter().map(|a| a.name.clone()).collect();
    Text { corner: "class", columns, rows: (0..classes).map(row).collect() }
}

/// What each attack, and each part of a sequence, left and cost: a row each.
pub(super) fn parts(run: &ReadRun) -> Text {
    let mut rows = Vec::new();
    for AttackResult { name, fairness, parts, .. } in &run.results.attacks {
        let examples = fairness.examples().max(1) as f64;
        for part in parts {
            let name = if parts.len() > 1 { format!("{name}: {}", part.name) } else { name.clone() };
            rows.push((
                name,
                vec![percent(part.survivors as f64 / examples), format!("{:.1}", part.units as f64 / examples)],
            ));
        }
    }
    Text { corner: "attack", columns: ["left, %", "units per image"].map(String::from).into(), rows }
}
