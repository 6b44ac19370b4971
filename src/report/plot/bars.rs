//! Accuracies per class as bars with their intervals: `classes.svg`, and the same on the page.

use super::canvas::{Anchor, Canvas, Fill, Font, Ink, Point, Stroke, text_width};
use super::look::{Key, Look};
use crate::report::table::{class_name, clip};
use crate::results::{ClassAccuracy, Fairness};

/// A bar of every class.
pub(crate) struct Bars<'a> {
    /// What it is.
    pub name: String,
    pub look: Look,
    /// The accuracies.
    pub fairness: &'a Fairness,
}

impl Bars<'_> {
    fn accuracy(&self, class: usize) -> Option<ClassAccuracy> {
        self.fairness.per_class.get(class).copied().flatten()
    }

    /// What the bars look like.
    pub fn key(&self) -> Key {
        Key::Area(self.look.fill())
    }
}

/// Which bars have their number beside them.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Numbered {
    All,
    Worst,
}

/// What is said beside the worst class.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum WorstMark {
    /// That it is the worst.
    Short,
    /// And of what.
    Named,
}

/// Sizes, in pixels and characters.
pub(crate) struct Layout {
    /// Of the figure.
    pub width: f64,
    /// Where the axis is 0 and where 100 %: to the left are names, to the right there is room for numbers.
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bar: f64,
    /// Between classes.
    pub gap: f64,
    /// Between numbers of the axis, in %.
    pub tick: u32,
    pub name_px: f64,
    pub name_length: usize,
    pub number_px: f64,
    pub decimals: usize,
    pub numbered: Numbered,
    pub worst: WorstMark,
}

impl Layout {
    fn pitch(&self, bars: usize) -> f64 {
        self.bar * bars.max(1) as f64 + self.gap
    }

    /// Where the last class ends; numbers and title of the axis are below it.
    pub fn bottom(&self, classes: usize, bars: usize) -> f64 {
        self.top + self.pitch(bars) * classes.max(1) as f64
    }

    /// The lower edge of the figure.
    pub fn height(&self, classes: usize, bars: usize) -> f64 {
        self.bottom(classes, bars) + 42.0
    }

    fn x(&self, share: f64) -> f64 {
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self.left + share * (self.right - self.left)
    }
}

/// Draws, for each of these classes, a bar of each of `of` with its 95 % Wilson interval, the worst class of each marked,
/// and a dashed line at the accuracy over all classes.
pub(crate) fn draw_bars(canvas: &mut Canvas, layout: &Layout, shown: &[usize], class_names: &[String], of: &[Bars]) {
    let Layout { left, right, top, bar, gap, .. } = *layout;
    let (pitch, bottom) = (layout.pitch(of.len()), layout.bottom(shown.len(), of.len()));
    for percent in (0..=100).step_by(layout.tick as usize) {
        let x = layout.x(f64::from(percent) / 100.0);
        canvas.line(&[(x, top), (x, bottom)], Stroke::of(Ink::Rule, 1.0));
        canvas.text(&percent.to_string(), (x, bottom + 13.0), Anchor::Middle, Font::of(12.0));
    }
    let middle = (left + right) / 2.0;
    canvas.text("accuracy, %", (middle, bottom + 31.0), Anchor::Middle, Font::of(12.0));
    if shown.is_empty() {
        canvas.text("no data", (middle, (top + bottom) / 2.0), Anchor::Middle, Font::of(14.0));
    }
    // The middle of a bar.
    let y = |row: usize, i: usize| top + gap / 2.0 + pitch * row as f64 + bar * (i as f64 + 0.5);
    for (i, bars) in of.iter().enumerate() {
        for (row, accuracy) in shown.iter().enumerate().filter_map(|(row, c)| Some((row, bars.accuracy(*c)?))) {
            let y = y(row, i);
            let half = (bar - 1.0) / 2.0;
            let corners = [(left, y - half), (layout.x(accuracy.accuracy), y + half)];
            // The grid does not show through what is pale.
            canvas.rect(corners, Fill::of(Ink::Paper));
            canvas.rect(corners, bars.look.fill());
            canvas.whisker(layout.x(accuracy.low), layout.x(accuracy.high), y, half - 1.0);
        }
    }
    for bars in of {
        let x = layout.x(bars.fairness.mean);
        canvas.dashes((x, top), (x, bottom), bars.look.ink());
    }
    // Numbers come last, on the ground's colour, so that no line crosses them.
    for (row, &class) in shown.iter().enumerate() {
        let name = clip(&class_name(class_names, class), layout.name_length);
        let at = (left - 7.0, (y(row, 0) + y(row, of.len().max(1) - 1)) / 2.0);
        canvas.text(&name, at, Anchor::End, Font::of(layout.name_px));
        for (i, bars) in of.iter().enumerate() {
            number(canvas, layout, bars, class, y(row, i));
        }
    }
    canvas.line(&[(left, top), (left, bottom), (right, bottom)], Stroke::of(Ink::Text, 1.0));
}

/// The number beside a bar.
fn number(canvas: &mut Canvas, layout: &Layout, bars: &Bars, class: usize, y: f64) {
    let accuracy = bars.accuracy(class);
    let is_worst = accuracy.is_some() && class == bars.fairness.worst_class;
    let text = match accuracy {
        None => "no example".to_owned(),
        Some(a) if is_worst => {
            let number = format!("{:.*}", layout.decimals, 100.0 * a.accuracy);
            match layout.worst {
                WorstMark::Short => format!("{number} ◂ worst"),
                WorstMark::Named => format!("{number} worst of {}", clip(&bars.name, 12)),
            }
        }
        Some(_) if layout.numbered == Numbered::Worst => return,
        Some(a) => format!("{:.*}", layout.decimals, 100.0 * a.accuracy),
    };
    let (px, half) = (layout.number_px, (layout.bar - 1.0) / 2.0);
    let width = text_width(&text, px);
    let x = (layout.x(accuracy.map_or(0.0, |a| a.high)) + 5.0).min(layout.width - width);
    let corners: [Point; 2] = [(x - 2.0, y - half), (x + 0.9 * width, y + half)];
    canvas.rect(corners, Fill::of(Ink::Paper));
    let font = Font::of(px);
    canvas.text(&text, (x, y), Anchor::Start, if is_worst { font.bold() } else { font });
}
