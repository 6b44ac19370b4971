//! `curves.svg`: what a run did, epoch by epoch, in four panels.

use super::*;
use crate::report::Epoch;
use crate::report::metrics::change_of_method;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use std::ops::Range;

const SIZE: (u32, u32) = (1080, 830);
/// Top of a panel: title, legend, and a strip for the mark where HAM begins.
const HEAD: i32 = 66;

const BLUE_INK: RGBColor = RGBColor(0, 90, 160);
const RED_INK: RGBColor = RGBColor(200, 75, 0);
/// Of one hue, dark to light: the order of a stack reads without colour.
const STACK: [RGBColor; 3] = [RGBColor(8, 48, 107), RGBColor(66, 146, 198), RGBColor(170, 208, 232)];

/// How a series is told from its neighbour.
#[derive(Clone, Copy)]
enum Look {
    /// Solid line, discs.
    Solid,
    /// Dashed line, triangles.
    Dashed,
    /// Bars, each series on top of those before it; the lightness is the series' place.
    Stacked(usize),
}

/// One series: epochs and values, NaN and missing ones left out.
struct Series {
    name: &'static str,
    look: Look,
    points: Vec<(f64, f64)>,
}

impl Series {
    fn new(name: &'static str, look: Look, epochs: &[Epoch], value: impl Fn(&Epoch) -> Option<f64>) -> Self {
        let points = epochs.iter().filter_map(|e| Some((at(e), value(e).filter(|v| v.is_finite())?)));
        Series { name, look, points: points.collect() }
    }

    fn colour(&self) -> RGBColor {
        match self.look {
            Look::Solid => BLUE_INK,
            Look::Dashed => RED_INK,
            Look::Stacked(i) => STACK[i],
        }
    }
}

/// What the panels have in common: the epochs, and where the method's own work begins.
struct Frame {
    first: f64,
    last: f64,
    begin: Option<(f64, String)>,
}

/// A linear axis with ticks at the multiples of `step`; plotters' own puts ticks at half epochs.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        from + (share.clamp(-0.1, 1.1) * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        multiples(self.low, self.high, self.step, 20)
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        value.to_string()
    }

    fn format_ext(&self, value: &f64) -> String {
        tick_label(*value, self.step)
    }
}

/// An epoch's place on the axis; bounded, so that arithmetic on it stays exact.
fn at(e: &Epoch) -> f64 {
    e.epoch.min(1_000_000_000) as f64
}

/// Writes `curves.svg`: mean accuracy, worst class, kept share and seconds, per epoch.
///
/// Lines bridge epochs without evaluation; a panel without any data says so. A vertical line marks the first epoch of
/// another method than before it: that in which the run's own begins.
pub fn write_curves(path: &Path, epochs: &[Epoch]) -> Result<()> {
    let last = epochs.iter().map(at).fold(1.0, f64::max);
    let frame = Frame {
        first: epochs.iter().map(at).fold(last, f64::min),
        last,
        begin: change_of_method(epochs).map(|e| (at(e), e.method.to_uppercase())),
    };
    let percent = |v: Option<f64>| v.map(|v| 100.0 * v);
    let line = |name, look, value: &dyn Fn(&Epoch) -> Option<f64>| Series::new(name, look, epochs, value);
    let accuracy = [
        line("clean", Look::Solid, &|e| percent(e.clean_accuracy)),
        line("PGD", Look::Dashed, &|e| percent(e.pgd_accuracy)),
    ];
    let worst =
        [line("clean", Look::Solid, &|e| percent(e.clean_worst)), line("PGD", Look::Dashed, &|e| percent(e.pgd_worst))];
    let kept = [line("kept of all examples", Look::Solid, &|e| percent(e.kept_share()))];
    let seconds = [
        line("attack", Look::Stacked(0), &|e| Some(e.attack_seconds)),
        line("update", Look::Stacked(1), &|e| Some(e.update_seconds)),
        line("evaluation", Look::Stacked(2), &|e| Some(e.eval_seconds)),
    ];
    // The axis ends at the data or, where all of them are 0, at `empty`.
    let above = |empty: f64| move |highest: f64| if highest > 0.0 { highest } else { empty };
    write_svg(path, SIZE, |root| {
        let panels: Vec<Area> = root.split_evenly((2, 2)).iter().map(|p| p.margin(8, 14, 8, 8)).collect();
        panel(&panels[0], &frame, "Accuracy, all classes", "accuracy, %", &accuracy, above(100.0))?;
        panel(&panels[1], &frame, "Accuracy, worst class", "accuracy, %", &worst, above(100.0))?;
        panel(&panels[2], &frame, "Kept share r", "kept examples, %", &kept, |_| 100.0)?;
        panel(&panels[3], &frame, "Time per epoch", "seconds", &seconds, above(1.0))
    })
}

/// The highest value a panel has to hold; stacked series add up.
fn highest(series: &[Series]) -> f64 {
    let mut tops: std::collections::BTreeMap<u64, f64> = Default::default();
    let mut highest: f64 = 0.0;
    for s in series {
        for &(x, y) in &s.points {
            if matches!(s.look, Look::Stacked(_)) {
                let top = tops.entry(x as u64).or_default();
                *top += y.max(0.0);
                highest = highest.max(*top);
            } else {
                highest = highest.max(y);
            }
        }
    }
    if highest.is_finite() { highest } else { f64::MAX / 4.0 }
}

