//! The attack's start: the same bits as on the CPU, but for normal noise, whose logarithm and cosine differ in the last ones.

use crate::common::{Rng, bits, order};
use crate::lab::{Lab, SEEDS, near};
use ham_engine::gpu::Precision;
use ham_engine::ops::Op;
use ham_engine::ops::start::{Draw, Noise, Start};
use ham_engine::program::{DType, Shape};
use ham_engine::rng::{Philox, Stream};

const CAPACITY: usize = 5;

#[test]
fn start_equals_the_cpu() {
    for seed in SEEDS {
        for image in [Shape { c: 1, h: 1, w: 1 }, Shape { c: 3, h: 5, w: 7 }, Shape { c: 2, h: 32, w: 33 }] {
            for live in [0, 1, 3, CAPACITY] {
                for noise in [None, Some(Noise::Uniform(0.1)), Some(Noise::Normal(0.1))] {
                    let mut lab = Lab::new(Precision::Fp32, seed, CAPACITY, image, 2, 1, (DType::F32, 1));
                    // Slots and positions differ once examples have been dropped.
                    let positions: Vec<u32> = order(CAPACITY).into_iter().rev().take(live).collect();
                    lab.live(&positions, CAPACITY);
                    let mut rng = Rng(seed);
                    lab.write(lab.batch.x, 0, &rng.f32s(CAPACITY * image.len(), 0.0, 1.0));
                    lab.write(lab.batch.x_adv, 0, &vec![7.0f32; CAPACITY * image.len()]);
                    lab.write(lab.batch.sample, 0, &[70_000u32, 3, 5, 0, u32::MAX]);
                    lab.write(lab.data.control, 0, &[0u32, 0, 9]);
                    let rng = Philox::new(seed << 33 | 7);
                    let draw = noise.map(|noise| Draw { noise, rng, stream: Stream::Eval });
                    lab.run([Op::Start(Start { image, batch: lab.batch, data: lab.data, noise: draw })]);
                    let both = lab.read::<f32>(lab.batch.x_adv);
                    let what = format!("{image:?}, {live} live, {noise:?}");
                    if let Some(Noise::Normal(sigma)) = noise {
                        // Normals reach 6, and are off by a few ulp of that and of the angle; then the sum is rounded.
                        near(&what, &both, sigma * 8.0 * 6.0 * f32::EPSILON, f32::EPSILON);
                    } else {
                        assert_eq!(bits(&both[0]), bits(&both[1]), "{what}");
                    }
                }
            }
        }
    }
}
