//! The head against f64: pooling, logits, softmax, decisions per example, and gradients.

use crate::common::*;
use crate::naive::{cross_entropy, softmax};
use ham_engine::backend::Backend;
use ham_engine::cpu::simd::Level;
use ham_engine::ops::Op;
use ham_engine::ops::compact::Compact;
use ham_engine::ops::head::{HeadDgrad, HeadFprop, HeadWgrad, Linear, Loss, Measures};
use ham_engine::ops::norm::{Fold, Norm, NormFprop};
use ham_engine::program::{Buffers, Shape, Span};

/// Live slots sit at these positions: slot and position must not be confused.
const POSITIONS: [u32; 4] = [1, 2, 4, 7];
const CAPACITY: usize = 9;
/// Shape of the last map, classes.
const CASES: [(Shape, usize); 4] = [
    (Shape { c: 3, h: 1, w: 1 }, 2),
    (Shape { c: 16, h: 4, w: 4 }, 10),
    (Shape { c: 37, h: 3, w: 5 }, 17),
    (Shape { c: 48, h: 2, w: 2 }, 3),
];

fn linear(c: usize, classes: usize) -> Linear {
    Linear { weight: Span { offset: 5, len: c * classes }, bias: Span { offset: 5 + c * classes, len: classes } }
}

fn arena_len(c: usize, classes: usize) -> usize {
    5 + (c + 1) * classes + 3
}

#[test]
fn fprop() {
    each_level(|level| CASES.into_iter().for_each(|(shape, classes)| check_fprop(level, shape, classes)));
}

fn check_fprop(level: Level, shape: Shape, classes: usize) {
    let what = format!("{level} {shape:?} {classes} classes");
    let mut rng = Rng(shape.len() as u64);
    let (c, plane) = (shape.c, shape.h * shape.w);
    let mut bench = Bench::of_state(level, CAPACITY, classes, c);
    let batch = bench.batch;
    bench.live(&POSITIONS, CAPACITY);
    let params = rng.f32s(arena_len(c, classes), -1.0, 1.0);
    let arena = bench.buffer(&params);
    let labels: Vec<u32> = (0..CAPACITY).map(|_| rng.below(classes) as u32).collect();
    let before = rng.f32s(CAPACITY * classes, 0.0, 0.5);
    let steps = rng.f32s(CAPACITY, 0.0, 1.5);
    bench.backend.write(batch.label, 0, &labels).unwrap();
    bench.backend.write(batch.probs, 0, &before).unwrap();
    bench.backend.write(batch.step, 0, &steps).unwrap();
    bench.backend.write(batch.kappa, 0, &[3u32; CAPACITY]).unwrap();
    let mut p = bench.program();
    let a = p.map(shape);
    let linear = linear(c, classes);
    let head = HeadFprop { shape, a, params: arena, linear, batch, measures: Measures { kappa: true, step: true } };
    p.push(head);
    let mut compiled = bench.compile(p);
    let maps: Vec<Vec<f32>> = POSITIONS.iter().map(|_| rng.f32s(shape.len(), 0.0, 2.0)).collect();
    maps.iter().enumerate().for_each(|(slot, v)| compiled.set_map_values(a, slot, v));
    bench.backend.replay(&mut compiled).unwrap();

    let (logits, probs, pooled) = (bench.f32s(batch.logits), bench.f32s(batch.probs), bench.f32s(batch.pooled));
    let (confidence, loss, step) = (bench.f32s(batch.confidence), bench.f32s(batch.loss), bench.f32s(batch.step));
    let (crossed, kappa) = (bench.u32s(batch.crossed), bench.u32s(batch.kappa));
    for (slot, &position) in POSITIONS.iter().enumerate() {
        let at = position as usize;
        let what = format!("{what} position {at}");
        let rows = at * classes..(at + 1) * classes;
        let pool = |c: usize| maps[slot].iter().skip(c).step_by(shape.c).map(|v| *v as f64).sum::<f64>() / plane as f64;
        let want: Vec<f64> = (0..c).map(pool).collect();
        close(&format!("{what} pooled"), &pooled[slot * c..(slot + 1) * c], &want, sum_tolerance(plane, 2.0));
        let weight = |k: usize, c: usize| params[linear.weight.offset + k * shape.c + c] as f64;
        let bias = |k: usize| params[linear.bias.offset + k] as f64;
        let z: Vec<f64> = (0..classes).map(|k| bias(k) + (0..c).map(|c| weight(k, c) * want[c]).sum::<f64>()).collect();
        // Products below 2, and the pooled features' own error in each.
        let tolerance = sum_tolerance(c, 2.0) + (c as f64).sqrt() * sum_tolerance(plane, 2.0);
        close(&format!("{what} logits"), &logits[rows.clone()], &z, tolerance);
        let p = softmax(&z);
        close(&format!("{what} probs"), &probs[rows.clone()], &p, 2.0 * tolerance);
        let label = labels[at] as usize;
        close(&format!("{what} confidence"), &confidence[at..=at], &p[label..=label], 2.0 * tolerance);
        close(&format!("{what} loss"), &loss[at..=at], &[cross_entropy(&z, label)], 3.0 * tolerance);
        let moved: f64 = p.iter().zip(&before[rows]).map(|(new, old)| (new - *old as f64).abs()).sum();
        let moved = moved.max(steps[at] as f64);
        close(&format!("{what} step"), &step[at..=at], &[moved], classes as f64 * 2.0 * tolerance);
        let top = (0..classes).rev().max_by(|i, j| z[*i].total_cmp(&z[*j])).unwrap();
        assert_eq!(crossed[at], u32::from(top != label), "{what} crossed");
        assert_eq!(kappa[at], 3 + u32::from(top == label), "{what} kappa");
    }
    for at in (0..CAPACITY).filter(|p| !POSITIONS.contains(&(*p as u32))) {
        assert_eq!((kappa[at], step[at]), (3, steps[at]), "{what}: a dead example was touched");
        assert_eq!(probs[at * classes..(at + 1) * classes], before[at * classes..(at + 1) * classes]);
    }
}

