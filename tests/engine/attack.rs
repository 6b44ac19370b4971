//! Attacks and mining as a whole, against what docs/method.md promises of them. What the engine does in one program is compared bit
//! for bit with separate runs that stop earlier: an attack of k steps shows the state after step k of a longer one.

use crate::common::*;
use ham_engine::attack::Pgd;
use ham_engine::backend::Backend;
use ham_engine::cpu::simd::Level;
use ham_engine::engine::Images;
use ham_engine::method::drop_easy;
use ham_engine::net::Arch;
use ham_engine::ops::head::Loss;
use ham_engine::ops::start::Noise;
use ham_engine::ops::statistics::Counts;
use ham_engine::program::{Buffers, Shape};
use ham_engine::results::metrics::sum_over_classes;
use proptest::prelude::*;

const N: usize = 24;
const STEPS: usize = 6;

fn pgd(steps: usize) -> Pgd {
    crate::common::pgd(0.1, 0.025, steps)
}

/// What an attack leaves: images by slot of the kept, the rest by position.
struct Outcome {
    kept: Vec<usize>,
    x: Vec<Vec<f32>>,
    x_adv: Vec<Vec<f32>>,
    crossed: Vec<u32>,
    kappa: Vec<u32>,
    confidence: Vec<f32>,
    step: Vec<f32>,
    probs: Vec<Vec<f32>>,
    counts: Counts,
}

/// How an attack runs, which must not matter.
#[derive(Clone, Copy)]
struct How {
    level: Level,
    threads: usize,
    /// Slots beyond the examples.
    spare: usize,
}

/// Attacks the samples `order` of a data set.
fn attack(how: How, arch: &Arch, order: &[u32], pgd: &Pgd, k_drop: &[usize], keep_easy: f32) -> Outcome {
    let mut e = engine(arch, &random_dict(arch, 21), how.threads, how.level);
    let (images, labels) = examples(arch, N, 22);
    let scene = e.scene(Images::F32(&images), &labels, order.len() + how.spare, pgd.steps).unwrap();
    let mut compiled = e.compile_attack(&scene, pgd, &drop_easy(k_drop, keep_easy), 77).unwrap();
    e.begin(&scene, 3, order).unwrap();
    e.backend.replay(&mut compiled).unwrap();
    let b = scene.batch;
    let u32s = |buf| e.backend.read_all::<u32>(buf).unwrap();
    let f32s = |buf| e.backend.read_all::<f32>(buf).unwrap();
    let rows = |v: Vec<f32>, len: usize, n: usize| v.chunks(len).take(n).map(<[f32]>::to_vec).collect::<Vec<_>>();
    let (live, n) = (u32s(b.live)[0] as usize, order.len());
    Outcome {
        kept: u32s(b.position)[..live].iter().map(|p| *p as usize).collect(),
        x: rows(f32s(b.x), arch.image.len(), live),
        x_adv: rows(f32s(b.x_adv), arch.image.len(), live),
        crossed: u32s(b.crossed)[..n].to_vec(),
        kappa: u32s(b.kappa)[..n].to_vec(),
        confidence: f32s(b.confidence)[..n].to_vec(),
        step: f32s(b.step)[..n].to_vec(),
        probs: rows(f32s(b.probs), arch.classes, n),
        counts: e.counts(&scene).unwrap(),
    }
}

fn plain(level: Level) -> How {
    How { level, threads: 2, spare: 0 }
}

fn same(what: &str, got: &[Vec<f32>], want: &[Vec<f32>]) {
    assert_eq!(got.len(), want.len(), "{what}");
    got.iter().zip(want).enumerate().for_each(|(i, (g, w))| assert_eq!(bits(g), bits(w), "{what}: {i}"));
}

/// The attack of `STEPS` steps without dropping, and those of 0 to `STEPS` steps.
fn prefixes(level: Level, arch: &Arch) -> Vec<Outcome> {
    (0..=STEPS).map(|k| attack(plain(level), arch, &order(N), &pgd(k), &[], 0.0)).collect()
}

