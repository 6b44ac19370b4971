//! Square Attack: the schedule and the squares of the authors' code, what a query may change, and what is kept.

use crate::common::*;
use ham_engine::batch::{Iteration, control};
use ham_engine::cpu::simd::Level;
use ham_engine::ops::Op;
use ham_engine::ops::ball::Norm;
use ham_engine::ops::square::schedule::Schedule;
use ham_engine::ops::square::{Square, SquareState};
use ham_engine::program::{Buffers, DType, Shape};
use ham_engine::rng::{Philox, Stream, uniform};

const EPS: f32 = 0.2;
const RUN: u32 = 3;
const SAMPLE: u32 = 70_000;
const LABEL: usize = 1;

#[test]
fn sides_follow_the_schedule() {
    // Height, width, norm, and the side of each size, as the authors' code has them.
    let from = [0, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001];
    let cases = [
        (28, 28, Norm::Linf, [25, 18, 13, 9, 6, 4, 3, 2, 2, 1]),
        (28, 28, Norm::L2, [25, 19, 13, 9, 7, 5, 3, 3, 3, 3]),
        (32, 20, Norm::Linf, [20, 16, 11, 8, 6, 4, 3, 2, 1, 1]),
        (32, 20, Norm::L2, [20, 17, 11, 9, 7, 5, 3, 3, 3, 3]),
    ];
    for (h, w, norm, sides) in cases {
        let schedule = Schedule::new(Shape { c: 3, h, w }, norm);
        for query in 0..10_000 {
            let level = from.iter().rposition(|from| *from <= query).unwrap();
            assert_eq!(schedule.level(query).side, sides[level], "{h}x{w}, {norm:?}, query {query}");
        }
    }
}

#[test]
fn pyramids_are_those_of_the_authors() {
    // 3, 4 and 5 are the sides of the start's squares, for images of five of them.
    let of_three = [[0.1361, 0.6804, 0.1361], [-0.1291, -0.1291, -0.1291], [-0.1291, -0.6455, -0.1291]];
    let of_four = [
        [0.0494, 0.1606, 0.1606, 0.1606],
        [0.0494, 0.1606, 0.6052, 0.1606],
        [-0.0494, -0.1606, -0.1606, -0.1606],
        [-0.0494, -0.1606, -0.6052, -0.1606],
    ];
    let of_five = [
        [0.0492, 0.1598, 0.1598, 0.1598, 0.0492],
        [0.0492, 0.1598, 0.6022, 0.1598, 0.0492],
        [-0.0456, -0.1482, -0.1482, -0.1482, -0.0456],
        [-0.0456, -0.1482, -0.5585, -0.1482, -0.0456],
        [-0.0456, -0.1482, -0.1482, -0.1482, -0.0456],
    ];
    let check = |want: &[f64]| {
        let side = want.len().isqrt();
        let schedule = Schedule::new(Shape { c: 1, h: 5 * side + 1, w: 5 * side }, Norm::L2);
        let (at, corner) = (schedule.start.table as usize, schedule.corner);
        assert_eq!((schedule.start.side as usize, corner), (side, 0));
        close(&format!("side {side}"), &schedule.tables[at..at + side * side], want, 6e-5);
    };
    check(of_three.as_flattened());
    check(of_four.as_flattened());
    check(of_five.as_flattened());
}

/// An attack on one example at position 1 of two.
struct Trial {
    bench: Bench,
    square: Square,
    x: Vec<f32>,
}

impl Trial {
    fn new(image: Shape, norm: Norm) -> Trial {
        let mut b = Bench::new(Level::detect(), 2, image, 3, 1, (DType::F32, 1));
        b.live(&[1], 2);
        let x: Vec<f32> = Rng(9).f32s(image.len(), -0.2, 1.2).iter().map(|v| v.clamp(0.0, 1.0)).collect();
        b.backend.write(b.batch.x, 0, &x).unwrap();
        b.backend.write(b.batch.sample, 1, &[SAMPLE]).unwrap();
        b.backend.write(b.batch.label, 1, &[LABEL as u32]).unwrap();
        b.backend.write(b.data.control, control::EPOCH, &[RUN]).unwrap();
        let schedule = Schedule::new(image, norm);
        let state = SquareState {
            best: b.buffer(&vec![0.0; 2 * image.len()]),
            margin: b.buffer(&[0.0; 2]),
            eta: b.buffer(&schedule.tables),
        };
        let (batch, data, rng) = (b.batch, b.data, Philox::new(11));
        let square = Square { image, batch, data, state, norm, eps: EPS, schedule, rng, query: None };
        Trial { bench: b, square, x }
    }