/// Equal logits: the lowest class wins. Neither kappa nor step moves unless asked for.
#[test]
fn ties_go_to_the_lowest_class() {
    each_level(|level| {
        let (shape, classes) = (Shape { c: 2, h: 1, w: 1 }, 4);
        let mut bench = Bench::of_state(level, 4, classes, 2);
        let batch = bench.batch;
        bench.live(&[0, 1, 2, 3], 4);
        let linear = linear(2, classes);
        let mut params = vec![0.0; arena_len(2, classes)];
        params[linear.bias.range()].copy_from_slice(&[-1.0, 2.0, 2.0, 2.0]);
        let arena = bench.buffer(&params);
        bench.backend.write(batch.label, 0, &[0u32, 1, 2, 3]).unwrap();
        let mut p = bench.program();
        let a = p.map(shape);
        let head =
            HeadFprop { shape, a, params: arena, linear, batch, measures: Measures { kappa: false, step: false } };
        p.push(head);
        let mut compiled = bench.compile(p);
        bench.backend.replay(&mut compiled).unwrap();
        assert_eq!(bench.u32s(batch.crossed), [1, 0, 1, 1], "{level}");
        assert_eq!(bench.u32s(batch.kappa), [0; 4], "{level}");
        assert_eq!(bench.f32s(batch.step), [0.0; 4], "{level}");
    });
}

/// Logits far apart must not overflow: the loss stays finite as long as the logits do.
#[test]
fn large_logits_stay_finite() {
    each_level(|level| {
        let (shape, classes) = (Shape { c: 1, h: 1, w: 1 }, 3);
        let mut bench = Bench::of_state(level, 1, classes, 1);
        let batch = bench.batch;
        bench.live(&[0], 1);
        let linear = linear(1, classes);
        let mut params = vec![0.0; arena_len(1, classes)];
        params[linear.bias.range()].copy_from_slice(&[500.0, -500.0, 0.0]);
        let arena = bench.buffer(&params);
        bench.backend.write(batch.label, 0, &[1u32]).unwrap();
        let mut p = bench.program();
        let a = p.map(shape);
        let head = HeadFprop { shape, a, params: arena, linear, batch, measures: Measures { kappa: true, step: true } };
        p.push(head);
        let mut compiled = bench.compile(p);
        bench.backend.replay(&mut compiled).unwrap();
        assert_eq!(bench.f32s(batch.loss), [1000.0], "{level}");
        assert_eq!(bench.f32s(batch.confidence), [0.0], "{level}");
    });
}

