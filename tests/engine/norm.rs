//! Batch norm against f64: statistics, ReLU, gradients and folding.

use crate::common::*;
use ham_engine::backend::Backend;
use ham_engine::cpu::simd::Level;
use ham_engine::ops::conv::{Activation, Epilogue};
use ham_engine::ops::norm::{Fold, Norm, NormBprop, NormFprop};
use ham_engine::ops::prepare_filter::PrepareFilter;
use ham_engine::ops::stem::StemFprop;
use ham_engine::program::{Conv, FilterDecl, Pass, Shape, Span};

/// Live slots and shape of a case: one value per channel, odd sizes, whole and partial blocks of channels.
const CASES: [(usize, Shape); 6] = [
    (1, Shape { c: 3, h: 1, w: 1 }),
    (1, Shape { c: 16, h: 3, w: 4 }),
    (2, Shape { c: 17, h: 5, w: 7 }),
    (5, Shape { c: 1, h: 4, w: 4 }),
    (8, Shape { c: 33, h: 2, w: 9 }),
    (7, Shape { c: 20, h: 1, w: 1 }),
];
const CAPACITY: usize = 8;

/// Spans that don't start at 0, so that a wrong offset shows.
fn norm(c: usize) -> Norm {
    let span = |i: usize| Span { offset: 3 + i * (c + 2), len: c };
    Norm { gamma: span(0), beta: span(1), mean: span(2), var: span(3) }
}

fn arena_len(c: usize) -> usize {
    3 + 4 * (c + 2)
}

struct Case {
    shape: Shape,
    live: usize,
    gamma: Vec<f64>,
    beta: Vec<f64>,
    /// `[live][h, w, c]`.
    x: Vec<Vec<f32>>,
    params: Vec<f32>,
}

impl Case {
    fn new(live: usize, shape: Shape) -> Case {
        let mut rng = Rng(shape.len() as u64 + live as u64);
        let norm = norm(shape.c);
        let mut params = rng.f32s(arena_len(shape.c), -1.0, 1.0);
        params[norm.gamma.range()].iter_mut().for_each(|g| *g += 1.5);
        // A mean that is large against the deviation, as deep layers have it.
        let x = (0..live).map(|_| rng.f32s(shape.len(), 2.0, 5.0)).collect();
        let f64s = |s: Span| params[s.range()].iter().map(|v| *v as f64).collect();
        Case { shape, live, gamma: f64s(norm.gamma), beta: f64s(norm.beta), x, params }
    }

    /// Values of one channel in a set of maps.
    fn channel(&self, maps: &[Vec<f32>], c: usize) -> Vec<f64> {
        maps.iter().flat_map(|m| m.iter().skip(c).step_by(self.shape.c)).map(|v| *v as f64).collect()
    }

    /// Mean and biased variance.
    fn moments(&self, c: usize) -> (f64, f64) {
        let v = self.channel(&self.x, c);
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        (mean, v.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / v.len() as f64)
    }

    fn count(&self) -> usize {
        self.live * self.shape.h * self.shape.w
    }
}

