//! What figures are drawn with: lines, areas, text and markers, as SVG.
//!
//! Colours are attributes, so a figure by itself needs no style. A page whose ground is dark replaces them: see [`Ink`].

use std::fmt::Write;

/// The colours of figures. A figure has those for a light ground; [`css`] replaces them on a dark one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ink {
    /// Of text and axes.
    Text,
    /// Of what explains.
    Soft,
    /// Of grid lines.
    Rule,
    /// Of the ground.
    Paper,
    /// Of a series, by its look; they repeat.
    Series(usize),
    /// Of one hue, dark to light: the order of a stack reads without colour. Three of them.
    Tone(usize),
    /// Of cells.
    Heat,
}

/// Each colour's name in a page's style, on a light and on a dark ground.
const PALETTE: [(&str, [&str; 2]); 17] = [
    ("ink", ["#1a1c1f", "#e8eaed"]),
    ("soft", ["#565b62", "#a8aeb6"]),
    ("rule", ["#d9dce0", "#383e46"]),
    ("paper", ["#ffffff", "#14171b"]),
    ("c0", ["#0b4f8a", "#7db8f0"]),
    ("c1", ["#b4470b", "#f2a36b"]),
    ("c2", ["#19745a", "#6fd0ae"]),
    ("c3", ["#7d2a68", "#dd9bd0"]),
    ("c4", ["#7a5a00", "#e0c060"]),
    ("c5", ["#444a52", "#c3c9d1"]),
    ("c6", ["#5f96e1", "#4a86cf"]),
    ("c7", ["#22a082", "#2f9a7c"]),
    ("c8", ["#be6eaa", "#b0619d"]),
    ("t0", ["#08306b", "#d3e6fa"]),
    ("t1", ["#4292c6", "#6aa9e0"]),
    ("t2", ["#aad0e8", "#2f5f92"]),
    ("heat", ["#0b3d6e", "#a9d1fb"]),
];

/// How many series differ in colour.
pub(crate) const COLOURS: usize = 9;

impl Ink {
    fn colour(self) -> &'static str {
        let place = match self {
            Ink::Text => 0,
            Ink::Soft => 1,
            Ink::Rule => 2,
            Ink::Paper => 3,
            Ink::Series(look) => 4 + look % COLOURS,
            Ink::Tone(i) => 13 + i.min(2),
            Ink::Heat => 16,
        };
        PALETTE[place].1[0]
    }
}

/// The palette as a style: variables of these names and, on a dark screen, what replaces the colours in figures.
pub(crate) fn css() -> String {
    let mut light = String::from(":root { color-scheme: light;");
    let mut dark = String::from("@media screen and (prefers-color-scheme: dark) {\n:root { color-scheme: dark;");
    let mut replaced = String::new();
    for (name, [on_light, on_dark]) in PALETTE {
        light += &format!(" --{name}: {on_light};");
        dark += &format!(" --{name}: {on_dark};");
        for attribute in ["fill", "stroke"] {
            replaced += &format!("svg [{attribute}=\"{on_light}\"] {{ {attribute}: {on_dark}; }}\n");
        }
    }
    format!("{light} }}\n{dark} }}\n{replaced}}}\n")
}

/// How a line is drawn.
#[derive(Clone, Copy)]
pub(crate) struct Stroke {
    ink: Ink,
    width: f64,
    /// Lengths on and off in turn; solid where empty.
    dash: &'static str,
}

impl Stroke {
    pub fn of(ink: Ink, width: f64) -> Stroke {
        Stroke { ink, width, dash: "" }
    }

    pub fn dashed(self, dash: &'static str) -> Stroke {
        Stroke { dash, ..self }
    }
}

/// How an area is filled and what goes around it.
#[derive(Clone, Copy)]
pub(crate) struct Fill {
    ink: Ink,
    /// From 0, which is none, to 1.
    opacity: f64,
    outline: Option<Stroke>,
}

impl Fill {
    pub fn of(ink: Ink) -> Fill {
        Fill { ink, opacity: 1.0, outline: None }
    }

