//! The HTML page.

use super::details::{self, Text};
use super::figures::{bars, chart};
use super::markdown::pictured;
use super::pictures::{Pictures, Verdict};
use super::runs::{Group, ReadRun};
use super::{Page, cost, mining};
use crate::Result;
use crate::fsio::created_by;
use crate::report::plot::bars::Bars;
use crate::report::plot::canvas;
use crate::report::plot::curves::Curves;
use crate::report::plot::lines::{Chart, Form, Series};
use crate::report::plot::look::Look;
use crate::report::table::class_name;
use crate::results::Epoch;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(super) fn page(page: &Page) -> Result<String> {
    let title = page.groups.iter().map(|g| g.name.as_str()).collect::<Vec<_>>().join(", ");
    let sections: Vec<Markup> = (0..page.groups.len()).map(|i| section(page, i)).collect::<Result<_>>()?;
    let several = page.groups.len() > 1;
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – ham-engine" }
                // Browsers ask the server for an icon where a page has none.
                link rel="icon" href="data:,";
                style { (PreEscaped(canvas::css())) (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p.lead { "Adversarial training: robustness, fairness and cost. Written by " (created_by()) "." }
                }
                main {
                    section {
                        h2 { "Side by side" }
                        (table(&details::overview(page)))
                        @if page.groups.iter().any(|g| g.runs.len() > 1) {
                            p.note { "Mean ± standard deviation over the seeds." }
                        }
                        @if let Some(tests) = details::tests(page) {
                            h3 { "Tests" }
                            (table(&tests))
                            p.note { (details::TESTS) }
                        }
                        @if several { (side_by_side(page)) }
                    }
                    @for section in &sections { (section) }
                }
            }
        }
    };
    Ok(markup.into_string())
}

/// Curves and classes of all groups in the same figures.
fn side_by_side(page: &Page) -> Markup {
    let line = |title: &str, highest: Option<f64>, value: fn(&Epoch) -> Option<f64>| {
        let of =
            |(look, g): (usize, &Group)| Series { name: g.name.clone(), look: Look(look), points: over_runs(g, value) };
        let series = page.groups.iter().enumerate().map(of).collect();
        chart(title, &Chart { x: "epoch", form: Form::Lines, highest, mark: None, series })
    };
    let strongest = page.strongest();
    html! {
        div.grid {
            (line("Accuracy under PGD, %", None, |e| percent(e.pgd_accuracy)))
            (line("Worst class under PGD, %", None, |e| percent(e.pgd_worst)))
            (line("Clean accuracy, %", None, |e| percent(e.clean_accuracy)))
            (line("Kept share of the examples, %", Some(100.0), |e| percent(e.kept_share())))
            (line("Seconds per epoch, without evaluation", None, |e| Some(e.train_seconds)))
            @if let Some(attack) = &strongest {
                @let of: Vec<Bars> = page.groups.iter().enumerate().filter_map(|(look, g)| Some(Bars {
                    name: if g.runs.len() > 1 {
                        format!("{}, seed {}", g.name, g.first().seed())
                    } else {
                        g.name.clone()
                    },
                    look: Look(look),
                    fairness: &g.first().under(attack)?.fairness,
                })).collect();
                (bars(&format!("Accuracy per class under {attack}, 95 % Wilson intervals"), page.class_names(), &of))
            }
        }
    }
}

/// The mean over a group's runs at each epoch.
fn over_runs(group: &Group, value: fn(&Epoch) -> Option<f64>) -> Vec<(f64, f64)> {
    let last = group.runs.iter().map(|r| r.epochs.len()).max().unwrap_or(0);
    let mean = |i: usize| {
        let values: Vec<f64> = group.runs.iter().filter_map(|r| value(r.epochs.get(i)?)).collect();
        (!values.is_empty()).then(|| (i as f64 + 1.0, values.iter().sum::<f64>() / values.len() as f64))
    };
    (0..last).filter_map(mean).collect()
}

fn percent(v: Option<f64>) -> Option<f64> {
    v.map(|v| 100.0 * v)
}

