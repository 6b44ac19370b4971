//! `cost.svg`: seconds of an epoch of each method, and what they were spent on.

use super::comparison::*;
use super::*;
use crate::report::comparison::{Comparison, MethodCost};
use crate::report::table::clip;

/// Of one hue, dark to light, the rest white: the order reads without colour.
const PARTS: [(&str, RGBColor); 4] = [
    ("data", RGBColor(170, 208, 232)),
    ("attack", RGBColor(8, 48, 107)),
    ("update", RGBColor(66, 146, 198)),
    ("other", WHITE),
];
const PITCH: i32 = 34;
const BAR: i32 = 20;
const PLOT: i32 = 520;

/// Seconds in data, attack, update, and what an epoch has beyond these. Negative and missing numbers count as 0.
fn parts(cost: &MethodCost) -> [f64; 4] {
    let known = [cost.data, cost.attack, cost.update].map(seconds);
    let other = seconds(cost.seconds.median) - known.iter().sum::<f64>();
    // A difference below a hundredth is that of medians.
    [known[0], known[1], known[2], if other > 0.01 * cost.seconds.median { other } else { 0.0 }]
}

fn seconds(v: f64) -> f64 {
    if v.is_finite() { v.clamp(0.0, 1e12) } else { 0.0 }
}

/// Total and ratio, for example `7.20 s, 0.58 × (0.56–0.61)`.
fn total(cost: &MethodCost, is_baseline: bool) -> String {
    let r = cost.ratio;
    let seconds = format!("{} s", digits(cost.seconds.median));
    if is_baseline {
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
    let totals: Vec<String> = methods.iter().map(|m| total(&m.cost, m.method == comparison.baseline)).collect();
    let widest = |texts: &[String], px| texts.iter().map(|t| text_width(t, px)).max().unwrap_or(0);
    let reach =
        |m: &crate::report::comparison::MethodRow| parts(&m.cost).iter().sum::<f64>().max(seconds(m.cost.seconds.high));
    let longest = methods.iter().map(reach).fold(0.0, f64::max);
    let left = (widest(&names, 12.0) + 28).max(120);
    let plane = Plane {
        left,
        right: left + PLOT,
        top: 84,
        bottom: 84 + PITCH * methods.len().max(1) as i32,
        x: (0.0, if longest > 0.0 { 1.02 * longest } else { 1.0 }),
        y: (0.0, 1.0),
    };
    let size = ((plane.right + widest(&totals, 12.0) + 24) as u32, (plane.bottom + 56) as u32);
    write_svg(path, size, |root| {
        label(root, "Seconds per epoch", (16, 20), font(16.0, true), HPos::Left)?;
        legend(root, comparison)?;
        plane.x_axis(root, "seconds per epoch, without evaluation", nice_step(plane.x.1 / 8.0), true)?;
        if methods.is_empty() {
            let middle = ((plane.left + plane.right) / 2, plane.top + PITCH / 2);
            label(root, "no data", middle, font(14.0, false), HPos::Center)?;
        }
        let middle = |i: usize| plane.top + PITCH * i as i32 + PITCH / 2;
        for (i, m) in methods.iter().enumerate() {
            let y = middle(i);
            let mut from = 0.0;
            for (part, (_, fill)) in parts(&m.cost).into_iter().zip(PARTS).filter(|p| p.0 > 0.0) {
                let corners = [(plane.x(from), y - BAR / 2), (plane.x(from + part), y + BAR / 2)];
                swatch(root, corners, fill)?;
                from += part;
            }
            label(root, &names[i], (left - 8, y), font(12.0, false), HPos::Right)?;
        }
        if let Some(base) = comparison.baseline_row() {
            let x = plane.x(seconds(base.cost.seconds.median));
            dashed(root, (x, plane.top), (x, plane.bottom), INK.stroke_width(1))?;
        }
        // Over the line: whiskers, and numbers on white.
        for (i, m) in methods.iter().enumerate() {
            let (s, y) = (m.cost.seconds, middle(i));
            if s.high > s.low {
                whisker(root, plane.x(s.low), plane.x(s.high), y, 4)?;
            }
            let x = plane.x(reach(m)) + 8;
            let corners = [(x - 3, y - BAR / 2 + 1), (x + text_width(&totals[i], 12.0), y + BAR / 2 - 1)];
            root.draw(&Rectangle::new(corners, WHITE.filled()))?;
            label(root, &totals[i], (x, y), font(12.0, false), HPos::Left)?;
        }
        plane.frame(root)
    })
}

/// What the shades and marks mean, in a row; only of those that are drawn.
fn legend(area: &Area, comparison: &Comparison) -> Drawn {
    let (mut x, y) = (16, 48);
    let has_other = comparison.methods.iter().any(|m| parts(&m.cost)[3] > 0.0);
    for (name, fill) in PARTS.into_iter().filter(|p| p.0 != "other" || has_other) {
        swatch(area, [(x, y - 6), (x + 22, y + 6)], fill)?;
        label(area, name, (x + 28, y), font(12.0, false), HPos::Left)?;
        x += 28 + text_width(name, 12.0) + 18;
    }
    if comparison.methods.iter().any(|m| m.cost.seconds.high > m.cost.seconds.low) {
        whisker(area, x, x + 22, y, 4)?;
        label(area, "lowest to highest", (x + 28, y), font(12.0, false), HPos::Left)?;
        x += 28 + text_width("lowest to highest", 12.0) + 18;
    }
    if comparison.baseline_row().is_some() {
        dashed(area, (x + 11, y - 9), (x + 11, y + 9), INK.stroke_width(1))?;
        label(area, "baseline", (x + 22, y), font(12.0, false), HPos::Left)?;
    }
    Ok(())
}
