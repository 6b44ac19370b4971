//! The stem against the CPU: fprop with every epilogue, dgrad into a gradient and a PGD step, wgrad.

use crate::common::{Rng, bits, max_abs, order, sum_tolerance};
use crate::lab::{Lab, Pair, SEEDS, near};
use ham_engine::backend::Backend;
use ham_engine::gpu::Precision;
use ham_engine::ops::Program;
use ham_engine::ops::conv::{Activation, Epilogue};
use ham_engine::ops::pgd_step::PgdStep;
use ham_engine::ops::prepare_filter::PrepareFilter;
use ham_engine::ops::stem::{Normalisation, StemDgrad, StemFprop, StemWgrad, stem};
use ham_engine::program::{Affine, Bits, Buf, Buffers, Conv, DType, Filter, FilterDecl, Map, Pass, Shape, Span};

const CAPACITY: usize = 4;
const LIVE: [usize; 4] = [0, 1, 3, CAPACITY];
/// One pixel; a row; tiles +-1; more channels than fit a block of dgrad, a chunk of the image or a block of K.
const STEMS: [Conv; 8] = [
    stem(1, 1, 1, 1),
    stem(3, 20, 1, 7),
    stem(1, 16, 13, 28),
    stem(3, 64, 9, 33),
    stem(2, 17, 5, 3),
    stem(4, 8, 17, 16),
    stem(3, 33, 7, 9),
    stem(7, 72, 4, 5),
];

/// Bound of the difference of two sums of `terms` products, each of which rounds by its partial sums: those that reach the
/// largest result, but for `rest`.
fn tolerance(terms: usize, results: &[f32], rest: f64) -> f32 {
    (2.0 * sum_tolerance(terms, rest + max_abs(results.iter().map(|v| f64::from(*v))))) as f32
}

fn normalisation(c: usize) -> Normalisation {
    Normalisation {
        mean: (0..c).map(|c| 0.3 + 0.05 * c as f32).collect(),
        std: (0..c).map(|c| 0.25 + 0.03 * c as f32).collect(),
    }
}

fn output(conv: &Conv) -> Shape {
    Shape { c: conv.k, h: conv.h, w: conv.w }
}

/// A lab with images, weights in [-1, 1] with an arena around them, and the first slots live.
pub fn lab(precision: Precision, seed: u64, conv: &Conv, live: usize, weights: &[f32]) -> (Lab, Buf, Span) {
    let image = Shape { c: conv.c, h: conv.h, w: conv.w };
    let mut lab = Lab::new(precision, seed, CAPACITY, image, 2, 1, (DType::F32, 1));
    lab.live(&order(live), CAPACITY);
    let mut rng = Rng(9);
    lab.write(lab.batch.x, 0, &rng.f32s(CAPACITY * image.len(), 0.0, 1.0));
    let arena: Vec<f32> = [&[0.25; 3], weights, &[0.75; 2]].concat();
    let params = lab.buffer(&arena);
    (lab, params, Span { offset: 3, len: weights.len() })
}

pub fn prepare(
    p: &mut Program,
    conv: Conv,
    pass: Pass,
    (params, weights): (Buf, Span),
    norm: Option<Normalisation>,
) -> Filter {
    let filter = p.filter(FilterDecl { conv, stem: true, pass, exact: true });
    let (scale_k, scale_c) = (None, None);
    p.push(PrepareFilter { filter, params, weights, scale_k, scale_c, normalisation: norm });
    filter
}

/// Runs a case, which gives the bits of its results; once in all orders of blocks, which must not show.
fn each_case(test: impl Fn(Precision, u64, Conv, usize, &str) -> Vec<u32>) {
    for precision in [Precision::Fp32, Precision::Bf16] {
        for conv in STEMS {
            for live in LIVE {
                let what = format!("{precision:?} {conv:?}, {live} live");
                let first = test(precision, SEEDS[0], conv, live, &what);
                for seed in SEEDS.into_iter().skip(1).filter(|_| live == 3) {
                    assert!(test(precision, seed, conv, live, &what) == first, "{what}: the order of blocks shows");
                }
            }
        }
    }
}

/// Relative rounding of what is stored in a map.
fn stored(precision: Precision) -> f32 {
    if precision == Precision::Bf16 { 1.0 / 256.0 } else { 0.0 }
}

/// What one fprop writes.
struct Outputs {
    bias: Option<Affine>,
    affine: Option<Affine>,
    y: Option<Map>,
    a: Option<Map>,
    bits: Option<Bits>,
}

