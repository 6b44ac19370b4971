//! `class_lines.svg`: the accuracy of every class under the last attack, a line per method.

use super::canvas::{Anchor, Canvas, Font, Ink, Point, Stroke, text_width};
use super::comparison::{NAME, Named, ROW, name_lines, names_height, names_width, title, y_title};
use super::look::Look;
use super::plane::{Frame, Plane, Scale};
use super::write_svg;
use crate::Result;
use crate::report::table::{MANY_CLASSES, class_name, clip};
use crate::results::comparison::Comparison;
use std::path::Path;

pub(super) fn write_class_lines(path: &Path, comparison: &Comparison, attack: &str) -> Result<()> {
    let accuracy = |m: usize, class: usize| {
        let mean = comparison.methods[m].class_over_seeds(attack, class)?.mean;
        mean.is_finite().then_some(100.0 * mean)
    };
    let methods: Vec<usize> = (0..comparison.methods.len()).collect();
    // Classes by the accuracy of the baseline, or of the first method that has results; unknown ones last.
    let baseline = comparison.methods.iter().position(|m| m.method == comparison.baseline && !m.results.is_empty());
    let by = baseline.or(comparison.methods.iter().position(|m| !m.results.is_empty())).unwrap_or(0);
    let mut classes: Vec<usize> =
        (0..comparison.classes()).filter(|c| methods.iter().any(|m| accuracy(*m, *c).is_some())).collect();
    let key = |c: &usize| accuracy(by, *c).unwrap_or(f64::INFINITY);
    classes.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let shown: Vec<usize> =
        methods.into_iter().filter(|m| classes.iter().any(|c| accuracy(*m, *c).is_some())).collect();

    let many = classes.len() > MANY_CLASSES;
    let (px, row) = if many { (9.0, 12.0) } else { (12.0, ROW) };
    let names: Vec<String> = classes.iter().map(|c| clip(&class_name(&comparison.class_names, *c), 18)).collect();
    let longest = names.iter().map(|n| text_width(n, px)).fold(0.0, f64::max);
    // As wide as the names need side by side, unless that is too wide: then they stand upright.
    let side_by_side = (longest + 8.0) * classes.len() as f64;
    let upright = side_by_side > 900.0;
    let width = if upright { row * classes.len() as f64 } else { side_by_side }.max(600.0);
    let foot = if upright { longest } else { ROW };
    let highest = shown.iter().flat_map(|m| classes.iter().filter_map(|c| accuracy(*m, *c))).fold(0.0, f64::max);
    let highest = if highest > 0.0 { (1.04 * highest).min(100.0) } else { 100.0 };
    let (left, top) = (60.0, 84.0);
    let bottom = top + (names_height(shown.len()) + 20.0).max(380.0);
    let plane = Plane {
        frame: Frame { left, right: left + width, top, bottom },
        x: Scale { low: -0.5, high: classes.len().max(1) as f64 - 0.5, step: 1.0 },
        y: Scale::new(0.0, highest, 8.0, f64::MIN_POSITIVE),
    };
    let mut canvas = Canvas::default();
    title(&mut canvas, &format!("Accuracy per class under {}", clip(attack, NAME)));
    let several = comparison.methods.iter().any(|m| m.results.len() > 1);
    let order = format!(
        "Classes by the accuracy of {}{}",
        comparison.methods.get(by).map_or("", |m| m.method.as_str()),
        if several { "; means over the seeds" } else { "" }
    );
    canvas.text(&clip(&order, 90), (16.0, 42.0), Anchor::Start, Font::of(12.0));
    y_title(&mut canvas, &plane, "accuracy, %");
    plane.y_axis(&mut canvas);
    for (place, name) in names.iter().enumerate() {
        let x = plane.x(place as f64);
        canvas.line(&[(x, top), (x, bottom + 4.0)], Stroke::of(Ink::Rule, 1.0));
        if upright {
            canvas.text(name, (x, bottom + 10.0), Anchor::End, Font::of(px).upright());
        } else {
            canvas.text(name, (x, bottom + 16.0), Anchor::Middle, Font::of(px));
        }
    }
    canvas.text("class", (plane.frame.middle().0, bottom + foot + 28.0), Anchor::Middle, Font::of(13.0));
    plane.edges(&mut canvas);
    let mut named = Vec::new();
    for &m in &shown {
        let look = Look(m);
        let known = classes.iter().enumerate().filter_map(|(place, c)| Some((place as f64, accuracy(m, *c)?)));
        let points: Vec<Point> = known.map(|(place, a)| (plane.x(place), plane.y(a))).collect();
        canvas.line(&points, look.stroke());
        for &at in &points {
            look.marker(&mut canvas, at, if many { 2.0 } else { 3.0 });
        }
        if let Some(&end) = points.last() {
            let names = vec![comparison.methods[m].method.clone()];
            named.push(Named { names, look, end: Some(end), y: end.1 });
        }
    }
    name_lines(&mut canvas, &plane, named);
    let names = names_width(shown.iter().map(|m| comparison.methods[*m].method.as_str()));
    write_svg(path, canvas.file((plane.frame.right + names).max(left + 640.0), bottom + foot + 52.0))
}
