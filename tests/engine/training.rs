//! Training steps as a whole: equalities between methods, determinism, skipped steps and costs.

use crate::common::*;
use ham_engine::attack::Scene;
use ham_engine::backend::Backend;
use ham_engine::backend::cpu::CpuBackend;
use ham_engine::cpu::simd::Level;
use ham_engine::engine::{Engine, Images, TrainSpec};
use ham_engine::method::Weights as Weighting;
use ham_engine::net::Arch;
use ham_engine::net::state::Weights;
use ham_engine::ops::statistics::Counts;
use ham_engine::program::{Buffers, Shape};
use std::path::Path;

/// Three whole mini-batches and a partial one.
const N: usize = 35;
const BATCH: usize = 10;
const BATCHES: usize = 4;

fn spec(k_drop: &[usize], weights: Weighting) -> TrainSpec {
    TrainSpec {
        plan: plan(Some(pgd(0.1, 0.03, 10)), k_drop, 0.0, weights),
        momentum: 0.9,
        weight_decay: 2e-4,
        ema: None,
        augment: true,
        seed: 31,
    }
}

/// Standard training.
fn standard() -> TrainSpec {
    TrainSpec { plan: plan(None, &[], 0.0, Weighting::Uniform), ..spec(&[], Weighting::Uniform) }
}

fn scene(e: &mut Engine<CpuBackend>, arch: &Arch, capacity: usize, steps: usize) -> Scene {
    let (images, labels) = examples(arch, N, 33);
    e.scene(Images::F32(&images), &labels, capacity, steps).unwrap()
}

/// Weights, momenta and counts after an epoch.
fn epoch(level: Level, threads: usize, spec: &TrainSpec) -> (Weights, Vec<f32>, Counts) {
    let arch = tiny();
    let mut e = engine(&arch, &random_dict(&arch, 32), threads, level);
    let scene = scene(&mut e, &arch, BATCH, 10);
    e.set_learning_rates(&[0.05; BATCHES]).unwrap();
    let mut train = e.compile_train(&scene, spec).unwrap();
    e.begin(&scene, 1, &order(N)).unwrap();
    // One replay more than there are mini-batches: it must do nothing.
    (0..=BATCHES).for_each(|_| e.backend.replay(&mut train).unwrap());
    (e.weights().unwrap(), e.momenta().unwrap(), e.counts(&scene).unwrap())
}

#[track_caller]
fn same(what: &str, got: &(Weights, Vec<f32>, Counts), want: &(Weights, Vec<f32>, Counts)) {
    assert_eq!(bits(&got.0.params), bits(&want.0.params), "{what}: parameters");
    assert_eq!(bits(&got.0.running), bits(&want.0.running), "{what}: running statistics");
    assert_eq!(bits(&got.1), bits(&want.1), "{what}: momenta");
    assert_eq!(got.2, want.2, "{what}: counts");
}

#[test]
fn dropping_after_the_last_step_is_pgd_at() {
    each_level(|level| {
        let pgd_at = epoch(level, 2, &spec(&[], Weighting::Uniform));
        assert_eq!(pgd_at.2.kept, N as u64);
        for k_drop in [&[10][..], &[10, 11], &[12, 100]] {
            same(&format!("{level} k_drop {k_drop:?}"), &epoch(level, 2, &spec(k_drop, Weighting::Uniform)), &pgd_at);
        }
        let ham = epoch(level, 2, &spec(&[3], Weighting::Uniform));
        assert!(ham.2.kept > 0 && ham.2.kept < N as u64, "{level}: {} kept", ham.2.kept);
        assert_ne!(ham.0.params, pgd_at.0.params, "{level}: dropping changes nothing");
    });
}

#[test]
fn weights_are_bit_equal_for_any_number_of_threads() {
    each_level(|level| {
        for spec in [spec(&[3], Weighting::StepSize), standard()] {
            let one = epoch(level, 1, &spec);
            for threads in [2, 3, 5] {
                same(&format!("{level} {threads} threads"), &epoch(level, threads, &spec), &one);
            }
        }
    });
}

