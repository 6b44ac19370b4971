//! `tradeoff.svg`: accuracy under the last attack against the cost of an epoch.

use super::canvas::{Anchor, Canvas, Font, Ink, Point, Stroke, text_width};
use super::comparison::{NAME, leader, title, y_title};
use super::look::Look;
use super::plane::{Frame, Grid, Plane, Scale};
use super::write_svg;
use crate::Result;
use crate::report::table::clip;
use crate::results::comparison::{Comparison, MethodRow, Spread};
use std::path::Path;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 620.0;

/// A method in the figure.
struct Dot {
    name: String,
    look: Look,
    seconds: f64,
    /// Accuracies in %.
    mean: Spread,
    worst: Spread,
}

impl Dot {
    fn accuracies(&self) -> [Spread; 2] {
        [self.mean, self.worst]
    }
}

/// A box of pixels.
#[derive(Clone, Copy)]
struct Place {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Place {
    /// Around a point, so far to each side.
    fn around((x, y): Point, half: f64) -> Place {
        Place { left: x - half, top: y - half, right: x + half, bottom: y + half }
    }

    /// Pixels shared with another.
    fn overlap(self, other: Place) -> f64 {
        let width = (self.right.min(other.right) - self.left.max(other.left)).max(0.0);
        let height = (self.bottom.min(other.bottom) - self.top.max(other.top)).max(0.0);
        width * height
    }

