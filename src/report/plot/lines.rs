//! Series over an axis of whole numbers: the panels of `curves.svg`, and the same on the page.

use super::canvas::{Anchor, Canvas, Fill, Font, Ink, text_width};
use super::look::{Key, Look};
use super::plane::{Frame, Grid, Plane, Scale};
use std::collections::BTreeMap;

/// A series.
pub(crate) struct Series {
    /// What it is.
    pub name: String,
    /// The same thing looks the same in all figures.
    pub look: Look,
    /// Its points, by x; those that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// How series are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// Lines with markers; they bridge what is missing.
    Lines,
    /// Lines that stay level from x - 1/2 to x + 1/2.
    Steps,
    /// Bars, each series on top of those before it; the darker the lower.
    Stack,
}

/// A vertical line where something begins.
#[derive(Clone)]
pub(crate) struct Mark {
    pub x: f64,
    pub says: String,
}

/// A figure.
pub(crate) struct Chart<'a> {
    /// What is to the right.
    pub x: &'a str,
    pub form: Form,
    /// The highest value that the vertical axis has to hold; by the data where there is none.
    pub highest: Option<f64>,
    pub mark: Option<Mark>,
    pub series: Vec<Series>,
}

/// How far a series' bars stand apart, as a share of their distance; none where they are many.
const GAP: f64 = 0.2;
const MANY_BARS: f64 = 60.0;

impl Chart<'_> {
    /// What each series is, and its sign.
    pub fn legend(&self) -> impl Iterator<Item = (&str, Key)> {
        self.series.iter().enumerate().map(|(i, s)| (s.name.as_str(), self.key(i)))
    }

    fn key(&self, series: usize) -> Key {
        match self.form {
            Form::Stack => Key::Area(tone(series)),
            Form::Lines | Form::Steps => Key::Line(self.series[series].look),
        }
    }

    /// Draws all but the legend; the numbers of the axes stand outside the frame.
    pub fn draw(&self, canvas: &mut Canvas, frame: Frame) {
        let points = || self.series.iter().flat_map(Series::known);
        let is_empty = points().next().is_none();
        let (low, high) = points().fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(p.0), h.max(p.0)));
        let (low, high) = if is_empty { (0.5, 1.5) } else { (low - 0.5, high + 0.5) };
        let top = 1.04 * self.highest.unwrap_or_else(|| self.highest_point());
        let numbers = (frame.right - frame.left) / 52.0;
        let plane =
            Plane { frame, x: Scale::new(low, high, numbers, 1.0), y: Scale::new(0.0, top, 6.0, f64::MIN_POSITIVE) };
        plane.y_axis(canvas);
        plane.x_axis(canvas, self.x, Grid::Ticks);
        if is_empty {
            plane.no_data(canvas);
        }
        match self.form {
            Form::Stack => self.stack(canvas, &plane),
            Form::Lines | Form::Steps => self.series.iter().for_each(|s| self.line(canvas, &plane, s)),
        }
        plane.edges(canvas);
        if let Some(mark) = self.mark.as_ref().filter(|m| m.x > low && m.x < high) {
            put_mark(canvas, &plane, mark);
        }
    }

    /// The highest value there is; series that are stacked add up.
    fn highest_point(&self) -> f64 {
        let mut sums: BTreeMap<u64, f64> = BTreeMap::new();
        let mut highest: f64 = 0.0;
        for (x, y) in self.series.iter().flat_map(Series::known) {
            let sum = sums.entry(x as u64).or_default();
            *sum = if self.form == Form::Stack { *sum + y.max(0.0) } else { y };
            highest = highest.max(*sum);
        }
        match highest {
            0.0 => 1.0,
            highest if highest.is_finite() => highest.min(f64::MAX / 4.0),
            _ => f64::MAX / 4.0,
        }
    }

    fn line(&self, canvas: &mut Canvas, plane: &Plane, series: &Series) {
        let known: Vec<(f64, f64)> = series.known().collect();
        let way = if self.form == Form::Steps { level(&known) } else { known.clone() };
        canvas.line(&way.iter().map(|p| (plane.x(p.0), plane.y(p.1))).collect::<Vec<_>>(), series.look.stroke());
        // The last and about twenty others: as many as tell lines apart without hiding them.
        for &(x, y) in known.iter().rev().step_by(known.len().div_ceil(20).max(1)) {
            series.look.marker(canvas, (plane.x(x), plane.y(y)), 3.0);
        }
    }

    fn stack(&self, canvas: &mut Canvas, plane: &Plane) {
        let half = if plane.x.high - plane.x.low < MANY_BARS { 0.5 - GAP / 2.0 } else { 0.5 };
        let mut below: BTreeMap<u64, f64> = BTreeMap::new();
        for (i, series) in self.series.iter().enumerate() {
            for (x, y) in series.known().filter(|p| p.1 > 0.0) {
                let from = below.entry(x as u64).or_default();
                let to = (*from + y).min(f64::MAX);
                let corners = [(plane.x(x - half), plane.y(*from)), (plane.x(x + half), plane.y(to))];
                canvas.rect(corners, tone(i));
                *from = to;
            }
        }
    }
}

impl Series {
    fn known(&self) -> impl Iterator<Item = (f64, f64)> {
        self.points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite())
    }
}

/// The bars at this place of a stack.
fn tone(place: usize) -> Fill {
    Fill::of(Ink::Tone(place))
}

/// The corners of a line that stays level from x - 1/2 to x + 1/2.
pub(super) fn level(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points.iter().flat_map(|&(x, y)| [(x - 0.5, y), (x + 0.5, y)]).collect()
}

/// A dashed line, and its words above the data.
fn put_mark(canvas: &mut Canvas, plane: &Plane, mark: &Mark) {
    let Frame { left, right, top, bottom } = plane.frame;
    let x = plane.x(mark.x);
    canvas.dashes((x, bottom), (x, top - 4.0), Ink::Text);
    let half = text_width(&mark.says, 11.0) / 2.0;
    let centre = x.min(right - half).max(left + half);
    canvas.text(&mark.says, (centre, top - 12.0), Anchor::Middle, Font::of(11.0));
}