/// Writes what a forward pass leaves: logits, their probabilities, labels and weights; returns the logit gradients.
fn logit_gradients(bench: &mut Bench, classes: usize, loss: Loss, weighted: bool) -> Vec<Vec<f64>> {
    let mut rng = Rng(classes as u64);
    let batch = bench.batch;
    let mut z = rng.f32s(CAPACITY * classes, -3.0, 3.0);
    // Position 1: the two best others tie; the lower one counts.
    if loss != Loss::TargetedDlr {
        z[classes..2 * classes].fill(1.0);
    }
    let p: Vec<f32> = z
        .chunks(classes)
        .flat_map(|z| softmax(&z.iter().map(|v| *v as f64).collect::<Vec<_>>()))
        .map(|v| v as f32)
        .collect();
    let labels: Vec<u32> = (0..CAPACITY).map(|i| (i % classes) as u32).collect();
    let weights = rng.f32s(CAPACITY, 0.0, 0.4);
    bench.backend.write(batch.logits, 0, &z).unwrap();
    bench.backend.write(batch.probs, 0, &p).unwrap();
    bench.backend.write(batch.label, 0, &labels).unwrap();
    let targets: Vec<u32> = (0..CAPACITY).map(|i| ((2 * i + 1) % classes) as u32).collect();
    bench.backend.write(batch.target, 0, &targets).unwrap();
    bench.backend.write(batch.weight, 0, &weights).unwrap();
    let [target, given] = [0.0, -1.0].map(|low| rng.f32s(CAPACITY * classes, low, 1.0));
    bench.backend.write(batch.clean().probs, 0, &target).unwrap();
    bench.backend.write(batch.gradient, 0, &given).unwrap();
    let gradient = |position: &u32| -> Vec<f64> {
        let at = *position as usize;
        let (z, p) = (&z[at * classes..], &p[at * classes..]);
        let label = labels[at] as usize;
        let others = (0..classes).rev().filter(|k| *k != label);
        let other = others.max_by(|i, j| z[*i].total_cmp(&z[*j])).unwrap();
        let weight = if weighted { weights[at] as f64 } else { 1.0 };
        let one = |k: usize, of: usize| f64::from(u8::from(k == of));
        let dz = |k| match loss {
            Loss::CrossEntropy => p[k] as f64 - one(k, label),
            Loss::Margin => one(k, other) - one(k, label),
            Loss::Divergence => p[k] as f64 - target[at * classes + k] as f64,
            Loss::TwoPass => given[at * classes + k] as f64,
            Loss::Difference => one(k, targets[at] as usize) - one(k, label),
            Loss::TargetedDlr => {
                // The slope of the formula itself, by central differences.
                let value = |move_k: f64| {
                    let z: Vec<f64> = (0..classes).map(|j| z[j] as f64 + move_k * one(j, k)).collect();
                    let mut sorted = z.clone();
                    sorted.sort_by(|a, b| b.total_cmp(a));
                    (z[targets[at] as usize] - z[label]) / (sorted[0] - 0.5 * (sorted[2] + sorted[3]) + 1e-12)
                };
                (value(1e-6) - value(-1e-6)) / 2e-6
            }
        };
        (0..classes).map(|k| weight * dz(k)).collect()
    };
    POSITIONS.iter().map(gradient).collect()
}

#[test]
fn dgrad() {
    each_level(|level| {
        for (shape, classes) in CASES {
            let losses = [Loss::CrossEntropy, Loss::Margin, Loss::Divergence, Loss::TwoPass, Loss::Difference];
            for loss in losses.into_iter().chain((classes >= 4).then_some(Loss::TargetedDlr)) {
                // Training weighs and has neither mask nor affine; the attack has both.
                check_dgrad(level, shape, classes, loss, true, false);
                check_dgrad(level, shape, classes, loss, false, true);
            }
        }
    });
}