fn fprops(precision: Precision, seed: u64, conv: Conv, live: usize, what: &str) -> Vec<u32> {
    let mut rng = Rng((conv.k * 31 + conv.w) as u64);
    let weights = rng.f32s(conv.filter_len(), -1.0, 1.0);
    let (mut lab, params, span) = lab(precision, seed, &conv, live, &weights);
    let mut p = lab.program();
    let shape = output(&conv);
    let mut variants = Vec::new();
    for (biased, y, a, affine, mask) in [
        (false, true, false, false, false),
        (true, false, true, false, true),
        (true, true, true, true, true),
        (false, false, true, true, false),
    ] {
        let norm = (!biased || y).then(|| normalisation(conv.c));
        let filter = prepare(&mut p, conv, Pass::Fprop, (params, span), norm.clone());
        let out = Outputs {
            bias: biased.then(|| p.affine(conv.k)),
            affine: affine.then(|| p.affine(conv.k)),
            y: y.then(|| p.map(shape)),
            a: a.then(|| p.map(shape)),
            bits: mask.then(|| p.mask(shape)),
        };
        let act = out.a.map(|a| Activation { affine: out.affine, a, bits: out.bits });
        let epilogue = Epilogue { bias: out.bias, residual: None, y: out.y, act };
        p.push(StemFprop { conv, image: lab.batch.x, normalisation: norm, filter, epilogue });
        variants.push(out);
    }
    let mut pair = lab.compile(p);
    for out in &variants {
        for affine in [out.bias, out.affine].into_iter().flatten() {
            let (scale, shift) = (rng.f32s(conv.k, -1.5, 1.5), rng.f32s(conv.k, -1.0, 1.0));
            lab.set_affine(&mut pair, affine, &scale, &shift);
        }
        // What a slot holds that isn't live stays.
        for map in [out.y, out.a].into_iter().flatten() {
            lab.fill_map(&mut pair, map, shape, &mut Rng(3), (1.0, 2.0));
        }
    }
    lab.replay(&mut pair);
    let mut seen = Vec::new();
    for (i, out) in variants.iter().enumerate() {
        for slot in 0..CAPACITY {
            for map in [out.y, out.a].into_iter().flatten() {
                let both = lab.map(&pair, map, slot);
                // Bias and affine are up to 1 and 1.5.
                let absolute = 1.5 * tolerance(9 * conv.c + 2, &both[0], 2.0);
                near(&format!("{what}, variant {i}, slot {slot}"), &both, absolute, stored(precision));
                seen.extend(bits(&both[1]));
            }
            if let (Some(mask), Some(a), true) = (out.bits, out.a, slot < live) {
                let (got, a) = (&lab.bits(&pair, mask, slot)[1], &lab.map(&pair, a, slot)[1]);
                assert!(got.iter().zip(a).all(|(bit, a)| *bit == (*a > 0.0)), "{what}, variant {i}: bits");
            }
        }
    }
    seen
}

#[test]
fn fprop_and_its_epilogues_match_the_cpu() {
    each_case(fprops);
}

/// A program with a dgrad, and dy filled with `dy`.
fn dgrad(
    lab: &mut Lab,
    conv: Conv,
    weights: (Buf, Span),
    norm: Option<Normalisation>,
    gradient: Buf,
    step: Option<PgdStep>,
    mut dy: impl FnMut() -> f32,
) -> Pair {
    let mut p = lab.program();
    let map = p.map(output(&conv));
    let filter = prepare(&mut p, conv, Pass::Dgrad, weights, norm.clone());
    p.push(StemDgrad { conv, dy: map, filter, normalisation: norm, gradient });
    step.into_iter().for_each(|step| p.push(step));
    let mut pair = lab.compile(p);
    for slot in 0..CAPACITY {
        let values: Vec<f32> = (0..output(&conv).len()).map(|_| dy()).collect();
        lab.set_map(&mut pair, map, slot, &values);
    }
    pair
}

#[test]
fn dgrad_matches_the_cpu() {
    each_case(|precision, seed, conv, live, what| {
        let mut rng = Rng((conv.k * 31 + conv.w) as u64);
        let (mut lab, params, span) = lab(precision, seed, &conv, live, &rng.f32s(conv.filter_len(), -1.0, 1.0));
        let gradient = lab.buffer(&vec![0.5; CAPACITY * conv.input_len()]);
        let norm = Some(normalisation(conv.c));
        let mut pair = dgrad(&mut lab, conv, (params, span), norm, gradient, None, || rng.f32(-1.0, 1.0));
        lab.replay(&mut pair);
        let both = lab.read::<f32>(gradient);
        // The filter is in f32 in both precisions.
        near(what, &both, tolerance(9 * conv.k, &both[0], 0.0), 0.0);
        bits(&both[1])
    });
}

