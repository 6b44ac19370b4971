//! `class_lines.svg`: the accuracy of every class under the last attack, a line per method.

use super::comparison::*;
use super::*;
use crate::report::comparison::Comparison;
use crate::report::table::{MANY_CLASSES, class_name, clip};

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
    let (px, row) = if many { (9.0, 12) } else { (12.0, ROW) };
    let names: Vec<String> = classes.iter().map(|c| clip(&class_name(&comparison.class_names, *c), 18)).collect();
    let longest = names.iter().map(|n| text_width(n, px)).max().unwrap_or(0);
    // As wide as the names need side by side, unless that is too wide: then they stand upright.
    let side_by_side = (longest + 8) * classes.len() as i32;
    let upright = side_by_side > 900;
    let plot = if upright { row * classes.len() as i32 } else { side_by_side }.max(600);
    let foot = if upright { longest } else { ROW };
    let highest = shown.iter().flat_map(|m| classes.iter().filter_map(|c| accuracy(*m, *c))).fold(0.0, f64::max);
    let left = 60;
    let plane = Plane {
        left,
        right: left + plot,
        top: 84,
        bottom: 84 + (names_height(shown.len()) + 20).max(380),
        x: (-0.5, classes.len().max(1) as f64 - 0.5),
        y: (0.0, if highest > 0.0 { (1.04 * highest).min(100.0) } else { 100.0 }),
    };
    let width = plane.right + names_width(shown.iter().map(|m| comparison.methods[*m].method.as_str()));
    let size = (width.max(left + 640) as u32, (plane.bottom + foot + 52) as u32);
    write_svg(path, size, |root| {
        let title = format!("Accuracy per class under {}", clip(attack, NAME));
        label(root, &title, (16, 20), font(16.0, true), HPos::Left)?;
        let several = comparison.methods.iter().any(|m| m.results.len() > 1);
        let order = format!(
            "Classes by the accuracy of {}{}",
            comparison.methods.get(by).map_or("", |m| m.method.as_str()),
            if several { "; means over the seeds" } else { "" }
        );
        label(root, &clip(&order, 90), (16, 42), font(12.0, false), HPos::Left)?;
        plane.y_axis(root, "accuracy, %")?;
        for (place, name) in names.iter().enumerate() {
            let x = plane.x(place as f64);
            root.draw(&PathElement::new(vec![(x, plane.top), (x, plane.bottom + 4)], GRID))?;
            if upright {
                let style = font(px, false).transform(FontTransform::Rotate270);
                label(root, name, (x, plane.bottom + 10), style, HPos::Right)?;
            } else {
                label(root, name, (x, plane.bottom + 16), font(px, false), HPos::Center)?;
            }
        }
        let middle = (plane.left + plane.right) / 2;
        label(root, "class", (middle, plane.bottom + foot + 28), font(13.0, false), HPos::Center)?;
        plane.frame(root)?;
        let mut named = Vec::new();
        for &m in &shown {
            let known = classes.iter().enumerate().filter_map(|(place, c)| Some((place as f64, accuracy(m, *c)?)));
            let points: Vec<(i32, i32)> = known.map(|(place, a)| (plane.x(place), plane.y(a))).collect();
            polyline(root, look(m), &points)?;
            for &at in &points {
                marker(root, look(m), at, if many { 2.0 } else { 3.0 }, true)?;
            }
            if let Some(&end) = points.last() {
                let names = vec![comparison.methods[m].method.clone()];
                named.push(Named { names, look: look(m), end: Some(end), y: end.1 });
            }
        }
        name_lines(root, &plane, named)
    })
}
