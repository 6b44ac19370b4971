//! Batch norm: folding, and fprop and bprop of train mode.

use crate::common::{Rng, bits, order, sum_tolerance};
use crate::lab::{Lab, Pair, SEEDS, near};
use ham_engine::backend::Backend;
use ham_engine::gpu::Precision;
use ham_engine::gpu::driver::{Arg, Command, Driver};
use ham_engine::ops::norm::{Fold, NORM_EPS, Norm, NormBprop, NormFprop};
use ham_engine::program::{Map, Shape, Span};

/// Spans that don't start at 0, so that a wrong offset shows.
fn norm(c: usize) -> Norm {
    let span = |i: usize| Span { offset: 3 + i * (c + 2), len: c };
    Norm { gamma: span(0), beta: span(1), mean: span(2), var: span(3) }
}

fn arena_len(c: usize) -> usize {
    3 + 4 * (c + 2)
}

/// Capacity, live slots and shape.
type Case = (usize, usize, Shape);

const CASES: [Case; 12] = [
    (3, 0, Shape { c: 5, h: 2, w: 3 }),
    (1, 1, Shape { c: 3, h: 1, w: 1 }),
    (3, 1, Shape { c: 1, h: 3, w: 1 }),
    // One, and two vectors of bf16 in a row: hundreds of lanes, some without a row.
    (7, 6, Shape { c: 8, h: 9, w: 5 }),
    (4, 4, Shape { c: 9, h: 16, w: 16 }),
    // Three and five vectors: lanes that don't fill a block.
    (5, 3, Shape { c: 20, h: 7, w: 5 }),
    (9, 9, Shape { c: 40, h: 4, w: 3 }),
    (8, 5, Shape { c: 64, h: 8, w: 8 }),
    // Whole columns of blocks and a part of one.
    (6, 5, Shape { c: 256, h: 1, w: 3 }),
    (3, 3, Shape { c: 264, h: 2, w: 1 }),
    (2, 2, Shape { c: 600, h: 2, w: 2 }),
    // More parts than a finalising thread block has lanes, and several tiles a part.
    (67, 66, Shape { c: 64, h: 17, w: 16 }),
];

struct Setup {
    lab: Lab,
    rng: Rng,
    norm: Norm,
    params: Vec<f32>,
}

fn setup(precision: Precision, seed: u64, (capacity, live, shape): Case) -> (Setup, String) {
    let mut lab = Lab::of_maps(precision, seed, capacity);
    lab.live(&order(live), capacity);
    let mut rng = Rng(shape.len() as u64 + live as u64);
    let norm = norm(shape.c);
    let mut params = rng.f32s(arena_len(shape.c), -1.0, 1.0);
    params[norm.gamma.range()].iter_mut().for_each(|g| *g += 1.5);
    let what = format!("{precision:?}, {live} live of {capacity}, {shape:?}");
    (Setup { lab, rng, norm, params }, what)
}

/// The live slots of a map are within the tolerance of the CPU's, the others equal; gives the GPU's bits.
#[track_caller]
fn maps_near(lab: &Lab, pair: &Pair, map: Map, what: &str, live: usize, absolute: f32) -> Vec<u32> {
    let relative = match lab.precision {
        Precision::Fp32 => 0.0,
        Precision::Bf16 => 1.0 / 256.0,
    };
    let mut all = Vec::new();
    for slot in 0..lab.batch.capacity {
        let both = lab.map(pair, map, slot);
        let (absolute, relative) = if slot < live { (absolute, relative) } else { (0.0, 0.0) };
        near(&format!("{what}, slot {slot}"), &both, absolute, relative);
        all.extend(bits(&both[1]));
    }
    all
}

