//! The PGD step by a launch of its own: the same bits as on the CPU. (In a network the stem's gradient takes it: see `stem`.)

use crate::common::{Rng, bits, order};
use crate::lab::{Lab, SEEDS};
use ham_engine::gpu::Precision;
use ham_engine::ops::Op;
use ham_engine::ops::pgd_step::PgdStep;
use ham_engine::program::{DType, Shape};

const CAPACITY: usize = 5;

#[test]
fn a_step_by_itself_equals_the_cpu() {
    for seed in SEEDS {
        for image in [Shape { c: 1, h: 1, w: 1 }, Shape { c: 3, h: 5, w: 7 }, Shape { c: 2, h: 32, w: 33 }] {
            for live in [0, 1, 3, CAPACITY] {
                let mut lab = Lab::new(Precision::Fp32, seed, CAPACITY, image, 2, 1, (DType::F32, 1));
                lab.live(&order(live), CAPACITY);
                let mut rng = Rng(seed + 1);
                let clean = rng.f32s(CAPACITY * image.len(), 0.0, 1.0);
                let (eps, alpha) = (0.031, 0.007);
                let start: Vec<f32> = clean.iter().map(|x| (x + rng.f32(-eps, eps)).clamp(0.0, 1.0)).collect();
                // A third of the gradients is zero.
                let gradient: Vec<f32> = clean.iter().map(|_| rng.below(3) as f32 - 1.0).collect();
                lab.write(lab.batch.x, 0, &clean);
                lab.write(lab.batch.x_adv, 0, &start);
                lab.write(lab.batch.x_gradient, 0, &gradient);
                let (batch, gradient) = (lab.batch, lab.batch.x_gradient);
                lab.run([Op::PgdStep(PgdStep { image, batch, gradient, eps, alpha })]);
                let [cpu, gpu] = lab.read::<f32>(lab.batch.x_adv);
                assert_eq!(bits(&cpu), bits(&gpu), "{image}, {live} live");
                let moved = cpu.iter().zip(&start).any(|(a, b)| a != b);
                assert_eq!(moved, live > 0, "{image}, {live} live");
            }
        }
    }
}
