//! `live.svg`: how many examples take part in each step of the attack.

use super::comparison::*;
use super::*;
use crate::report::comparison::Comparison;

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
    let left = 60;
    let right = left + (46 * steps as i32).clamp(480, 900);
    // Room for the names, and below them for those of methods without an attack.
    let below = if idle.is_empty() { 0 } else { names_height(idle.len()) + 40 };
    let height = (names_height(methods.len()) + 20).max(330);
    let plane = Plane { left, right, top: 84, bottom: 84 + height, x: (-0.5, steps as f64 - 0.5), y: (0.0, 100.0) };
    let width = right + names_width(methods.iter().map(|m| m.method.as_str()).chain(["without an attack:"]));
    let size = (width as u32, (plane.bottom + 56).max(plane.top + height + below) as u32);
    write_svg(path, size, |root| {
        label(root, "Live examples at each step of the attack", (16, 20), font(16.0, true), HPos::Left)?;
        if groups.iter().any(|g| g.len() > 1) {
            let note = "Methods with the same shares are one line.";
            label(root, note, (16, 42), font(12.0, false), HPos::Left)?;
        }
        plane.y_axis(root, "live examples, %")?;
        plane.x_axis(root, "step of the attack", nice_step((steps as f64 / 20.0).max(1.0)), false)?;
        plane.frame(root)?;
        let mut named = Vec::new();
        for group in &groups {
            let look = look(group[0]);
            let live = &methods[group[0]].cost.live;
            let known = live.iter().enumerate().filter(|(_, v)| v.is_finite());
            let shares: Vec<(f64, f64)> = known.map(|(k, v)| (k as f64, 100.0 * v)).collect();
            let Some(&(last, end)) = shares.last() else { continue };
            // A step is as wide as the way to its neighbours.
            let corners = shares.iter().flat_map(|&(k, v)| [(k - 0.5, v), (k + 0.5, v)]);
            let line: Vec<(i32, i32)> = corners.map(|(k, v)| (plane.x(k), plane.y(v))).collect();
            polyline(root, look, &line)?;
            for &(k, v) in shares.iter().step_by(steps.div_ceil(24)) {
                marker(root, look, (plane.x(k), plane.y(v)), 3.0, true)?;
            }
            let y = plane.y(end);
            let names = group.iter().map(|m| methods[*m].method.clone()).collect();
            let reaches = last + 1.0 == steps as f64;
            named.push(Named { names, look, end: reaches.then_some((plane.x(last + 0.5), y)), y });
        }
        name_lines(root, &plane, named)?;
        if !idle.is_empty() {
            let (x, mut y) = (right + 24, plane.bottom + 30);
            label(root, "without an attack:", (x, y), font(12.0, false), HPos::Left)?;
            for name in &idle {
                y += ROW;
                let name = crate::report::table::clip(name, NAME);
                label(root, &name, (x + 12, y), font(12.0, false), HPos::Left)?;
            }
        }
        Ok(())
    })
}