/// Who stays by docs/method.md, "Hard adversarial example mining", given the state after each step.
fn expected_kept(after: &[Outcome], k_drop: &[usize], keep_easy: f32) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..N).collect();
    for &k in k_drop.iter().filter(|k| **k < STEPS) {
        let (crossed, confidence) = (&after[k].crossed, &after[k].confidence);
        let mut easy: Vec<usize> = kept.iter().copied().filter(|p| crossed[*p] == 0).collect();
        easy.sort_by(|i, j| confidence[*j].total_cmp(&confidence[*i]));
        easy.truncate((keep_easy as f64 * easy.len() as f64) as usize);
        kept.retain(|p| crossed[*p] == 1 || easy.contains(p));
    }
    kept
}

#[test]
fn dropping_is_attacking_all_and_filtering_afterwards() {
    let arch = tiny();
    each_level(|level| {
        let after = prefixes(level, &arch);
        let full = &after[STEPS];
        let cases: [(&[usize], f32); 8] = [
            (&[3], 0.0),
            (&[0], 0.0),
            (&[STEPS - 1], 0.0),
            (&[1, 3], 0.0),
            (&[2], 0.5),
            (&[1, 4], 0.7),
            (&[2], 1.0),
            (&[STEPS, STEPS + 1], 0.0),
        ];
        for (k_drop, keep_easy) in cases {
            let what = format!("{level} k_drop {k_drop:?} keep_easy {keep_easy}");
            let got = attack(plain(level), &arch, &order(N), &pgd(STEPS), k_drop, keep_easy);
            let want = expected_kept(&after, k_drop, keep_easy);
            assert!(
                want.len() >= 2 && (want.len() < N || keep_easy == 1.0 || k_drop[0] >= STEPS),
                "{what}: shows nothing"
            );
            assert_eq!(got.kept, want, "{what}: kept");
            let of = |v: &[Vec<f32>]| want.iter().map(|p| v[*p].clone()).collect::<Vec<_>>();
            same(&format!("{what}: x"), &got.x, &of(&full.x));
            same(&format!("{what}: x_adv"), &got.x_adv, &of(&full.x_adv));
            for &p in &want {
                assert_eq!((got.kappa[p], got.crossed[p]), (full.kappa[p], full.crossed[p]), "{what}: {p}");
                assert_eq!(got.step[p].to_bits(), full.step[p].to_bits(), "{what}: step of {p}");
            }
        }
    });
}

#[test]
fn kappa_counts_the_iterates_classified_right_and_stops_at_the_drop() {
    let arch = tiny();
    each_level(|level| {
        let after = prefixes(level, &arch);
        let count = |p: usize, ks: std::ops::Range<usize>| ks.map(|k| 1 - after[k].crossed[p]).sum::<u32>();
        let dropped = attack(plain(level), &arch, &order(N), &pgd(STEPS), &[3], 0.0);
        for p in 0..N {
            assert_eq!(after[STEPS].kappa[p], count(p, 0..STEPS), "{level} {p}");
            // The check's own pass at x_3 counts.
            let end = if dropped.kept.contains(&p) { STEPS } else { 4 };
            assert_eq!(dropped.kappa[p], count(p, 0..end), "{level} {p} with a drop");
        }
        let histogram = |k: u32| dropped.kappa.iter().filter(|v| **v == k).count() as u64;
        assert_eq!(
            sum_over_classes(&dropped.counts.class_kappa),
            (0..=STEPS as u32).map(histogram).collect::<Vec<_>>(),
            "{level}"
        );
        assert!(dropped.kappa.contains(&0) && dropped.kappa.contains(&4), "{level}: shows nothing");
    });
}

#[test]
fn step_is_the_largest_move_of_the_probabilities() {
    let arch = tiny();
    each_level(|level| {
        let after = prefixes(level, &arch);
        let moved = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (b - a).abs()).sum::<f32>();
        for p in 0..N {
            // The step of an attack of no steps is the move from x to the random start.
            let start = after[0].step[p];
            assert!(start > 0.0, "{level}: the random start moves the output");
            let steps = (0..STEPS).map(|k| moved(&after[k].probs[p], &after[k + 1].probs[p]));
            let want = steps.fold(start, f32::max);
            assert_eq!(after[STEPS].step[p].to_bits(), want.to_bits(), "{level} {p}");
        }
    });
}

