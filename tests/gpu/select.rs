//! Which examples stay, bit for bit as on the CPU.

use crate::common::Rng;
use crate::lab::{Lab, SEEDS, some};
use ham_engine::ops::Op;
use ham_engine::ops::formula::crossed;
use ham_engine::ops::select::Select;
use ham_engine::program::Shape;

const PIXEL: Shape = Shape { c: 1, h: 1, w: 1 };

#[test]
fn select_equals_the_cpu() {
    // Capacity and every how many-th is live: less than a block, a block and its neighbours, several blocks.
    for seed in SEEDS {
        for (capacity, every) in [(1, 1), (11, 1), (11, 2), (255, 1), (256, 1), (257, 1), (700, 1), (700, 3)] {
            for keep_easy in [0.0, 0.1, 0.3, 0.5, 1.0] {
                let mut lab = Lab::of_state(seed, capacity, PIXEL);
                let mut rng = Rng(seed);
                let wrong: Vec<u32> = (0..capacity).map(|_| u32::from(rng.below(3) == 0)).collect();
                // Few different values, so that ties abound; zeros and NaNs of both signs have their places too.
                let odd = [0.0, -0.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.5, 1e-40];
                let confidence: Vec<f32> = (0..capacity)
                    .map(|_| match rng.below(4) {
                        0 => odd[rng.below(odd.len())],
                        1 => rng.below(7) as f32 / 7.0,
                        _ => rng.f32(0.0, 1.0),
                    })
                    .collect();
                lab.write(lab.batch.crossed, 0, &wrong);
                lab.write(lab.batch.confidence, 0, &confidence);
                lab.write(lab.batch.keep, 0, &vec![7u32; capacity]);
                for live in [some(capacity, every), vec![]] {
                    lab.live(&live, capacity);
                    let select = Select { batch: lab.batch, keep: crossed(), keep_easy };
                    lab.run([Op::Select(select)]);
                    let [cpu, gpu] = lab.read::<u32>(lab.batch.keep);
                    assert_eq!(cpu, gpu, "{} live of {capacity}, {keep_easy} of the easy", live.len());
                }
            }
        }
    }
}
