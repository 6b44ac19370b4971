//! The figures of a comparison of methods, and what they share: how methods are told apart, axes, and names at the
//! ends of lines.

use super::*;
use crate::report::comparison::Comparison;
use crate::report::table::clip;
use std::path::PathBuf;

/// Longer names of methods are cut.
pub(super) const NAME: usize = 32;
/// Height of a line of text.
pub(super) const ROW: i32 = 17;

/// Writes `cost.svg` and `live.svg` and, where methods have results, `tradeoff.svg` and `class_lines.svg` into
/// `folder`, which must exist; returns their paths. `live.svg` is left out where no method attacks.
///
/// # Errors
/// Where a file can't be written.
pub fn write_figures(folder: &Path, comparison: &Comparison) -> Result<Vec<PathBuf>> {
    let has_live = comparison.methods.iter().any(|m| !m.cost.live.is_empty());
    // The last attack is the strongest.
    let attack = comparison.attacks().pop();
    let mut written = Vec::new();
    let mut path = |name: &str| {
        written.push(folder.join(name));
        folder.join(name)
    };
    cost::write_cost(&path("cost.svg"), comparison)?;
    if has_live {
        live::write_live(&path("live.svg"), comparison)?;
    }
    if let Some(attack) = attack {
        tradeoff::write_tradeoff(&path("tradeoff.svg"), comparison, &attack)?;
        class_lines::write_class_lines(&path("class_lines.svg"), comparison, &attack)?;
    }
    Ok(written)
}

/// How a method is told from others: no two of the first 36 share both dash and marker.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub colour: RGBColor,
    /// Pixels on and off in turn; solid where empty.
    dash: &'static [i32],
    shape: usize,
}

/// Dark and light in turn.
const COLOURS: [RGBColor; 9] = [
    RGBColor(17, 17, 17),
    RGBColor(0, 114, 178),
    RGBColor(222, 120, 0),
    RGBColor(136, 34, 85),
    RGBColor(34, 160, 130),
    RGBColor(165, 42, 20),
    RGBColor(95, 150, 225),
    RGBColor(20, 90, 40),
    RGBColor(190, 110, 170),
];
const DASHES: [&[i32]; 4] = [&[], &[9, 4], &[3, 3], &[11, 3, 3, 3]];
/// Corners of a marker (0 is a disc), the angle of the first in eighths of a turn, and whether it is a star.
const SHAPES: [(usize, f64, bool); 9] = [
    (0, 0.0, false),
    (4, 1.0, false),
    (3, -2.0, false),
    (4, 0.0, false),
    (3, 2.0, false),
    (5, -2.0, true),
    (4, 1.0, true),
    (4, 0.0, true),
    (3, 0.0, false),
];

/// The look of the method at this place.
pub(super) fn look(method: usize) -> Look {
    Look { colour: COLOURS[method % 9], dash: DASHES[method % 4], shape: method % 9 }
}

/// The marker of a look, filled, or hollow on white.
pub(super) fn marker(area: &Area, look: Look, at: (i32, i32), radius: f64, filled: bool) -> Drawn {
    let (corners, first, star) = SHAPES[look.shape];
    let fill = if filled { look.colour } else { WHITE };
    if corners == 0 {
        area.draw(&Circle::new(at, radius as i32, fill.filled()))?;
        return Ok(area.draw(&Circle::new(at, radius as i32, look.colour.stroke_width(2)))?);
    }
    // Corners lie further out than the rim of a disc of the same area.
    let radius = radius
        * if star {
            1.6
        } else if corners == 3 {
            1.45
        } else {
            1.25
        };
    let points = if star { 2 * corners } else { corners };
    let corner = |i: usize| {
        let angle = std::f64::consts::TAU * (first / 8.0 + i as f64 / points as f64);
        let r = if star && i % 2 == 1 { 0.45 * radius } else { radius };
        (at.0 + (r * angle.cos()).round() as i32, at.1 + (r * angle.sin()).round() as i32)
    };
    let outline: Vec<(i32, i32)> = (0..=points).map(corner).collect();
    area.draw(&Polygon::new(outline.clone(), fill.filled()))?;
    Ok(area.draw(&PathElement::new(outline, look.colour.stroke_width(2)))?)
}

/// A line through pixels in the dash of a look.
pub(super) fn polyline(area: &Area, look: Look, points: &[(i32, i32)]) -> Drawn {
    let style = look.colour.stroke_width(2);
    if look.dash.is_empty() {
        return Ok(area.draw(&PathElement::new(points.to_vec(), style))?);
    }
    let (mut part, mut left) = (0, f64::from(look.dash[0]));
    let mut stroke = Vec::from_iter(points.first().copied());
    for ends in points.windows(2) {
        let (from, to) = (ends[0], ends[1]);
        let (dx, dy) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
        let length = dx.hypot(dy);
        let mut done = 0.0;
        while length - done > left {
            done += left;
            let share = done / length;
            let at = (from.0 + (share * dx).round() as i32, from.1 + (share * dy).round() as i32);
            stroke.push(at);
            if part % 2 == 0 {
                area.draw(&PathElement::new(std::mem::take(&mut stroke), style))?;
            }
            stroke = vec![at];
            part = (part + 1) % look.dash.len();
            left = f64::from(look.dash[part]);
        }
        left -= length - done;
        stroke.push(to);
    }
    if part % 2 == 0 && stroke.len() > 1 {
        area.draw(&PathElement::new(stroke, style))?;
    }
    Ok(())
}

