//! Mining: who stays, that everything moves together, and what the kept ones weigh.

use crate::common::*;
use ham_engine::backend::Backend;
use ham_engine::cpu::simd::Level;
use ham_engine::method::Weights;
use ham_engine::ops::Op;
use ham_engine::ops::compact::Compact;
use ham_engine::ops::formula::{Formula, confidence, crossed, kappa, label, loss, position, step, tanh};
use ham_engine::ops::freeze::{Freeze, Thaw};
use ham_engine::ops::select::Select;
use ham_engine::ops::weigh::Weigh;
use ham_engine::program::{Buffers, DType, Shape};

const CAPACITY: usize = 11;

/// The keep flags after a selection among the live `positions`.
fn select(positions: &[u32], wrong: &[u32], confidence: &[f32], keep_easy: f32) -> Vec<u32> {
    let mut b = Bench::of_state(Level::detect(), CAPACITY, 2, 1);
    b.live(positions, CAPACITY);
    b.backend.write(b.batch.crossed, 0, wrong).unwrap();
    b.backend.write(b.batch.confidence, 0, confidence).unwrap();
    // Dead examples keep whatever flag they had.
    b.backend.write(b.batch.keep, 0, &[7u32; CAPACITY]).unwrap();
    b.run([Op::Select(Select { batch: b.batch, keep: crossed(), keep_easy })]);
    b.u32s(b.batch.keep)
}

#[test]
fn select_keeps_the_crossed_and_a_share_of_the_easy() {
    let all: Vec<u32> = order(CAPACITY);
    let crossed = [1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0];
    let confidence = [0.1, 0.5, 0.9, 0.2, 0.7, 0.7, 0.3, 0.7, 0.4, 0.6, 0.8];
    // The eight easy ones by confidence, ties by slot.
    let easy = [2, 10, 4, 5, 7, 9, 1, 6];
    for (share, kept) in [(0.0, 0), (0.1, 0), (0.124, 0), (0.125, 1), (0.3, 2), (0.5, 4), (0.6, 4), (0.99, 7), (1.0, 8)]
    {
        let mut want: Vec<u32> = crossed.to_vec();
        easy[..kept].iter().for_each(|&i| want[i] = 1);
        assert_eq!(select(&all, &crossed, &confidence, share), want, "share {share}");
    }
}

