//! The tables of a comparison: what each method costs and, where methods were trained, what that buys.

use super::table::{clip, fit};
use crate::results::comparison::{Comparison, MethodRow, Spread};
use crate::results::paired::Paired;
use crate::results::{AttackResult, Fairness};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, Table};

/// No line of [`comparison_table`] is wider, in characters.
pub const COMPARISON_WIDTH: usize = 140;

const MISSING: &str = "–";
/// Names of attacks are cut at this many characters, those of methods broken.
const ATTACK_WIDTH: usize = 24;
const METHOD_WIDTH: usize = 32;

const COST_COLUMNS: [&str; 13] = [
    "method",
    "s per\nepoch",
    "data\ns",
    "attack\ns",
    "update\ns",
    "eval\ns",
    "ratio to\nbaseline",
    "images\nper s",
    "units per ex.\nfp / dg / wg",
    "kept\n%",
    "GFLOP\nper s",
    "peak\n%",
    "memory\nMiB",
];

/// Both tables, the second only where there are results, and below them what was measured on what.
pub fn comparison_table(comparison: &Comparison) -> String {
    let mut lines = costs(comparison);
    if !comparison.attacks().is_empty() {
        lines.extend(gains(comparison));
        lines.extend(tests(comparison));
    }
    lines.extend(wrap(&circumstances(comparison), COMPARISON_WIDTH));
    lines.join("\n") + "\n"
}

fn costs(comparison: &Comparison) -> Vec<String> {
    // The same decimals in all columns of seconds: four digits of the longest epoch.
    let longest = comparison.methods.iter().map(|m| m.cost.seconds.median).fold(0.0, f64::max);
    let decimals = if longest > 0.0 { (3.0 - longest.log10().floor()).clamp(0.0, 5.0) as usize } else { 1 };
    let rows: Vec<Vec<String>> = comparison.methods.iter().map(|m| cost_row(m, decimals)).collect();

    // The names have what the other columns leave.
    let width = |s: &str| s.lines().map(|l| l.chars().count()).max().unwrap_or(0);
    let column = |i: usize| rows.iter().map(|r| width(&r[i])).max().unwrap_or(0).max(width(COST_COLUMNS[i]));
    let others: usize = (1..COST_COLUMNS.len()).map(|i| column(i) + 3).sum();
    let room = COMPARISON_WIDTH.saturating_sub(others + 4).clamp(8, METHOD_WIDTH);
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header(COST_COLUMNS, 1));
    for row in rows {
        let name = Cell::new(wrap(&row[0], room).join("\n"));
        let numbers = row.iter().skip(1).map(|s| Cell::new(s).set_alignment(CellAlignment::Right));
        table.add_row([name].into_iter().chain(numbers));
    }
    let mut lines: Vec<String> = table.lines().collect();
    let note = "Seconds: medians. Ratio: median (lowest–highest) over the baseline in the same round. Units: passes of \
        an example: fprop (forward) / dgrad (gradient to the input) / wgrad (gradient to the weights). Peak: share of \
        the arithmetic that the device reaches in a loop of nothing but multiply-adds.";
    lines.extend(wrap(note, COMPARISON_WIDTH));
    lines
}

/// Titles, right-aligned like the numbers below them after the first `text` columns.
fn header<const N: usize>(titles: [&str; N], text: usize) -> impl Iterator<Item = Cell> {
    let side = move |i| if i < text { CellAlignment::Left } else { CellAlignment::Right };
    titles.map(Cell::new).into_iter().enumerate().map(move |(i, cell)| cell.set_alignment(side(i)))
}

fn cost_row(m: &MethodRow, decimals: usize) -> Vec<String> {
    let c = &m.cost;
    let seconds = |s: f64| fit(s, 6, decimals);
    // Decimals of large rates are noise.
    let rate = |v: f64| fit(v, 6, if v < 100.0 { 1 } else { 0 });
    let missing = || MISSING.to_owned();
    let ratio = |v: f64| fit(v, 4, 2);
    let mut relative = ratio(c.ratio.median);
    if c.ratio.high > c.ratio.low {
        relative += &format!(" ({}–{})", ratio(c.ratio.low), ratio(c.ratio.high));
    }
    vec![
        m.method.clone(),
        seconds(c.seconds.median),
        seconds(c.data),
        seconds(c.attack),
        seconds(c.update),
        c.eval.map_or_else(missing, seconds),
        relative,
        rate(c.images_per_second),
        // A peer counts none.
        match c.gflops {
            Some(_) => <[f64; 3]>::from(c.passes).map(|p| format!("{:>4}", fit(p, 4, 1))).join("/").trim().to_owned(),
            None => MISSING.to_owned(),
        },
        fit(100.0 * c.kept_share, 5, 1),
        c.gflops.map_or_else(missing, rate),
        c.peak_share.map_or_else(missing, |s| fit(100.0 * s, 5, 1)),
        c.memory.map_or_else(missing, |b| fit(b as f64 / f64::from(1 << 20), 6, 1)),
    ]
}