/// All of one group's first run.
fn section(page: &Page, i: usize) -> Result<Markup> {
    let (group, names) = (&page.groups[i], page.class_names());
    let run = group.first();
    let baseline = page.baseline_of(i).map(|b| b.first());
    let pictures = page.pictures.get(i).and_then(|p| p.as_ref()).map(|p| pairs(p, names)).transpose()?;
    let stretches = cost::stretches(&run.epochs);
    let attacks = &run.results.attacks;
    Ok(html! {
        section {
            h2 { (group.name) }
            @if group.runs.len() > 1 { p.note { "In detail: seed " (run.seed()) "." } }
            div.table { table {
                tbody {
                    @for (name, value) in details::what(run) { tr { th scope="row" { (name) } td.text { (value) } } }
                }
            } }
            details { summary { "All options" } pre { (run.options.to_toml()) } }
            @if !attacks.is_empty() {
                h3 { "Accuracy and fairness" }
                (table(&details::fairness(run, names, baseline)))
                p.note {
                    "Intervals: 95 %, Wilson's. Gap: best minus worst class. SD: over the classes. "
                    "NSD: SD / accuracy of all."
                }
                @for warning in &run.results.warnings { p.warning { strong { "Warning: " } (warning) } }
            }
            @if !run.epochs.is_empty() || !attacks.is_empty() {
                div.grid {
                    (curves(run))
                    @if !attacks.is_empty() {
                        @let of: Vec<Bars> = attacks.iter().enumerate()
                            .map(|(look, a)| Bars { name: a.name.clone(), look: Look(look), fairness: &a.fairness }).collect();
                        (bars("Accuracy per class, 95 % Wilson intervals", names, &of))
                    }
                    (live(&stretches))
                    (mining::under_attack(run, names))
                    (mining::figures(run, names))
                }
            }
            @if !attacks.is_empty() {
                details { summary { "Accuracy per class in numbers" } (table(&details::classes(run, names))) }
                details { summary { "Attacks: who is left, and cost" } (table(&details::parts(run))) }
            }
            @if !stretches.is_empty() {
                h3 { "Cost" }
                (table(&cost::table(&stretches)))
                p.note {
                    "A unit is one forward pass of one example; a gradient to the input or to the weights is another."
                }
            }
            @if let Some(pictures) = pictures { (pictures) }
        }
    })
}

/// What the run did, epoch by epoch.
fn curves(run: &ReadRun) -> Markup {
    let curves = Curves::of(&run.epochs);
    html! {
        (chart("Accuracy of all classes, %", &curves.accuracy()))
        (chart("Accuracy of the worst class, %", &curves.worst_class()))
        (chart("Seconds per epoch", &curves.seconds()))
        (chart("Training loss", &curves.loss()))
    }
}

/// Who takes part in the steps of the attack.
fn live(stretches: &[cost::Stretch]) -> Markup {
    let series: Vec<Series> = stretches
        .iter()
        .enumerate()
        .filter(|(_, s)| !s.live_shares().is_empty())
        .map(|(look, s)| Series {
            name: s.name.clone(),
            look: Look(look),
            points: s.live_shares().iter().enumerate().map(|(k, v)| (k as f64, 100.0 * v)).collect(),
        })
        .collect();
    let title = "Live examples at each step of the attack, %";
    html! {
        @if !series.is_empty() {
            (chart(title, &Chart { x: "step of the attack", form: Form::Steps, highest: Some(100.0), mark: None, series }))
        }
    }
}

/// Images beside what the attack made of them.
fn pairs(p: &Pictures, class_names: &[String]) -> Result<Markup> {
    let says = |v: &Verdict| {
        let name = class_name(class_names, v.class);
        format!("{name}, {:.0} % sure", 100.0 * v.confidence)
    };
    let mark = |v: &Verdict| if v.class == p.class { "✓" } else { "✗" };
    let seen = |what: &str, image: &str, v: &Verdict| {
        html! {
            div { img src=(image) alt={ (what) " image, seen as " (says(v)) }; (what) ": " (mark(v)) " " (says(v)) }
        }
    };
    let images: Vec<_> = p.pairs.iter().map(|pair| Ok((pair, p.uris(pair)?))).collect::<Result<_>>()?;
    let by = p.amplification();
    Ok(html! {
        h3 { "Under attack: " (class_name(class_names, p.class)) ", the worst class" }
        p.note {
            (pictured(p, class_names))
            " Shown are first those that the attack turned. The difference is amplified "
            (format!("{by:.1}")) " times, around grey."
        }
        div.pairs {
            @for (pair, [clean, attacked, difference]) in &images {
                div.pair {
                    (seen("clean", clean, &pair.clean.1))
                    (seen("attacked", attacked, &pair.attacked.1))
                    div { img src=(difference) alt="their difference, amplified"; (format!("difference × {by:.1}")) }
                }
            }
        }
    })
}

/// A table that scrolls by itself where it is wider than the page.
fn table(t: &Text) -> Markup {
    html! {
        div.table tabindex="0" role="region" aria-label="table" {
            table {
                thead { tr { th { (t.corner) } @for c in &t.columns { th scope="col" { (c) } } } }
                tbody {
                    @for (name, cells) in &t.rows {
                        tr { th scope="row" { (name) } @for c in cells { td { (c) } } }
                    }
                }
            }
        }
    }
}
