//! The figures of the page: 400 units wide, so that their text can be read on a phone; they grow with the page.

use crate::report::plot::bars::{Bars, Layout, Numbered, WorstMark, draw_bars};
use crate::report::plot::canvas::Canvas;
use crate::report::plot::heat::Heat;
use crate::report::plot::lines::Chart;
use crate::report::plot::look::Key;
use crate::report::plot::plane::Frame;
use maud::{Markup, PreEscaped, html};

const WIDTH: f64 = 400.0;

/// Of more classes only the worst and the best are drawn.
const MANY: usize = 40;
const WORST: usize = 14;
const BEST: usize = 6;

/// A figure: its title, what is shown, and the drawing.
fn figure(title: &str, legend: &[(&str, Key)], canvas: Canvas, height: f64) -> Markup {
    html! {
        figure {
            figcaption { (title) }
            @if !legend.is_empty() {
                ul.legend {
                    @for (name, key) in legend { li { (PreEscaped(key.sign())) (name) } }
                }
            }
            (PreEscaped(canvas.inline(WIDTH, height, title)))
        }
    }
}

/// Series over two axes.
pub(super) fn chart(title: &str, chart: &Chart) -> Markup {
    const HEIGHT: f64 = 240.0;
    let mut canvas = Canvas::default();
    // Above the data there is room for the words of a mark.
    let top = if chart.mark.is_some() { 24.0 } else { 12.0 };
    chart.draw(&mut canvas, Frame { left: 42.0, right: WIDTH - 12.0, top, bottom: HEIGHT - 42.0 });
    figure(title, &chart.legend().collect::<Vec<_>>(), canvas, HEIGHT)
}

/// For every class a bar of each of these with its 95 % Wilson interval.
pub(super) fn bars(title: &str, class_names: &[String], of: &[Bars]) -> Markup {
    let classes = of.iter().map(|b| b.fairness.per_class.len()).max().unwrap_or(0);
    let mut shown: Vec<usize> = (0..classes).collect();
    // Many classes: by the accuracy of the last.
    if let Some(last) = of.last().filter(|_| classes > MANY) {
        let key = |class: usize| last.fairness.per_class.get(class).copied().flatten().map_or(f64::MAX, |a| a.accuracy);
        shown.sort_by(|a, b| key(*a).total_cmp(&key(*b)));
        shown = [&shown[..WORST], &shown[classes - BEST..]].concat();
    }
    let layout = Layout {
        width: WIDTH,
        left: 96.0,
        right: WIDTH - 44.0,
        top: 4.0,
        bar: if of.len() < 3 { 12.0 } else { 9.0 },
        gap: 9.0,
        tick: 25,
        name_px: 12.0,
        name_length: 14,
        number_px: if of.len() < 3 { 10.0 } else { 9.0 },
        decimals: 0,
        numbered: Numbered::All,
        worst: WorstMark::Short,
    };
    let mut canvas = Canvas::default();
    draw_bars(&mut canvas, &layout, &shown, class_names, of);
    let legend: Vec<(&str, Key)> = of.iter().map(|b| (b.name.as_str(), b.key())).collect();
    html! {
        (figure(title, &legend, canvas, layout.height(shown.len(), of.len())))
        @if shown.len() < classes {
            p.note { (format!("Shown of {classes} classes: the {WORST} worst and the {BEST} best.")) }
        }
    }
}

/// Shaded cells.
pub(super) fn heat(heat: &Heat) -> Markup {
    let mut canvas = Canvas::default();
    let height = heat.draw(&mut canvas, WIDTH);
    figure(heat.title, &[], canvas, height)
}
