//! A batch norm whose statistics come from the convolution or the stem before it.

use crate::common::{Rng, bits};
use crate::conv::{Case, PRECISIONS, Values, conv, kernels, relative, terms, tolerance, x_shape, y_shape};
use crate::lab::{Lab, Pair, SEEDS, near};
use crate::stem;
use ham_engine::gpu::Precision;
use ham_engine::gpu::kernels::MODULES;
use ham_engine::gpu::tiles::{TileSize, sizes};
use ham_engine::ops::Program;
use ham_engine::ops::conv::{Activation, ConvFprop, Epilogue};
use ham_engine::ops::norm::{Norm, NormFprop};
use ham_engine::ops::stem::{StemFprop, stem as geometry};
use ham_engine::program::{Conv, Map, Pass, Shape, Span};
use std::collections::BTreeSet;

/// What the statistics hold before.
const UNTOUCHED: f32 = 9.0;

/// What the convolution does besides.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Extra {
    None,
    /// Adds a map.
    Residual,
    /// Adds 1000, which is large against the deviation.
    Mean,
    /// An activation: then the statistics don't come from the convolution.
    Act,
}

/// Runs a convolution and the batch norm of its result; gives the kernels and the bits of all that the GPU wrote.
fn run(
    precision: Precision,
    seed: u64,
    case: &Case,
    extra: Extra,
    tile: Option<TileSize>,
) -> (Vec<&'static str>, Vec<u32>) {
    let mut lab = Lab::of_maps(precision, seed, case.live.max(1));
    lab.gpu.tile = tile;
    let (mut rng, c, shape) = (Rng(11), case.conv, y_shape(&case.conv));
    let mut p = Values::new(&lab, case);
    let filter = p.filter(&mut lab, &mut rng, c, Pass::Fprop, false);
    let (x, y, a) = (p.map(x_shape(&c)), p.map(shape), p.map(shape));
    let shortcut = case.shortcut.map(|s| {
        let (x, filter) = (p.map(x_shape(&s)), p.filter(&mut lab, &mut rng, s, Pass::Fprop, false));
        let epilogue = Epilogue { y: Some(y), ..Epilogue::default() };
        p.program.push(ConvFprop { conv: s, x, filter, epilogue });
        y
    });
    let residual = shortcut.or_else(|| (extra == Extra::Residual).then(|| p.map(shape)));
    // Set below, to more than what others hold.
    let bias = (extra == Extra::Mean).then(|| p.program.affine(c.k));
    let act = (extra == Extra::Act).then(|| Activation { affine: None, a: p.map(shape), bits: None });
    let epilogue = Epilogue { bias, residual, y: Some(y), act };
    p.program.push(ConvFprop { conv: c, x, filter, epilogue });
    let norm = norm(&mut lab, &mut p.program, &mut rng, shape, [y, a]);
    let mut pair = p.start(&mut lab, &mut rng, case);
    if let Some(bias) = bias {
        lab.set_affine(&mut pair, bias, &vec![1.0; c.k], &vec![1000.0; c.k]);
        lab.replay(&mut pair);
    }
    let names = kernels(&pair);
    let what = format!("{precision:?} {case:?} {extra:?} by {names:?}");
    let separate = names.iter().any(|n| n.starts_with("norm_fprop_stats"));
    assert_eq!(separate, extra == Extra::Act, "{what}: who makes the statistics");
    let off = tolerance(precision, terms(case, Pass::Fprop));
    let made = judge(&lab, &pair, &norm, [case.capacity, case.live], &what, off);
    (names, made)
}