/// One panel: title, legend, the mark, and the series over axes from 0 to just above `top` of the highest value.
fn panel(area: &Area, frame: &Frame, title: &str, y_title: &str, series: &[Series], top: impl Fn(f64) -> f64) -> Drawn {
    let (width, height) = area.dim_in_pixel();
    label(area, title, (62, 14), font(15.0, true), HPos::Left)?;
    legend(area, series)?;

    let top = 1.04 * top(highest(series));
    let x_step = nice_step(((frame.last - frame.first) / 9.0).max(1.0)).max(1.0);
    let x_axis = Axis { low: frame.first - 0.5, high: frame.last + 0.5, step: x_step };
    let y_axis = Axis { low: 0.0, high: top, step: nice_step(top / 6.0) };
    let mut chart = ChartBuilder::on(area)
        .margin_top(HEAD)
        .margin_right(16)
        .x_label_area_size(44)
        .y_label_area_size(62)
        .build_cartesian_2d(x_axis, y_axis)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(font(12.0, false))
        .axis_desc_style(font(13.0, false))
        .x_desc("epoch")
        .y_desc(y_title)
        .draw()?;

    if series.iter().all(|s| s.points.is_empty()) {
        let middle = ((width as i32 + 62) / 2, (height as i32 + HEAD - 44) / 2);
        return label(area, "no data", middle, font(14.0, false), HPos::Center);
    }
    let mut base: std::collections::BTreeMap<u64, f64> = Default::default();
    for s in series {
        let colour = s.colour();
        let stroke = colour.stroke_width(2);
        match s.look {
            Look::Solid => {
                chart.draw_series(LineSeries::new(s.points.clone(), stroke))?;
                chart.draw_series(marked(&s.points).map(|p| Circle::new(p, 3, colour.filled())))?;
            }
            Look::Dashed => {
                chart.draw_series(DashedLineSeries::new(s.points.iter().copied(), 6, 4, stroke))?;
                chart.draw_series(marked(&s.points).map(|p| TriangleMarker::new(p, 4, colour.filled())))?;
            }
            Look::Stacked(_) => {
                // Gaps between bars only where a bar is much wider than a gap.
                let half = if frame.last - frame.first < 60.0 { 0.4 } else { 0.5 };
                for &(x, y) in s.points.iter().filter(|p| p.1 > 0.0) {
                    let low = *base.get(&(x as u64)).unwrap_or(&0.0);
                    let high = (low + y).min(f64::MAX);
                    base.insert(x as u64, high);
                    chart.draw_series([Rectangle::new([(x - half, low), (x + half, high)], colour.filled())])?;
                }
            }
        }
    }
    if let Some((epoch, method)) = &frame.begin {
        let (x, bottom) = chart.backend_coord(&(epoch - 0.5, 0.0));
        let (_, upper) = chart.backend_coord(&(epoch - 0.5, top));
        // backend_coord counts from the corner of the figure, drawing on `area` from that of the panel.
        let (left, above) = area.get_base_pixel();
        let (x, bottom, upper) = (x - left, bottom - above, upper - above);
        // On white, so that the dashes show on dark bars too.
        area.draw(&PathElement::new(vec![(x, bottom), (x, upper)], WHITE))?;
        dashed(area, (x, bottom), (x, upper - 4), INK.stroke_width(1))?;
        let text = format!("{method} from epoch {epoch:.0}");
        let half = text_width(&text, 11.0) / 2;
        let centre = x.min(width as i32 - half).max(half);
        label(area, &text, (centre, upper - 12), font(11.0, false), HPos::Center)?;
    }
    Ok(())
}

/// The points to mark: the last and about twenty others. That tells lines apart; one per epoch of a long run would
/// hide them.
fn marked(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> {
    let every = points.len().div_ceil(20).max(1);
    points.iter().copied().rev().step_by(every)
}

/// The legend, in a row above the axes, where no data can be.
fn legend(area: &Area, series: &[Series]) -> Drawn {
    let (mut x, y) = (62, 36);
    for s in series {
        let colour = s.colour();
        let (from, to, middle) = ((x, y), (x + 30, y), (x + 15, y));
        match s.look {
            Look::Solid => {
                area.draw(&PathElement::new(vec![from, to], colour.stroke_width(2)))?;
                area.draw(&Circle::new(middle, 3, colour.filled()))?;
            }
            Look::Dashed => {
                area.draw(&DashedPathElement::new(vec![from, to], 6, 4, colour.stroke_width(2)))?;
                area.draw(&TriangleMarker::new(middle, 4, colour.filled()))?;
            }
            Look::Stacked(_) => {
                let corners = [(x, y - 6), (x + 30, y + 6)];
                area.draw(&Rectangle::new(corners, colour.filled()))?;
                area.draw(&Rectangle::new(corners, INK.stroke_width(1)))?;
            }
        }
        label(area, s.name, (x + 36, y), font(12.0, false), HPos::Left)?;
        x += 36 + text_width(s.name, 12.0) + 20;
    }
    Ok(())
}
