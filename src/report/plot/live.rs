//! `live.svg`: how many examples take part in each step of the attack.

use super::canvas::{Anchor, Canvas, Font};
use super::comparison::{NAME, Named, ROW, name_lines, names_height, names_width, title, y_title};
use super::lines::level;
use super::look::Look;
use super::plane::{Frame, Grid, Plane, Scale};
use super::write_svg;
use crate::Result;
use crate::report::table::clip;
use crate::results::comparison::Comparison;
use std::path::Path;

/// Methods with the same shares, by place; they are one line.
fn groups(comparison: &Comparison) -> Vec<Vec<usize>> {
    let live = |m: usize| &comparison.methods[m].cost.live;
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for m in (0..comparison.methods.len()).filter(|m| !live(*m).is_empty()) {
        let same = |g: &&mut Vec<usize>| {
            let other = live(g[0]);
            other.len() == live(m).len() && other.iter().zip(live(m)).all(|(a, b)| (a - b).abs() < 1e-3)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(m),
            None => groups.push(vec![m]),
        }
    }
    groups
}

pub(super) fn write_live(path: &Path, comparison: &Comparison) -> Result<()> {
    let methods = &comparison.methods;
    let groups = groups(comparison);
    let steps = methods.iter().map(|m| m.cost.live.len()).max().unwrap_or(0).max(1);
    let idle: Vec<&str> = methods.iter().filter(|m| m.cost.live.is_empty()).map(|m| m.method.as_str()).collect();
    let left = 60.0;
    let right = left + (46.0 * steps as f64).clamp(480.0, 900.0);
    // Room for the names, and below them for those of methods without an attack.
    let below = if idle.is_empty() { 0.0 } else { names_height(idle.len()) + 40.0 };
    let bottom = 84.0 + (names_height(methods.len()) + 20.0).max(330.0);
    let plane = Plane {
        frame: Frame { left, right, top: 84.0, bottom },
        x: Scale::new(-0.5, steps as f64 - 0.5, 20.0, 1.0),
        y: Scale::new(0.0, 100.0, 8.0, 1.0),
    };
    let mut canvas = Canvas::default();
    title(&mut canvas, "Live examples at each step of the attack");
    if groups.iter().any(|g| g.len() > 1) {
        canvas.text("Methods with the same shares are one line.", (16.0, 42.0), Anchor::Start, Font::of(12.0));
    }
    y_title(&mut canvas, &plane, "live examples, %");
    plane.y_axis(&mut canvas);
    plane.x_axis(&mut canvas, "step of the attack", Grid::Ticks);
    plane.edges(&mut canvas);
    let mut named = Vec::new();
    for group in &groups {
        let look = Look(group[0]);
        let live = &methods[group[0]].cost.live;
        let known = live.iter().enumerate().filter(|(_, v)| v.is_finite());
        let shares: Vec<(f64, f64)> = known.map(|(k, v)| (k as f64, 100.0 * v)).collect();
        let Some(&(last, end)) = shares.last() else { continue };
        let line: Vec<(f64, f64)> = level(&shares).into_iter().map(|(k, v)| (plane.x(k), plane.y(v))).collect();
        canvas.line(&line, look.stroke());
        for &(k, v) in shares.iter().step_by(steps.div_ceil(24)) {
            look.marker(&mut canvas, (plane.x(k), plane.y(v)), 3.0);
        }
        let y = plane.y(end);
        let names = group.iter().map(|m| methods[*m].method.clone()).collect();
        let reaches = last + 1.0 == steps as f64;
        named.push(Named { names, look, end: reaches.then_some((plane.x(last + 0.5), y)), y });
    }
    name_lines(&mut canvas, &plane, named);
    if !idle.is_empty() {
        let (x, mut y) = (right + 24.0, bottom + 30.0);
        canvas.text("without an attack:", (x, y), Anchor::Start, Font::of(12.0));
        for name in &idle {
            y += ROW;
            canvas.text(&clip(name, NAME), (x + 12.0, y), Anchor::Start, Font::of(12.0));
        }
    }
    let width = right + names_width(methods.iter().map(|m| m.method.as_str()).chain(["without an attack:"]));
    write_svg(path, canvas.file(width, (bottom + 56.0).max(bottom + below)))
}
