//! Methods side by side: figures.

use super::comparison::{long, sample, spread};
use super::display::check_xml;
use super::*;
use ham_engine::report::plot::write_figures;
use ham_engine::results::comparison::{Comparison, MethodCost};
use std::collections::BTreeMap;

/// The text between tags, as it was before it was escaped.
fn unescape(s: &str) -> String {
    s.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}

/// Each text of a figure with the box of pixels that it takes: left, top, right, bottom.
fn text_boxes(svg: &str) -> Vec<(String, [f64; 4])> {
    let of = |part: &str| {
        let (tag, rest) = part.split_once('>')?;
        let attribute = |name: &str| tag.split(&format!(" {name}=\"")).nth(1)?.split('"').next();
        let number = |name| attribute(name)?.parse::<f64>().ok();
        let text = unescape(rest.split('<').next()?.trim());
        let (x, y, px) = (number("x")?, number("y")?, number("font-size")?);
        let width = text.chars().count() as f64 * px * 0.55;
        let from = match attribute("text-anchor")? {
            "start" => 0.0,
            "middle" => -width / 2.0,
            _ => -width,
        };
        let half = 0.45 * px;
        let upright = attribute("transform").is_some_and(|t| t.starts_with("rotate(270"));
        let place = if upright {
            [x - half, y - from - width, x + half, y - from]
        } else {
            [x + from, y - half, x + from + width, y + half]
        };
        Some((text, place))
    };
    svg.split("<text").skip(1).filter_map(of).collect()
}

/// Writes the figures and checks what holds for all of them: XML, texts inside the canvas and beside each other, and
/// nothing else outside. Returns the texts of each figure, by its name.
fn figures(c: &Comparison) -> BTreeMap<String, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let paths = write_figures(dir.path(), c).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), paths.len());
    let texts = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let svg = std::fs::read_to_string(path).unwrap();
        check_xml(&svg);
        let size = |side| svg.split(&format!("<svg {side}=\"")).nth(1).or(svg.split(&format!(" {side}=\"")).nth(1));
        let size = ["width", "height"].map(|s| size(s).unwrap().split('"').next().unwrap().parse::<f64>().unwrap());
        let boxes = text_boxes(&svg);
        for (i, (text, b)) in boxes.iter().enumerate() {
            assert!(
                b[0] >= 0.0 && b[1] >= 0.0 && b[2] <= size[0] && b[3] <= size[1],
                "{name}: {text:?} {b:?} {size:?}"
            );
            for (other, o) in &boxes[..i] {
                let apart = b[2] <= o[0] || o[2] <= b[0] || b[3] <= o[1] || o[3] <= b[1];
                assert!(apart, "{name}: {text:?} {b:?} is on {other:?} {o:?}");
            }
        }
        for points in svg.split("points=\"").skip(1) {
            for point in points.split('"').next().unwrap().split_whitespace() {
                let (x, y) = point.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!(x >= 0.0 && y >= 0.0 && x <= size[0] && y <= size[1], "{name}: {point} {size:?}");
            }
        }
        for rect in svg.split("<rect ").skip(1) {
            let number = |name: &str| rect.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap();
            let [x, y, width, height] = ["x", "y", "width", "height"].map(|name| number(name).parse::<f64>().unwrap());
            assert!(x >= 0.0 && y >= 0.0 && x + width <= size[0] && y + height <= size[1], "{name}: {rect} {size:?}");
        }
        (name, boxes.into_iter().map(|b| b.0).collect())
    };
    paths.iter().map(texts).collect()
}

