//! The head.

use crate::common::{Rng, bits, sum_tolerance};
use crate::lab::{Lab, SEEDS, near};
use ham_engine::backend::Backend;
use ham_engine::gpu::Precision;
use ham_engine::gpu::driver::Command;
use ham_engine::ops::Op;
use ham_engine::ops::formula::crossed;
use ham_engine::ops::head::{HeadDgrad, HeadFprop, HeadWgrad, Linear, Loss, Measures};
use ham_engine::ops::norm::{Fold, Norm};
use ham_engine::ops::select::Select;
use ham_engine::program::{Buf, DType, Shape, Span};

const CAPACITY: usize = 5;
const PRECISIONS: [Precision; 2] = [Precision::Fp32, Precision::Bf16];
/// Live positions: none, one, some, all.
const LIVE: [&[u32]; 4] = [&[], &[3], &[0, 2, 4], &[0, 1, 2, 3, 4]];

/// Shape of the last map, and classes: single ones; vectors that don't fill a warp or a block, and more of them than a block
/// has threads; more classes than a warp has lanes.
const CASES: [(Shape, usize); 7] = [
    (Shape { c: 1, h: 1, w: 1 }, 1),
    (Shape { c: 3, h: 1, w: 1 }, 2),
    (Shape { c: 20, h: 3, w: 5 }, 3),
    (Shape { c: 33, h: 2, w: 2 }, 33),
    (Shape { c: 64, h: 4, w: 4 }, 10),
    (Shape { c: 8, h: 17, w: 16 }, 70),
    (Shape { c: 2100, h: 1, w: 2 }, 5),
];

/// An odd place for the layer, weights first.
fn linear(channels: usize, classes: usize) -> Linear {
    let weight = Span { offset: 3, len: classes * channels };
    Linear { weight, bias: Span { offset: weight.offset + weight.len + 1, len: classes } }
}

/// A lab with a random layer and random state.
fn lab(precision: Precision, seed: u64, shape: Shape, classes: usize, live: &[u32]) -> (Lab, Rng, Buf) {
    let image = Shape { c: 1, h: 1, w: 1 };
    let mut lab = Lab::new(precision, seed, CAPACITY, image, classes, shape.c, (DType::F32, 1));
    let mut rng = Rng(shape.len() as u64 + classes as u64);
    lab.live(live, CAPACITY);
    let layer = linear(shape.c, classes);
    // Logits of a few units, whatever the number of channels.
    let bound = weight_bound(shape.c);
    let mut params = rng.f32s(layer.weight.len + classes + 5, -bound, bound);
    params[layer.bias.range()].copy_from_slice(&rng.f32s(classes, -1.0, 1.0));
    let params = lab.buffer(&params);
    let labels: Vec<u32> = (0..CAPACITY).map(|_| rng.below(classes) as u32).collect();
    lab.write(lab.batch.label, 0, &labels);
    let targets: Vec<u32> = labels.iter().map(|label| (label + 1) % classes as u32).collect();
    lab.write(lab.batch.target, 0, &targets);
    let state = lab.batch;
    for buf in [state.confidence, state.step, state.weight, state.loss] {
        lab.write(buf, 0, &rng.f32s(CAPACITY, 0.0, 0.3));
    }
    for buf in [state.kappa, state.crossed, state.keep] {
        lab.write(buf, 0, &[7u32; CAPACITY]);
    }
    lab.write(state.pooled, 0, &rng.f32s(CAPACITY * shape.c, 0.0, 1.0));
    lab.write(state.logits, 0, &rng.f32s(CAPACITY * classes, -3.0, 3.0));
    lab.write(state.probs, 0, &rng.f32s(CAPACITY * classes, 0.0, 1.0 / classes as f32));
    lab.write(state.clean().probs, 0, &rng.f32s(CAPACITY * classes, 0.0, 1.0 / classes as f32));
    lab.write(state.gradient, 0, &rng.f32s(CAPACITY * classes, -1.0, 1.0));
    (lab, rng, params)
}

