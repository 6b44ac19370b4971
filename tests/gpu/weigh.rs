//! Weights, as on the CPU.

use crate::common::{Rng, bits};
use crate::lab::{Lab, SEEDS, near, some};
use ham_engine::method::Weights;
use ham_engine::ops::Op;
use ham_engine::ops::weigh::Weigh;
use ham_engine::program::Shape;

const PIXEL: Shape = Shape { c: 1, h: 1, w: 1 };

#[test]
fn weigh_equals_the_cpu() {
    for seed in SEEDS {
        for (capacity, every) in [(1, 1), (11, 2), (256, 1), (257, 1), (600, 1)] {
            for (weights, steps, zeros) in [
                (Weights::Uniform, 10, false),
                (Weights::StepSize, 10, false),
                (Weights::StepSize, 10, true),
                (Weights::Kappa, 10, false),
                (Weights::Kappa, 7, false),
                (Weights::Kappa, 1, false),
            ] {
                let mut lab = Lab::of_state(seed, capacity, PIXEL);
                let mut rng = Rng(seed);
                let kappa: Vec<u32> = (0..capacity).map(|_| rng.below(steps + 1) as u32).collect();
                lab.write(lab.batch.kappa, 0, &kappa);
                let largest = if zeros { 0.0 } else { 2.0 };
                lab.write(lab.batch.step, 0, &rng.f32s(capacity, 0.0, largest));
                lab.write(lab.batch.weight, 0, &vec![7.0f32; capacity]);
                for live in [vec![], some(capacity, every)] {
                    lab.live(&live, capacity);
                    let weigh = Weigh { batch: lab.batch, weight: weights.formula(steps) };
                    lab.run([Op::Weigh(weigh)]);
                    let both = lab.read::<f32>(lab.batch.weight);
                    let what = format!("{weights:?}, {steps} steps, {} live", live.len());
                    if weights == Weights::Kappa && !live.is_empty() {
                        // Each tanh is within 2 ulp of a value near 1, and 1 + tanh keeps that absolute error; the sum of
                        // all such errors is relative to the sum.
                        let raw = |k: u32| {
                            let half = (steps / 2) as f64;
                            if half == 0.0 { 1.0 } else { (1.0 + (-1.0 + 5.0 * (half - k as f64) / half).tanh()) / 2.0 }
                        };
                        let sum: f64 = live.iter().map(|p| raw(kappa[*p as usize])).sum();
                        let error = 2.0 * f32::EPSILON as f64;
                        let relative = error * live.len() as f64 / sum + f32::EPSILON as f64;
                        near(&what, &both, (error / sum) as f32, relative as f32);
                    } else {
                        assert_eq!(bits(&both[0]), bits(&both[1]), "{what}");
                    }
                }
            }
        }
    }
}
