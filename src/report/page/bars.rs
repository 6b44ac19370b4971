//! Accuracies per class as bars with their intervals.

use super::chart::{COLOURS, WIDTH, legend};
use crate::report::Fairness;
use crate::report::table::{class_name, clip};
use maud::{Markup, html};

const LEFT: f64 = 96.0;
const RIGHT: f64 = WIDTH - 44.0;
const TOP: f64 = 4.0;
/// Of more classes only the worst and the best are drawn.
const MANY: usize = 40;
const WORST: usize = 14;
const BEST: usize = 6;

/// A bar of every class.
pub(super) struct Bars<'a> {
    /// What it is.
    pub name: String,
    /// Which of the looks it has.
    pub look: usize,
    /// The accuracies.
    pub fairness: &'a Fairness,
}

/// A figure: for every class a bar of each of these with its 95 % Wilson interval, and the worst class of each marked.
pub(super) fn bars(title: &str, class_names: &[String], of: &[Bars]) -> Markup {
    let classes = of.iter().map(|b| b.fairness.per_class.len()).max().unwrap_or(0);
    let accuracy = |b: &Bars, class: usize| b.fairness.per_class.get(class).copied().flatten();
    // Many classes: by the accuracy of the last.
    let mut shown: Vec<usize> = (0..classes).collect();
    if let Some(last) = of.last().filter(|_| classes > MANY) {
        shown.sort_by(|a, b| {
            let key = |class: usize| accuracy(last, class).map_or(f64::MAX, |a| a.accuracy);
            key(*a).total_cmp(&key(*b))
        });
        shown = [&shown[..WORST], &shown[classes - BEST..]].concat();
    }
    let bar = if of.len() < 3 { 11.0 } else { 8.0 };
    let pitch = bar * of.len() as f64 + 9.0;
    let bottom = TOP + pitch * shown.len() as f64;
    let height = bottom + 38.0;
    let x = |share: f64| LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT);
    html! {
        figure {
            figcaption { (title) }
            (legend(of.iter().map(|b| (b.name.as_str(), swatch(b.look)))))
            svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(title) {
                @for tick in 0..=4 {
                    @let at = x(f64::from(tick) / 4.0);
                    path.grid d=(format!("M{at:.1} {TOP}V{bottom}")) {}
                    text x=(format!("{at:.1}")) y=(bottom + 15.0) text-anchor="middle" { (25 * tick) }
                }
                text x=((LEFT + RIGHT) / 2.0) y=(height - 5.0) text-anchor="middle" { "accuracy, %" }
                @for (row, &class) in shown.iter().enumerate() {
                    @let top = TOP + pitch * row as f64 + 4.5;
                    text x=(LEFT - 6.0) y=(format!("{:.1}", top + (pitch - 9.0) / 2.0 + 4.0)) text-anchor="end" {
                        (clip(&class_name(class_names, class), 14))
                    }
                    @for (i, b) in of.iter().enumerate() {
                        @let (y, middle) = (top + bar * i as f64, top + bar * (i as f64 + 0.5));
                        @match accuracy(b, class) {
                            Some(a) => {
                                rect.{"f" (b.look % COLOURS) " " (fill(b.look))} x=(LEFT) y=(format!("{y:.1}"))
                                    width=(format!("{:.1}", x(a.accuracy) - LEFT)) height=(bar - 1.0) {}
                                @let (low, high) = (x(a.low), x(a.high));
                                @let whisker = format!("M{low:.1} {:.1}v4m0 -2H{high:.1}m0 -2v4", middle - 2.5);
                                path.halo d=(whisker) {}
                                path.whisker d=(whisker) {}
                                text.number x=(format!("{:.1}", x(a.high) + 4.0)) y=(format!("{:.1}", middle + 3.0)) {
                                    (format!("{:.0}", 100.0 * a.accuracy))
                                    @if class == b.fairness.worst_class { tspan.worst { " ◂ worst" } }
                                }
                            }
                            None => text.number x=(LEFT + 4.0) y=(format!("{:.1}", middle + 3.0)) { "no example" },
                        }
                    }
                }
                path.axis d=(format!("M{LEFT} {TOP}V{bottom}")) {}
            }
            @if shown.len() < classes {
                p.note { (format!("Shown of {classes} classes: the {WORST} worst and the {BEST} best.")) }
            }
        }
    }
}

/// Full, hatched or hollow.
fn fill(look: usize) -> &'static str {
    ["full", "hatched", "hollow"][look % 3]
}

fn swatch(look: usize) -> Markup {
    html! {
        svg.swatch viewBox="0 0 24 12" width="24" height="12" aria-hidden="true" {
            rect.{"f" (look % COLOURS) " " (fill(look))} x="1" y="1" width="22" height="10" {}
        }
    }
}

/// The hatchings that bars are filled with, once a page.
pub(super) fn hatchings() -> Markup {
    html! {
        svg.hatchings width="0" height="0" aria-hidden="true" {
            defs {
                @for i in 0..COLOURS {
                    pattern.{"f" (i)} id={"hatch" (i)} width="4" height="4" patternUnits="userSpaceOnUse"
                        patternTransform="rotate(45)" {
                        path.hatch d="M0 0V4" {}
                    }
                }
            }
        }
    }
}