fn weight_bound(channels: usize) -> f32 {
    3.0 / (channels as f32).sqrt()
}

/// How far logits may be off: a pooled value below 1 by the rounding of its sum, and the sum of its products.
fn logit_error(shape: Shape) -> f32 {
    let pooled = sum_tolerance(shape.h * shape.w, 1.0) as f32;
    weight_bound(shape.c) * (shape.c as f32).sqrt() * (pooled + f32::EPSILON) + 4.0 * f32::EPSILON
}

/// How far probabilities may be off, and in sum: a softmax's derivatives add up to 2 at most, and exp is off by a few ulp of
/// itself and by the rounding of its argument, which is below 16.
fn prob_error(shape: Shape) -> f32 {
    2.0 * logit_error(shape) + 24.0 * f32::EPSILON
}

/// The gradient of the last map of `pixels`: dz is off by `dz_error` in sum, and classes add up.
fn gradient_error(shape: Shape, classes: usize, scale: f32, dz_error: f32) -> f32 {
    let sum = dz_error + sum_tolerance(classes + 4, 2.0) as f32;
    scale * weight_bound(shape.c) * sum / (shape.h * shape.w) as f32
}

/// Relative rounding of a map's element.
fn rounding(precision: Precision) -> f32 {
    match precision {
        Precision::Fp32 => 0.0,
        Precision::Bf16 => 1.0 / 256.0,
    }
}

/// What a head does beyond logits and losses.
#[derive(Clone, Copy, Debug)]
struct Extras {
    /// Counts kappa, and marks who crossed.
    mining: bool,
    measure_step: bool,
    gradient: Option<Loss>,
    /// The gradient passes a ReLU and a batch norm.
    masked: bool,
}

const EXTRAS: [Extras; 6] = [
    Extras { mining: false, measure_step: false, gradient: None, masked: false },
    Extras { mining: true, measure_step: true, gradient: Some(Loss::CrossEntropy), masked: true },
    Extras { mining: true, measure_step: false, gradient: Some(Loss::Margin), masked: true },
    Extras { mining: false, measure_step: true, gradient: Some(Loss::CrossEntropy), masked: false },
    Extras { mining: true, measure_step: false, gradient: Some(Loss::Divergence), masked: true },
    Extras { mining: false, measure_step: false, gradient: Some(Loss::Difference), masked: true },
];

