//! Figures as SVG: [`write_curves`] over the epochs of a run, [`write_classes`] for the classes of an evaluation,
//! [`write_figures`] for a comparison of methods.
//!
//! Series differ in dash, marker or lightness as well as in colour, so that they survive a grey print.

mod class_lines;
mod classes;
mod comparison;
mod cost;
mod curves;
mod live;
mod tradeoff;

pub use classes::write_classes;
pub use comparison::write_figures;
pub use curves::write_curves;

use crate::fsio::write_atomic;
use crate::{Error, Result};
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

const INK: RGBColor = RGBColor(34, 34, 34);
const GRID: RGBColor = RGBColor(221, 221, 221);

/// Draws a figure of `size` pixels on white and writes it in one step.
fn write_svg(path: &Path, size: (u32, u32), draw: impl FnOnce(&Area) -> Drawn) -> Result<()> {
    let mut svg = String::new();
    let drawn = || -> Drawn {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        draw(&root)?;
        root.present()?;
        Ok(())
    };
    drawn().map_err(|e| Error::Op { op: "plot", what: format!("{}: {e}", path.display()) })?;
    write_atomic(path, |out| out.write_all(svg.as_bytes()))
}

/// A text style of `px` pixels.
fn font(px: f64, bold: bool) -> TextStyle<'static> {
    // plotters' SVG backend divides the size by 1.24.
    let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
    TextStyle::from(FontDesc::new(FontFamily::SansSerif, px * 1.24, style)).color(&INK)
}

/// Writes `text` at a pixel of `area`, vertically centred on it.
fn label(area: &Area, text: &str, at: (i32, i32), style: TextStyle, side: HPos) -> Drawn {
    Ok(area.draw(&Text::new(text.to_owned(), at, style.pos(Pos::new(side, VPos::Center))))?)
}

/// Pixels that `text` takes at `px` pixels: generous, since the reader's font is not known here.
fn text_width(text: &str, px: f64) -> i32 {
    (text.chars().count() as f64 * px * 0.58).ceil() as i32
}

/// A dashed straight line between two pixels.
fn dashed(area: &Area, from: (i32, i32), to: (i32, i32), style: ShapeStyle) -> Drawn {
    Ok(area.draw(&DashedPathElement::new(vec![from, to], 5, 4, style))?)
}

/// The smallest of 1, 2, 5, 10, 20, ... times a power of ten that is no smaller than `least`.
pub(super) fn nice_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= least * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// Multiples of `step` in [low, high]; never more than `at_most`.
pub(super) fn multiples(low: f64, high: f64, step: f64, at_most: usize) -> Vec<f64> {
    let first = (low / step).ceil();
    (0..at_most).map(|i| (first + i as f64) * step).filter(|t| *t <= high * (1.0 + 1e-9)).collect()
}

/// `tick` with as many decimals as its `step` needs.
pub(super) fn tick_label(tick: f64, step: f64) -> String {
    if !(1e-6..1e7).contains(&step) {
        return format!("{tick:.0e}");
    }
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    format!("{tick:.decimals$}")
}

/// A filled rectangle with an outline.
fn swatch(area: &Area, corners: [(i32, i32); 2], fill: RGBColor) -> Drawn {
    area.draw(&Rectangle::new(corners, fill.filled()))?;
    Ok(area.draw(&Rectangle::new(corners, INK.stroke_width(1)))?)
}

/// An interval with end caps, black on a white edge to show on any bar.
fn whisker(area: &Area, low: i32, high: i32, y: i32, cap: i32) -> Drawn {
    let cap = cap.clamp(2, 4);
    for style in [WHITE.stroke_width(3), BLACK.stroke_width(1)] {
        area.draw(&PathElement::new(vec![(low, y), (high, y)], style))?;
        for x in [low, high] {
            area.draw(&PathElement::new(vec![(x, y - cap), (x, y + cap)], style))?;
        }
    }
    Ok(())
}