fn check_dgrad(level: Level, shape: Shape, classes: usize, loss: Loss, weighted: bool, attack: bool) {
    let what = format!("{level} {shape:?} {classes} classes {loss:?} attack={attack}");
    let mut rng = Rng(7 + shape.len() as u64);
    let c = shape.c;
    let mut bench = Bench::of_state(level, CAPACITY, classes, c);
    let batch = bench.batch;
    bench.live(&POSITIONS, CAPACITY);
    let dz = logit_gradients(&mut bench, classes, loss, weighted);
    let params = rng.f32s(arena_len(c, classes), -1.0, 1.0);
    let linear = linear(c, classes);
    let arena = bench.buffer(&params);
    // An affine of scale gamma: the statistics that it folds are 0 and 1 - 1e-5.
    let gamma = rng.f32s(c, -1.5, 1.5);
    let norms = bench.buffer(&[gamma.clone(), vec![0.0; c]].concat());
    let running = bench.buffer(&[vec![0.0; c], vec![1.0 - 1e-5; c]].concat());
    let (first, second) = (Span { offset: 0, len: c }, Span { offset: c, len: c });
    let norm = Norm { gamma: first, beta: second, mean: first, var: second };
    let mut p = bench.program();
    let (dy, sink, mask, affine) = (p.map(shape), p.map(shape), p.mask(shape), p.affine(c));
    p.push(Fold { params: norms, running, norm, affine });
    let (bits, scale) = (attack.then_some(mask), attack.then_some(affine));
    let (params_buf, batch_stats) = (arena, bench.buffer(&vec![0.0; 2 * c]));
    p.push(HeadDgrad { shape, params: params_buf, linear, batch, loss, weighted, bits, affine: scale, dy });
    // Ops of the whole batch make the map and the mask shared; they come too late to change the result.
    p.push(NormFprop { shape, x: dy, a: sink, params: norms, batch_stats, norm });
    p.push(Compact { image: bench.image, batch, bits: vec![mask] });
    let mut compiled = bench.compile(p);
    let masks: Vec<Vec<bool>> =
        POSITIONS.iter().map(|_| (0..shape.len()).map(|_| rng.below(2) == 1).collect()).collect();
    masks.iter().enumerate().for_each(|(slot, m)| compiled.set_bits_values(mask, slot, m));
    bench.backend.replay(&mut compiled).unwrap();
    for slot in 0..POSITIONS.len() {
        let value = |c: usize| {
            let weight = |k: usize| params[linear.weight.offset + k * shape.c + c] as f64;
            let sum: f64 = (0..classes).map(|k| weight(k) * dz[slot][k]).sum();
            sum * if attack { gamma[c] as f64 } else { 1.0 } / (shape.h * shape.w) as f64
        };
        let open = |i: usize| !attack || masks[slot][i];
        let want: Vec<f64> = (0..shape.len()).map(|i| if open(i) { value(i % c) } else { 0.0 }).collect();
        // Central differences are good to 1e-9; the ratio's slopes exceed 1.
        let steepest = max_abs(dz[slot].iter().copied()).max(1.0);
        let tolerance = 2.0 * steepest * sum_tolerance(classes, 1.5 / (shape.h * shape.w) as f64);
        close(&format!("{what} slot {slot}"), &compiled.map_values(dy, slot), &want, tolerance);
    }
}

#[test]
fn wgrad() {
    each_level(|level| {
        for (shape, classes) in CASES {
            let c = shape.c;
            let mut bench = Bench::of_state(level, CAPACITY, classes, c);
            let batch = bench.batch;
            bench.live(&POSITIONS, CAPACITY);
            let (loss, given) = if c % 2 == 0 { (Loss::CrossEntropy, false) } else { (Loss::TwoPass, true) };
            let dz = logit_gradients(&mut bench, classes, loss, !given);
            // By slot; the rest of the buffer must not be read.
            let mut pooled = vec![f32::NAN; CAPACITY * c];
            let values = Rng(3).f32s(POSITIONS.len() * c, 0.0, 2.0);
            pooled[..values.len()].copy_from_slice(&values);
            bench.backend.write(batch.pooled, 0, &pooled).unwrap();
            let linear = linear(c, classes);
            let grads = bench.buffer(&vec![9.0; arena_len(c, classes)]);
            bench.run([Op::HeadWgrad(HeadWgrad { channels: c, grads, linear, batch, given })]);
            let got = bench.f32s(grads);
            let slots = 0..POSITIONS.len();
            let dw = |i: usize| slots.clone().map(|s| dz[s][i / c] * values[s * c + i % c] as f64).sum();
            let db = |k: usize| slots.clone().map(|s| dz[s][k]).sum();
            let what = format!("{level} {shape:?}");
            let (dw, db): (Vec<f64>, Vec<f64>) = ((0..c * classes).map(dw).collect(), (0..classes).map(db).collect());
            let scale = if given { 1.0 } else { 0.4 };
            close(&format!("{what} dw"), &got[linear.weight.range()], &dw, sum_tolerance(POSITIONS.len(), 2.0 * scale));
            close(&format!("{what} db"), &got[linear.bias.range()], &db, sum_tolerance(POSITIONS.len(), scale));
            let ends = got[..5].iter().chain(&got[linear.bias.range().end..]);
            assert!(ends.copied().all(|v| v == 9.0), "{what}: wrote outside its spans");
        }
    });
}