/// Runs the head with what rides in its launch; gives the bits of all that the GPU wrote.
fn fprop(precision: Precision, seed: u64, (shape, classes): (Shape, usize), live: &[u32], extras: Extras) -> Vec<u32> {
    let what = format!("{precision:?}, {shape:?}, {classes} classes, {live:?} live, {extras:?}");
    let (mut lab, mut rng, params) = lab(precision, seed, shape, classes, live);
    let (batch, linear) = (lab.batch, linear(shape.c, classes));
    let span = |i: usize| Span { offset: i * shape.c, len: shape.c };
    let norms = [rng.f32s(2 * shape.c, 0.5, 1.5), rng.f32s(2 * shape.c, 0.5, 1.5)].map(|v| lab.buffer(&v));
    let mut p = lab.program();
    let (a, dy, mask, folded) = (p.map(shape), p.map(shape), p.mask(shape), p.affine(shape.c));
    let norm = Norm { gamma: span(0), beta: span(1), mean: span(0), var: span(1) };
    p.push(Fold { params: norms[0], running: norms[1], norm, affine: folded });
    let measures = Measures { kappa: extras.mining, step: extras.measure_step };
    p.push(HeadFprop { shape, a, params, linear, batch, measures });
    if extras.mining {
        p.push(Select { batch, keep: crossed(), keep_easy: 0.0 });
    }
    if let Some(loss) = extras.gradient {
        let (bits, affine) = (extras.masked.then_some(mask), extras.masked.then_some(folded));
        p.push(HeadDgrad { shape, params, linear, batch, loss, weighted: false, bits, affine, dy });
    }
    let mut pair = lab.compile(p);
    let launches = pair.gpu.commands.iter().filter(|c| matches!(c, Command::Launch(_))).count();
    assert_eq!(launches, 2, "{what}: the folding, and the head with all that rides in it");
    lab.fill_map(&mut pair, a, shape, &mut rng, (0.0, 1.0));
    lab.fill_map(&mut pair, dy, shape, &mut rng, (-1.0, 1.0));
    for slot in 0..CAPACITY {
        let values: Vec<bool> = (0..shape.len()).map(|_| rng.below(2) == 1).collect();
        lab.set_bits(&mut pair, mask, slot, &values);
    }
    lab.replay(&mut pair);
    let mut all = Vec::new();
    let (logit, prob) = (logit_error(shape), prob_error(shape));
    let pooled = sum_tolerance(shape.h * shape.w, 1.0) as f32;
    for (name, buf, absolute) in [
        ("pooled", batch.pooled, pooled),
        ("logits", batch.logits, logit),
        ("probs", batch.probs, prob),
        ("confidence", batch.confidence, prob),
        ("loss", batch.loss, prob),
        ("step", batch.step, prob + sum_tolerance(classes, 2.0) as f32),
    ] {
        let both = lab.read::<f32>(buf);
        near(&format!("{what}: {name}"), &both, absolute, f32::EPSILON);
        all.extend(bits(&both[1]));
    }
    for (name, buf) in [("kappa", batch.kappa), ("crossed", batch.crossed), ("keep", batch.keep)] {
        let [cpu, gpu] = lab.read::<u32>(buf);
        assert_eq!(cpu, gpu, "{what}: {name}");
    }
    // gamma and variance lie between 0.5 and 1.5.
    let scale = if extras.masked { 2.2 } else { 1.0 };
    let gradient = gradient_error(shape, classes, scale, prob);
    for slot in 0..CAPACITY {
        let both = lab.map(&pair, dy, slot);
        let (absolute, relative) = if slot < live.len() { (gradient, rounding(precision)) } else { (0.0, 0.0) };
        near(&format!("{what}: dy of slot {slot}"), &both, absolute, relative);
        all.extend(bits(&both[1]));
    }
    all
}

#[test]
fn fprop_equals_the_cpu() {
    for precision in PRECISIONS {
        for (i, case) in CASES.into_iter().enumerate() {
            for (j, extras) in EXTRAS.into_iter().enumerate() {
                if extras.gradient == Some(Loss::Margin) && case.1 == 1 {
                    continue;
                }
                // Every case meets every count of live ones.
                let live = LIVE[(i + j) % 4];
                let runs = SEEDS.map(|seed| fprop(precision, seed, case, live, extras));
                assert!(runs[0] == runs[1] && runs[0] == runs[2], "{case:?}: depends on the order of blocks");
            }
        }
    }
}

/// Logits as given: the weights are zero.
fn with_logits(bias: &[f32], label: u32) -> (Lab, Vec<u32>) {
    let (shape, classes) = (Shape { c: 2, h: 1, w: 1 }, bias.len());
    let (mut lab, _, params) = lab(Precision::Fp32, 0, shape, classes, &[1]);
    let (batch, linear) = (lab.batch, linear(2, classes));
    lab.write(params, linear.weight.offset, &vec![0.0f32; linear.weight.len]);
    lab.write(params, linear.bias.offset, bias);
    lab.write(batch.label, 0, &[label; CAPACITY]);
    let mut p = lab.program();
    let a = p.map(shape);
    p.push(HeadFprop { shape, a, params, linear, batch, measures: Measures { kappa: true, step: true } });
    let mut pair = lab.compile(p);
    lab.replay(&mut pair);
    let [cpu, gpu] = lab.read::<u32>(batch.crossed);
    assert_eq!(cpu, gpu, "{bias:?} label {label}");
    (lab, gpu)
}

