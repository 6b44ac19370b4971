//! Axes.

use super::canvas::{Anchor, Canvas, Font, Ink, Stroke};

/// The smallest of 1, 2, 5, 10, 20, ... times a power of ten that is no smaller than `least`.
fn nice_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= least * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// Multiples of `step` in [low, high]; never more than `at_most`.
fn multiples(low: f64, high: f64, step: f64, at_most: usize) -> Vec<f64> {
    let first = (low / step).ceil();
    (0..at_most).map(|i| (first + i as f64) * step).filter(|t| *t <= high * (1.0 + 1e-9)).collect()
}

/// `tick` with as many decimals as its `step` needs.
fn tick_label(tick: f64, step: f64) -> String {
    if !(1e-6..1e7).contains(&step) {
        return format!("{tick:.0e}");
    }
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    format!("{tick:.decimals$}")
}

/// The values at both ends of an axis, and how far its numbers are apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub low: f64,
    pub high: f64,
    pub step: f64,
}

impl Scale {
    /// With about so many numbers, no closer than `least` to each other.
    pub fn new(low: f64, high: f64, numbers: f64, least: f64) -> Scale {
        Scale { low, high, step: nice_step(((high - low) / numbers).max(least)) }
    }

    /// Where a value lies between both ends, in [0, 1].
    pub fn share(&self, v: f64) -> f64 {
        let share = (v - self.low) / (self.high - self.low);
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    fn ticks(&self) -> impl Iterator<Item = (f64, String)> {
        multiples(self.low, self.high, self.step, 40).into_iter().map(|tick| (tick, tick_label(tick, self.step)))
    }
}

/// Pixels that hold the data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
}

impl Frame {
    pub fn middle(&self) -> (f64, f64) {
        ((self.left + self.right) / 2.0, (self.top + self.bottom) / 2.0)
    }
}

/// Lines across the data at an axis' numbers, or only short ones at the axis.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Grid {
    Lines,
    Ticks,
}

/// A frame with a scale on each side.
pub(crate) struct Plane {
    pub frame: Frame,
    pub x: Scale,
    pub y: Scale,
}

impl Plane {
    pub fn x(&self, v: f64) -> f64 {
        self.frame.left + self.x.share(v) * (self.frame.right - self.frame.left)
    }

    pub fn y(&self, v: f64) -> f64 {
        self.frame.bottom - self.y.share(v) * (self.frame.bottom - self.frame.top)
    }

    /// Grid lines and numbers of the vertical axis.
    pub fn y_axis(&self, canvas: &mut Canvas) {
        let Frame { left, right, .. } = self.frame;
        for (tick, label) in self.y.ticks() {
            let y = self.y(tick);
            canvas.line(&[(left, y), (right, y)], Stroke::of(Ink::Rule, 1.0));
            canvas.text(&label, (left - 6.0, y), Anchor::End, Font::of(12.0));
        }
    }

    /// Numbers of the horizontal axis, and its title below it.
    pub fn x_axis(&self, canvas: &mut Canvas, title: &str, grid: Grid) {
        let Frame { top, bottom, .. } = self.frame;
        for (tick, label) in self.x.ticks() {
            let x = self.x(tick);
            if grid == Grid::Lines {
                canvas.line(&[(x, top), (x, bottom)], Stroke::of(Ink::Rule, 1.0));
            }
            canvas.line(&[(x, bottom), (x, bottom + 4.0)], Stroke::of(Ink::Text, 1.0));
            canvas.text(&label, (x, bottom + 13.0), Anchor::Middle, Font::of(12.0));
        }
        canvas.text(title, (self.frame.middle().0, bottom + 31.0), Anchor::Middle, Font::of(12.0));
    }

    /// The left and lower edges.
    pub fn edges(&self, canvas: &mut Canvas) {
        let Frame { left, right, top, bottom } = self.frame;
        canvas.line(&[(left, top), (left, bottom), (right, bottom)], Stroke::of(Ink::Text, 1.0));
    }

    /// Says that there is nothing to see.
    pub fn no_data(&self, canvas: &mut Canvas) {
        canvas.text("no data", self.frame.middle(), Anchor::Middle, Font::of(14.0));
    }
}
