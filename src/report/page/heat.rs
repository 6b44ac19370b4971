//! Shares by row and column, as shaded cells: the darker (on a dark page, the lighter) the larger.

use super::chart::WIDTH;
use crate::report::table::clip;
use maud::{Markup, html};

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
pub(super) struct Heat<'a> {
    /// What is shown.
    pub title: &'a str,
    /// What the columns are.
    pub x: &'a str,
    /// The columns' names.
    pub columns: Vec<String>,
    /// Each row's name, and a share in [0, 1] per column; none where it is not known.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
}

/// A figure with a cell for every row and column, numbers (in %) in them where there is room.
pub(super) fn heat(h: &Heat) -> Markup {
    let longest = h.rows.iter().map(|r| r.0.chars().count().min(LONGEST)).max().unwrap_or(0);
    let left = 12.0 + 6.6 * longest as f64;
    let columns = h.columns.len().max(1);
    let wide = (WIDTH - 4.0 - left) / columns as f64;
    let high = if h.rows.len() <= NAMED { 19.0 } else { 400.0 / h.rows.len() as f64 };
    let bottom = TOP + high * h.rows.len() as f64;
    let height = bottom + 38.0;
    // Names of columns as far apart as the longest needs.
    let widest = h.columns.iter().map(|c| c.chars().count().min(6)).max().unwrap_or(1);
    let every = (7.5 * widest as f64 / wide).ceil().max(1.0) as usize;
    let rows_every = h.rows.len().div_ceil(NAMED).max(1);
    html! {
        figure {
            figcaption { (h.title) }
            svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(h.title) {
                @for (i, (name, cells)) in h.rows.iter().enumerate() {
                    @let y = TOP + high * i as f64;
                    @if i.is_multiple_of(rows_every) {
                        text x=(format!("{:.1}", left - 5.0)) y=(format!("{:.1}", y + high / 2.0 + 4.0))
                            text-anchor="end" { (clip(name, LONGEST)) }
                    }
                    @for (j, share) in cells.iter().enumerate() {
                        @if let Some(share) = share.filter(|s| s.is_finite()) {
                            @let x = left + wide * j as f64;
                            @if share > 0.0 {
                                rect.heat x=(format!("{x:.1}")) y=(format!("{y:.1}"))
                                    width=(format!("{wide:.1}")) height=(format!("{high:.1}"))
                                    fill-opacity=(format!("{:.3}", shade(share))) {}
                            }
                            @if columns <= NUMBERED && high > 15.0 {
                                text.{"cell " (if share > MIDDLE { "on" } else { "off" })}
                                    x=(format!("{:.1}", x + wide / 2.0)) y=(format!("{:.1}", y + high / 2.0 + 4.0))
                                    text-anchor="middle" { (format!("{:.0}", 100.0 * share)) }
                            }
                        }
                    }
                }
                @for (j, name) in h.columns.iter().enumerate().step_by(every) {
                    text x=(format!("{:.1}", left + wide * (j as f64 + 0.5))) y=(format!("{:.1}", bottom + 15.0))
                        text-anchor="middle" { (clip(name, 6)) }
                }
                path.axis d=(format!("M{left:.1} {TOP}V{bottom:.1}H{:.1}", left + wide * columns as f64)) {}
                text x=(format!("{:.1}", (left + WIDTH) / 2.0)) y=(format!("{:.1}", height - 5.0))
                    text-anchor="middle" { (h.x) }
            }
        }
    }
}