#[test]
fn ties_go_to_the_lowest_class_and_nans_lose() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let mut wide = vec![0.5f32; 70];
    (wide[33], wide[65], wide[40]) = (2.0, 2.0, 2.0);
    let rows: [&[f32]; 9] = [
        &[1.0, 3.0, 3.0, 2.0],
        &[0.0, -0.0, 0.0],
        &[-inf, -inf, -inf],
        &[-inf, nan, -inf],
        &[nan, 1.0, 2.0],
        &[1.0, nan, 2.0],
        &[nan, nan, nan],
        &[inf, 1.0, inf],
        &wide,
    ];
    for bias in rows {
        let crossed: Vec<u32> = (0..bias.len()).map(|label| with_logits(bias, label as u32).1[1]).collect();
        assert_eq!(crossed.iter().filter(|c| **c == 0).count(), 1, "{bias:?}: one label is right");
    }
}

#[test]
fn a_logit_that_is_not_a_number_makes_such_a_loss() {
    let (lab, _) = with_logits(&[1.0, f32::NAN, 0.0], 0);
    let [cpu, gpu] = lab.read::<f32>(lab.batch.loss);
    assert!(cpu[1].is_nan() && gpu[1].is_nan());
}

/// Runs the gradient by itself; gives the bits of all that the GPU wrote.
fn dgrad(
    precision: Precision,
    seed: u64,
    (shape, classes): (Shape, usize),
    live: &[u32],
    loss: Loss,
    weighted: bool,
) -> Vec<u32> {
    let what = format!("{precision:?}, {shape:?}, {classes} classes, {live:?} live, {loss:?}, weighted {weighted}");
    let (mut lab, mut rng, params) = lab(precision, seed, shape, classes, live);
    let (batch, linear) = (lab.batch, linear(shape.c, classes));
    let mut p = lab.program();
    let (dy, mask) = (p.map(shape), p.mask(shape));
    let bits_or_none = weighted.then_some(mask);
    p.push(HeadDgrad { shape, params, linear, batch, loss, weighted, bits: bits_or_none, affine: None, dy });
    let mut pair = lab.compile(p);
    lab.fill_map(&mut pair, dy, shape, &mut rng, (-1.0, 1.0));
    for slot in 0..CAPACITY {
        let values: Vec<bool> = (0..shape.len()).map(|_| rng.below(2) == 1).collect();
        lab.set_bits(&mut pair, mask, slot, &values);
    }
    lab.replay(&mut pair);
    // Of the ratio, not the logits' own magnitude but that of its slopes counts.
    let steepest = match loss {
        Loss::TargetedDlr => lab.read::<f32>(batch.logits)[0].chunks(classes).map(steepness).fold(1.0, f32::max),
        _ => 1.0,
    };
    let error = steepest * gradient_error(shape, classes, 1.0, 0.0);
    let mut all = Vec::new();
    for slot in 0..CAPACITY {
        let both = lab.map(&pair, dy, slot);
        let (absolute, relative) = if slot < live.len() { (error, rounding(precision)) } else { (0.0, 0.0) };
        near(&format!("{what}: slot {slot}"), &both, absolute, relative);
        all.extend(bits(&both[1]));
    }
    all
}

/// The most that a slope of the targeted DLR loss of these logits can be.
fn steepness(z: &[f32]) -> f32 {
    let mut sorted = z.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let scale = sorted[0] - 0.5 * (sorted[2] + sorted[3]);
    (1.0 + (sorted[0] - sorted[z.len() - 1]) / scale) / scale
}