    /// The image that a query, or the start, asks about, after these logits of the last one.
    fn ask(&mut self, query: Option<u32>, logits: [f32; 3]) -> Vec<f32> {
        let (b, data) = (&mut self.bench, self.square.data);
        b.backend.write(b.batch.logits, 3, &logits).unwrap();
        // The number is the program's first and the place in the program together.
        let first = query.unwrap_or(0) / 2;
        b.backend.write(data.control, control::ITERATION, &[first]).unwrap();
        let at = query.map(|query| Iteration { control: data.control, offset: query - first });
        b.run([Op::Square(Square { query: at, ..self.square.clone() })]);
        b.f32s(b.batch.x_adv)[..self.x.len()].to_vec()
    }

    /// The best image and its margin.
    fn best(&self) -> (Vec<f32>, f32) {
        let (b, len) = (&self.bench, self.x.len());
        (b.f32s(self.square.state.best)[len..].to_vec(), b.f32s(self.square.state.margin)[1])
    }
}

/// What the logits have to do with the margin: z_y less the largest of the others.
const WORSE: [f32; 3] = [0.0, 2.0, -1.0];
const BETTER: [f32; 3] = [0.5, 1.5, 0.75];
const BEST: [f32; 3] = [0.5, 0.25, 0.75];

#[test]
fn a_query_changes_a_square_of_the_best_image() {
    let image = Shape { c: 3, h: 9, w: 12 };
    let (plane, len) = (image.h * image.w, image.len());
    let mut t = Trial::new(image, Norm::Linf);
    let x = t.x.clone();
    let moved = |i: usize, sign: f32| (x[i] + sign * EPS).clamp(0.0, 1.0);
    let start = t.ask(None, [9.0; 3]);
    // Columns of one sign; both signs occur.
    let mut signs = std::collections::HashSet::new();
    for c in 0..image.c {
        for col in 0..image.w {
            let of =
                |sign: f32| (0..image.h).map(|r| c * plane + r * image.w + col).all(|i| start[i] == moved(i, sign));
            assert!(of(1.0) || of(-1.0), "channel {c}, column {col}");
            signs.insert(of(1.0));
        }
    }
    assert_eq!(signs.len(), 2);
    let (mut best, mut corners, mut changed) = (start.clone(), std::collections::HashSet::new(), 0);
    for i in 0..60u32 {
        // Of all sizes.
        let query = 20 * i;
        // The first candidate is kept whatever its margin; then every fourth is better.
        let logits = match i {
            0 => WORSE,
            i if i % 4 == 1 => {
                let sinking = i as f32 / 100.0;
                [0.5, 1.5 - sinking, 0.75]
            }
            _ => [0.0, 3.0, -1.0],
        };
        let asked_before = t.bench.f32s(t.bench.batch.x_adv)[..len].to_vec();
        let asked = t.ask(Some(query), logits);
        if i == 0 || i % 4 == 1 {
            best = asked_before;
            let (_, margin) = t.best();
            let other = logits[0].max(logits[2]);
            assert_eq!(margin, logits[LABEL] - other, "query {query}");
        }
        assert_eq!(bits(&t.best().0), bits(&best), "query {query}: the best");
        let side = t.square.schedule.level(query).side as usize;
        // Somewhere there is a square of that side outside of which nothing changes.
        let fits = |top: usize, left: usize| {
            let inside = |i: usize| {
                let (row, col) = (i % plane / image.w, i % image.w);
                (top..top + side).contains(&row) && (left..left + side).contains(&col)
            };
            (0..image.c).all(|c| {
                let mut pixels = c * plane..(c + 1) * plane;
                let sign = [-1.0, 1.0]
                    .into_iter()
                    .any(|s| pixels.clone().filter(|i| inside(*i)).all(|i| asked[i] == moved(i, s)));
                sign && pixels.all(|i| inside(i) || asked[i] == best[i])
            })
        };
        let places = (0..=image.h - side).flat_map(|top| (0..=image.w - side).map(move |left| (top, left)));
        let found: Vec<_> = places.filter(|(top, left)| fits(*top, *left)).collect();
        assert!(!found.is_empty(), "query {query}: no square of {side}");
        corners.extend(found);
        changed += usize::from(asked != best);
    }
    assert!(corners.len() > 20 && changed > 30, "{} corners, {changed} changed", corners.len());
}

/// The random numbers of a query, and what is made of them.
struct Drawn {
    rng: Philox,
    first: u32,
}

impl Drawn {
    fn block(&self, i: usize) -> [u32; 4] {
        self.rng.block(Stream::Square, RUN, SAMPLE, self.first + i as u32)
    }

