//! The figures of a comparison of methods, and what they share: names at the ends of lines.

use super::canvas::{Anchor, Canvas, Font, Ink, Point, Stroke, text_width};
use super::look::Look;
use super::plane::Plane;
use super::{class_lines, cost, live, tradeoff};
use crate::Result;
use crate::report::table::clip;
use crate::results::comparison::Comparison;
use std::path::{Path, PathBuf};

/// Longer names of methods are cut.
pub(super) const NAME: usize = 32;
/// Height of a line of text.
pub(super) const ROW: f64 = 17.0;

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

/// The title of a figure.
pub(super) fn title(canvas: &mut Canvas, text: &str) {
    canvas.text(text, (16.0, 20.0), Anchor::Start, Font::of(16.0).bold());
}

/// What the vertical axis is, above it.
pub(super) fn y_title(canvas: &mut Canvas, plane: &Plane, text: &str) {
    canvas.text(text, (plane.frame.left - 40.0, plane.frame.top - 16.0), Anchor::Start, Font::of(13.0));
}

/// A line between a name and what it names.
pub(super) fn leader() -> Stroke {
    Stroke::of(Ink::Soft, 0.7)
}

/// A line of the figure, named beside its end.
pub(super) struct Named {
    pub names: Vec<String>,
    pub look: Look,
    /// The last point of the line; none where the name should not be led to it.
    pub end: Option<Point>,
    /// Where the name would best be.
    pub y: f64,
}

/// From the right edge of the data to the names beside it.
const LEAD: f64 = 66.0;

/// Pixels that [`name_lines`] needs to the right of the data.
pub(super) fn names_width<'a>(names: impl Iterator<Item = &'a str>) -> f64 {
    LEAD + names.map(|n| text_width(&clip(n, NAME), 12.0)).fold(0.0, f64::max) + 12.0
}

/// Names to the right of the data with a piece of their line each, as near to its end as others allow.
pub(super) fn name_lines(canvas: &mut Canvas, plane: &Plane, mut lines: Vec<Named>) {
    lines.sort_by(|a, b| a.y.total_cmp(&b.y));
    let frame = plane.frame;
    let heights: Vec<f64> = lines.iter().map(|l| names_height(l.names.len())).collect();
    let mut tops: Vec<f64> = Vec::new();
    for (i, l) in lines.iter().enumerate() {
        let above = if i == 0 { frame.top - ROW / 2.0 } else { tops[i - 1] + heights[i - 1] };
        tops.push((l.y - ROW / 2.0).max(above));
    }
    let mut limit = frame.bottom + ROW / 2.0;
    for i in (0..lines.len()).rev() {
        tops[i] = tops[i].min(limit - heights[i]);
        limit = tops[i];
    }
    let start = frame.right + LEAD - 42.0;
    for (l, top) in lines.iter().zip(tops) {
        let y = top + ROW / 2.0;
        if let Some(end) = l.end {
            canvas.line(&[(end.0 + 6.0, end.1), (frame.right + 8.0, end.1), (start - 3.0, y)], leader());
        }
        canvas.line(&[(start, y), (start + 34.0, y)], l.look.stroke());
        l.look.marker(canvas, (start + 17.0, y), 3.0);
        for (i, name) in l.names.iter().enumerate() {
            let at = (frame.right + LEAD, y + ROW * i as f64);
            canvas.text(&clip(name, NAME), at, Anchor::Start, Font::of(12.0));
        }
    }
}

/// The height that names need beside the data.
pub(super) fn names_height(names: usize) -> f64 {
    ROW * names as f64
}

/// A number with three digits, as far as it has decimals.
pub(super) fn digits(v: f64) -> String {
    if !v.is_finite() || v.abs() >= 1e7 {
        return if v.is_finite() { format!("{v:.1e}") } else { "–".to_owned() };
    }
    let decimals = if v == 0.0 { 0.0 } else { (2.0 - v.abs().log10().floor()).clamp(0.0, 5.0) };
    format!("{v:.0$}", decimals as usize)
}