#[test]
fn dgrad_equals_the_cpu() {
    for precision in PRECISIONS {
        for (i, case) in CASES.into_iter().enumerate() {
            let plain = [(Loss::CrossEntropy, true), (Loss::CrossEntropy, false), (Loss::Margin, true)];
            let given = [(Loss::Divergence, false), (Loss::TwoPass, false)];
            let kinds = plain.into_iter().chain(given).chain([(Loss::Difference, false), (Loss::TargetedDlr, true)]);
            for (j, (loss, weighted)) in kinds.enumerate() {
                let least = [(Loss::Margin, 2), (Loss::TargetedDlr, 4)];
                if least.into_iter().any(|(l, classes)| loss == l && case.1 < classes) {
                    continue;
                }
                let live = LIVE[(i + j) % 4];
                let runs = SEEDS.map(|seed| dgrad(precision, seed, case, live, loss, weighted));
                assert!(runs[0] == runs[1] && runs[0] == runs[2], "{case:?}: depends on the order of blocks");
            }
        }
    }
}

#[test]
fn wgrad_equals_the_cpu_bit_by_bit() {
    // Capacity beyond what is staged at a time.
    for capacity in [5, 128, 131] {
        for (channels, classes) in [(1, 1), (63, 2), (64, 3), (65, 10), (200, 33)] {
            for every in [0, 1, 2] {
                for seed in SEEDS {
                    let image = Shape { c: 1, h: 1, w: 1 };
                    let mut lab = Lab::new(Precision::Fp32, seed, capacity, image, classes, channels, (DType::F32, 1));
                    let mut rng = Rng(channels as u64);
                    let live: Vec<u32> = (0..capacity as u32).filter(|p| every > 0 && p % every == 0).collect();
                    lab.live(&live, capacity);
                    let labels: Vec<u32> = (0..capacity).map(|_| rng.below(classes) as u32).collect();
                    let batch = lab.batch;
                    lab.write(batch.label, 0, &labels);
                    lab.write(batch.weight, 0, &rng.f32s(capacity, 0.0, 1.0));
                    lab.write(batch.probs, 0, &rng.f32s(capacity * classes, 0.0, 1.0));
                    lab.write(batch.pooled, 0, &rng.f32s(capacity * channels, -1.0, 1.0));
                    let linear = linear(channels, classes);
                    let grads = lab.buffer(&vec![9.0; linear.weight.len + classes + 5]);
                    lab.write(batch.gradient, 0, &rng.f32s(capacity * classes, -1.0, 1.0));
                    let given = seed == 1;
                    lab.run([Op::HeadWgrad(HeadWgrad { channels, grads, linear, batch, given })]);
                    let [cpu, gpu] = lab.read::<f32>(grads);
                    let what = format!("{} live of {capacity}, {channels} channels, {classes} classes", live.len());
                    assert_eq!(bits(&cpu), bits(&gpu), "{what}");
                }
            }
        }
    }
}

#[test]
fn a_head_beyond_the_limits_is_refused() {
    let refused = |c: usize, classes: usize, loss: Loss| -> Option<String> {
        let shape = Shape { c, h: 1, w: 1 };
        let mut lab = Lab::new(Precision::Bf16, 0, 1, Shape { c: 1, h: 1, w: 1 }, classes, c, (DType::F32, 1));
        let params = lab.buffer(&vec![0.0; classes * c + classes + 5]);
        let (linear, batch) = (linear(c, classes), lab.batch);
        let mut p = lab.program();
        let dy = p.map(shape);
        p.push(HeadDgrad { shape, params, linear, batch, loss, weighted: true, bits: None, affine: None, dy });
        lab.gpu.compile(p).err().map(|e| e.to_string())
    };
    assert_eq!(refused(4096, 1000, Loss::Margin), None);
    let wide = refused(12296, 1, Loss::CrossEntropy).unwrap();
    assert!(wide.contains("12296 channels") && wide.contains("at most"), "{wide}");
    let single = refused(8, 1, Loss::Margin).unwrap();
    assert!(single.contains("margin"), "{single}");
}