    pub fn opacity(self, opacity: f64) -> Fill {
        Fill { opacity, ..self }
    }

    pub fn outlined(self, ink: Ink, width: f64) -> Fill {
        Fill { outline: Some(Stroke::of(ink, width)), ..self }
    }
}

/// Which end of a text is at its place.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text is written.
#[derive(Clone, Copy)]
pub(crate) struct Font {
    px: f64,
    bold: bool,
    ink: Ink,
    /// Bottom to top.
    upright: bool,
    /// What a page's style knows it by; none where empty.
    class: &'static str,
}

impl Font {
    pub fn of(px: f64) -> Font {
        Font { px, bold: false, ink: Ink::Text, upright: false, class: "" }
    }

    pub fn bold(self) -> Font {
        Font { bold: true, ..self }
    }

    pub fn ink(self, ink: Ink) -> Font {
        Font { ink, ..self }
    }

    pub fn upright(self) -> Font {
        Font { upright: true, ..self }
    }

    pub fn class(self, class: &'static str) -> Font {
        Font { class, ..self }
    }
}

/// A place in pixels: to the right, and down.
pub(crate) type Point = (f64, f64);

/// A figure under way.
#[derive(Default)]
pub(crate) struct Canvas {
    svg: String,
}

impl Canvas {
    /// A line through points.
    pub fn line(&mut self, points: &[Point], stroke: Stroke) {
        self.put(format_args!("<polyline points=\"{}\" fill=\"none\"{}/>\n", Points(points), Around(Some(stroke))));
    }

    /// An area between points.
    pub fn polygon(&mut self, points: &[Point], fill: Fill) {
        self.put(format_args!("<polygon points=\"{}\"{}/>\n", Points(points), Inside(fill)));
    }

