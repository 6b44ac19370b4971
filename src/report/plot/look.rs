//! How series are told apart: in dash and marker as well as in colour, bars in how they are filled, so that they survive a
//! grey print.

use super::canvas::{Anchor, COLOURS, Canvas, Fill, Font, Ink, Point, Stroke, text_width};

/// How a series is told from others: no two of the first 36 share both dash and marker. The same thing has the same look
/// in all figures.
#[derive(Clone, Copy)]
pub(crate) struct Look(pub usize);

const DASHES: [&str; 4] = ["", "9 4", "3 3", "11 3 3 3"];

/// The shape of a marker: a disc where it has no corners.
struct Shape {
    corners: usize,
    /// The angle of the first corner, in eighths of a turn.
    first: f64,
    star: bool,
}

const fn shape(corners: usize, first: f64) -> Shape {
    Shape { corners, first, star: false }
}

const fn star(corners: usize, first: f64) -> Shape {
    Shape { corners, first, star: true }
}

const SHAPES: [Shape; COLOURS] = [
    shape(0, 0.0),
    shape(3, -2.0),
    shape(4, 1.0),
    shape(4, 0.0),
    shape(3, 2.0),
    star(5, -2.0),
    star(4, 1.0),
    star(4, 0.0),
    shape(3, 0.0),
];

impl Look {
    pub fn ink(self) -> Ink {
        Ink::Series(self.0)
    }

    /// Its line.
    pub fn stroke(self) -> Stroke {
        Stroke::of(self.ink(), 2.0).dashed(DASHES[self.0 % DASHES.len()])
    }

    /// Its bars: full, pale or hollow.
    pub fn fill(self) -> Fill {
        let opacity = [1.0, 0.35, 0.0][self.0 % 3];
        Fill::of(self.ink()).opacity(opacity).outlined(self.ink(), 1.0)
    }

    /// Its marker, filled.
    pub fn marker(self, canvas: &mut Canvas, at: Point, radius: f64) {
        self.draw_marker(canvas, at, radius, Fill::of(self.ink()).outlined(self.ink(), 1.0));
    }

    /// Its marker, hollow on the ground's colour.
    pub fn hollow_marker(self, canvas: &mut Canvas, at: Point, radius: f64) {
        self.draw_marker(canvas, at, radius, Fill::of(Ink::Paper).outlined(self.ink(), 2.0));
    }

    fn draw_marker(self, canvas: &mut Canvas, at: Point, radius: f64, fill: Fill) {
        let Shape { corners, first, star } = SHAPES[self.0 % SHAPES.len()];
        if corners == 0 {
            return canvas.disc(at, radius, fill);
        }
        // Corners lie further out than the rim of a disc of the same area.
        let radius = radius
            * match corners {
                _ if star => 1.6,
                3 => 1.45,
                _ => 1.25,
            };
        let points = if star { 2 * corners } else { corners };
        let corner = |i: usize| {
            let angle = std::f64::consts::TAU * (first / 8.0 + i as f64 / points as f64);
            let r = if star && i % 2 == 1 { 0.45 * radius } else { radius };
            (at.0 + r * angle.cos(), at.1 + r * angle.sin())
        };
        canvas.polygon(&(0..points).map(corner).collect::<Vec<_>>(), fill);
    }
}

/// What stands before a name in a legend.
#[derive(Clone, Copy)]
pub(crate) enum Key {
    /// A piece of a series' line with its marker.
    Line(Look),
    /// An area.
    Area(Fill),
    /// A dashed line upwards.
    Dashes(Ink),
    /// An interval.
    Whisker,
}

impl Key {
    /// Draws it; `at` is the middle of its left side. Returns its width.
    pub fn draw(self, canvas: &mut Canvas, (x, y): Point) -> f64 {
        match self {
            Key::Line(look) => {
                canvas.line(&[(x, y), (x + 30.0, y)], look.stroke());
                look.marker(canvas, (x + 15.0, y), 3.0);
                30.0
            }
            Key::Area(fill) => {
                canvas.rect([(x + 1.0, y - 5.5), (x + 23.0, y + 5.5)], fill);
                24.0
            }
            Key::Dashes(ink) => {
                canvas.dashes((x + 8.0, y - 9.0), (x + 8.0, y + 9.0), ink);
                16.0
            }
            Key::Whisker => {
                canvas.whisker(x, x + 22.0, y, 4.0);
                22.0
            }
        }
    }

    /// The same as a sign in a page.
    pub fn sign(self) -> String {
        let mut canvas = Canvas::default();
        let width = self.draw(&mut canvas, (1.0, 7.0));
        canvas.sign(width + 2.0, 14.0)
    }
}

/// Names in a row, each behind its key, from `at` on.
pub(crate) fn legend<'a>(canvas: &mut Canvas, (mut x, y): Point, entries: impl IntoIterator<Item = (&'a str, Key)>) {
    for (name, key) in entries {
        x += key.draw(canvas, (x, y)) + 6.0;
        canvas.text(name, (x, y), Anchor::Start, Font::of(12.0));
        x += text_width(name, 12.0) + 18.0;
    }
}