fn check(level: Level, live: usize, shape: Shape, with_residual: bool) {
    let case = Case::new(live, shape);
    let what = format!("{level} {live} x {shape:?}");
    let norm = norm(shape.c);
    let mut bench = Bench::of_state(level, CAPACITY, 2, 1);
    bench.live(&order(live), live);
    let params = bench.buffer(&case.params);
    let grads = bench.buffer(&vec![9.0; arena_len(shape.c)]);
    let batch_stats = bench.buffer(&vec![9.0; arena_len(shape.c)]);
    let mut p = bench.program();
    let (x, a, grad, residual) = (p.map(shape), p.map(shape), p.map(shape), p.map(shape));
    p.push(NormFprop { shape, x, a, params, batch_stats, norm });
    let used = with_residual.then_some(residual);
    p.push(NormBprop { shape, x, a, grad, residual: used, params, grads, batch_stats, norm });
    let mut compiled = bench.compile(p);
    let mut rng = Rng(99);
    let da: Vec<Vec<f32>> = (0..live).map(|_| rng.f32s(shape.len(), -1.0, 1.0)).collect();
    let res: Vec<Vec<f32>> = (0..live).map(|_| rng.f32s(shape.len(), -1.0, 1.0)).collect();
    for i in 0..live {
        compiled.set_map_values(x, i, &case.x[i]);
        compiled.set_map_values(grad, i, &da[i]);
        if with_residual {
            compiled.set_map_values(residual, i, &res[i]);
        }
    }
    bench.backend.replay(&mut compiled).unwrap();
    let read = |map| -> Vec<Vec<f32>> { (0..live).map(|i| compiled.map_values(map, i)).collect() };
    let (got_a, got_dx) = (read(a), read(grad));
    let (stats, grads) = (bench.f32s(batch_stats), bench.f32s(grads));
    // f32 sums run over one example's plane; examples add up in f64.
    let (m, plane) = (case.count(), shape.h * shape.w);
    for c in 0..shape.c {
        let what = format!("{what} channel {c}");
        let (mean, var) = case.moments(c);
        let x = case.channel(&case.x, c);
        close(&format!("{what} mean"), &[stats[norm.mean.offset + c]], &[mean], sum_tolerance(plane, 5.0));
        let unbiased = var * m as f64 / (m as f64 - 1.0).max(1.0);
        // Deviations are below 3.
        let var_tolerance = sum_tolerance(plane, 9.0);
        close(&format!("{what} var"), &[stats[norm.var.offset + c]], &[unbiased], var_tolerance);
        // What the statistics' rounding does to the output: relative in rstd, and the shift gamma*mean*rstd.
        let rstd = 1.0 / (var + 1e-5).sqrt();
        let (gamma, beta) = (case.gamma[c], case.beta[c]);
        let want: Vec<f64> = x.iter().map(|x| (gamma * (x - mean) * rstd + beta).max(0.0)).collect();
        let drift = rstd * rstd * var_tolerance / 2.0;
        let tolerance = gamma * rstd * sum_tolerance(plane, 5.0) + drift * gamma * rstd * 3.0 + sum_tolerance(1, 1.0);
        close(&format!("{what} a"), &case.channel(&got_a, c), &want, tolerance);
        // The mask is the forward pass's own: an output within rounding of zero may fall on either side.
        let open: Vec<bool> = case.channel(&got_a, c).iter().map(|a| *a > 0.0).collect();
        let g: Vec<f64> = case.channel(&da, c).iter().zip(&open).map(|(g, o)| if *o { *g } else { 0.0 }).collect();
        let xhat: Vec<f64> = x.iter().map(|x| (x - mean) * rstd).collect();
        let (dbeta, dgamma): (f64, f64) = (g.iter().sum(), g.iter().zip(&xhat).map(|(g, x)| g * x).sum());
        let xhat_error = rstd * sum_tolerance(plane, 5.0) + drift * max_abs(xhat.iter().copied());
        close(&format!("{what} dbeta"), &[grads[norm.beta.offset + c]], &[dbeta], sum_tolerance(plane, 1.0) * m as f64);
        let dgamma_tolerance = m as f64 * (sum_tolerance(plane, max_abs(xhat.iter().copied())) + xhat_error);
        close(&format!("{what} dgamma"), &[grads[norm.gamma.offset + c]], &[dgamma], dgamma_tolerance);
        let r = case.channel(&res, c);
        let dx = |i: usize| {
            let dx = gamma * rstd * (g[i] - dbeta / m as f64 - xhat[i] * dgamma / m as f64);
            dx + if with_residual { r[i] } else { 0.0 }
        };
        let want: Vec<f64> = (0..m).map(dx).collect();
        let spread = 1.0 + max_abs(xhat.iter().copied()).powi(2);
        let tolerance =
            gamma * rstd * spread * (sum_tolerance(plane, 1.0) + 2.0 * xhat_error + drift) + sum_tolerance(1, 1.0);
        close(&format!("{what} dx"), &case.channel(&got_dx, c), &want, tolerance);
    }
    let outside = |i: usize| ![norm.gamma, norm.beta].iter().any(|s| s.range().contains(&i));
    assert!((0..grads.len()).filter(|i| outside(*i)).all(|i| grads[i] == 9.0), "{what}: wrote outside its spans");
}

