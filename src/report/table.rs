//! Terminal output: a line per epoch of the training, and the fairness table of an evaluation. Plain text, so that
//! it reads the same in a terminal, a pipe and a log.

use crate::results::{AttackResult, ClassAccuracy, Epoch, Fairness};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, Table};

/// No line of [`EpochTable`] is wider, in characters.
pub const EPOCH_WIDTH: usize = 110;
/// Lines of [`fairness_table`] stay within this many characters for up to eight attacks.
pub const FAIRNESS_WIDTH: usize = 100;
/// With more classes than this, tables show the [`SHOW_WORST`] worst and the [`SHOW_BEST`] best.
pub const MANY_CLASSES: usize = 20;
/// Worst classes shown of many.
pub const SHOW_WORST: usize = 10;
/// Best classes shown of many.
pub const SHOW_BEST: usize = 5;

const MISSING: &str = "–";
/// Longer names of classes and attacks are cut in the fairness table.
const NAME_WIDTH: usize = 14;

/// The line per epoch of a training: fixed columns, so that rows line up although each is printed on its own.
#[derive(Debug, Clone)]
pub struct EpochTable {
    epochs: u64,
    class_names: Vec<String>,
}

/// Width, the two header lines, and whether it is text (left-aligned) of each column of [`EpochTable`].
const COLUMNS: [(usize, &str, &str, bool); 12] = [
    (7, "", "epoch", false),
    (10, "", "method", true),
    (6, "", "loss", false),
    (7, "", "lr", false),
    (5, "kept", "%", false),
    (5, "clean", "%", false),
    (5, "PGD", "%", false),
    (16, "worst class", "PGD %", true),
    (6, "attack", "s", false),
    (6, "update", "s", false),
    (6, "eval", "s", false),
    (6, "units", "/ex.", false),
];

impl EpochTable {
    /// A table for a training of `epochs` epochs.
    pub fn new(epochs: u64, class_names: &[String]) -> Self {
        EpochTable { epochs, class_names: class_names.to_vec() }
    }

    /// The header: two lines of titles and units, and a rule.
    pub fn header(&self) -> String {
        let rule = "─".repeat(line(COLUMNS.map(|c| c.1.to_owned())).chars().count());
        format!("{}\n{}\n{rule}", line(COLUMNS.map(|c| c.1.to_owned())), line(COLUMNS.map(|c| c.2.to_owned())))
    }

    /// The line of one epoch.
    pub fn row(&self, e: &Epoch) -> String {
        let percent = |v: Option<f64>| v.map_or(MISSING.to_owned(), |v| fit(100.0 * v, 5, 1));
        let evaluated = e.clean_accuracy.is_some() || e.pgd_accuracy.is_some();
        line([
            format!("{}/{}", e.epoch, self.epochs),
            e.method.to_uppercase(),
            fit(e.loss, 6, 4),
            rate(e.lr),
            percent(e.kept_share()),
            percent(e.clean_accuracy),
            percent(e.pgd_accuracy),
            e.pgd_worst.map_or(format!("{MISSING:>5}"), |worst| {
                format!("{:>5} {}", percent(Some(worst)), self.worst_name(e).unwrap_or_default())
            }),
            fit(e.attack_seconds, 6, 1),
            fit(e.update_seconds, 6, 1),
            if evaluated || e.eval_seconds > 0.0 { fit(e.eval_seconds, 6, 1) } else { MISSING.to_owned() },
            e.units_per_example().map_or(MISSING.to_owned(), |v| fit(v, 6, 2)),
        ])
    }

    /// The name of the class with the lowest PGD accuracy (ties: the lowest index).
    fn worst_name(&self, e: &Epoch) -> Option<String> {
        let per_class = e.pgd_per_class.as_ref()?;
        let known = per_class.iter().enumerate().filter_map(|(c, a)| Some((c, (*a)?)));
        let (class, _) = known.reduce(|a, b| if b.1 < a.1 { b } else { a })?;
        Some(class_name(&self.class_names, class))
    }
}