#[test]
fn select_looks_at_live_examples_only() {
    let live = [1, 4, 5, 8, 9];
    let crossed = [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    let confidence = [0.99, 0.5, 0.99, 0.99, 0.6, 0.7, 0.99, 0.99, 0.1, 0.2, 0.99];
    let want = [7, 0, 7, 7, 1, 1, 7, 7, 1, 0, 7];
    assert_eq!(select(&live, &crossed, &confidence, 0.5), want);
    assert_eq!(select(&[], &crossed, &confidence, 0.5), [7; CAPACITY]);
}

#[test]
fn select_breaks_ties_by_slot() {
    let live: Vec<u32> = order(CAPACITY);
    let want = |n: usize| (0..CAPACITY).map(|i| u32::from(i < n)).collect::<Vec<_>>();
    assert_eq!(select(&live, &[0; CAPACITY], &[0.5; CAPACITY], 0.5), want(5));
}

#[test]
fn compact_moves_positions_images_and_masks() {
    let shape = Shape { c: 19, h: 2, w: 3 };
    let image = Shape { c: 2, h: 3, w: 3 };
    let len = image.len();
    let full: Vec<u32> = order(CAPACITY);
    // Live positions and who of them stays.
    let cases: [(&[u32], &[u32]); 9] = [
        (&[], &[]),
        (&[0], &[0]),
        (&[0], &[]),
        (&[3], &[3]),
        (&[0, 2, 5, 6, 9], &[2, 6, 9]),
        (&[0, 2, 5, 6, 9], &[0, 2, 9]),
        (&full, &full),
        (&full, &[]),
        (&full, &[10]),
    ];
    for (live, stay) in cases {
        let what = format!("live {live:?} stay {stay:?}");
        let mut b = Bench::new(Level::detect(), CAPACITY, image, 2, 1, (DType::F32, 1));
        b.live(live, CAPACITY);
        // Flags of dead examples are set: they must not come back.
        let keep: Vec<u32> = full.iter().map(|p| u32::from(stay.contains(p) || !live.contains(p))).collect();
        b.backend.write(b.batch.keep, 0, &keep).unwrap();
        // Every value tells its position.
        let values = |offset: f32| -> Vec<f32> {
            live.iter().flat_map(|p| (0..len).map(move |i| offset + *p as f32 + i as f32 / 100.0)).collect()
        };
        b.backend.write(b.batch.x, 0, &values(0.0)).unwrap();
        b.backend.write(b.batch.x_adv, 0, &values(1000.0)).unwrap();
        let mut p = b.program();
        let masks = [p.mask(shape), p.mask(Shape { c: 3, h: 1, w: 1 })];
        p.push(Compact { image, batch: b.batch, bits: masks.to_vec() });
        let mut compiled = b.compile(p);
        let mask = |which: usize, p: u32| -> Vec<bool> {
            let mut rng = Rng(p as u64 * 2 + which as u64);
            (0..[shape.len(), 3][which]).map(|_| rng.below(2) == 1).collect()
        };
        for (slot, p) in live.iter().enumerate() {
            (0..2).for_each(|which| compiled.set_bits_values(masks[which], slot, &mask(which, *p)));
        }
        b.backend.replay(&mut compiled).unwrap();
        assert_eq!(b.u32s(b.batch.live), [stay.len() as u32, CAPACITY as u32], "{what}");
        assert_eq!(b.u32s(b.batch.position)[..stay.len()], *stay, "{what}");
        let (x, x_adv) = (b.f32s(b.batch.x), b.f32s(b.batch.x_adv));
        for (slot, p) in stay.iter().enumerate() {
            for i in 0..len {
                let v = *p as f32 + i as f32 / 100.0;
                assert_eq!(
                    (x[slot * len + i], x_adv[slot * len + i]),
                    (v, 1000.0 + *p as f32 + i as f32 / 100.0),
                    "{what}"
                );
            }
            for (which, bits) in masks.iter().enumerate() {
                assert_eq!(compiled.bits_values(*bits, slot), mask(which, *p), "{what} mask {which}");
            }
        }
    }
}

#[test]
fn weigh() {
    let live = [1u32, 2, 5, 9];
    let kappa: Vec<u32> = (0..CAPACITY as u32).collect();
    let step: Vec<f32> = (0..CAPACITY).map(|i| 0.1 * i as f32).collect();
    let zeros = vec![0.0; CAPACITY];
    let gairat = |k: f64, steps: usize| {
        let h = (steps / 2) as f64;
        (1.0 + (-1.0 + 5.0 * (h - k) / h).tanh()) / 2.0
    };
    let of = |f: &dyn Fn(usize) -> f64| live.iter().map(|p| f(*p as usize)).collect::<Vec<f64>>();
    let one = of(&|_| 1.0);
    // What, formula, steps of the attack, largest moves, and the weights before scaling.
    type Case<'a> = (&'a str, Weights, usize, &'a [f32], Vec<f64>);
    let cases: [Case; 6] = [
        ("uniform", Weights::Uniform, 10, &step, one.clone()),
        ("step size", Weights::StepSize, 10, &step, of(&|p| 0.1 * p as f64)),
        ("no step at all", Weights::StepSize, 10, &zeros, one.clone()),
        ("kappa", Weights::Kappa, 10, &step, of(&|p| gairat(p as f64, 10))),
        ("kappa of 7 steps", Weights::Kappa, 7, &step, of(&|p| gairat(p as f64, 7))),
        ("kappa of 1 step", Weights::Kappa, 1, &step, one),
    ];
    for (what, weights, steps, step, raw) in cases {
        let mut b = Bench::of_state(Level::detect(), CAPACITY, 2, 1);
        b.live(&live, CAPACITY);
        b.backend.write(b.batch.kappa, 0, &kappa).unwrap();
        b.backend.write(b.batch.step, 0, step).unwrap();
        b.backend.write(b.batch.weight, 0, &[7.0f32; CAPACITY]).unwrap();
        b.run([Op::Weigh(Weigh { batch: b.batch, weight: weights.formula(steps) })]);
        let got = b.f32s(b.batch.weight);
        let sum: f64 = raw.iter().sum();
        let kept: Vec<f32> = live.iter().map(|p| got[*p as usize]).collect();
        let want: Vec<f64> = raw.iter().map(|w| w / sum).collect();
        // tanh near -1 leaves 1 + tanh with the absolute error of a value near 1.
        let tolerance = sum_tolerance(1, 1.0) / sum.min(1.0);
        close(what, &kept, &want, tolerance);
        let total: f64 = kept.iter().map(|w| *w as f64).sum();
        assert!((total - 1.0).abs() <= sum_tolerance(live.len(), 1.0), "{what}: the weights sum to {total}");
        let dead = (0..CAPACITY).filter(|p| !live.contains(&(*p as u32)));
        assert!(dead.into_iter().all(|p| got[p] == 7.0), "{what}: a dead example was touched");
    }
}

#[test]
fn weigh_of_nothing() {
    for weights in [Weights::Uniform, Weights::StepSize, Weights::Kappa] {
        let mut b = Bench::of_state(Level::detect(), CAPACITY, 2, 1);
        b.live(&[], CAPACITY);
        b.run([Op::Weigh(Weigh { batch: b.batch, weight: weights.formula(10) })]);
        assert!(b.f32s(b.batch.weight).iter().all(|w| *w == 0.0));
    }
}

/// Each operation, by its value at one example: crossed 1, kappa 3, confidence 0.25, loss 1.5, step 0.75, label 1, position 4.
#[test]
fn formulas() {
    let cases: Vec<(&str, Formula, f64)> = vec![
        ("a number", 2.5.into(), 2.5),
        ("crossed", crossed(), 1.0),
        ("kappa", kappa(), 3.0),
        ("confidence", confidence(), 0.25),
        ("loss", loss(), 1.5),
        ("step", step(), 0.75),
        ("label", label(), 1.0),
        ("position", position(), 4.0),
        ("sum", kappa() + 1.0, 4.0),
        ("difference", 1.0 - kappa(), -2.0),
        ("product", kappa() * loss(), 4.5),
        ("quotient", kappa() / 2.0, 1.5),
        ("larger", kappa().max(loss()), 3.0),
        ("larger, the other way", loss().max(kappa()), 3.0),
        ("less", loss().less(kappa()), 1.0),
        ("not less", kappa().less(3.0), 0.0),
        ("more", kappa().more(2.0), 1.0),
        ("not more", kappa().more(3.0), 0.0),
        ("and", crossed().and(kappa().more(5.0)), 0.0),
        ("or", crossed().or(kappa().more(5.0)), 1.0),
        ("not", !crossed(), 0.0),
        ("tanh", tanh(loss()), 1.5f64.tanh()),
        ("left to right", kappa() - 1.0 - 1.0, 1.0),
    ];
    for (what, formula, want) in cases {
        let mut b = Bench::of_state(Level::detect(), CAPACITY, 2, 1);
        b.live(&[4], CAPACITY);
        b.backend.write(b.batch.crossed, 4, &[1u32]).unwrap();
        b.backend.write(b.batch.kappa, 4, &[3u32]).unwrap();
        b.backend.write(b.batch.label, 4, &[1u32]).unwrap();
        for (buf, v) in [(b.batch.confidence, 0.25f32), (b.batch.loss, 1.5), (b.batch.step, 0.75)] {
            b.backend.write(buf, 4, &[v]).unwrap();
        }
        b.run([Op::Select(Select { batch: b.batch, keep: formula.clone(), keep_easy: 0.0 })]);
        assert_eq!(b.u32s(b.batch.keep)[4], u32::from(want != 0.0), "{what}: keep");
        // Weights are relative: a second example weighs 100.
        b.live(&[4, 5], CAPACITY);
        let here = position().less(5.0);
        let weight = here.clone() * (formula + 100.0) + (!here) * 100.0;
        b.run([Op::Weigh(Weigh { batch: b.batch, weight })]);
        let got = b.f32s(b.batch.weight)[4];
        close(what, &[got], &[(want + 100.0) / (want + 200.0)], 1e-6);
    }
}

#[test]
fn the_frozen_come_back() {
    let image = Shape { c: 1, h: 2, w: 2 };
    let mut b = Bench::new(Level::detect(), CAPACITY, image, 2, 1, (DType::F32, 1));
    let image_of = |p: u32| vec![p as f32; 4];
    // Three live of five that were loaded, position 4 is to be frozen; 0 and 3 were before.
    b.live(&[1, 2, 4], 5);
    b.backend.write(b.batch.x_adv, 0, &[image_of(1), image_of(2), image_of(4)].concat()).unwrap();
    b.backend
        .write(b.batch.frozen, 0, &[vec![70.0f32; 4], vec![9.0; 8], vec![73.0; 4], vec![9.0; 4]].concat())
        .unwrap();
    b.backend.write(b.batch.keep, 0, &[0u32, 1, 1, 0, 0]).unwrap();
    b.run([Op::Freeze(Freeze { image, batch: b.batch, all: false })]);
    let frozen = |b: &Bench| b.f32s(b.batch.frozen).chunks(4).take(5).map(|i| i[3]).collect::<Vec<_>>();
    assert_eq!(frozen(&b), [70.0, 9.0, 9.0, 73.0, 4.0]);
    b.run([Op::Freeze(Freeze { image, batch: b.batch, all: true }), Op::Thaw(Thaw { batch: b.batch })]);
    assert_eq!(frozen(&b), [70.0, 1.0, 2.0, 73.0, 4.0]);
    assert_eq!(b.u32s(b.batch.live), [5, 5]);
    assert_eq!(b.u32s(b.batch.position)[..5], [0, 1, 2, 3, 4]);
}