/// Slots that stay empty change tiles, scratch and the memory of maps, but no result.
#[test]
fn unused_slots_change_nothing() {
    each_level(|level| {
        let arch = arch(Shape { c: 3, h: 9, w: 10 }, &[18, 20], 5);
        let run = |capacity| {
            let mut e = engine(&arch, &random_dict(&arch, 34), 2, level);
            let scene = scene(&mut e, &arch, capacity, 4);
            e.set_learning_rates(&[0.05; 2]).unwrap();
            let mut spec = spec(&[2], Weighting::Kappa);
            spec.plan.attack.as_mut().unwrap().steps = 4;
            let mut train = e.compile_train(&scene, &spec).unwrap();
            for epoch in 0..2 {
                e.begin(&scene, epoch, &order(9)).unwrap();
                e.backend.replay(&mut train).unwrap();
            }
            (e.weights().unwrap(), e.momenta().unwrap(), e.counts(&scene).unwrap())
        };
        same(&format!("{level}"), &run(100), &run(9));
    });
}

#[test]
fn costs_are_those_of_the_cost_model() {
    let level = Level::detect();
    let n = N as u64;
    for weights in [Weighting::Uniform, Weighting::Kappa, Weighting::StepSize] {
        let measured = |all: u64, kept: u64| if weights == Weighting::StepSize { all + kept } else { 0 };
        let (.., pgd_at) = epoch(level, 2, &spec(&[], weights));
        assert_eq!(pgd_at.units(), 23 * n + measured(n, n), "{weights:?} PGD-AT");
        let (.., ham) = epoch(level, 2, &spec(&[3], weights));
        assert_eq!(ham.units(), 7 * n + 16 * ham.kept + measured(n, ham.kept), "{weights:?} HAM");
        assert_eq!((ham.examples, ham.batches), (n, BATCHES as u64));
        assert_eq!(ham.class_examples.iter().sum::<u64>(), n);
        assert_eq!(ham.class_kept.iter().sum::<u64>(), ham.kept);
    }
    let (.., standard) = epoch(level, 2, &standard());
    assert_eq!(standard.units(), 3 * n);
}

/// An attack that can't move and labels that the network predicts: nothing crosses, so nothing may be learnt.
#[test]
fn nothing_kept_is_nothing_learnt() {
    let arch = tiny();
    each_level(|level| {
        for k_drop in [vec![0], vec![1], vec![0, 2]] {
            let mut e = engine(&arch, &random_dict(&arch, 36), 2, level);
            let (images, labels) = examples(&arch, N, 37);
            let clean = e.scene(Images::F32(&images), &labels, N, 0).unwrap();
            let mut forward = e.compile_clean(&clean, None).unwrap();
            e.begin(&clean, 0, &order(N)).unwrap();
            e.backend.replay(&mut forward).unwrap();
            let logits: Vec<f32> = e.backend.read_all(clean.batch.logits).unwrap();
            let top = |z: &[f32]| (0..z.len()).rev().max_by(|i, j| z[*i].total_cmp(&z[*j])).unwrap() as u32;
            let predicted: Vec<u32> = logits.chunks(arch.classes).map(top).collect();

            let scene = e.scene(Images::F32(&images), &predicted, N, 3).unwrap();
            e.set_learning_rates(&[0.1]).unwrap();
            let momenta = Rng(1).f32s(e.net.params, -1.0, 1.0);
            e.set_momenta(&momenta).unwrap();
            let before = e.weights().unwrap();
            let plan = plan(Some(pgd(0.0, 0.01, 3)), &k_drop, 0.0, Weighting::StepSize);
            let spec = TrainSpec { plan, augment: false, ..spec(&[], Weighting::StepSize) };
            let mut train = e.compile_train(&scene, &spec).unwrap();
            e.begin(&scene, 1, &order(N)).unwrap();
            e.backend.replay(&mut train).unwrap();
            let counts = e.counts(&scene).unwrap();
            let what = format!("{level} k_drop {k_drop:?}");
            assert_eq!((counts.kept, counts.skipped, counts.batches), (0, 1, 1), "{what}");
            assert_eq!((counts.loss, counts.halted, counts.examples), (0.0, 0, N as u64), "{what}");
            assert_eq!(e.weights().unwrap(), before, "{what}");
            assert_eq!(e.momenta().unwrap(), momenta, "{what}");
        }
    });
}