    fn middle(self) -> f64 {
        (self.top + self.bottom) / 2.0
    }
}

fn percent(s: Spread) -> Option<Spread> {
    let values = [s.mean, s.sd].iter().all(|v| v.is_finite());
    values.then_some(Spread { mean: 100.0 * s.mean, sd: 100.0 * s.sd, ..s })
}

/// The scale that holds these spreads. Points are no bars: it need not begin at 0.
fn scale_of(spreads: &[Spread]) -> Scale {
    let ends = || spreads.iter().flat_map(|s| [s.mean - s.sd, s.mean + s.sd]);
    let (low, high) = (ends().fold(100.0, f64::min), ends().fold(0.0, f64::max));
    let (low, high) = if spreads.is_empty() {
        (0.0, 100.0)
    } else if low < high {
        // With room below and above the last points.
        let step = Scale::new(low, high, 6.0, 0.5).step;
        let edge = |v: f64| ((v / step).floor() * step).max(0.0);
        (edge(low - 0.15 * step), (edge(high) + step).min(100.0))
    } else {
        ((low - 1.0).max(0.0), (low + 1.0).min(100.0))
    };
    Scale::new(low, high, 8.0, f64::MIN_POSITIVE)
}

pub(super) fn write_tradeoff(path: &Path, comparison: &Comparison, attack: &str) -> Result<()> {
    let dot = |(i, m): (usize, &MethodRow)| {
        let mean = m.over_seeds(attack, |a| Some(a.fairness.mean)).and_then(percent)?;
        let worst = m.over_seeds(attack, |a| Some(a.fairness.worst)).and_then(percent)?;
        let seconds = Some(m.cost.seconds.median).filter(|s| s.is_finite())?.clamp(0.0, 1e12);
        Some(Dot { name: clip(&m.method, NAME), look: Look(i), seconds, mean, worst })
    };
    let dots: Vec<Dot> = comparison.methods.iter().enumerate().filter_map(dot).collect();
    let spreads: Vec<Spread> = dots.iter().flat_map(Dot::accuracies).collect();
    let dearest = dots.iter().map(|d| d.seconds).fold(0.0, f64::max);
    let plane = Plane {
        frame: Frame { left: 60.0, right: WIDTH - 30.0, top: 112.0, bottom: HEIGHT - 56.0 },
        x: Scale::new(0.0, if dearest > 0.0 { 1.12 * dearest } else { 1.0 }, 10.0, f64::MIN_POSITIVE),
        y: scale_of(&spreads),
    };
    let mut canvas = Canvas::default();
    title(&mut canvas, &format!("Accuracy under {} against cost", clip(attack, NAME)));
    put_legend(&mut canvas, spreads.iter().any(|s| s.count > 1));
    y_title(&mut canvas, &plane, "accuracy, %");
    plane.y_axis(&mut canvas);
    plane.x_axis(&mut canvas, "seconds per epoch, without evaluation", Grid::Lines);
    plane.edges(&mut canvas);
    if dots.is_empty() {
        plane.no_data(&mut canvas);
    }
    let (mut taken, mut names): (Vec<Place>, Vec<Place>) = Default::default();
    for d in &dots {
        let x = plane.x(d.seconds);
        let (mean, worst) = (plane.y(d.mean.mean), plane.y(d.worst.mean));
        canvas.line(&[(x, mean), (x, worst)], Stroke::of(d.look.ink(), 1.0));
        taken.push(Place { left: x - 1.0, top: mean, right: x + 1.0, bottom: worst });
        for s in d.accuracies().iter().filter(|s| s.count > 1) {
            let (from, to) = (plane.y(s.mean - s.sd), plane.y(s.mean + s.sd));
            error_bar(&mut canvas, x, from, to, d.look.ink());
            taken.push(Place { left: x - 6.0, top: to, right: x + 6.0, bottom: from });
        }
    }
    // Markers over all lines.
    for d in &dots {
        let [mean, worst] = d.accuracies().map(|s| (plane.x(d.seconds), plane.y(s.mean)));
        d.look.marker(&mut canvas, mean, 5.0);
        d.look.hollow_marker(&mut canvas, worst, 5.0);
        taken.extend([mean, worst].map(|at| Place::around(at, 8.0)));
    }
    for d in &dots {
        let at = (plane.x(d.seconds), plane.y(d.mean.mean));
        let place = put_name(&plane, at, text_width(&d.name, 12.0), &taken, &names);
        if let Some(end) = lead(at, place) {
            canvas.line(&[at, end], leader());
            d.look.marker(&mut canvas, at, 5.0);
            taken.extend(along(at, end));
        }
        names.push(place);
        canvas.text(&d.name, (place.left, place.middle()), Anchor::Start, Font::of(12.0));
    }
    write_svg(path, canvas.file(WIDTH, HEIGHT))
}

/// A place for a name of `width` pixels beside its marker: the nearest that covers nothing and whose leader crosses no
/// name, or the one that does so least.
fn put_name(plane: &Plane, at: Point, width: f64, taken: &[Place], names: &[Place]) -> Place {
    let frame = plane.frame;
    let mut best: Option<(f64, Place)> = None;
    for dy in [0, -12, 12, -24, 24, -36, 36, -50, 50, -66, 66, -84, 84, -104, 104, -126, 126].map(f64::from) {
        for dx in [11.0, 24.0, 40.0, 60.0] {
            for left in [at.0 + dx, at.0 - dx - width] {
                let y = at.1 + dy;
                let place = Place { left, top: y - 7.0, right: left + width, bottom: y + 7.0 };
                let outside = left < frame.left + 4.0 || place.right > frame.right + 20.0;
                if outside || place.top < frame.top - 6.0 || place.bottom > frame.bottom - 2.0 {
                    continue;
                }
                let covered: f64 = taken.iter().chain(names).map(|t| t.overlap(place)).sum();
                let lead = lead(at, place).into_iter().flat_map(|end| along(at, end));
                let crossed: f64 = lead.flat_map(|l| names.iter().map(move |n| n.overlap(l))).sum();
                let cost = covered + crossed;
                if cost == 0.0 {
                    return place;
                }
                if best.is_none_or(|b| cost < b.0) {
                    best = Some((cost, place));
                }
            }
        }
    }
    // A name too wide for either side begins at the axis.
    let left = frame.left + 4.0;
    best.map_or(Place { left, top: at.1 - 23.0, right: left + width, bottom: at.1 - 9.0 }, |b| b.1)
}

/// Where a line from a marker to its name ends; none where they are close.
fn lead(at: Point, place: Place) -> Option<Point> {
    let y = place.middle();
    let far = (y - at.1).abs() > 12.0 || place.left > at.0 + 14.0 || place.right < at.0 - 14.0;
    far.then_some((if place.left > at.0 { place.left - 2.0 } else { place.right + 2.0 }, y))
}

/// Small boxes along a line.
fn along(from: Point, to: Point) -> impl Iterator<Item = Place> {
    (1..=16).map(move |i| {
        let share = f64::from(i) / 16.0;
        Place::around((from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share), 1.0)
    })
}

/// A vertical interval with end caps.
fn error_bar(canvas: &mut Canvas, x: f64, from: f64, to: f64, ink: Ink) {
    canvas.line(&[(x, from), (x, to)], Stroke::of(ink, 3.0));
    for y in [from, to] {
        canvas.line(&[(x - 5.0, y), (x + 5.0, y)], Stroke::of(ink, 2.0));
    }
}

/// What is filled and what is hollow and, where there are several seeds, what the intervals are.
fn put_legend(canvas: &mut Canvas, has_intervals: bool) {
    let (mut x, y) = (24.0, 50.0);
    let mut entry = |canvas: &mut Canvas, text: &str| {
        canvas.text(text, (x + 14.0, y), Anchor::Start, Font::of(12.0));
        x += 14.0 + text_width(text, 12.0) + 24.0;
        x
    };
    Look(0).marker(canvas, (24.0, y), 5.0);
    let next = entry(canvas, "all classes");
    Look(0).hollow_marker(canvas, (next, y), 5.0);
    let next = entry(canvas, "worst class");
    if has_intervals {
        error_bar(canvas, next, y + 8.0, y - 8.0, Ink::Text);
        entry(canvas, "± SD over the seeds");
    }
}