/// One line of [`EpochTable`]; a cell too wide is cut, since a shifted row is harder to read than a short name.
fn line(cells: [String; 12]) -> String {
    let cells = cells.into_iter().zip(COLUMNS).map(|(cell, (width, _, _, text))| {
        let cell = clip(&cell, width);
        if text { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
    });
    cells.collect::<Vec<_>>().join("  ")
}

/// `v` with at most `decimals` decimals and no more than `width` characters: large numbers lose decimals first.
pub(super) fn fit(v: f64, width: usize, decimals: usize) -> String {
    if !v.is_finite() {
        return MISSING.to_owned();
    }
    let plain = (0..=decimals).rev().map(|d| format!("{v:.d$}"));
    plain.chain([format!("{v:.1e}")]).find(|s| s.len() <= width).unwrap_or_else(|| format!("{v:.0e}"))
}

/// A learning rate without trailing zeros: 0.1, 0.0005, 1.5e-5.
fn rate(lr: f64) -> String {
    if !lr.is_finite() {
        return MISSING.to_owned();
    }
    let plain = format!("{lr:.5}");
    if lr == 0.0 || lr.abs() >= 1e-4 {
        plain.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{lr:.1e}")
    }
}

/// One printable line of at most `width` characters; a cut shows as `…`.
pub(super) fn clip(s: &str, width: usize) -> String {
    let s: String = s.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if s.chars().count() <= width {
        return s;
    }
    s.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// The name of a class, or `class 7` where it has none.
pub(super) fn class_name(names: &[String], class: usize) -> String {
    names.get(class).filter(|n| !n.trim().is_empty()).cloned().unwrap_or_else(|| format!("class {class}"))
}

/// The classes by accuracy under `main`, worst first; classes without an example are left out.
fn ranking(main: &Fairness) -> Vec<usize> {
    let mut known: Vec<(usize, f64)> =
        main.per_class.iter().enumerate().filter_map(|(c, a)| Some((c, (*a)?.accuracy))).collect();
    known.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    known.into_iter().map(|(c, _)| c).collect()
}

/// The fairness table of an evaluation, and below it one summary line per attack.
///
/// Rows are classes, columns attacks; `main` is the index of the attack that is drawn as bars and decides which of
/// many classes are shown. Where intervals for all attacks do not fit, only the main one has them, or none.
pub fn fairness_table(class_names: &[String], attacks: &[AttackResult], main: usize) -> String {
    let Some(main_attack) = attacks.get(main).or(attacks.last()) else {
        return "No attack was evaluated.\n".to_owned();
    };
    let main = main.min(attacks.len() - 1);
    let classes = main_attack.fairness.per_class.len();
    let ranked = ranking(&main_attack.fairness);
    let few = classes <= MANY_CLASSES;
    let (shown, last): (Vec<usize>, &[usize]) = if few {
        ((0..classes).collect(), &[])
    } else if ranked.len() <= SHOW_WORST + SHOW_BEST {
        (ranked.clone(), &[])
    } else {
        (ranked[..SHOW_WORST].to_vec(), &ranked[ranked.len() - SHOW_BEST..])
    };

    // 19 characters hold an accuracy, the mark and an interval, 6 the first two; each column adds 3 of frame.
    let longest = |c: &usize| class_name(class_names, *c).chars().count();
    let name_width = shown.iter().chain(last).map(longest).max().unwrap_or(0).clamp(5, NAME_WIDTH);
    let width = |interval: &dyn Fn(usize) -> bool| {
        let column = |(i, a): (usize, &AttackResult)| {
            3 + clip(&a.name, NAME_WIDTH).chars().count().max(if interval(i) { 19 } else { 6 })
        };
        name_width + 4 + attacks.iter().enumerate().map(column).sum::<usize>()
    };
    let choices: [(&dyn Fn(usize) -> bool, &str); 3] = [
        (&|_| true, " [95 % Wilson interval]."),
        (&|i| i == main, " [95 % Wilson interval, of the main attack only]."),
        (&|_| false, " There is no room for intervals."),
    ];
    let (interval, note) = choices.into_iter().find(|c| width(c.0) <= FAIRNESS_WIDTH).unwrap_or(choices[2]);
    let bar_width = FAIRNESS_WIDTH.saturating_sub(width(interval) + 3).min(25);

    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    let mut header = vec!["class".to_owned()];
    header.extend(attacks.iter().map(|a| clip(&a.name, NAME_WIDTH)));
    if bar_width >= 10 {
        let title = clip(&main_attack.name, bar_width - 5);
        header.push(format!("{title}{:>pad$}", "100 %", pad = bar_width - title.chars().count()));
    }
    table.set_header(header);
    let row = |name: String, accuracy: &dyn Fn(&Fairness) -> Option<ClassAccuracy>, class: Option<usize>| {
        let mut row = vec![clip(&name, name_width)];
        row.extend(attacks.iter().enumerate().map(|(i, a)| {
            let worst = class == Some(a.fairness.worst_class);
            cell(accuracy(&a.fairness), worst, interval(i))
        }));
        if bar_width >= 10 {
            row.push(accuracy(&main_attack.fairness).map_or(String::new(), |a| bar(a.accuracy, bar_width)));
        }
        row
    };
    let class_row = |&c: &usize| row(class_name(class_names, c), &|f| f.per_class.get(c).copied().flatten(), Some(c));
    table.add_rows(shown.iter().map(class_row));
    if !last.is_empty() {
        table.add_row(vec!["…"]);
        table.add_rows(last.iter().map(class_row));
    }
    let all = |f: &Fairness| Some(ClassAccuracy { accuracy: f.mean, low: f.low, high: f.high, correct: 0, total: 0 });
    table.add_row(row("all".to_owned(), &all, None));

    // A rule above the row of all classes; comfy-table has rules between all rows or none.
    let mut lines: Vec<String> = table.lines().collect();
    let rule = lines[2].chars().map(|c| match c {
        '╞' => '├',
        '═' => '─',
        '╪' => '┼',
        '╡' => '┤',
        c => c,
    });
    lines.insert(lines.len() - 2, rule.collect());

    lines.push(format!("Accuracy in %. ◂ worst class of the attack.{note}"));
    if !last.is_empty() {
        let main = &main_attack.name;
        lines.push(format!("Shown of {classes} classes: the {SHOW_WORST} worst and {SHOW_BEST} best under {main}."));
    } else if !few {
        lines.push(format!("Shown: the {} of {classes} classes that have examples, worst first.", shown.len()));
    }
    lines.push(summary(class_names, attacks));
    lines.join("\n") + "\n"
}

fn cell(accuracy: Option<ClassAccuracy>, worst: bool, interval: bool) -> String {
    let Some(a) = accuracy else { return format!("{MISSING:>5}") };
    let mut cell = format!("{:5.1}{}", 100.0 * a.accuracy, if worst { '◂' } else { ' ' });
    if interval {
        cell += &format!(" [{:.1}–{:.1}]", 100.0 * a.low, 100.0 * a.high);
    }
    cell
}

/// A bar of `width` characters for a share in [0, 1], in eighths of a character.
fn bar(share: f64, width: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * 8.0 * width as f64).round() as usize;
    "█".repeat(eighths / 8) + ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8]
}

/// The measures of robust fairness, an attack a line.
fn summary(class_names: &[String], attacks: &[AttackResult]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["attack", "all", "worst class", "best class", "gap", "SD", "NSD"].map(Cell::new));
    for AttackResult { name, fairness: f, .. } in attacks {
        let percent = |v: f64| Cell::new(format!("{:.2}", 100.0 * v)).set_alignment(CellAlignment::Right);
        let class = |v: f64, c: usize| format!("{:5.1} {}", 100.0 * v, clip(&class_name(class_names, c), NAME_WIDTH));
        table.add_row(vec![
            Cell::new(clip(name, NAME_WIDTH)),
            percent(f.mean),
            Cell::new(class(f.worst, f.worst_class)),
            Cell::new(class(f.best, f.best_class)),
            percent(f.gap),
            percent(f.sd),
            Cell::new(f.nsd.map_or(MISSING.to_owned(), |v| format!("{v:.3}"))).set_alignment(CellAlignment::Right),
        ]);
    }
    format!("{table}\nAll but NSD in % points. Gap: best minus worst. SD: over the classes. NSD: SD / accuracy of all.")
}