/// A loss that is not finite stops the epoch: no update, and nothing more is loaded.
#[test]
fn a_diverged_run_halts_with_its_weights_unchanged() {
    let arch = tiny();
    let mut e = engine(&arch, &random_dict(&arch, 38), 2, Level::detect());
    let mut weights = e.weights().unwrap();
    let bias = e.net.linear.bias.offset;
    weights.params[bias] = f32::NAN;
    e.set_weights(&weights).unwrap();
    let scene = scene(&mut e, &arch, BATCH, 10);
    e.set_learning_rates(&[0.1; BATCHES]).unwrap();
    let mut train = e.compile_train(&scene, &spec(&[], Weighting::Uniform)).unwrap();
    e.begin(&scene, 1, &order(N)).unwrap();
    (0..3).for_each(|_| e.backend.replay(&mut train).unwrap());
    let counts = e.counts(&scene).unwrap();
    assert_eq!((counts.halted, counts.batches, counts.examples), (1, 1, BATCH as u64));
    assert_eq!(bits(&e.weights().unwrap().params), bits(&weights.params));
    assert_eq!(bits(&e.weights().unwrap().running), bits(&weights.running));
    assert!(e.momenta().unwrap().iter().all(|v| *v == 0.0));
}

/// A program compiled once reads the learning rate of each mini-batch, and new weights, at replay.
#[test]
fn learning_rates_follow_the_mini_batches() {
    let arch = tiny();
    let mut e = engine(&arch, &random_dict(&arch, 39), 2, Level::detect());
    let scene = scene(&mut e, &arch, BATCH, 10);
    e.set_learning_rates(&[0.0, 0.5]).unwrap();
    let spec = TrainSpec { momentum: 0.0, weight_decay: 0.0, ..standard() };
    let mut train = e.compile_train(&scene, &spec).unwrap();
    e.begin(&scene, 1, &order(2 * BATCH)).unwrap();
    let before = e.weights().unwrap().params;
    e.backend.replay(&mut train).unwrap();
    assert_eq!(e.weights().unwrap().params, before);
    e.backend.replay(&mut train).unwrap();
    let want: Vec<f32> = before.iter().zip(e.momenta().unwrap()).map(|(w, g)| w - 0.5 * g).collect();
    assert_eq!(bits(&e.weights().unwrap().params), bits(&want));
}

/// Many image channels run; more than the stem takes are refused before anything is made, in one line.
#[test]
fn image_channels_up_to_what_the_stem_takes() {
    let wide = arch(Shape { c: 256, h: 4, w: 4 }, &[4], 2);
    let mut e = engine(&wide, &random_dict(&wide, 40), 1, Level::detect());
    let scene = scene(&mut e, &wide, 2, 1);
    let mut compiled = e.compile_clean(&scene, None).unwrap();
    e.backend.replay(&mut compiled).unwrap();
    let too_wide = Arch { image: Shape { c: 257, h: 4, w: 4 }, ..wide };
    assert!(too_wide.validate().unwrap_err().to_string().contains("channels must be 1 to 256"));
}

#[test]
fn the_average_starts_at_the_weights_and_follows_them() {
    let arch = tiny();
    let dict = random_dict(&arch, 32);
    let mut e = Engine::new(CpuBackend::new(1).unwrap(), arch.clone()).unwrap();
    let weights = Weights::from_state_dict(&e.net, &dict, Path::new("test")).unwrap();
    e.set_weights(&weights).unwrap();
    assert_eq!(e.ema().unwrap(), None);
    let scene = scene(&mut e, &arch, BATCH, 10);
    e.set_learning_rates(&[0.05; BATCHES]).unwrap();
    let spec = TrainSpec { ema: Some(0.75), ..spec(&[], Weighting::Uniform) };
    let mut train = e.compile_train(&scene, &spec).unwrap();
    let mut want = weights.params.clone();
    assert_eq!(e.ema().unwrap().as_ref(), Some(&want));
    e.begin(&scene, 1, &order(N)).unwrap();
    for _ in 0..2 {
        e.backend.replay(&mut train).unwrap();
        let params = e.weights().unwrap().params;
        want.iter_mut().zip(&params).for_each(|(e, w)| *e = 0.75 * *e + 0.25 * w);
        assert_eq!(bits(&e.ema().unwrap().unwrap()), bits(&want));
    }
    assert_ne!(want, weights.params);
    // Compiled once more, it goes on; only new weights start it afresh.
    e.compile_train(&scene, &spec).unwrap();
    assert_eq!(e.ema().unwrap().as_ref(), Some(&want));
    e.set_weights(&weights).unwrap();
    assert_eq!(e.ema().unwrap(), Some(weights.params));
}