#[test]
fn figures_name_methods_and_numbers() {
    for (methods, seeds) in [(6, 3), (9, 1), (1, 1), (9, 3)] {
        let c = sample(methods, seeds);
        let all = figures(&c);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["class_lines.svg", "cost.svg", "live.svg", "tradeoff.svg"]);
        for (figure, texts) in &all {
            for m in &c.methods {
                let times = texts.iter().filter(|t| **t == m.method).count();
                assert_eq!(times, 1, "{} in {figure}: {texts:?}", m.method);
            }
        }
        let has = |figure: &str, text: &str| all[figure].iter().any(|t| t == text);
        assert!(
            has("cost.svg", "20.0 s, baseline") && has("cost.svg", "lowest to highest") && has("cost.svg", "other")
        );
        assert_eq!(has("cost.svg", "11.6 s, 0.58 × (0.57–0.60)"), methods > 1, "{:?}", all["cost.svg"]);
        assert!(has("live.svg", "live examples, %") && has("live.svg", "step of the attack"));
        assert_eq!(has("live.svg", "without an attack:"), methods > 7);
        assert_eq!(has("live.svg", "Methods with the same shares are one line."), methods > 1);
        assert!(has("tradeoff.svg", "Accuracy under cw-inf against cost") && has("tradeoff.svg", "worst class"));
        assert_eq!(has("tradeoff.svg", "± SD over the seeds"), seeds > 1);
        assert!(has("class_lines.svg", "Accuracy per class under cw-inf"));
    }
}

#[test]
fn classes_are_in_the_order_of_the_baseline() {
    let mut c = sample(4, 2);
    c.baseline = "trades".to_owned();
    let texts = &figures(&c)["class_lines.svg"];
    let shown: Vec<&String> = texts.iter().filter(|t| c.class_names.contains(t)).collect();
    let accuracy = |name: &String| {
        let class = c.class_names.iter().position(|n| n == name).unwrap();
        c.methods[2].class_over_seeds("cw-inf", class).unwrap().mean
    };
    assert_eq!(shown.len(), 10);
    assert!(shown.windows(2).all(|w| accuracy(w[0]) <= accuracy(w[1])), "{shown:?}");
    assert!(texts.contains(&"Classes by the accuracy of trades; means over the seeds".to_owned()));
}

#[test]
fn figures_of_costs_alone() {
    let mut c = sample(9, 0);
    assert_eq!(figures(&c).keys().collect::<Vec<_>>(), ["cost.svg", "live.svg"]);
    c.methods[1..].iter_mut().for_each(|m| m.cost.live.clear());
    assert!(figures(&c)["live.svg"].contains(&"standard".to_owned()));
    c.methods[0].cost.live.clear();
    assert_eq!(figures(&c).keys().collect::<Vec<_>>(), ["cost.svg"]);
    c.methods.clear();
    assert!(figures(&c)["cost.svg"].contains(&"no data".to_owned()));
    // Some methods have results, the baseline has none.
    let mut c = sample(3, 2);
    c.methods[0].results.clear();
    let all = figures(&c);
    assert!(all["class_lines.svg"].contains(&"Classes by the accuracy of ham; means over the seeds".to_owned()));
    assert!(!all["tradeoff.svg"].contains(&"pgd-at".to_owned()));
}

#[test]
fn figures_of_long_names_stay_inside() {
    let all = figures(&long(9));
    assert!(all.values().all(|texts| texts.contains(&"ham with a long name of method 1".to_owned())));
    let mut c = sample(2, 1);
    c.methods[1].method = "<ham> & \"co\"\u{1}".to_owned();
    c.class_names[3] = "c<a&t".to_owned();
    let all = figures(&c);
    assert!(all.values().all(|texts| texts.iter().any(|t| t.starts_with("<ham> & \"co\""))));
    assert!(all["class_lines.svg"].contains(&"c<a&t".to_owned()));
}

#[test]
fn figures_of_nothing_and_of_odd_numbers() {
    let mut c = sample(3, 2);
    for m in &mut c.methods {
        m.cost = MethodCost { data: 0.0, attack: 0.0, update: 0.0, seconds: spread(&[0.0]), ..m.cost.clone() };
    }
    figures(&c);
    c.methods[0].cost.live = vec![f64::NAN, f64::INFINITY, -3.0];
    c.methods[1].cost.seconds = spread(&[f64::INFINITY, 1.0]);
    c.methods[1].cost.attack = f64::NAN;
    c.methods[2].cost.seconds = spread(&[1e300]);
    c.methods[2].cost.update = -1.0;
    figures(&c);
    let mut total = [0; 10];
    total[7] = 5;
    for r in c.methods.iter_mut().flat_map(|m| &mut m.results) {
        r.attacks[3].fairness = fairness_of(&[0; 10], &total);
    }
    let all = figures(&c);
    assert!(all["class_lines.svg"].contains(&"horse".to_owned()));
    assert!(!all["class_lines.svg"].contains(&"cat".to_owned()));
}
