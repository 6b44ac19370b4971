//! The Markdown file.

use super::details::{self, Text};
use super::pictures::Pictures;
use super::runs::ReadRun;
use super::{Page, cost};
use crate::fsio::created_by;
use crate::report::table::class_name;
use std::fmt::Write;

/// All of the page as tables.
pub(super) fn text(page: &Page) -> String {
    let names: Vec<&str> = page.groups.iter().map(|g| g.name.as_str()).collect();
    let mut out = format!("# {}\n\nWritten by {}.\n", escape(&names.join(", ")), created_by());
    out += "\n## Side by side\n\n";
    table(&mut out, &details::overview(page));
    if page.groups.iter().any(|g| g.runs.len() > 1) {
        out += "\nMean ± standard deviation over the seeds.\n";
    }
    if let Some(tests) = details::tests(page) {
        out += "\n### Tests\n\n";
        table(&mut out, &tests);
        let _ = writeln!(out, "\n{}", details::TESTS);
    }
    for (i, group) in page.groups.iter().enumerate() {
        let baseline = page.baseline_of(i).map(|b| b.first());
        let run = group.first();
        let _ = writeln!(out, "\n## {}", escape(&group.name));
        if group.runs.len() > 1 {
            let _ = writeln!(out, "\nIn detail: seed {}.", run.seed());
        }
        out.push('\n');
        for (name, value) in details::what(run) {
            let _ = writeln!(out, "- {name}: {}", escape(&value));
        }
        results(&mut out, page, run, baseline);
        if let Some(pictures) = page.pictures.get(i).and_then(|p| p.as_ref()) {
            let _ = writeln!(out, "\n{}", escape(&pictured(pictures, page.class_names())));
        }
        let _ = write!(out, "\n### Options\n\n```toml\n{}```\n", run.options.to_toml());
    }
    out
}

fn results(out: &mut String, page: &Page, run: &ReadRun, baseline: Option<&ReadRun>) {
    if !run.results.attacks.is_empty() {
        *out += "\n### Accuracy and fairness\n\n";
        table(out, &details::fairness(run, page.class_names(), baseline));
        *out += "\n### Classes: accuracy in %, 95 % Wilson interval, ◂ the worst\n\n";
        table(out, &details::classes(run, page.class_names()));
        *out += "\n### Attacks: who is left, and cost\n\n";
        table(out, &details::parts(run));
        for warning in &run.results.warnings {
            let _ = writeln!(out, "\n**Warning:** {}", escape(warning));
        }
    }
    let stretches = cost::stretches(&run.epochs);
    if stretches.is_empty() {
        return;
    }
    *out += "\n### Cost\n\n";
    table(out, &cost::table(&stretches));
    let steps = stretches.iter().map(|s| s.live_shares().len()).max().unwrap_or(0);
    if steps > 0 {
        *out += "\n### Live examples by step of the attack, %\n\n";
        let rows = stretches.iter().filter(|s| !s.live_shares().is_empty());
        let rows = rows.map(|s| (s.name.clone(), s.live_shares().into_iter().map(details::percent).collect()));
        table(out, &Text { corner: "", columns: (0..steps).map(|k| k.to_string()).collect(), rows: rows.collect() });
    }
}

/// What the images of a class are, in a sentence.
pub(super) fn pictured(p: &Pictures, class_names: &[String]) -> String {
    format!(
        "Of {} images of the worst class, {}, the network has {} right as they are and {} still under {} (eps {:.4}).",
        p.attacked,
        class_name(class_names, p.class),
        p.right_before,
        p.right_after,
        p.attack,
        p.eps
    )
}

fn table(out: &mut String, t: &Text) {
    let line = |first: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|c| format!(" {} |", escape(c))).collect();
        format!("| {} |{cells}\n", escape(first))
    };
    *out += &line(t.corner, &t.columns);
    *out += &format!("|---|{}\n", "---:|".repeat(t.columns.len()));
    for (name, cells) in &t.rows {
        *out += &line(name, cells);
    }
}

/// Text without what Markdown reads as markup or a new cell.
fn escape(s: &str) -> String {
    let mut out = String::new();
    for c in s.chars() {
        match c {
            '|' | '*' | '_' | '`' | '<' | '>' | '[' | ']' | '\\' | '#' | '&' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