/// Pixels that hold the data, and the values at their edges.
pub(super) struct Plane {
    pub left: i32,
    pub right: i32,
    pub top: i32,
    pub bottom: i32,
    pub x: (f64, f64),
    pub y: (f64, f64),
}

impl Plane {
    pub fn x(&self, v: f64) -> i32 {
        self.left + (place(v, self.x) * f64::from(self.right - self.left)).round() as i32
    }

    pub fn y(&self, v: f64) -> i32 {
        self.bottom - (place(v, self.y) * f64::from(self.bottom - self.top)).round() as i32
    }

    /// Grid lines and numbers of the vertical axis, its title above it.
    pub fn y_axis(&self, area: &Area, title: &str) -> Drawn {
        let step = nice_step((self.y.1 - self.y.0) / 8.0);
        for tick in multiples(self.y.0, self.y.1, step, 20) {
            let y = self.y(tick);
            area.draw(&PathElement::new(vec![(self.left, y), (self.right, y)], GRID))?;
            label(area, &tick_label(tick, step), (self.left - 8, y), font(12.0, false), HPos::Right)?;
        }
        label(area, title, (self.left - 40, self.top - 16), font(13.0, false), HPos::Left)
    }

    /// Numbers of the horizontal axis, its title below it; `grid` draws lines too.
    pub fn x_axis(&self, area: &Area, title: &str, step: f64, grid: bool) -> Drawn {
        for tick in multiples(self.x.0, self.x.1, step, 40) {
            let x = self.x(tick);
            let top = if grid { self.top } else { self.bottom };
            area.draw(&PathElement::new(vec![(x, top), (x, self.bottom)], GRID))?;
            area.draw(&PathElement::new(vec![(x, self.bottom), (x, self.bottom + 4)], INK))?;
            label(area, &tick_label(tick, step), (x, self.bottom + 14), font(12.0, false), HPos::Center)?;
        }
        let middle = (self.left + self.right) / 2;
        label(area, title, (middle, self.bottom + 36), font(13.0, false), HPos::Center)
    }

    /// The left and lower edges.
    pub fn frame(&self, area: &Area) -> Drawn {
        let corner = (self.left, self.bottom);
        let edges = vec![(self.left, self.top), corner, (self.right, self.bottom)];
        Ok(area.draw(&PathElement::new(edges, INK))?)
    }
}

/// Where a value lies between two others, in [0, 1].
fn place(v: f64, (low, high): (f64, f64)) -> f64 {
    let share = (v - low) / (high - low);
    if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
}

/// A line of the figure, named beside its end.
pub(super) struct Named {
    pub names: Vec<String>,
    pub look: Look,
    /// The last pixel of the line; none where the name should not be led to it.
    pub end: Option<(i32, i32)>,
    /// Where the name would best be.
    pub y: i32,
}

/// From the right edge of the data to the names beside it.
const LEAD: i32 = 66;

/// Pixels that [`name_lines`] needs to the right of the data.
pub(super) fn names_width<'a>(names: impl Iterator<Item = &'a str>) -> i32 {
    LEAD + names.map(|n| text_width(&clip(n, NAME), 12.0)).max().unwrap_or(0) + 12
}

/// Names to the right of the data with a piece of their line each, as near to its end as others allow.
pub(super) fn name_lines(area: &Area, plane: &Plane, mut lines: Vec<Named>) -> Drawn {
    lines.sort_by_key(|l| l.y);
    let heights: Vec<i32> = lines.iter().map(|l| ROW * l.names.len() as i32).collect();
    let mut tops: Vec<i32> = Vec::new();
    for (i, l) in lines.iter().enumerate() {
        let above = if i == 0 { plane.top - ROW / 2 } else { tops[i - 1] + heights[i - 1] };
        tops.push((l.y - ROW / 2).max(above));
    }
    let mut limit = plane.bottom + ROW / 2;
    for i in (0..lines.len()).rev() {
        tops[i] = tops[i].min(limit - heights[i]);
        limit = tops[i];
    }
    let start = plane.right + LEAD - 42;
    for (l, top) in lines.iter().zip(tops) {
        let y = top + ROW / 2;
        if let Some(end) = l.end {
            let lead = vec![(end.0 + 6, end.1), (plane.right + 8, end.1), (start - 3, y)];
            area.draw(&PathElement::new(lead, LEADER))?;
        }
        polyline(area, l.look, &[(start, y), (start + 34, y)])?;
        marker(area, l.look, (start + 17, y), 3.0, true)?;
        for (i, name) in l.names.iter().enumerate() {
            let at = (plane.right + LEAD, y + ROW * i as i32);
            label(area, &clip(name, NAME), at, font(12.0, false), HPos::Left)?;
        }
    }
    Ok(())
}

/// The colour of lines between a name and what it names.
pub(super) const LEADER: RGBColor = RGBColor(150, 150, 150);

/// The height that names need beside the data.
pub(super) fn names_height(names: usize) -> i32 {
    ROW * names as i32
}

/// A number with three digits, as far as it has decimals.
pub(super) fn digits(v: f64) -> String {
    if !v.is_finite() || v.abs() >= 1e7 {
        return if v.is_finite() { format!("{v:.1e}") } else { "–".to_owned() };
    }
    let decimals = if v == 0.0 { 0.0 } else { (2.0 - v.abs().log10().floor()).clamp(0.0, 5.0) };
    format!("{v:.0$}", decimals as usize)
}
