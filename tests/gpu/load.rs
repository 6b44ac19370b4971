//! Loading a mini-batch: the same bits as on the CPU, in every buffer of the batch.

use crate::common::{Rng, bits};
use crate::lab::{Lab, SEEDS};
use ham_engine::batch::counter;
use ham_engine::gpu::Precision;
use ham_engine::ops::Op;
use ham_engine::ops::load::Load;
use ham_engine::program::{DType, Shape};
use ham_engine::rng::Philox;

const CAPACITY: usize = 5;
const SAMPLES: usize = 9;

fn lab(seed: u64, image: Shape, dtype: DType) -> Lab {
    let mut lab = Lab::new(Precision::Fp32, seed, CAPACITY, image, 10, 1, (dtype, SAMPLES));
    let mut rng = Rng(image.len() as u64);
    match dtype {
        DType::U8 => {
            let pixels: Vec<u8> = (0..SAMPLES * image.len()).map(|_| rng.below(256) as u8).collect();
            lab.write(lab.data.images, 0, &pixels);
        }
        _ => lab.write(lab.data.images, 0, &rng.f32s(SAMPLES * image.len(), 0.0, 1.0)),
    }
    let labels: Vec<u32> = (0..SAMPLES).map(|_| rng.below(10) as u32).collect();
    lab.write(lab.data.labels, 0, &labels);
    lab.write(lab.data.order, 0, &[8u32, 0, 3, 7, 1, 2, 6, 5, 4]);
    // What the previous mini-batch left.
    lab.live(&[4, 2, 1], 5);
    let b = lab.batch;
    for buf in [b.label, b.sample, b.kappa, b.crossed, b.keep] {
        lab.write(buf, 0, &[77u32; CAPACITY]);
    }
    for buf in [b.step, b.weight, b.confidence] {
        lab.write(buf, 0, &[7.0f32; CAPACITY]);
    }
    lab.write(b.x, 0, &vec![7.0f32; CAPACITY * image.len()]);
    lab
}

#[track_caller]
fn same(lab: &Lab, what: &str) {
    let b = lab.batch;
    for buf in [b.live, b.position, b.label, b.sample, b.kappa, b.crossed, b.keep] {
        let [cpu, gpu] = lab.read::<u32>(buf);
        assert_eq!(cpu, gpu, "{what}");
    }
    for buf in [b.step, b.weight, b.confidence, b.x] {
        let [cpu, gpu] = lab.read::<f32>(buf);
        assert_eq!(bits(&cpu), bits(&gpu), "{what}");
    }
}

#[test]
fn load_equals_the_cpu_bit_by_bit() {
    for seed in SEEDS {
        for image in [Shape { c: 1, h: 1, w: 1 }, Shape { c: 3, h: 5, w: 7 }, Shape { c: 2, h: 32, w: 33 }] {
            for dtype in [DType::U8, DType::F32] {
                // Full, full and up to the end, partial, one, none, beyond the end.
                for [cursor, end] in [[0u32, 9], [4, 9], [5, 8], [8, 9], [9, 9], [6, 2]] {
                    for augment in [false, true] {
                        let mut lab = lab(seed, image, dtype);
                        lab.write(lab.data.control, 0, &[cursor, end, 3]);
                        let (data, batch, stats, rng) = (lab.data, lab.batch, lab.stats, Philox::new(seed << 40 | 5));
                        lab.run([Op::Load(Load { data, image, batch, stats, augment, rng })]);
                        same(&lab, &format!("{image:?} {dtype:?}, {cursor} of {end}, augmented {augment}"));
                        let want = (end as usize).saturating_sub(cursor as usize).min(CAPACITY) as u32;
                        assert_eq!(lab.read::<u32>(batch.live)[1], [want, want]);
                    }
                }
            }
        }
    }
}

#[test]
fn nothing_is_loaded_once_halted() {
    for seed in SEEDS {
        let image = Shape { c: 1, h: 4, w: 4 };
        let mut lab = lab(seed, image, DType::U8);
        lab.write(lab.data.control, 0, &[0u32, 9, 1]);
        lab.write(lab.stats.counters, counter::HALTED, &[1u64 << 32]);
        let (data, batch, stats, rng) = (lab.data, lab.batch, lab.stats, Philox::new(1));
        lab.run([Op::Load(Load { data, image, batch, stats, augment: true, rng })]);
        same(&lab, "halted");
        assert_eq!(lab.read::<u32>(batch.live)[1], [0, 0]);
    }
}

/// Every crop and both directions come up.
#[test]
fn a_sequence_of_mini_batches_equals_the_cpu() {
    let image = Shape { c: 1, h: 9, w: 10 };
    let mut lab = lab(0, image, DType::U8);
    let (data, batch, stats, rng) = (lab.data, lab.batch, lab.stats, Philox::new(11));
    let mut program = lab.program();
    program.push(Load { data, image, batch, stats, augment: true, rng });
    let mut pair = lab.compile(program);
    for epoch in 0..20u32 {
        lab.write(data.control, 0, &[epoch % 7, 9, epoch]);
        lab.replay(&mut pair);
        same(&lab, &format!("epoch {epoch}"));
    }
}
