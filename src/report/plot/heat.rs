//! Shares by row and column, as shaded cells: the darker (on a dark page, the lighter) the larger.

use super::canvas::{Anchor, Canvas, Fill, Font, Ink, Stroke};
use crate::report::table::clip;

const TOP: f64 = 4.0;
/// No more rows than this have names, and no more cells in a row numbers.
const NAMED: usize = 40;
const NUMBERED: usize = 12;
/// Characters of a row's name that are shown.
const LONGEST: usize = 20;

/// Above it numbers have the page's colour, below it that of text.
const MIDDLE: f64 = 0.6;

/// The opacity of a share's cell. Shades between 0.45 and 0.72 are left out: on a light or a dark page neither colour of
/// numbers could be read on them.
fn shade(share: f64) -> f64 {
    let share = share.clamp(0.0, 1.0);
    if share > MIDDLE { 0.72 + 0.28 * (share - MIDDLE) / (1.0 - MIDDLE) } else { 0.45 * share / MIDDLE }
}

/// What the cells are.
pub(crate) struct Heat<'a> {
    /// What is shown.
    pub title: &'a str,
    /// What the columns are.
    pub x: &'a str,
    /// The columns' names.
    pub columns: Vec<String>,
    /// Each row's name, and a share in [0, 1] per column; none where it is not known.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
}

impl Heat<'_> {
    /// Draws a cell for every row and column, numbers (in %) in them where there is room. Returns the height.
    pub fn draw(&self, canvas: &mut Canvas, width: f64) -> f64 {
        let longest = self.rows.iter().map(|r| r.0.chars().count().min(LONGEST)).max().unwrap_or(0);
        let left = 12.0 + 6.6 * longest as f64;
        let columns = self.columns.len().max(1);
        let wide = (width - 4.0 - left) / columns as f64;
        let high = if self.rows.len() <= NAMED { 19.0 } else { 400.0 / self.rows.len() as f64 };
        let bottom = TOP + high * self.rows.len() as f64;
        let rows_every = self.rows.len().div_ceil(NAMED).max(1);
        for (i, (name, cells)) in self.rows.iter().enumerate() {
            let y = TOP + high * i as f64;
            if i.is_multiple_of(rows_every) {
                canvas.text(&clip(name, LONGEST), (left - 5.0, y + high / 2.0), Anchor::End, Font::of(12.0));
            }
            for (j, share) in cells.iter().enumerate().filter_map(|(j, s)| Some((j, s.filter(|s| s.is_finite())?))) {
                let x = left + wide * j as f64;
                if share > 0.0 {
                    canvas.rect([(x, y), (x + wide, y + high)], Fill::of(Ink::Heat).opacity(shade(share)));
                }
                if columns <= NUMBERED && high > 15.0 {
                    let ink = if share > MIDDLE { Ink::Paper } else { Ink::Text };
                    let font = Font::of(10.0).ink(ink).class("cell");
                    let at = (x + wide / 2.0, y + high / 2.0);
                    canvas.text(&format!("{:.0}", 100.0 * share), at, Anchor::Middle, font);
                }
            }
        }
        // Names of columns as far apart as the longest needs.
        let widest = self.columns.iter().map(|c| c.chars().count().min(6)).max().unwrap_or(1);
        let every = (7.5 * widest as f64 / wide).ceil().max(1.0) as usize;
        for (j, name) in self.columns.iter().enumerate().step_by(every) {
            let at = (left + wide * (j as f64 + 0.5), bottom + 12.0);
            canvas.text(&clip(name, 6), at, Anchor::Middle, Font::of(12.0));
        }
        let right = left + wide * columns as f64;
        canvas.line(&[(left, TOP), (left, bottom), (right, bottom)], Stroke::of(Ink::Text, 1.0));
        canvas.text(self.x, ((left + width) / 2.0, bottom + 28.0), Anchor::Middle, Font::of(12.0));
        bottom + 38.0
    }
}
