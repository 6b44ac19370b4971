//! The pool of continuous refill.

use crate::common::{Rng, bits, order};
use crate::lab::{Lab, SEEDS};
use ham_engine::gpu::Precision;
use ham_engine::ops::refill::{Pool, Refill};
use ham_engine::program::{DType, Shape};

#[test]
fn refill_equals_the_cpu() {
    // Images of less than a thread's elements, and of more than a block's; a batch of one, and one that is no power of two.
    for (capacity, image) in [(1, Shape { c: 1, h: 1, w: 2 }), (5, Shape { c: 3, h: 20, w: 18 })] {
        for seed in SEEDS {
            let mut lab = Lab::new(Precision::Fp32, seed, capacity, image, 2, 1, (DType::F32, 1));
            let pool = Pool::alloc(&mut lab.cpu, capacity, image).unwrap();
            assert_eq!(Pool::alloc(&mut lab.gpu, capacity, image).unwrap().buffers(), pool.buffers());
            let (batch, len) = (lab.batch, image.len());
            let mut rng = Rng(seed);
            // What a kernel must not touch has values too.
            lab.write(pool.x, 0, &vec![7.0f32; 2 * capacity * len]);
            lab.write(pool.x_adv, 0, &vec![8.0f32; 2 * capacity * len]);
            let mut p = lab.program();
            p.push(Refill { image, batch, pool });
            let mut pair = lab.compile(p);
            // Live of so many loaded: the ring fills, wraps around, and is emptied where nothing is loaded.
            let fifth = capacity.min(3);
            for (round, (live, loaded)) in
                [(fifth, capacity), (fifth, capacity), (capacity, capacity), (0, 1), (1, 1), (0, 0), (fifth, 3), (0, 0)]
                    .into_iter()
                    .enumerate()
            {
                lab.write(batch.x, 0, &rng.f32s(capacity * len, 0.0, 1.0));
                lab.write(batch.x_adv, 0, &rng.f32s(capacity * len, 0.0, 1.0));
                for buf in [batch.label, batch.sample, batch.kappa] {
                    let values: Vec<u32> = (0..capacity).map(|_| rng.below(1000) as u32).collect();
                    lab.write(buf, 0, &values);
                }
                lab.write(batch.step, 0, &rng.f32s(capacity, 0.0, 2.0));
                let positions: Vec<u32> = order(capacity).into_iter().rev().take(live).rev().collect();
                lab.live(&positions, loaded);
                lab.replay(&mut pair);
                let what = format!("{capacity} slots, seed {seed}, round {round}");
                for buf in [batch.live, batch.position, batch.label, batch.sample, batch.kappa, pool.ring, pool.label] {
                    let [cpu, gpu] = lab.read::<u32>(buf);
                    assert_eq!(cpu, gpu, "{what}: {buf:?}");
                }
                for buf in [batch.x, batch.x_adv, batch.step, pool.x, pool.x_adv, pool.step, pool.sample, pool.kappa] {
                    let [cpu, gpu] = lab.read::<f32>(buf);
                    assert_eq!(bits(&cpu), bits(&gpu), "{what}: {buf:?}");
                }
            }
        }
    }
}