/// With sums of small integers gradients are exact, so every sign is right, zeros included.
#[test]
fn a_step_of_pgd_equals_the_cpu_bit_by_bit() {
    each_case(|precision, seed, conv, live, what| {
        let mut seen = Vec::new();
        for normalised in [false, true] {
            let mut rng = Rng((conv.k * 31 + conv.w) as u64);
            let weights: Vec<f32> = (0..conv.filter_len()).map(|_| rng.below(5) as f32 - 2.0).collect();
            let (mut lab, params, span) = lab(precision, seed, &conv, live, &weights);
            let (x, x_adv) = (lab.batch.x, lab.batch.x_adv);
            // Some pixels at the bounds of the image, some at those of the perturbation, some within.
            let clean: Vec<f32> =
                lab.cpu.read_all::<f32>(x).unwrap().iter().map(|v| (v * 1.2 - 0.1).clamp(0.0, 1.0)).collect();
            let (eps, alpha) = (0.031, 0.007);
            let start: Vec<f32> = clean.iter().map(|v| (v + rng.f32(-eps, eps)).clamp(0.0, 1.0)).collect();
            lab.write(x, 0, &clean);
            lab.write(x_adv, 0, &start);
            let norm = Normalisation { mean: vec![0.5; conv.c], std: vec![0.25; conv.c] };
            let (batch, gradient) = (lab.batch, lab.batch.x_gradient);
            let image = Shape { c: conv.c, h: conv.h, w: conv.w };
            let step = Some(PgdStep { image, batch, gradient, eps, alpha });
            let norm = normalised.then_some(norm);
            // Few are not zero, so that some gradients cancel.
            let dy = || if rng.below(4) == 0 { rng.below(3) as f32 - 1.0 } else { 0.0 };
            let mut pair = dgrad(&mut lab, conv, (params, span), norm, gradient, step, dy);
            for step in 0..2 {
                lab.replay(&mut pair);
                let [cpu, gpu] = lab.read::<f32>(x_adv);
                assert_eq!(bits(&cpu), bits(&gpu), "{what}, step {step}");
                seen.extend(bits(&gpu));
            }
        }
        seen
    });
}

fn wgrads(precision: Precision, seed: u64, conv: Conv, live: usize, what: &str) -> Vec<u32> {
    let mut rng = Rng((conv.k * 31 + conv.w) as u64);
    let (mut lab, grads, weights) = lab(precision, seed, &conv, live, &vec![0.5; conv.filter_len()]);
    let mut p = lab.program();
    let dy = p.map(output(&conv));
    let (image, normalisation) = (lab.batch.x, Some(normalisation(conv.c)));
    p.push(StemWgrad { conv, image, normalisation, dy, grads, weights });
    let mut pair = lab.compile(p);
    lab.fill_map(&mut pair, dy, output(&conv), &mut rng, (-1.0, 1.0));
    if live == 1 {
        // Sums of an earlier replay count for nothing.
        lab.live(&order(CAPACITY), CAPACITY);
        lab.replay(&mut pair);
        lab.live(&order(live), CAPACITY);
    }
    lab.replay(&mut pair);
    let both = lab.read::<f32>(grads);
    near(what, &both, tolerance(live * conv.h * conv.w, &both[0], 0.0), 0.0);
    bits(&both[1])
}

#[test]
fn wgrad_matches_the_cpu() {
    each_case(wgrads);
}

/// Many blocks for the channels, so that each adds up several tiles.
#[test]
fn wgrad_of_many_channels_matches_the_cpu() {
    for precision in [Precision::Fp32, Precision::Bf16] {
        wgrads(precision, SEEDS[0], stem(1, 1040, 17, 40), 3, &format!("{precision:?}"));
    }
}

#[test]
fn what_the_kernels_cannot_do_is_refused_in_a_line() {
    let conv = stem(257, 8, 4, 4);
    let mut lab = Lab::of_maps(Precision::Fp32, 0, 1);
    let image = lab.buffer(&vec![0.0; conv.input_len()]);
    let grads = lab.buffer(&vec![0.0; conv.filter_len()]);
    let mut p = lab.program();
    let (dy, weights) = (p.map(output(&conv)), Span { offset: 0, len: conv.filter_len() });
    p.push(StemWgrad { conv, image, normalisation: None, dy, grads, weights });
    let error = lab.gpu.compile(p).err().expect("more channels than the kernels take").to_string();
    assert!(error.contains("257 channels") && error.lines().count() == 1, "{error}");
}