/// Thread count, unused slots, tile sizes and the other examples: none of them reaches an example's result.
#[test]
fn an_examples_result_is_its_own() {
    // 1x1 maps at the end make a tile 64 slots long; large images make runs shorter than a tile.
    for arch in [tiny(), arch(Shape { c: 3, h: 18, w: 17 }, &[20, 9, 33], 5)] {
        each_level(|level| {
            let what = format!("{level} {}", arch.describe());
            let attack =
                |threads, spare, order: &[u32]| attack(How { level, threads, spare }, &arch, order, &pgd(3), &[], 0.0);
            let all = attack(1, 0, &order(N));
            for (threads, spare) in [(2, 0), (3, 0), (1, 100), (3, 100)] {
                let got = attack(threads, spare, &order(N));
                same(&format!("{what} {threads} threads, {spare} spare slots"), &got.x_adv, &all.x_adv);
                same(&format!("{what} {threads} threads, {spare} spare slots"), &got.probs, &all.probs);
            }
            for sample in [0usize, 13, N - 1] {
                let alone = attack(2, 0, &[sample as u32]);
                same(&format!("{what} {sample} alone"), &alone.x_adv, &all.x_adv[sample..=sample]);
                same(&format!("{what} {sample} alone"), &alone.probs, &all.probs[sample..=sample]);
            }
            let reversed: Vec<u32> = order(N).into_iter().rev().collect();
            let mut got = attack(2, 0, &reversed);
            got.x_adv.reverse();
            same(&format!("{what} reversed"), &got.x_adv, &all.x_adv);
        });
    }
}

#[test]
fn attacks_raise_their_loss() {
    let arch = tiny();
    each_level(|level| {
        for loss in [Loss::CrossEntropy, Loss::Margin] {
            let run = |steps| attack(plain(level), &arch, &order(N), &Pgd { loss, ..pgd(steps) }, &[], 0.0);
            let sum = |v: Outcome| v.confidence.iter().sum::<f32>();
            let (start, end) = (sum(run(0)), sum(run(STEPS)));
            assert!(end < 0.9 * start, "{level} {loss:?}: true-class confidence {start} to {end}");
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn iterates_stay_in_the_ball_and_in_the_image_range(
        eps in 0f32..0.6, alpha in 0f32..0.5, steps in 0usize..5, random_start: bool, margin: bool, seed in 0u64..1 << 40,
    ) {
        let arch = tiny();
        let level = Level::detect();
        let loss = if margin { Loss::Margin } else { Loss::CrossEntropy };
        let pgd = Pgd { eps, alpha, steps, start: random_start.then_some(Noise::Uniform(eps)), loss };
        let (mut images, labels) = examples(&arch, N, seed);
        // Pixels at the ends of the range, where clamping acts.
        images.iter_mut().step_by(3).for_each(|v| *v = v.round());
        let mut e = engine(&arch, &random_dict(&arch, seed), 2, level);
        let scene = e.scene(Images::F32(&images), &labels, N, steps).unwrap();
        let mut compiled = e.compile_attack(&scene, &pgd, &[], seed).unwrap();
        e.begin(&scene, 1, &order(N)).unwrap();
        e.backend.replay(&mut compiled).unwrap();
        let x_adv: Vec<f32> = e.backend.read_all(scene.batch.x_adv).unwrap();
        for (x, adv) in images.iter().zip(&x_adv) {
            prop_assert!((0.0..=1.0).contains(adv));
            // In f32 exactly as the clamp computes its ends.
            prop_assert!(*adv >= x - eps && *adv <= x + eps, "{} of {} with eps {}", adv, x, eps);
        }
        if !random_start && steps > 0 && alpha > 0.0 && eps > 0.0 {
            prop_assert!(images.iter().zip(&x_adv).any(|(x, adv)| x != adv));
        }
    }
}
