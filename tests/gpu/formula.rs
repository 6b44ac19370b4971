//! Formulas, as on the CPU.

use crate::common::Rng;
use crate::lab::{Lab, SEEDS, some};
use ham_engine::ops::Op;
use ham_engine::ops::formula::{Formula, confidence, crossed, kappa, label, loss, position, step, tanh};
use ham_engine::ops::select::Select;
use ham_engine::ops::weigh::Weigh;
use ham_engine::program::Shape;

const PIXEL: Shape = Shape { c: 1, h: 1, w: 1 };

/// Formulas that between them use everything there is; the last one is as long and as deep as one may be.
fn formulas() -> Vec<Formula> {
    let nest = (0..3).fold(kappa() * 0.5, |f, _| 1.0 - f / 3.0);
    let deep = (1..8).fold(position(), |f, i| i as f32 + f);
    vec![
        2.5.into(),
        !crossed(),
        kappa().less(2.0),
        kappa().more(1.0).and(label().less(1.0)),
        crossed().or(confidence().more(0.9)),
        confidence() * loss() - step() / (1.0 + loss()),
        (1.0 + tanh(-1.0 + 5.0 * (3.0 - kappa()) / 3.0)) / 2.0,
        loss().max(step()).max(confidence()),
        step() / kappa(),
        nest,
        (0..7).fold(deep, |f, _| f.max(0.5)),
    ]
}

#[test]
fn formulas_equal_the_cpu() {
    for seed in SEEDS {
        for (capacity, every) in [(1, 1), (11, 2), (257, 1)] {
            for (i, formula) in formulas().into_iter().enumerate() {
                let mut lab = Lab::of_state(seed, capacity, PIXEL);
                let mut rng = Rng(seed);
                let mut below = |n: usize| -> Vec<u32> { (0..capacity).map(|_| rng.below(n) as u32).collect() };
                let (wrong, kappas, labels) = (below(2), below(5), below(2));
                lab.write(lab.batch.crossed, 0, &wrong);
                lab.write(lab.batch.kappa, 0, &kappas);
                lab.write(lab.batch.label, 0, &labels);
                for buf in [lab.batch.confidence, lab.batch.loss, lab.batch.step] {
                    let mut values = rng.f32s(capacity, 0.0, 2.0);
                    values[capacity / 2] = [0.0, f32::NAN, f32::INFINITY][i % 3];
                    lab.write(buf, 0, &values);
                }
                lab.write(lab.batch.keep, 0, &vec![7u32; capacity]);
                for live in [some(capacity, every), vec![]] {
                    lab.live(&live, capacity);
                    let (batch, keep) = (lab.batch, formula.clone());
                    let weigh = Weigh { batch, weight: formula.clone() };
                    lab.run([Op::Select(Select { batch, keep, keep_easy: 0.4 }), Op::Weigh(weigh)]);
                    let what = format!("formula {i}, {} live of {capacity}", live.len());
                    let [cpu, gpu] = lab.read::<u32>(batch.keep);
                    assert_eq!(cpu, gpu, "{what}: keep");
                    let [cpu, gpu] = lab.read::<f32>(batch.weight);
                    for (c, g) in cpu.iter().zip(&gpu) {
                        // tanh differs by two ulp; everything else is exact.
                        let off = (c - g).abs();
                        assert!(
                            c.to_bits() == g.to_bits() || (c.is_nan() && g.is_nan()) || off <= 1e-6 * c.abs(),
                            "{what}: {g}, {c} on the CPU"
                        );
                    }
                }
            }
        }
    }
}