/// Runs fprop; gives the bits of all that the GPU wrote.
fn fprop(precision: Precision, seed: u64, case: Case) -> Vec<u32> {
    let (Setup { mut lab, mut rng, norm, params }, what) = setup(precision, seed, case);
    let (_, live, shape) = case;
    let params = lab.buffer(&params);
    let batch_stats = lab.buffer(&vec![9.0; arena_len(shape.c)]);
    let mut p = lab.program();
    let (x, a) = (p.map(shape), p.map(shape));
    p.push(NormFprop { shape, x, a, params, batch_stats, norm });
    let mut pair = lab.compile(p);
    // A mean that is large against the deviation, as deep layers have it.
    lab.fill_map(&mut pair, x, shape, &mut rng, (2.0, 5.0));
    lab.fill_map(&mut pair, a, shape, &mut rng, (-1.0, 1.0));
    lab.replay(&mut pair);
    // Both sides add a slot's pixels, or a thread's rows, in f32: values below 5 to a mean, squares of differences below 3 to a
    // variance. gamma is below 2.5; rstd is that of the channel of the least variance. Scale and shift are rounded.
    let (rows, eps) = ((live * shape.h * shape.w).max(1), f32::EPSILON);
    let mean_error = sum_tolerance(shape.h * shape.w, 5.0) as f32;
    let var_error = if rows > 1 { sum_tolerance(rows, 9.0) as f32 } else { 0.0 };
    let stats = lab.read::<f32>(batch_stats);
    near(&format!("{what}: statistics"), &stats, mean_error.max(var_error), 2.0 * eps);
    let least = stats[0][norm.var.range()].iter().fold(f32::INFINITY, |m, v| m.min(*v));
    let biased = least * (rows as f32 - 1.0) / rows as f32 + 1e-5;
    let absolute = 2.5 / biased.sqrt() * (mean_error + 3.0 * var_error / (2.0 * biased) + 4.0 * eps * 5.0);
    let mut all = maps_near(&lab, &pair, a, &format!("{what}: a"), live, absolute);
    all.extend(bits(&stats[1]));
    all
}

#[test]
fn fprop_equals_the_cpu() {
    for precision in [Precision::Fp32, Precision::Bf16] {
        for case in CASES {
            let runs = SEEDS.map(|seed| fprop(precision, seed, case));
            assert!(runs[0] == runs[1] && runs[0] == runs[2], "{precision:?} {case:?}: depends on the order of blocks");
        }
    }
}

/// A mean 1000 times the deviation: sums of squares would lose everything.
#[test]
fn a_large_mean_leaves_the_variance() {
    let shape = Shape { c: 8, h: 16, w: 16 };
    let (Setup { mut lab, mut rng, norm, params }, what) = setup(Precision::Fp32, 0, (5, 5, shape));
    let params = lab.buffer(&params);
    let batch_stats = lab.buffer(&vec![9.0; arena_len(shape.c)]);
    let mut p = lab.program();
    let (x, a) = (p.map(shape), p.map(shape));
    p.push(NormFprop { shape, x, a, params, batch_stats, norm });
    let mut pair = lab.compile(p);
    let mut all = vec![Vec::new(); shape.c];
    for slot in 0..5 {
        let values = rng.f32s(shape.len(), 999.0, 1001.0);
        values.iter().enumerate().for_each(|(i, v)| all[i % shape.c].push(*v as f64));
        lab.set_map(&mut pair, x, slot, &values);
    }
    lab.replay(&mut pair);
    let [_, gpu] = lab.read::<f32>(batch_stats);
    for (c, values) in all.iter().enumerate() {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let var = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        // The means of lanes round at 1000, and their distance from the mean, below 1, is squared.
        let (got_mean, got_var) = (gpu[norm.mean.offset + c] as f64, gpu[norm.var.offset + c] as f64);
        let ulp = 1000.0 * f32::EPSILON as f64;
        assert!((got_mean - mean).abs() <= ulp, "{what}: mean {got_mean}, expected {mean}");
        assert!((got_var - var).abs() <= 2.0 * ulp, "{what}: variance {got_var}, expected {var}");
    }
}

