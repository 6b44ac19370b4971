//! `cost.svg`: seconds of an epoch of each method, and what they were spent on.

use super::canvas::{Anchor, Canvas, Fill, Font, Ink, text_width};
use super::comparison::{NAME, digits, title};
use super::look::{Key, legend};
use super::plane::{Frame, Grid, Plane, Scale};
use super::write_svg;
use crate::Result;
use crate::report::table::clip;
use crate::results::comparison::{Comparison, MethodCost, MethodRow};
use std::path::Path;

const PITCH: f64 = 34.0;
const BAR: f64 = 20.0;
const PLOT: f64 = 520.0;

/// What seconds of an epoch were spent on, in the order in which they are drawn.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Data,
    Attack,
    Update,
    Other,
}

impl Phase {
    const ALL: [Phase; 4] = [Phase::Data, Phase::Attack, Phase::Update, Phase::Other];

    fn name(self) -> &'static str {
        match self {
            Phase::Data => "data",
            Phase::Attack => "attack",
            Phase::Update => "update",
            Phase::Other => "other",
        }
    }

    /// Of one hue, the rest hollow: they are told apart without colour.
    fn fill(self) -> Fill {
        let ink = match self {
            Phase::Data => Ink::Tone(2),
            Phase::Attack => Ink::Tone(0),
            Phase::Update => Ink::Tone(1),
            Phase::Other => Ink::Paper,
        };
        Fill::of(ink).outlined(Ink::Text, 1.0)
    }

    /// Its seconds; of `Other` what an epoch has beyond the three. Negative and missing numbers count as 0.
    fn seconds(self, cost: &MethodCost) -> f64 {
        match self {
            Phase::Data => seconds(cost.data),
            Phase::Attack => seconds(cost.attack),
            Phase::Update => seconds(cost.update),
            Phase::Other => {
                let known: f64 = [cost.data, cost.attack, cost.update].map(seconds).iter().sum();
                let other = seconds(cost.seconds.median) - known;
                // A difference below a hundredth is that of medians.
                if other > 0.01 * cost.seconds.median { other } else { 0.0 }
            }
        }
    }
}

fn seconds(v: f64) -> f64 {
    if v.is_finite() { v.clamp(0.0, 1e12) } else { 0.0 }
}

/// Where a method's bar or its whisker ends.
fn reach(m: &MethodRow) -> f64 {
    Phase::ALL.iter().map(|p| p.seconds(&m.cost)).sum::<f64>().max(seconds(m.cost.seconds.high))
}

/// Total and ratio, for example `7.20 s, 0.58 × (0.56–0.61)`.
fn total(method: &MethodRow, baseline: &str) -> String {
    let (cost, r) = (&method.cost, method.cost.ratio);
    let seconds = format!("{} s", digits(cost.seconds.median));
    if method.method == baseline {
        return format!("{seconds}, baseline");
    }
    let range = if r.high > r.low { format!(" ({}–{})", digits2(r.low), digits2(r.high)) } else { String::new() };
    format!("{seconds}, {} ×{range}", digits2(r.median))
}

/// A ratio: two decimals, or three digits of a large one.
fn digits2(v: f64) -> String {
    if v.abs() < 10.0 { format!("{v:.2}") } else { digits(v) }
}

pub(super) fn write_cost(path: &Path, comparison: &Comparison) -> Result<()> {
    let methods = &comparison.methods;
    let names: Vec<String> = methods.iter().map(|m| clip(&m.method, NAME)).collect();
    let totals: Vec<String> = methods.iter().map(|m| total(m, &comparison.baseline)).collect();
    let widest = |texts: &[String]| texts.iter().map(|t| text_width(t, 12.0)).fold(0.0, f64::max);
    let longest = methods.iter().map(reach).fold(0.0, f64::max);
    let left = (widest(&names) + 28.0).max(120.0);
    let bottom = 84.0 + PITCH * methods.len().max(1) as f64;
    let plane = Plane {
        frame: Frame { left, right: left + PLOT, top: 84.0, bottom },
        x: Scale::new(0.0, if longest > 0.0 { 1.02 * longest } else { 1.0 }, 8.0, f64::MIN_POSITIVE),
        y: Scale { low: 0.0, high: 1.0, step: 1.0 },
    };
    let Frame { top, right, .. } = plane.frame;
    let mut canvas = Canvas::default();
    title(&mut canvas, "Seconds per epoch");
    legend(&mut canvas, (16.0, 48.0), entries(comparison));
    plane.x_axis(&mut canvas, "seconds per epoch, without evaluation", Grid::Lines);
    if methods.is_empty() {
        plane.no_data(&mut canvas);
    }
    let middle = |i: usize| top + PITCH * (i as f64 + 0.5);
    for (i, m) in methods.iter().enumerate() {
        let y = middle(i);
        let mut from = 0.0;
        for (phase, seconds) in Phase::ALL.map(|p| (p, p.seconds(&m.cost))).into_iter().filter(|p| p.1 > 0.0) {
            let corners = [(plane.x(from), y - BAR / 2.0), (plane.x(from + seconds), y + BAR / 2.0)];
            canvas.rect(corners, phase.fill());
            from += seconds;
        }
        canvas.text(&names[i], (left - 8.0, y), Anchor::End, Font::of(12.0));
    }
    if let Some(base) = comparison.baseline_row() {
        let x = plane.x(seconds(base.cost.seconds.median));
        canvas.dashes((x, top), (x, bottom), Ink::Text);
    }
    // Over the line: whiskers, and numbers on white.
    for (i, m) in methods.iter().enumerate() {
        let (s, y) = (m.cost.seconds, middle(i));
        if s.high > s.low {
            canvas.whisker(plane.x(s.low), plane.x(s.high), y, 4.0);
        }
        let x = plane.x(reach(m)) + 8.0;
        let half = BAR / 2.0 - 1.0;
        canvas.rect([(x - 3.0, y - half), (x + text_width(&totals[i], 12.0), y + half)], Fill::of(Ink::Paper));
        canvas.text(&totals[i], (x, y), Anchor::Start, Font::of(12.0));
    }
    plane.edges(&mut canvas);
    write_svg(path, canvas.file(right + widest(&totals).max(40.0) + 24.0, bottom + 56.0))
}

/// What the shades and marks mean; only of those that are drawn.
fn entries(comparison: &Comparison) -> Vec<(&'static str, Key)> {
    let methods = &comparison.methods;
    let is_drawn = |p: &Phase| *p != Phase::Other || methods.iter().any(|m| p.seconds(&m.cost) > 0.0);
    let mut entries: Vec<(&str, Key)> =
        Phase::ALL.into_iter().filter(is_drawn).map(|p| (p.name(), Key::Area(p.fill()))).collect();
    if methods.iter().any(|m| m.cost.seconds.high > m.cost.seconds.low) {
        entries.push(("lowest to highest", Key::Whisker));
    }
    if comparison.baseline_row().is_some() {
        entries.push(("baseline", Key::Dashes(Ink::Text)));
    }
    entries
}
