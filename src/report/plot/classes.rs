//! `classes.svg`: the accuracy of every class under every attack of an evaluation.

use super::*;
use crate::report::AttackResult;
use crate::report::table::{MANY_CLASSES, class_name, clip};

const WIDTH: i32 = 880;
/// The axis from 0 to 100 %: to the left class names, to the right room for numbers and the mark of the worst class.
const LEFT: i32 = 140;
const RIGHT: i32 = WIDTH - 150;

/// Light and dark in turn, so that neighbours differ without colour.
const FILLS: [RGBColor; 6] = [
    RGBColor(189, 215, 238),
    RGBColor(8, 81, 156),
    RGBColor(253, 208, 162),
    RGBColor(166, 54, 3),
    RGBColor(199, 233, 192),
    RGBColor(0, 90, 50),
];

/// A share in [0, 1] on the axis.
fn x_of(share: f64) -> i32 {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    LEFT + (share * f64::from(RIGHT - LEFT)).round() as i32
}

/// Writes `classes.svg`: per class a bar for each attack with its 95 % Wilson interval, the worst class of each attack
/// marked, and a dashed line at the accuracy over all classes.
pub fn write_classes(path: &Path, class_names: &[String], attacks: &[AttackResult]) -> Result<()> {
    let classes = attacks.iter().map(|a| a.fairness.per_class.len()).max().unwrap_or(0);
    let many = classes > MANY_CLASSES;
    let (bar, gap) = if many { (7, 6) } else { (13, 10) };
    // Below the title, a line of legend per attack.
    let top = 44 + 20 * attacks.len() as i32 + 14;
    let pitch = (bar * attacks.len() as i32).max(bar) + gap;
    let bottom = top + pitch * classes.max(1) as i32;
    let height = bottom + 52;

    write_svg(path, (WIDTH as u32, height as u32), |root| {
        label(root, "Accuracy per class, with 95 % Wilson intervals", (16, 20), font(16.0, true), HPos::Left)?;
        for tick in 0..=5 {
            let x = x_of(f64::from(tick) / 5.0);
            root.draw(&PathElement::new(vec![(x, top), (x, bottom)], GRID))?;
            label(root, &(20 * tick).to_string(), (x, bottom + 12), font(12.0, false), HPos::Center)?;
        }
        label(root, "accuracy, %", ((LEFT + RIGHT) / 2, bottom + 34), font(13.0, false), HPos::Center)?;
        if classes == 0 {
            label(root, "no data", ((LEFT + RIGHT) / 2, (top + bottom) / 2), font(14.0, false), HPos::Center)?;
        }

        let upper = |class: usize, i: usize| top + gap / 2 + pitch * class as i32 + bar * i as i32;
        for (i, AttackResult { name, fairness, .. }) in attacks.iter().enumerate() {
            let fill = FILLS[i % FILLS.len()];
            let y = 44 + 20 * i as i32;
            swatch(root, [(LEFT, y - 6), (LEFT + 18, y + 6)], fill)?;
            let all = format!("{}: {:.1} % over all classes (dashed line)", clip(name, 40), 100.0 * fairness.mean);
            label(root, &all, (LEFT + 26, y), font(12.0, false), HPos::Left)?;
            for (class, a) in fairness.per_class.iter().enumerate().filter_map(|(c, a)| Some((c, (*a)?))) {
                let y = upper(class, i);
                swatch(root, [(LEFT, y), (x_of(a.accuracy), y + bar - 1)], fill)?;
                whisker(root, x_of(a.low), x_of(a.high), y + bar / 2, bar / 2 - 1)?;
            }
        }
        // Over the bars, each in its attack's colour, dark enough to be seen on white.
        for (i, a) in attacks.iter().enumerate() {
            let x = x_of(a.fairness.mean);
            let RGBColor(r, g, b) = FILLS[i % FILLS.len()];
            let ink = RGBColor(r / 2, g / 2, b / 2);
            dashed(root, (x, top), (x, bottom), ink.stroke_width(1))?;
        }
        // Numbers come last, on white, so that no line crosses them.
        let px = if many { 9.0 } else { 11.0 };
        for (i, AttackResult { name, fairness, .. }) in attacks.iter().enumerate() {
            for (class, accuracy) in fairness.per_class.iter().enumerate() {
                let worst = class == fairness.worst_class;
                let text = match accuracy {
                    None => "no example".to_owned(),
                    Some(a) if worst => format!("{:.1} worst of {}", 100.0 * a.accuracy, clip(name, 12)),
                    Some(_) if many => continue,
                    Some(a) => format!("{:.1}", 100.0 * a.accuracy),
                };
                let (x, y) = (x_of(accuracy.map_or(0.0, |a| a.high)) + 7, upper(class, i) + bar / 2);
                let corners = [(x - 2, y - bar / 2 + 1), (x + text_width(&text, px), y + bar / 2 - 1)];
                root.draw(&Rectangle::new(corners, WHITE.filled()))?;
                label(root, &text, (x, y), font(px, worst), HPos::Left)?;
            }
        }
        for class in 0..classes {
            let middle = top + pitch * class as i32 + pitch / 2;
            let name = clip(&class_name(class_names, class), 18);
            label(root, &name, (LEFT - 8, middle), font(if many { 10.0 } else { 12.0 }, false), HPos::Right)?;
        }
        root.draw(&PathElement::new(vec![(LEFT, top), (LEFT, bottom), (RIGHT, bottom)], INK))?;
        Ok(())
    })
}