/// Runs a stem and the batch norm of its result.
fn run_stem(precision: Precision, seed: u64, c: Conv, live: usize) -> Vec<u32> {
    let mut rng = Rng(13);
    let (mut lab, params, weights) = stem::lab(precision, seed, &c, live, &rng.f32s(c.filter_len(), -1.0, 1.0));
    let mut p = lab.program();
    let filter = stem::prepare(&mut p, c, Pass::Fprop, (params, weights), None);
    let (y, a) = (p.map(y_shape(&c)), p.map(y_shape(&c)));
    let epilogue = Epilogue { y: Some(y), ..Epilogue::default() };
    let stem = StemFprop { conv: c, image: lab.batch.x, normalisation: None, filter, epilogue };
    p.push(stem);
    let norm = norm(&mut lab, &mut p, &mut rng, y_shape(&c), [y, a]);
    let mut pair = lab.compile(p);
    for map in [y, a] {
        lab.fill_map(&mut pair, map, y_shape(&c), &mut rng, (-1.0, 1.0));
    }
    lab.replay(&mut pair);
    let (names, what) = (kernels(&pair), format!("{precision:?} {c:?}, {live} live"));
    assert!(names[1].starts_with("stem_fprop_moments") && names[2] == "norm_fprop_finalise", "{what}: {names:?}");
    // It adds in f32 whatever the maps are.
    let off = tolerance(Precision::Fp32, 9 * c.c);
    judge(&lab, &pair, &norm, [lab.batch.capacity, live], &what, off)
}

/// Appends the batch norm of y, with statistics that show whether they were written.
fn norm(lab: &mut Lab, p: &mut Program, rng: &mut Rng, shape: Shape, [x, a]: [Map; 2]) -> NormFprop {
    let span = |i: usize| Span { offset: 3 + i * (shape.c + 2), len: shape.c };
    let norm = Norm { gamma: span(0), beta: span(1), mean: span(2), var: span(3) };
    let mut values = rng.f32s(3 + 4 * (shape.c + 2), -1.0, 1.0);
    values[norm.gamma.range()].iter_mut().for_each(|g| *g += 1.5);
    let batch_stats = lab.buffer(&vec![UNTOUCHED; values.len()]);
    let params = lab.buffer(&values);
    let op = NormFprop { shape, x, a, params, batch_stats, norm };
    p.push(op.clone());
    op
}

/// Holds the statistics against those of what the GPU stored, and what the norm made against the CPU's, whose convolution is off
/// by `off` and the rounding of its result; gives the bits of all that the GPU wrote.
fn judge(lab: &Lab, pair: &Pair, op: &NormFprop, [capacity, live]: [usize; 2], what: &str, off: f32) -> Vec<u32> {
    let (precision, norm, channels) = (lab.precision, op.norm, op.shape.c);
    let mut stored = vec![Vec::new(); channels];
    for slot in 0..live {
        let [_, gpu] = lab.map(pair, op.x, slot);
        gpu.iter().enumerate().for_each(|(i, v)| stored[i % channels].push(f64::from(*v)));
    }
    let stats = lab.read::<f32>(op.batch_stats);
    let (eps, mut delta, mut least) = (f64::from(f32::EPSILON), 0.0f64, f64::INFINITY);
    for (k, values) in stored.iter().enumerate().filter(|(_, v)| !v.is_empty()) {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
        let (var, largest) = (squares / (n - 1.0).max(1.0), values.iter().fold(0.0f64, |m, v| m.max(v.abs())));
        let [got_mean, got_var] = [norm.mean, norm.var].map(|s| f64::from(stats[1][s.offset + k]));
        // Means of parts are rounded; what they are off by meets their distance from the mean. A thread's sum of a few
        // squares, relative to one of the values, exceeds that of the deviations by their number at most. Sums of n offsets
        // below the spread, up to 16 of a thread and 256 of a tile, are off by sqrt(n/3)/2 rounding errors of an offset.
        let ulp = largest * eps;
        let spread = values.iter().fold(0.0f64, |m, v| m.max((v - mean).abs()));
        assert!(
            (got_mean - mean).abs() <= ulp + 6.0 * spread * eps,
            "{what}: mean {got_mean} of channel {k}, expected {mean}"
        );
        let allowed = 256.0 * eps * var + 4.0 * ulp * (var.sqrt() + ulp);
        assert!((got_var - var).abs() <= allowed, "{what}: variance {got_var} of channel {k}, expected {var}");
        delta = delta.max(largest);
        least = least.min(squares / n);
    }
    // a is off by what y, its mean and its deviation are, times gamma/deviation; gamma is below 2.5, and values are within five
    // deviations of the mean.
    let sides = f64::from(off) + f64::from(relative(precision)) * delta;
    let allowed = 2.5 / (least + 1e-5).sqrt() * sides * (2.0 + 5.0) + 16.0 * eps;
    let mut made = bits(&stats[1]);
    for slot in 0..capacity.min(live + 1) {
        let both = lab.map(pair, op.a, slot);
        let (absolute, relative) = if slot < live { (allowed as f32, relative(precision)) } else { (0.0, 0.0) };
        near(&format!("{what}, a of {slot}"), &both, absolute, relative);
        made.extend(bits(&both[1]));
    }
    if live == 0 {
        assert!(stats[1].iter().all(|v| *v == UNTOUCHED), "{what}: statistics of nothing");
    }
    made
}

