//! Lines over two axes, as SVG for an HTML page: 400 units wide, so that its text can be read on a phone.
//!
//! Colours are the page's, by class. Series differ in dash and marker too.

use crate::report::plot::{multiples, nice_step, tick_label};
use maud::{Markup, html};

/// Width of every figure.
pub(super) const WIDTH: f64 = 400.0;
/// Colours of the page: the classes `c0` to `c5`.
pub(super) const COLOURS: usize = 6;
const DASHES: [&str; 4] = ["", "7 4", "2 3", "9 3 2 3"];
const HEIGHT: f64 = 236.0;
const LEFT: f64 = 42.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = HEIGHT - 40.0;

/// A series.
pub(super) struct Line {
    /// What it is.
    pub name: String,
    /// Which of the looks it has: the same thing looks the same in all figures.
    pub look: usize,
    /// Its points, by x; those that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// What the axes are.
pub(super) struct Axes<'a> {
    /// What is shown.
    pub title: &'a str,
    /// What is to the right.
    pub x: &'a str,
    /// The highest value of the vertical axis; by the data where there is none.
    pub top: Option<f64>,
    /// Whether points are stretches from x - 1/2 to x + 1/2.
    pub steps: bool,
    /// A vertical line, and what it says.
    pub mark: Option<(f64, String)>,
}

/// A figure: its title, what the lines are, and the lines.
pub(super) fn lines(axes: &Axes, series: &[Line]) -> Markup {
    let points = || series.iter().flat_map(|l| &l.points).filter(|p| p.0.is_finite() && p.1.is_finite());
    let (low, high) = points().fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(p.0), h.max(p.0)));
    let highest = points().fold(0.0, |h: f64, p| h.max(p.1));
    let top = axes.top.unwrap_or(if highest > 0.0 { 1.05 * highest } else { 1.0 });
    let empty = points().next().is_none();
    let (low, high) = if empty { (0.5, 1.5) } else { (low - 0.5, high + 0.5) };
    let x = |v: f64| LEFT + (v - low) / (high - low) * (RIGHT - LEFT);
    let y = |v: f64| BOTTOM - (v / top).clamp(0.0, 1.0) * (BOTTOM - TOP);
    let x_step = nice_step(((high - low) / 8.0).max(1.0));
    let y_step = nice_step(top / 5.0);
    html! {
        figure {
            figcaption { (axes.title) }
            (legend(series.iter().map(|l| (l.name.as_str(), swatch(l.look)))))
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(axes.title) {
                @for tick in multiples(0.0, top, y_step, 12) {
                    path.grid d=(format!("M{LEFT} {0:.1}H{RIGHT}", y(tick))) {}
                    text x=(LEFT - 5.0) y=(format!("{:.1}", y(tick) + 4.0)) text-anchor="end" {
                        (tick_label(tick, y_step))
                    }
                }
                @for tick in multiples(low, high, x_step, 20) {
                    path.axis d=(format!("M{:.1} {BOTTOM}v4", x(tick))) {}
                    text x=(format!("{:.1}", x(tick))) y=(BOTTOM + 16.0) text-anchor="middle" {
                        (tick_label(tick, x_step))
                    }
                }
                path.axis d=(format!("M{LEFT} {TOP}V{BOTTOM}H{RIGHT}")) {}
                text x=((LEFT + RIGHT) / 2.0) y=(HEIGHT - 6.0) text-anchor="middle" { (axes.x) }
                @if empty {
                    text x=((LEFT + RIGHT) / 2.0) y=((TOP + BOTTOM) / 2.0) text-anchor="middle" { "no data" }
                }
                @if let Some((at, says)) = axes.mark.as_ref().filter(|m| m.0 > low && m.0 < high) {
                    path.mark d=(format!("M{:.1} {TOP}V{BOTTOM}", x(*at))) {}
                    @let right = x(*at) < WIDTH * 0.6;
                    text x=(format!("{:.1}", x(*at) + if right { 4.0 } else { -4.0 })) y=(TOP + 10.0)
                        text-anchor=(if right { "start" } else { "end" }) { (says) }
                }
                @for line in series {
                    @let known: Vec<(f64, f64)> =
                        line.points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite()).collect();
                    @let corners: Vec<(f64, f64)> = if axes.steps {
                        known.iter().flat_map(|&(a, b)| [(a - 0.5, b), (a + 0.5, b)]).collect()
                    } else {
                        known.clone()
                    };
                    g.{"c" (line.look % COLOURS)} {
                        @let at = corners.iter().map(|p| (x(p.0), y(p.1)));
                        path.line stroke-dasharray=[dash(line.look)] d=(path(at)) {}
                        // The last and about ten others: as many as show without hiding the line.
                        @for &(a, b) in known.iter().rev().step_by(known.len().div_ceil(10).max(1)) {
                            (marker(line.look, x(a), y(b)))
                        }
                    }
                }
            }
        }
    }
}

/// The names of what a figure shows, each behind a swatch; they wrap as the page does.
pub(super) fn legend<'a>(entries: impl Iterator<Item = (&'a str, Markup)>) -> Markup {
    html! {
        ul.legend {
            @for (name, swatch) in entries {
                li { (swatch) (name) }
            }
        }
    }
}

fn swatch(look: usize) -> Markup {
    html! {
        svg.swatch viewBox="0 0 32 12" width="32" height="12" aria-hidden="true" {
            g.{"c" (look % COLOURS)} {
                path.line stroke-dasharray=[dash(look)] d="M1 6H31" {}
                (marker(look, 16.0, 6.0))
            }
        }
    }
}

fn dash(look: usize) -> Option<&'static str> {
    Some(DASHES[look % DASHES.len()]).filter(|d| !d.is_empty())
}

/// A disc, a square, a triangle, a diamond or a ring.
fn marker(look: usize, x: f64, y: f64) -> Markup {
    let r = 3.4;
    let polygon = |corners: &[(f64, f64)]| path(corners.iter().map(|c| (x + c.0, y + c.1))) + "Z";
    html! {
        @match look % 5 {
            0 => circle.dot cx=(format!("{x:.1}")) cy=(format!("{y:.1}")) r=(r) {},
            1 => path.dot d=(polygon(&[(-3.0, -3.0), (3.0, -3.0), (3.0, 3.0), (-3.0, 3.0)])) {},
            2 => path.dot d=(polygon(&[(0.0, -4.4), (4.2, 3.0), (-4.2, 3.0)])) {},
            3 => path.dot d=(polygon(&[(0.0, -4.6), (4.6, 0.0), (0.0, 4.6), (-4.6, 0.0)])) {},
            _ => circle.ring cx=(format!("{x:.1}")) cy=(format!("{y:.1}")) r=(r) {},
        }
    }
}

fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    points.enumerate().map(|(i, (x, y))| format!("{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' })).collect()
}
