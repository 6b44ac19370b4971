//! `tradeoff.svg`: accuracy under the last attack against the cost of an epoch.

use super::comparison::*;
use super::*;
use crate::report::comparison::{Comparison, Spread};
use crate::report::table::clip;

const SIZE: (i32, i32) = (900, 620);

/// A method in the figure.
struct Dot {
    name: String,
    look: Look,
    seconds: f64,
    /// Accuracy over all classes, and of the worst; in %.
    accuracy: [Spread; 2],
}

/// A box of pixels: left, top, right, bottom.
type Box4 = [i32; 4];

/// Pixels that two boxes share.
fn overlap(a: Box4, b: Box4) -> i32 {
    let side = |from: usize| (a[from + 2].min(b[from + 2]) - a[from].max(b[from])).max(0);
    side(0) * side(1)
}

fn percent(s: Spread) -> Option<Spread> {
    let values = [s.mean, s.sd].iter().all(|v| v.is_finite());
    values.then_some(Spread { mean: 100.0 * s.mean, sd: 100.0 * s.sd, ..s })
}

pub(super) fn write_tradeoff(path: &Path, comparison: &Comparison, attack: &str) -> Result<()> {
    let dot = |(i, m): (usize, &crate::report::comparison::MethodRow)| {
        let mean = m.over_seeds(attack, |a| Some(a.fairness.mean)).and_then(percent)?;
        let worst = m.over_seeds(attack, |a| Some(a.fairness.worst)).and_then(percent)?;
        let seconds = Some(m.cost.seconds.median).filter(|s| s.is_finite())?.clamp(0.0, 1e12);
        Some(Dot { name: clip(&m.method, NAME), look: look(i), seconds, accuracy: [mean, worst] })
    };
    let dots: Vec<Dot> = comparison.methods.iter().enumerate().filter_map(dot).collect();
    let ends = || dots.iter().flat_map(|d| d.accuracy).flat_map(|s| [s.mean - s.sd, s.mean + s.sd]);
    let (low, high) = (ends().fold(100.0, f64::min), ends().fold(0.0, f64::max));
    // Points are no bars: the axis need not begin at 0.
    let step = nice_step(((high - low) / 6.0).max(0.5));
    let dearest = dots.iter().map(|d| d.seconds).fold(0.0, f64::max);
    let plane = Plane {
        left: 60,
        right: SIZE.0 - 30,
        top: 112,
        bottom: SIZE.1 - 56,
        x: (0.0, if dearest > 0.0 { 1.12 * dearest } else { 1.0 }),
        y: if dots.is_empty() {
            (0.0, 100.0)
        } else if low < high {
            // With room below and above the last points.
            let edge = |v: f64| ((v / step).floor() * step).max(0.0);
            (edge(low - 0.15 * step), (edge(high) + step).min(100.0))
        } else {
            ((low - 1.0).max(0.0), (low + 1.0).min(100.0))
        },
    };
    write_svg(path, (SIZE.0 as u32, SIZE.1 as u32), |root| {
        let title = format!("Accuracy under {} against cost", clip(attack, NAME));
        label(root, &title, (16, 20), font(16.0, true), HPos::Left)?;
        legend(root, dots.iter().any(|d| d.accuracy[0].count > 1))?;
        plane.y_axis(root, "accuracy, %")?;
        plane.x_axis(root, "seconds per epoch, without evaluation", nice_step(plane.x.1 / 10.0), true)?;
        plane.frame(root)?;
        if dots.is_empty() {
            let middle = ((plane.left + plane.right) / 2, (plane.top + plane.bottom) / 2);
            return label(root, "no data", middle, font(14.0, false), HPos::Center);
        }
        let (mut taken, mut names): (Vec<Box4>, Vec<Box4>) = Default::default();
        for d in &dots {
            let x = plane.x(d.seconds);
            let [mean, worst] = d.accuracy.map(|s| plane.y(s.mean));
            root.draw(&PathElement::new(vec![(x, mean), (x, worst)], d.look.colour.stroke_width(1)))?;
            taken.push([x - 1, mean, x + 1, worst]);
            for s in d.accuracy.iter().filter(|s| s.count > 1) {
                let (from, to) = (plane.y(s.mean - s.sd), plane.y(s.mean + s.sd));
                error_bar(root, x, from, to, d.look.colour)?;
                taken.push([x - 6, to, x + 6, from]);
            }
        }
        // Markers over all lines.
        for d in &dots {
            for (s, filled) in d.accuracy.iter().zip([true, false]) {
                let (x, y) = (plane.x(d.seconds), plane.y(s.mean));
                marker(root, d.look, (x, y), 5.0, filled)?;
                taken.push([x - 8, y - 8, x + 8, y + 8]);
            }
        }
        for d in &dots {
            let at = (plane.x(d.seconds), plane.y(d.accuracy[0].mean));
            let place = put_name(&plane, at, text_width(&d.name, 12.0), &taken, &names);
            let [left, top, _, bottom] = place;
            let y = (top + bottom) / 2;
            if let Some(end) = leader(at, place) {
                root.draw(&PathElement::new(vec![at, end], LEADER))?;
                marker(root, d.look, at, 5.0, true)?;
                taken.extend(along(at, end));
            }
            names.push(place);
            label(root, &d.name, (left, y), font(12.0, false), HPos::Left)?;
        }
        Ok(())
    })
}