    /// A rectangle between two corners.
    pub fn rect(&mut self, [from, to]: [Point; 2], fill: Fill) {
        let (x, y) = (Number(from.0.min(to.0)), Number(from.1.min(to.1)));
        let (width, height) = (Number((to.0 - from.0).abs()), Number((to.1 - from.1).abs()));
        self.put(format_args!("<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"{}/>\n", Inside(fill)));
    }

    /// A disc.
    pub fn disc(&mut self, at: Point, radius: f64, fill: Fill) {
        let (x, y, r) = (Number(at.0), Number(at.1), Number(radius));
        self.put(format_args!("<circle cx=\"{x}\" cy=\"{y}\" r=\"{r}\"{}/>\n", Inside(fill)));
    }

    /// A text, centred on its place from top to bottom.
    pub fn text(&mut self, text: &str, at: Point, anchor: Anchor, font: Font) {
        let (x, y) = (Number(at.0), Number(at.1));
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.svg.push_str("<text");
        if !font.class.is_empty() {
            self.put(format_args!(" class=\"{}\"", font.class));
        }
        self.put(format_args!(" x=\"{x}\" y=\"{y}\" dy=\".35em\" text-anchor=\"{anchor}\""));
        self.put(format_args!(" font-size=\"{}\" fill=\"{}\"", Number(font.px), font.ink.colour()));
        if font.bold {
            self.svg.push_str(" font-weight=\"bold\"");
        }
        if font.upright {
            self.put(format_args!(" transform=\"rotate(270 {x} {y})\""));
        }
        self.svg.push('>');
        escape(text, &mut self.svg);
        self.svg.push_str("</text>\n");
    }

    /// A dashed straight line, on the ground's colour to show on bars too.
    pub fn dashes(&mut self, from: Point, to: Point, ink: Ink) {
        self.line(&[from, to], Stroke::of(Ink::Paper, 1.0));
        self.line(&[from, to], Stroke::of(ink, 1.0).dashed("5 4"));
    }

    /// A horizontal interval with end caps of this half height, on an edge of the ground's colour to show on any bar.
    pub fn whisker(&mut self, low: f64, high: f64, y: f64, cap: f64) {
        let cap = cap.clamp(2.0, 4.0);
        for stroke in [Stroke::of(Ink::Paper, 3.0), Stroke::of(Ink::Text, 1.2)] {
            self.line(&[(low, y), (high, y)], stroke);
            for x in [low, high] {
                self.line(&[(x, y - cap), (x, y + cap)], stroke);
            }
        }
    }

    /// The figure as a file: on its ground, with its size in pixels.
    pub fn file(self, width: f64, height: f64) -> String {
        let (w, h) = (Number(width), Number(height));
        format!(
            "<svg width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" xmlns=\"http://www.w3.org/2000/svg\" \
             font-family=\"system-ui, sans-serif\">\n<rect x=\"0\" y=\"0\" width=\"{w}\" height=\"{h}\" fill=\"{}\"/>\n{}</svg>\n",
            Ink::Paper.colour(),
            self.svg
        )
    }

    /// The figure in a page: as wide as there is room; `label` says what it shows.
    pub fn inline(self, width: f64, height: f64, label: &str) -> String {
        let mut says = String::new();
        escape(label, &mut says);
        let (w, h) = (Number(width), Number(height));
        format!("<svg viewBox=\"0 0 {w} {h}\" role=\"img\" aria-label=\"{says}\">\n{}</svg>", self.svg)
    }

    /// A sign in a page's text, of its size in pixels, that needs no words.
    pub fn sign(self, width: f64, height: f64) -> String {
        let (w, h) = (Number(width), Number(height));
        let body = self.svg;
        format!(
            "<svg class=\"sign\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" aria-hidden=\"true\">{body}</svg>"
        )
    }

    fn put(&mut self, what: std::fmt::Arguments) {
        self.svg.write_fmt(what).expect("a string takes everything");
    }
}

/// Pixels that `text` takes at `px` pixels: generous, since the reader's font is not known here.
pub(crate) fn text_width(text: &str, px: f64) -> f64 {
    (text.chars().count() as f64 * px * 0.58).ceil()
}

fn escape(text: &str, to: &mut String) {
    for c in text.chars() {
        match c {
            '<' => to.push_str("&lt;"),
            '>' => to.push_str("&gt;"),
            '&' => to.push_str("&amp;"),
            '"' => to.push_str("&quot;"),
            c if c.is_control() => to.push(' '),
            c => to.push(c),
        }
    }
}

/// A number with at most one decimal.
struct Number(f64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rounded = (10.0 * self.0).round() / 10.0;
        write!(f, "{}", if rounded.is_finite() { rounded + 0.0 } else { 0.0 })
    }
}

struct Points<'a>(&'a [Point]);

impl std::fmt::Display for Points<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, (x, y)) in self.0.iter().enumerate() {
            write!(f, "{}{},{}", if i == 0 { "" } else { " " }, Number(*x), Number(*y))?;
        }
        Ok(())
    }
}

/// The attributes of a line.
struct Around(Option<Stroke>);

impl std::fmt::Display for Around {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(Stroke { ink, width, dash }) = self.0 else { return Ok(()) };
        write!(f, " stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\"", ink.colour(), Number(width))?;
        if dash.is_empty() { Ok(()) } else { write!(f, " stroke-dasharray=\"{dash}\"") }
    }
}

/// The attributes of an area.
struct Inside(Fill);

impl std::fmt::Display for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Fill { ink, opacity, outline } = self.0;
        write!(f, " fill=\"{}\"", ink.colour())?;
        if opacity < 1.0 {
            write!(f, " fill-opacity=\"{opacity:.3}\"")?;
        }
        Around(outline).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_told_apart_by_their_value() {
        let mut light: Vec<&str> = PALETTE.iter().map(|p| p.1[0]).collect();
        light.sort();
        light.dedup();
        assert_eq!(light.len(), PALETTE.len(), "a page replaces colours by their value");
        let inks = [Ink::Text, Ink::Soft, Ink::Rule, Ink::Paper, Ink::Series(8), Ink::Tone(2), Ink::Heat];
        let named = ["ink", "soft", "rule", "paper", "c8", "t2", "heat"];
        for (ink, name) in inks.into_iter().zip(named) {
            assert!(PALETTE.iter().any(|p| p.0 == name && p.1[0] == ink.colour()), "{ink:?}");
        }
    }
}
