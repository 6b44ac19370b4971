//! Weights of the live examples.

use crate::common::*;
use ham_engine::cpu::simd::Level;
use ham_engine::method::Weights;
use ham_engine::ops::Op;
use ham_engine::ops::weigh::Weigh;
use ham_engine::program::Buffers;

const CAPACITY: usize = 11;

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
