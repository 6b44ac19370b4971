//! `classes.svg`: the accuracy of every class under every attack of an evaluation.

use super::bars::{Bars, Layout, Numbered, WorstMark, draw_bars};
use super::canvas::{Anchor, Canvas, Font};
use super::look::{Look, legend};
use super::write_svg;
use crate::Result;
use crate::report::table::{MANY_CLASSES, clip};
use crate::results::AttackResult;
use std::path::Path;

const WIDTH: f64 = 880.0;

/// Writes `classes.svg`: per class a bar for each attack with its 95 % Wilson interval, the worst class of each attack
/// marked, and a dashed line at the accuracy over all classes.
///
/// # Errors
/// Where the file can't be written.
pub fn write_classes(path: &Path, class_names: &[String], attacks: &[AttackResult]) -> Result<()> {
    let classes = attacks.iter().map(|a| a.fairness.per_class.len()).max().unwrap_or(0);
    let many = classes > MANY_CLASSES;
    let layout = Layout {
        width: WIDTH,
        left: 140.0,
        right: WIDTH - 150.0,
        // Below the title, a line of legend per attack.
        top: 44.0 + 20.0 * attacks.len() as f64 + 6.0,
        bar: if many { 7.0 } else { 14.0 },
        gap: if many { 6.0 } else { 10.0 },
        tick: 20,
        name_px: if many { 10.0 } else { 12.0 },
        name_length: 18,
        number_px: if many { 9.0 } else { 11.0 },
        decimals: 1,
        numbered: if many { Numbered::Worst } else { Numbered::All },
        worst: WorstMark::Named,
    };
    let bars = attacks.iter().enumerate();
    let of: Vec<Bars> =
        bars.map(|(i, a)| Bars { name: a.name.clone(), look: Look(i), fairness: &a.fairness }).collect();
    let mut canvas = Canvas::default();
    let title = "Accuracy per class, with 95 % Wilson intervals";
    canvas.text(title, (16.0, 20.0), Anchor::Start, Font::of(16.0).bold());
    for (i, bars) in of.iter().enumerate() {
        let mean = 100.0 * bars.fairness.mean;
        let all = format!("{}: {mean:.1} % over all classes (dashed line)", clip(&bars.name, 40));
        legend(&mut canvas, (layout.left, 44.0 + 20.0 * i as f64), [(all.as_str(), bars.key())]);
    }
    draw_bars(&mut canvas, &layout, &(0..classes).collect::<Vec<_>>(), class_names, &of);
    write_svg(path, canvas.file(WIDTH, layout.height(classes, of.len())))
}