/// Runs it in every order.
fn check(precision: Precision, case: &Case, extra: Extra, tile: Option<TileSize>) -> Vec<&'static str> {
    let runs = SEEDS.map(|seed| run(precision, seed, case, extra, tile));
    assert!(runs[0] == runs[1] && runs[0] == runs[2], "{precision:?} {case:?} {extra:?}: depends on the order");
    runs.into_iter().next().expect("three").0
}

fn case(conv: Conv, capacity: usize, live: usize) -> Case {
    Case { conv, shortcut: None, capacity, live }
}

#[test]
fn statistics_come_from_the_convolution() {
    for precision in PRECISIONS {
        // Several tiles an image, and several images a tile; channels beyond a tile; a single value.
        for live in [0, 1, 3, 5] {
            check(precision, &case(conv(12, 20, 13, 17, 3, 1), 5, live), Extra::None, None);
            check(precision, &case(conv(5, 9, 4, 3, 3, 2), 5, live), Extra::Residual, None);
        }
        check(precision, &case(conv(8, 136, 5, 7, 1, 1), 3, 2), Extra::None, None);
        check(precision, &case(conv(3, 65, 1, 1, 3, 1), 2, 1), Extra::None, None);
        check(precision, &case(conv(9, 16, 6, 6, 3, 1), 3, 3), Extra::Act, None);
        for live in [0, 2] {
            let with = Case { shortcut: Some(conv(10, 24, 14, 23, 1, 2)), ..case(conv(24, 24, 7, 12, 3, 1), 3, live) };
            check(precision, &with, Extra::None, None);
        }
    }
}

#[test]
fn statistics_come_from_the_stem() {
    for precision in PRECISIONS {
        // One pixel; several tiles; channels beyond a block; image channels beyond a chunk.
        for (c, lives) in [
            (geometry(1, 1, 1, 1), vec![1]),
            (geometry(3, 20, 13, 34), vec![0, 1, 3, 4]),
            (geometry(5, 72, 9, 33), vec![3]),
            (geometry(1, 16, 28, 28), vec![2]),
            (geometry(3, 64, 18, 5), vec![4]),
        ] {
            for live in lives {
                let runs = SEEDS.map(|seed| run_stem(precision, seed, c, live));
                assert!(runs[0] == runs[1] && runs[0] == runs[2], "{precision:?} {c:?}: depends on the order");
            }
        }
    }
}

#[test]
fn a_large_mean_leaves_the_variance() {
    // Sums of a few products of numbers below 1.
    check(Precision::Fp32, &case(conv(4, 16, 16, 17, 3, 1), 4, 3), Extra::Mean, None);
}

#[test]
fn every_tile_has_moments() {
    let mut all = BTreeSet::new();
    for precision in PRECISIONS {
        for tile in sizes(precision) {
            all.extend(check(precision, &case(conv(16, tile.channels, 8, 8, 3, 1), 6, 5), Extra::None, Some(tile)));
        }
    }
    let ours = |e: &&str| e.starts_with("conv_walk_moments");
    let entries: BTreeSet<_> = MODULES.iter().flat_map(|m| m.entries.iter().map(|e| e.name)).filter(ours).collect();
    assert_eq!(all.into_iter().filter(ours).collect::<BTreeSet<_>>(), entries);
}
