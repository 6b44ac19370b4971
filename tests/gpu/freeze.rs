//! Freezing and thawing, bit for bit as on the CPU.

use crate::common::{Rng, bits, order};
use crate::lab::{Lab, SEEDS, some};
use ham_engine::ops::Op;
use ham_engine::ops::freeze::{Freeze, Thaw};
use ham_engine::program::Shape;

const PIXEL: Shape = Shape { c: 1, h: 1, w: 1 };

#[test]
fn freeze_and_thaw_equal_the_cpu() {
    const CAPACITY: usize = 13;
    for seed in SEEDS {
        for image in [PIXEL, Shape { c: 3, h: 5, w: 7 }, Shape { c: 1, h: 32, w: 33 }] {
            for (live, loaded) in [(vec![], 0), (vec![], 9), (vec![4], 13), (some(CAPACITY, 3), 13), (order(13), 13)] {
                for all in [false, true] {
                    let mut lab = Lab::of_state(seed, CAPACITY, image);
                    let mut rng = Rng(seed);
                    lab.live(&live, loaded);
                    let keep: Vec<u32> = (0..CAPACITY).map(|_| rng.below(2) as u32).collect();
                    lab.write(lab.batch.keep, 0, &keep);
                    lab.write(lab.batch.x_adv, 0, &rng.f32s(CAPACITY * image.len(), 0.0, 1.0));
                    lab.write(lab.batch.frozen, 0, &vec![7.0f32; CAPACITY * image.len()]);
                    let batch = lab.batch;
                    lab.run([Op::Freeze(Freeze { image, batch, all }), Op::Thaw(Thaw { batch })]);
                    let what = format!("{live:?} live of {loaded}, {image}, all {all}");
                    let [cpu, gpu] = lab.read::<f32>(batch.frozen);
                    assert_eq!(bits(&cpu), bits(&gpu), "{what}: frozen");
                    let touched = cpu.chunks(image.len()).filter(|i| i[0] != 7.0).count();
                    assert_eq!(touched, live.iter().filter(|p| all || keep[**p as usize] == 0).count(), "{what}");
                    for buf in [batch.live, batch.position] {
                        let [cpu, gpu] = lab.read::<u32>(buf);
                        assert_eq!(cpu, gpu, "{what}");
                    }
                }
            }
        }
    }
}