/// Runs bprop; gives the bits of all that the GPU wrote.
fn bprop(precision: Precision, seed: u64, case: Case, with_residual: bool) -> Vec<u32> {
    let (Setup { mut lab, mut rng, norm, params }, what) = setup(precision, seed, case);
    let (_, live, shape) = case;
    let params = lab.buffer(&params);
    let grads = lab.buffer(&vec![9.0; arena_len(shape.c)]);
    // x is uniform between 2 and 5: mean 3.5, variance 0.75.
    let mut batch_stats = rng.f32s(arena_len(shape.c), 3.4, 3.6);
    batch_stats[norm.var.range()].copy_from_slice(&rng.f32s(shape.c, 0.7, 0.8));
    let batch_stats = lab.buffer(&batch_stats);
    let mut p = lab.program();
    let [x, a, grad, other] = [(); 4].map(|()| p.map(shape));
    let residual = with_residual.then_some(other);
    p.push(NormBprop { shape, x, a, grad, residual, params, grads, batch_stats, norm });
    let mut pair = lab.compile(p);
    lab.fill_map(&mut pair, x, shape, &mut rng, (2.0, 5.0));
    lab.fill_map(&mut pair, grad, shape, &mut rng, (-1.0, 1.0));
    lab.fill_map(&mut pair, other, shape, &mut rng, (-1.0, 1.0));
    for slot in 0..lab.batch.capacity {
        let values: Vec<f32> = rng.f32s(shape.len(), -1.0, 1.0).into_iter().map(|v| v.max(0.0)).collect();
        lab.set_map(&mut pair, a, slot, &values);
    }
    lab.replay(&mut pair);
    // |g| <= 1 and |x - mean|*rstd <= 1.6/sqrt(0.35) < 3: two rows have half of the unbiased variance. The CPU's sums of a slot
    // grow no larger than its pixels, and round each time; those of slots are independent. gamma is below 2.5.
    let (pixels, eps) = ((shape.h * shape.w) as f32, f32::EPSILON);
    let sums = 3.0 * eps * pixels * (live as f32).sqrt();
    let grads = lab.read::<f32>(grads);
    near(&format!("{what}: dgamma and dbeta"), &grads, sums, 4.0 * eps);
    let rows = pixels * live.max(1) as f32;
    let absolute = 2.5 * 1.7 * ((1.0 + 3.0) * sums / rows + 16.0 * eps);
    let mut all = maps_near(&lab, &pair, grad, &format!("{what}: dx"), live, absolute);
    all.extend(bits(&grads[1]));
    all
}

#[test]
fn bprop_equals_the_cpu() {
    for (precision, residual) in [(Precision::Fp32, false), (Precision::Fp32, true), (Precision::Bf16, true)] {
        for case in CASES {
            let runs = SEEDS.map(|seed| bprop(precision, seed, case, residual));
            assert!(runs[0] == runs[1] && runs[0] == runs[2], "{precision:?} {case:?}: depends on the order of blocks");
        }
    }
}

/// Where the foldings of a launch put their affines.
fn affines(command: &Command) -> Vec<u64> {
    const JOB: usize = 48;
    const AFFINE: usize = 32;
    let Command::Launch(launch) = command else { return vec![] };
    assert_eq!(launch.kernel.name, "norm_fold");
    let Arg::Bytes(jobs) = &launch.args[0] else { panic!("the jobs are passed by value") };
    let jobs = jobs.chunks_exact(JOB).take(launch.grid[0] as usize);
    jobs.map(|job| u64::from_le_bytes(job[AFFINE..AFFINE + 8].try_into().unwrap())).collect()
}

#[test]
fn foldings_equal_the_formula_bit_by_bit() {
    let channels: Vec<usize> = (0..66).map(|i| [1, 8, 9, 300, 64][i % 5]).collect();
    for seed in SEEDS {
        let mut lab = Lab::of_maps(Precision::Fp32, seed, 1);
        let mut rng = Rng(seed);
        let mut program = lab.program();
        let mut want = Vec::new();
        for &c in &channels {
            let norm = norm(c);
            let values = [rng.f32s(arena_len(c), -2.0, 2.0), rng.f32s(arena_len(c), 0.0, 3.0)];
            let [params, running] = values.each_ref().map(|v| lab.buffer(v));
            let affine = program.affine(c);
            program.push(Fold { params, running, norm, affine });
            let mut folded = vec![0.0f32; 2 * c.next_multiple_of(8)];
            for i in 0..c {
                let scale = values[0][norm.gamma.offset + i] / (values[1][norm.var.offset + i] + NORM_EPS).sqrt();
                folded[i] = scale;
                folded[c.next_multiple_of(8) + i] =
                    values[0][norm.beta.offset + i] - values[1][norm.mean.offset + i] * scale;
            }
            want.push(folded);
        }
        let mut compiled = lab.gpu.compile(program).unwrap();
        assert_eq!(compiled.commands.len(), 2);
        let places: Vec<u64> = compiled.commands.iter().flat_map(affines).collect();
        assert_eq!(places.len(), want.len());
        for (place, want) in places.iter().zip(&want) {
            // What was there before does not show, not in the padding either.
            lab.gpu.driver.write(*place, &vec![0x55; want.len() * 4]).unwrap();
        }
        lab.gpu.replay(&mut compiled).unwrap();
        for ((place, want), c) in places.iter().zip(&want).zip(&channels) {
            let mut got = vec![0.0f32; want.len()];
            lab.gpu.driver.read(*place, bytemuck::cast_slice_mut(&mut got)).unwrap();
            assert_eq!(bits(&got), bits(want), "{c} channels");
        }
    }
}
