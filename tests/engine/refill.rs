//! Continuous refill: the pool is a queue, and nobody gets lost in it.

use crate::common::*;
use crate::statistics::bins;
use ham_engine::backend::Backend;
use ham_engine::cpu::simd::Level;
use ham_engine::engine::{Images, TrainSpec};
use ham_engine::method::{Plan, Weights as Weighting};
use ham_engine::net::state::Weights;
use ham_engine::ops::Op;
use ham_engine::ops::refill::{Pool, Refill, ring};
use ham_engine::ops::statistics::{CountBatch, Counts, Part};
use ham_engine::program::{Buffers, DType, Shape};
use std::collections::VecDeque;

#[test]
fn the_pool_is_a_queue() {
    const CAPACITY: usize = 5;
    let image = Shape { c: 1, h: 2, w: 3 };
    let mut b = Bench::new(Level::detect(), CAPACITY, image, 2, 1, (DType::F32, 1));
    let batch = b.batch;
    let pool = Pool::alloc(&mut b.backend, CAPACITY, image).unwrap();
    let refill = || Op::Refill(Refill { image, batch, pool });
    let mut rng = Rng(1);
    let mut waiting: VecDeque<(Vec<f32>, Vec<f32>, [u32; 4])> = VecDeque::new();
    for round in 0..200 {
        // Now and then the epoch ends: nothing is loaded.
        let loaded = if rng.below(6) == 0 { 0 } else { 1 + rng.below(CAPACITY) };
        let live: Vec<u32> = (0..loaded as u32).filter(|_| rng.below(3) > 0).collect();
        let (x, x_adv) = (rng.f32s(CAPACITY * 6, 0.0, 1.0), rng.f32s(CAPACITY * 6, 0.0, 1.0));
        let rest: [Vec<u32>; 4] = std::array::from_fn(|_| (0..CAPACITY).map(|_| rng.below(1000) as u32).collect());
        b.backend.write(batch.x, 0, &x).unwrap();
        b.backend.write(batch.x_adv, 0, &x_adv).unwrap();
        for (buf, values) in [batch.label, batch.sample, batch.kappa, batch.step].into_iter().zip(&rest) {
            b.backend.write(buf, 0, values).unwrap();
        }
        for (slot, p) in live.iter().enumerate() {
            let image = |v: &[f32]| v[slot * 6..(slot + 1) * 6].to_vec();
            waiting.push_back((image(&x), image(&x_adv), rest.each_ref().map(|v| v[*p as usize])));
        }
        b.live(&live, loaded);
        b.run([refill()]);
        let taken = match waiting.len() {
            n if n >= CAPACITY => CAPACITY,
            n if loaded == 0 => n,
            _ => 0,
        };
        assert_eq!(b.u32s(batch.live), [taken as u32; 2], "round {round}");
        assert_eq!(b.u32s(batch.position)[..taken], order(taken), "round {round}");
        for slot in 0..taken {
            let (x, x_adv, rest) = waiting.pop_front().unwrap();
            assert_eq!(b.f32s(batch.x)[slot * 6..(slot + 1) * 6], x, "round {round}, slot {slot}");
            assert_eq!(b.f32s(batch.x_adv)[slot * 6..(slot + 1) * 6], x_adv, "round {round}, slot {slot}");
            let got = [batch.label, batch.sample, batch.kappa, batch.step].map(|buf| b.u32s(buf)[slot]);
            assert_eq!(got, rest, "round {round}, slot {slot}");
        }
        assert_eq!(b.u32s(pool.ring)[ring::COUNT], waiting.len() as u32, "round {round}");
    }
}

/// Three loaded, of whom two wait; then these two and one from before.
#[test]
fn the_parts_of_a_mini_batch_are_counted_where_they_are_known() {
    let mut b = Bench::of_state(Level::detect(), 4, 3, 1);
    let (batch, data, stats) = (b.batch, b.data, b.stats);
    let account = |part| Op::CountBatch(CountBatch { part, batch, data, stats });
    let counts = |b: &Bench| {
        let loss: Vec<f64> = b.backend.read_all(stats.loss).unwrap();
        Counts::from_raw(&b.backend.read_all::<u64>(stats.counters).unwrap(), loss[0], 3)
    };
    b.backend.write(data.control, 0, &[0u32, 3, 1]).unwrap();
    b.backend.write(batch.label, 0, &[0u32, 2, 2]).unwrap();
    b.backend.write(batch.kappa, 0, &[3u32, 1, 0]).unwrap();
    b.backend.write(batch.confidence, 0, &[0.75f32, 0.2, 0.3]).unwrap();
    b.live(&[1, 2], 3);
    b.run([account(Part::Loaded)]);
    let mut want = Counts {
        examples: 3,
        class_examples: vec![1, 0, 2],
        class_kept: vec![0; 3],
        class_correct: vec![0; 3],
        class_kappa: vec![vec![0, 0, 0, 1], vec![0; 4], vec![0; 4]],
        live: vec![0; 3],
        class_confidence: bins(&[]),
        class_dropped_confidence: bins(&[(0, 7)]),
        ..Counts::default()
    };
    assert_eq!(counts(&b), want);
    assert_eq!(b.u32s(data.control)[0], 3);

    b.backend.write(batch.label, 0, &[1u32, 2, 2]).unwrap();
    b.backend.write(batch.kappa, 0, &[2u32, 1, 0]).unwrap();
    b.backend.write(batch.crossed, 0, &[1u32, 0, 1]).unwrap();
    b.backend.write(batch.weight, 0, &[0.5f32, 0.25, 0.25]).unwrap();
    b.backend.write(batch.loss, 0, &[2.0f32, 4.0, 8.0]).unwrap();
    b.live(&[0, 1, 2], 3);
    b.run([account(Part::Refilled)]);
    (want.kept, want.batches, want.loss) = (3, 1, 12.0);
    (want.class_kept, want.class_correct) = (vec![0, 1, 2], vec![0, 0, 1]);
    want.class_kappa = vec![vec![0, 0, 0, 1], vec![0, 0, 1, 0], vec![1, 1, 0, 0]];
    want.class_confidence = bins(&[(1, 7), (2, 2), (2, 3)]);
    assert_eq!(counts(&b), want);

    // Nobody comes out of the pool.
    b.live(&[], 0);
    b.run([account(Part::Loaded), account(Part::Refilled)]);
    (want.batches, want.skipped) = (2, 1);
    assert_eq!(counts(&b), want);
}