/// A place for a name of `width` pixels beside its marker: the nearest that covers nothing and whose leader crosses no
/// name, or the one that does so least.
fn put_name(plane: &Plane, at: (i32, i32), width: i32, taken: &[Box4], names: &[Box4]) -> Box4 {
    let mut best: Option<(i32, Box4)> = None;
    for dy in [0, -12, 12, -24, 24, -36, 36, -50, 50, -66, 66, -84, 84, -104, 104, -126, 126] {
        for dx in [11, 24, 40, 60] {
            for left in [at.0 + dx, at.0 - dx - width] {
                let place = [left, at.1 + dy - 7, left + width, at.1 + dy + 7];
                let outside = left < plane.left + 4 || left + width > plane.right + 20;
                if outside || place[1] < plane.top - 6 || place[3] > plane.bottom - 2 {
                    continue;
                }
                let covered: i32 = taken.iter().chain(names).map(|t| overlap(*t, place)).sum();
                let lead = leader(at, place).into_iter().flat_map(|end| along(at, end));
                let crossed: i32 = lead.flat_map(|l| names.iter().map(move |n| overlap(*n, l))).sum();
                let cost = covered + crossed;
                if cost == 0 {
                    return place;
                }
                if best.is_none_or(|b| cost < b.0) {
                    best = Some((cost, place));
                }
            }
        }
    }
    // A name too wide for either side begins at the axis.
    best.map_or([plane.left + 4, at.1 - 23, plane.left + 4 + width, at.1 - 9], |b| b.1)
}

/// Where a line from a marker to its name ends; none where they are close.
fn leader(at: (i32, i32), [left, top, right, bottom]: Box4) -> Option<(i32, i32)> {
    let y = (top + bottom) / 2;
    let far = (y - at.1).abs() > 12 || left > at.0 + 14 || right < at.0 - 14;
    far.then_some((if left > at.0 { left - 2 } else { right + 2 }, y))
}

/// Small boxes along a line.
fn along(from: (i32, i32), to: (i32, i32)) -> impl Iterator<Item = Box4> {
    (1..=16).map(move |i| {
        let (x, y) = (from.0 + (to.0 - from.0) * i / 16, from.1 + (to.1 - from.1) * i / 16);
        [x - 1, y - 1, x + 1, y + 1]
    })
}

/// A vertical interval with end caps.
fn error_bar(area: &Area, x: i32, from: i32, to: i32, colour: RGBColor) -> Drawn {
    area.draw(&PathElement::new(vec![(x, from), (x, to)], colour.stroke_width(3)))?;
    for y in [from, to] {
        area.draw(&PathElement::new(vec![(x - 5, y), (x + 5, y)], colour.stroke_width(2)))?;
    }
    Ok(())
}

/// What is filled and what is hollow.
fn legend(area: &Area, several: bool) -> Drawn {
    let (mut x, y) = (24, 50);
    for (text, filled) in [("all classes", true), ("worst class", false)] {
        marker(area, look(0), (x, y), 5.0, filled)?;
        label(area, text, (x + 14, y), font(12.0, false), HPos::Left)?;
        x += 14 + text_width(text, 12.0) + 24;
    }
    if several {
        error_bar(area, x, y + 8, y - 8, INK)?;
        label(area, "± SD over the seeds", (x + 14, y), font(12.0, false), HPos::Left)?;
    }
    Ok(())
}