fn gains(comparison: &Comparison) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(header(["attack", "method", "accuracy %", "worst class %", "gap", "NSD", "rho"], 2));
    // A rule belongs before these lines of the table.
    let mut rules = Vec::new();
    let mut rows = 0;
    for attack in comparison.attacks() {
        let percent = |s: Option<Spread>| over_seeds(s, 100.0, |v| fit(v, 6, 2));
        rules.push(3 + rows);
        for (i, m) in comparison.methods.iter().enumerate() {
            let of = |value: fn(&Fairness) -> f64| m.over_seeds(&attack, |a| Some(value(&a.fairness)));
            let names = wrap(&m.method, METHOD_WIDTH);
            rows += names.len();
            let numbers = [
                percent(of(|f| f.mean)),
                percent(of(|f| f.worst)),
                percent(of(|f| f.gap)),
                over_seeds(m.over_seeds(&attack, |a| a.fairness.nsd), 1.0, |v| fit(v, 6, 3)),
                over_seeds(m.rho_over_seeds(&attack), 1.0, |v| fit(v, 6, 3)),
            ];
            let first = if i == 0 { clip(&attack, ATTACK_WIDTH) } else { String::new() };
            let text = [first, names.join("\n")].map(Cell::new);
            table.add_row(text.into_iter().chain(numbers.map(|s| Cell::new(s).set_alignment(CellAlignment::Right))));
        }
    }
    let mut lines: Vec<String> = table.lines().collect();
    let rule = |c| match c {
        '╞' => '├',
        '═' => '─',
        '╪' => '┼',
        '╡' => '┤',
        c => c,
    };
    let rule: String = lines[2].chars().map(rule).collect();
    for line in rules.into_iter().skip(1).rev() {
        lines.insert(line, rule.clone());
    }
    let several = comparison.methods.iter().any(|m| m.results.len() > 1);
    let note = format!(
        "{}Gap: best minus worst class, in % points. NSD: SD over the classes / accuracy. Rho: relative change of the \
         worst class plus that of the accuracy, against the baseline of the same seed.",
        if several { "Mean ± SD over the seeds. " } else { "" }
    );
    lines.extend(wrap(&note, COMPARISON_WIDTH));
    lines
}

/// Paired tests of each method against the baseline; no line with fewer than two seeds in common.
fn tests(comparison: &Comparison) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(header(
        [
            "attack",
            "method",
            "seeds",
            "accuracy\ndifference",
            "p\nt",
            "p\nflips",
            "worst class\ndifference",
            "p\nt",
            "p\nflips",
        ],
        2,
    ));
    type Value = fn(&AttackResult) -> Option<f64>;
    let values: [Value; 2] = [|a| Some(a.fairness.mean), |a| Some(a.fairness.worst)];
    for attack in comparison.attacks() {
        for m in &comparison.methods {
            let found = values.map(|value| comparison.against_baseline(m, &attack, value).filter(|p| p.pairs > 1));
            let [Some(all), Some(worst)] = found else { continue };
            let names = [clip(&attack, ATTACK_WIDTH), wrap(&m.method, METHOD_WIDTH).join("\n")];
            let p = |p: Option<f64>| p.map_or(MISSING.to_owned(), |p| fit(p, 6, 4));
            let cells = |t: Paired| {
                let difference = format!("{:+.2} ± {}", 100.0 * t.mean, fit(100.0 * t.sd, 5, 2));
                [difference, p(t.t_test), p(t.sign_flip)]
            };
            let numbers = [all.pairs.to_string()].into_iter().chain(cells(all)).chain(cells(worst));
            let numbers = numbers.map(|s| Cell::new(s).set_alignment(CellAlignment::Right));
            table.add_row(names.map(Cell::new).into_iter().chain(numbers));
        }
    }
    if table.is_empty() {
        return Vec::new();
    }
    let mut lines: Vec<String> = table.lines().collect();
    let note = "Differences to the baseline's run of the same seed, mean ± SD, in % points. Two-sided p of the paired \
        t-test, and of the exact sign-flip permutation test, which can't be below 2/2^n of n seeds.";
    lines.extend(wrap(note, COMPARISON_WIDTH));
    lines
}

/// `mean ± SD`, without the SD of a single seed.
fn over_seeds(value: Option<Spread>, scale: f64, text: impl Fn(f64) -> String) -> String {
    match value {
        None => MISSING.to_owned(),
        Some(s) if s.count < 2 => text(scale * s.mean),
        Some(s) => format!("{} ± {}", text(scale * s.mean), text(scale * s.sd)),
    }
}

/// What the numbers were measured on.
fn circumstances(c: &Comparison) -> String {
    let repeats = c.methods.iter().map(|m| m.cost.seconds.count);
    let (fewest, most) = (repeats.clone().min().unwrap_or(0), repeats.max().unwrap_or(0));
    let repeats = if fewest == most { most.to_string() } else { format!("{fewest} to {most}") };
    let trained = match c.epochs {
        Some(epochs) => format!("{epochs} epochs trained"),
        None => "weights fixed".to_owned(),
    };
    let seeds: Vec<String> = c.seeds().iter().map(u64::to_string).collect();
    let seeds = if seeds.is_empty() { String::new() } else { format!("; seeds {}", seeds.join(", ")) };
    let peak = c.peak_gflops.map_or(String::new(), |p| format!(" (peak {} GFLOP/s)", fit(p, 7, 0)));
    format!(
        "Baseline: {}. Device: {}{peak}. Network: {}. Data: {}, {} examples an epoch, mini-batches of {}, {} attack \
         steps. {trained}, epochs timed: {repeats}{seeds}.",
        c.baseline, c.device, c.network, c.data, c.examples.epoch, c.examples.batch, c.steps
    )
}

/// Lines of at most `width` characters, broken between words where possible.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let clean: Vec<char> = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut lines = Vec::new();
    let mut rest = &clean[..];
    while rest.len() > width {
        let cut = rest[..=width].iter().rposition(|c| *c == ' ').filter(|p| *p > 0);
        let (line, after) = rest.split_at(cut.unwrap_or(width));
        lines.push(line.iter().collect());
        rest = if cut.is_some() { &after[1..] } else { after };
    }
    lines.push(rest.iter().collect());
    lines
}