const N: usize = 35;
const BATCH: usize = 10;

fn spec(refill: bool, keep_all: bool, weights: Weighting) -> TrainSpec {
    let mut plan = Plan { refill, ..plan(Some(pgd(0.1, 0.03, 10)), &[1, 3], 0.0, weights) };
    if keep_all {
        plan.checks.iter_mut().for_each(|check| check.keep = 1.0.into());
    }
    TrainSpec { plan, momentum: 0.9, weight_decay: 2e-4, ema: None, augment: true, seed: 31 }
}

/// Weights, momenta and counts after an epoch.
fn epoch(level: Level, threads: usize, spec: &TrainSpec) -> (Weights, Vec<f32>, Counts) {
    let arch = tiny();
    let mut e = engine(&arch, &random_dict(&arch, 32), threads, level);
    let (images, labels) = examples(&arch, N, 33);
    let mut scene = e.scene(Images::F32(&images), &labels, BATCH, 10).unwrap();
    e.add_pool(&mut scene).unwrap();
    let batches = N.div_ceil(BATCH) + usize::from(spec.plan.refills());
    e.set_learning_rates(&vec![0.05; batches]).unwrap();
    let mut train = e.compile_train(&scene, spec).unwrap();
    e.begin(&scene, 1, &order(N)).unwrap();
    (0..batches).for_each(|_| e.backend.replay(&mut train).unwrap());
    (e.weights().unwrap(), e.momenta().unwrap(), e.counts(&scene).unwrap())
}

#[test]
fn a_pool_that_is_always_full_changes_nothing() {
    each_level(|level| {
        // Winograd's tiles depend on nothing but the image, so that all bits are the same.
        let (plain, _, counts) = epoch(level, 2, &spec(false, true, Weighting::Kappa));
        let (refilled, _, again) = epoch(level, 2, &spec(true, true, Weighting::Kappa));
        assert_eq!(counts.kept, N as u64);
        assert_eq!(bits(&refilled.params), bits(&plain.params), "{level}");
        assert_eq!(bits(&refilled.running), bits(&plain.running), "{level}");
        // The pass after the pool, and the mini-batch that empties it.
        let n = N as u64;
        let want = Counts { fprop: counts.fprop + n, batches: counts.batches + 1, skipped: 1, ..counts };
        assert_eq!(again, want, "{level}");
    });
}

#[test]
fn everybody_who_stays_is_trained_on_once_in_full_batches() {
    each_level(|level| {
        let (_, _, c) = epoch(level, 2, &spec(true, false, Weighting::Uniform));
        assert!(c.kept > 0 && c.kept < N as u64, "{level}: {} kept", c.kept);
        assert_eq!(c.batches - c.skipped, c.kept.div_ceil(BATCH as u64), "{level}: updates");
        assert_eq!((c.examples, c.class_kappa.iter().flatten().sum::<u64>()), (N as u64, N as u64), "{level}");
        assert_eq!(c.class_kept.iter().sum::<u64>(), c.kept, "{level}");
        // 23 less nine passes forward and seven back, and one forward more, of those that stay; the first check's halves too.
        let first = c.live[1];
        assert_eq!(c.units(), 3 * N as u64 + 4 * first + 17 * c.kept, "{level}");
    });
}

#[test]
fn refilled_weights_are_bit_equal_for_any_number_of_threads() {
    for weights in [Weighting::Uniform, Weighting::StepSize] {
        let one = epoch(Level::detect(), 1, &spec(true, false, weights));
        let three = epoch(Level::detect(), 3, &spec(true, false, weights));
        assert_eq!(bits(&one.0.params), bits(&three.0.params), "{weights:?}");
        assert_eq!((bits(&one.1), &one.2), (bits(&three.1), &three.2), "{weights:?}");
    }
}

#[test]
fn a_scene_without_a_pool_is_refused() {
    let arch = tiny();
    let mut e = engine(&arch, &random_dict(&arch, 32), 1, Level::detect());
    let (images, labels) = examples(&arch, N, 33);
    let scene = e.scene(Images::F32(&images), &labels, BATCH, 10).unwrap();
    let error = e.compile_train(&scene, &spec(true, false, Weighting::Uniform)).err().unwrap().to_string();
    assert!(error.contains("no pool"), "{error}");
}
