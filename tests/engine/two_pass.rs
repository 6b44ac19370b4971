//! Losses of two passes, against their formulas in f64 and central differences of them.

use crate::common::*;
use ham_engine::ops::Op;
use ham_engine::ops::two_pass::{TwoPass, TwoPassLoss};
use ham_engine::program::Buffers;

const CAPACITY: usize = 6;
const POSITIONS: [u32; 4] = [0, 2, 3, 5];

fn log_softmax(z: &[f64]) -> Vec<f64> {
    let sum: f64 = z.iter().map(|v| v.exp()).sum();
    z.iter().map(|v| v - sum.ln()).collect()
}

/// The loss of clean logits `z` and adversarial ones `za`, as docs/method.md writes it.
fn value(loss: TwoPass, beta: f64, z: &[f64], za: &[f64], y: usize) -> f64 {
    let (lp, lq) = (log_softmax(z), log_softmax(za));
    let kl: f64 = lp.iter().zip(&lq).map(|(p, q)| p.exp() * (p - q)).sum();
    match loss {
        TwoPass::Trades => -lp[y] + beta * kl,
        TwoPass::Mart => {
            let others = (0..z.len()).filter(|j| *j != y).map(|j| lq[j].exp());
            let q = others.fold(0.0, f64::max);
            -lq[y] - (1.0001 - q).ln() + beta * kl * (1.0000001 - lp[y].exp())
        }
    }
}

#[test]
fn losses_and_gradients() {
    each_level(|level| {
        for (loss, classes, beta) in
            [TwoPass::Trades, TwoPass::Mart].into_iter().flat_map(|l| [(l, 2, 1.5), (l, 10, 6.0), (l, 40, 0.0)])
        {
            let what = format!("{level} {loss:?}, {classes} classes, beta {beta}");
            let mut b = Bench::of_state(level, CAPACITY, classes, 1);
            let mut rng = Rng(classes as u64);
            let (batch, clean) = (b.batch, b.batch.clean());
            b.live(&POSITIONS, CAPACITY);
            let [z, za] = [0, 1].map(|_| rng.f32s(CAPACITY * classes, -3.0, 3.0));
            let labels: Vec<u32> = (0..CAPACITY).map(|_| rng.below(classes) as u32).collect();
            let weights = rng.f32s(CAPACITY, 0.0, 0.4);
            b.backend.write(clean.logits, 0, &z).unwrap();
            b.backend.write(batch.logits, 0, &za).unwrap();
            b.backend.write(batch.label, 0, &labels).unwrap();
            b.backend.write(batch.weight, 0, &weights).unwrap();
            let dead = vec![9.0f32; CAPACITY * classes];
            b.backend.write(batch.gradient, 0, &dead).unwrap();
            b.backend.write(clean.gradient, 0, &dead).unwrap();
            b.run([Op::TwoPassLoss(TwoPassLoss { batch, loss, beta })]);
            let (losses, dza, dz) = (b.f32s(batch.loss), b.f32s(batch.gradient), b.f32s(clean.gradient));
            for p in 0..CAPACITY {
                let row = |v: &[f32]| v[p * classes..][..classes].iter().map(|v| *v as f64).collect::<Vec<_>>();
                if !POSITIONS.contains(&(p as u32)) {
                    assert!(row(&dz).iter().chain(&row(&dza)).all(|v| *v == 9.0), "{what}: a dead example was touched");
                    continue;
                }
                let (z, za, y, w) = (row(&z), row(&za), labels[p] as usize, weights[p] as f64);
                let f = |z: &[f64], za: &[f64]| value(loss, beta as f64, z, za, y);
                let scale = 1.0 + beta as f64;
                // Logarithms of a few units, off by a few roundings each.
                let tolerance = 16.0 * sum_tolerance(classes, 8.0 * scale);
                close(&what, &[losses[p]], &[f(&z, &za)], tolerance);
                let slope = |i: usize, of_clean: bool| {
                    let at = |step: f64| {
                        let (mut z, mut za) = (z.clone(), za.clone());
                        *if of_clean { &mut z[i] } else { &mut za[i] } += step;
                        f(&z, &za)
                    };
                    w * (at(1e-5) - at(-1e-5)) / 2e-5
                };
                let slopes = |of_clean| (0..classes).map(|i| slope(i, of_clean)).collect::<Vec<_>>();
                // MART's boost divides by a difference that a near-certain wrong class makes small; logits here don't.
                let tolerance = tolerance + 1e-8 * scale;
                close(&format!("{what} dz"), &row(&dz), &slopes(true), tolerance);
                close(&format!("{what} dz'"), &row(&dza), &slopes(false), tolerance);
            }
        }
    });
}

/// A network that is sure, and wrong, has finite losses: the guards do what they are for.
#[test]
fn sure_outputs_stay_finite() {
    each_level(|level| {
        for loss in [TwoPass::Trades, TwoPass::Mart] {
            let mut b = Bench::of_state(level, 1, 3, 1);
            let (batch, clean) = (b.batch, b.batch.clean());
            b.live(&[0], 1);
            b.backend.write(clean.logits, 0, &[500.0f32, -500.0, 0.0]).unwrap();
            b.backend.write(batch.logits, 0, &[-500.0f32, 500.0, 0.0]).unwrap();
            b.backend.write(batch.label, 0, &[0u32]).unwrap();
            b.backend.write(batch.weight, 0, &[1.0f32]).unwrap();
            b.run([Op::TwoPassLoss(TwoPassLoss { batch, loss, beta: 6.0 })]);
            let all = [b.f32s(batch.loss), b.f32s(batch.gradient), b.f32s(clean.gradient)].concat();
            assert!(all.iter().all(|v| v.is_finite()), "{level} {loss:?}: {all:?}");
        }
    });
}