#[test]
fn fprop_and_bprop() {
    each_level(|level| {
        for (live, shape) in CASES {
            check(level, live, shape, false);
            check(level, live, shape, true);
        }
    });
}

/// No live example: neither statistics nor gradients are touched.
#[test]
fn nothing_live_touches_nothing() {
    each_level(|level| {
        let shape = Shape { c: 5, h: 2, w: 3 };
        let norm = norm(shape.c);
        let mut bench = Bench::of_state(level, CAPACITY, 2, 1);
        bench.live(&[], 4);
        let params = bench.buffer(&vec![1.0; arena_len(shape.c)]);
        let (grads, batch_stats) =
            (bench.buffer(&vec![9.0; arena_len(shape.c)]), bench.buffer(&vec![9.0; arena_len(shape.c)]));
        let mut p = bench.program();
        let (x, a, grad) = (p.map(shape), p.map(shape), p.map(shape));
        p.push(NormFprop { shape, x, a, params, batch_stats, norm });
        p.push(NormBprop { shape, x, a, grad, residual: None, params, grads, batch_stats, norm });
        let mut compiled = bench.compile(p);
        bench.backend.replay(&mut compiled).unwrap();
        assert!(bench.f32s(grads).iter().chain(&bench.f32s(batch_stats)).all(|v| *v == 9.0));
    });
}

/// A fold has no output of its own; a stem with a filter of zeros shows it: a = max(0, scale*0 + shift), and with a bias of
/// the same affine y = shift, a = max(0, scale*shift + shift).
#[test]
fn fold() {
    each_level(|level| {
        let (c, image) = (19, Shape { c: 1, h: 2, w: 2 });
        let shape = Shape { c, ..image };
        let norm = norm(c);
        let mut rng = Rng(4);
        let mut bench = Bench::new(level, 1, image, 2, c, (ham_engine::program::DType::F32, 1));
        bench.live(&[0], 1);
        let values = rng.f32s(arena_len(c), 0.2, 2.0);
        let stats = rng.f32s(arena_len(c), 0.2, 2.0);
        let (params, running) = (bench.buffer(&values), bench.buffer(&stats));
        let zeros = bench.buffer(&vec![0.0; c * 9]);
        let conv = Conv { c: 1, k: c, h: 2, w: 2, filter: 3, stride: 1 };
        let mut p = bench.program();
        let affine = p.affine(c);
        let filter = p.filter(FilterDecl { conv, stem: true, pass: Pass::Fprop, exact: true });
        let (y, a, sink) = (p.map(shape), p.map(shape), p.map(shape));
        p.push(Fold { params, running, norm, affine });
        let weights = Span { offset: 0, len: c * 9 };
        p.push(PrepareFilter { filter, params: zeros, weights, scale_k: None, scale_c: None, normalisation: None });
        let act = Some(Activation { affine: Some(affine), a, bits: None });
        let epilogue = Epilogue { bias: Some(affine), residual: None, y: Some(y), act };
        p.push(StemFprop { conv, image: bench.batch.x, normalisation: None, filter, epilogue });
        // Ops of the whole batch make the maps shared, so that they can be read.
        let other = bench.buffer(&vec![0.0; arena_len(c)]);
        for x in [y, a] {
            p.push(NormFprop { shape, x, a: sink, params, batch_stats: other, norm });
        }
        let mut compiled = bench.compile(p);
        bench.backend.replay(&mut compiled).unwrap();
        let at = |v: &[f32], s: Span, i: usize| v[s.offset + i] as f64;
        for i in 0..c {
            let scale = at(&values, norm.gamma, i) / (at(&stats, norm.var, i) + 1e-5).sqrt();
            let shift = at(&values, norm.beta, i) - at(&stats, norm.mean, i) * scale;
            // Scale: three roundings; shift and the product with it as many again, of values below 25.
            let tolerance = sum_tolerance(4, 25.0);
            close(&format!("{level} shift {i}"), &compiled.map_values(y, 0)[i..=i], &[shift], tolerance);
            let want = (scale * shift + shift).max(0.0);
            close(&format!("{level} affine {i}"), &compiled.map_values(a, 0)[i..=i], &[want], 2.0 * tolerance);
        }
    });
}