    fn bit(&self, i: usize) -> bool {
        self.block(1 + i / 128)[i % 128 / 32] >> (i % 32) & 1 == 1
    }

    fn sign(&self, i: usize) -> f64 {
        if self.bit(i) { 1.0 } else { -1.0 }
    }
}

fn norm(d: impl IntoIterator<Item = f64>) -> f64 {
    d.into_iter().map(|v| v * v).sum::<f64>().sqrt()
}

#[test]
fn l2_moves_the_mass_of_two_squares_into_one() {
    let image = Shape { c: 2, h: 11, w: 13 };
    let (plane, len, w) = (image.h * image.w, image.len(), image.w);
    let mut t = Trial::new(image, Norm::L2);
    let schedule = t.square.schedule.clone();
    let x: Vec<f64> = t.x.iter().map(|v| *v as f64).collect();
    let eta = |table: u32, side: usize, across: bool, y: usize, x: usize| {
        schedule.tables[table as usize + if across { x * side + y } else { y * side + x }] as f64
    };
    let placed = |d: &[f64]| -> Vec<f64> {
        let length = norm(d.iter().copied());
        d.iter().zip(&x).map(|(d, x)| (x + d / length * EPS as f64).clamp(0.0, 1.0)).collect()
    };
    // Every operation on a pixel of size one rounds by half an epsilon; norms are sums of `len` squares.
    let tolerance = 8.0 * sum_tolerance(len, 1.0);
    // The start: 5 by 6 squares of side 2, the first of them at (0, 0).
    let drawn = Drawn { rng: Philox::new(11), first: 0 };
    let mut d = vec![0.0; len];
    for (i, d) in d.iter_mut().enumerate() {
        let (c, row, col) = (i / plane, i % plane / w, i % w);
        if row < 10 && col < 12 {
            let tile = (row / 2 * 6 + col / 2) * 3;
            *d = drawn.sign(tile + 1 + c) * eta(schedule.start.table, 2, drawn.bit(tile), row % 2, col % 2);
        }
    }
    let start = t.ask(None, [9.0; 3]);
    close("start", &start, &placed(&d), tolerance);
    let mut asked = start;
    // The bits of thirty squares, a direction and two signs each, take one block beside that of the places.
    let blocks = 2;
    for (query, logits) in (0..60u32).zip([WORSE, BETTER, WORSE, BEST].into_iter().cycle()) {
        let now = t.ask(Some(query), logits);
        let (best, _) = t.best();
        if query < 2 || query == 3 {
            assert_eq!(bits(&best), bits(&asked), "query {query}: kept");
        }
        let drawn = Drawn { rng: Philox::new(11), first: (query + 1) * blocks };
        let (level, r) = (schedule.level(query), drawn.block(0));
        let side = level.side as usize;
        let place = |r: u32, n: usize| (uniform(r) * (n - side) as f32) as usize;
        let corners = [[place(r[0], image.h), place(r[1], w)], [place(r[2], image.h), place(r[3], w)]];
        let holds = |k: usize, i: usize| {
            let [top, left]: [usize; 2] = corners[k];
            let (row, col) = (i % plane / w, i % w);
            (top..top + side).contains(&row) && (left..left + side).contains(&col)
        };
        let mut d: Vec<f64> = best.iter().zip(&x).map(|(b, x)| *b as f64 - x).collect();
        let free = ((EPS as f64).powi(2) - norm(d.iter().copied()).powi(2)).max(0.0) / image.c as f64;
        for c in 0..image.c {
            let pixels: Vec<usize> = (c * plane..(c + 1) * plane).collect();
            let over = |d: &[f64], k: &dyn Fn(usize) -> bool| norm(pixels.iter().filter(|i| k(**i)).map(|i| d[*i]));
            let (first, both) = (over(&d, &|i| holds(0, i)), over(&d, &|i| holds(0, i) || holds(1, i)));
            for &i in &pixels {
                if holds(0, i) {
                    let (row, col) = (i % plane / w - corners[0][0], i % w - corners[0][1]);
                    d[i] = drawn.sign(1 + c) * eta(level.table, side, drawn.bit(0), row, col) + d[i] / (first + 1e-12);
                } else if holds(1, i) {
                    d[i] = 0.0;
                }
            }
            let scale = (free + both * both).sqrt() / over(&d, &|i| holds(0, i));
            pixels.iter().filter(|i| holds(0, **i)).for_each(|&i| d[i] *= scale);
        }
        close(&format!("query {query}"), &now, &placed(&d), tolerance);
        let length = norm(now.iter().zip(&x).map(|(a, x)| *a as f64 - x));
        assert!(length <= EPS as f64 + tolerance, "query {query}: {length}");
        asked = now;
    }
}
