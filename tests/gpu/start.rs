//! The attack's start: the same bits as on the CPU.

use crate::common::{Rng, bits, order};
use crate::lab::{Lab, SEEDS};
use ham_engine::gpu::Precision;
use ham_engine::ops::start::{Noise, Start};
use ham_engine::program::{DType, Op, Shape};
use ham_engine::rng::{Philox, Stream};

const CAPACITY: usize = 5;

#[test]
fn start_equals_the_cpu_bit_by_bit() {
    for seed in SEEDS {
        for image in [Shape { c: 1, h: 1, w: 1 }, Shape { c: 3, h: 5, w: 7 }, Shape { c: 2, h: 32, w: 33 }] {
            for live in [0, 1, 3, CAPACITY] {
                for noisy in [false, true] {
                    let mut lab = Lab::new(Precision::Fp32, seed, CAPACITY, image, 2, 1, (DType::F32, 1));
                    // Slots and positions differ once examples have been dropped.
                    let positions: Vec<u32> = order(CAPACITY).into_iter().rev().take(live).collect();
                    lab.live(&positions, CAPACITY);
                    let mut rng = Rng(seed);
                    lab.write(lab.batch.x, 0, &rng.f32s(CAPACITY * image.len(), 0.0, 1.0));
                    lab.write(lab.batch.x_adv, 0, &vec![7.0f32; CAPACITY * image.len()]);
                    lab.write(lab.batch.sample, 0, &[70_000u32, 3, 5, 0, u32::MAX]);
                    lab.write(lab.data.control, 0, &[0u32, 0, 9]);
                    let noise =
                        noisy.then(|| Noise { eps: 0.1, rng: Philox::new(seed << 33 | 7), stream: Stream::Eval });
                    lab.run([Op::Start(Start { image, batch: lab.batch, data: lab.data, noise })]);
                    let [cpu, gpu] = lab.read::<f32>(lab.batch.x_adv);
                    assert_eq!(bits(&cpu), bits(&gpu), "{image:?}, {live} live, noise {noisy}");
                }
            }
        }
    }
}
