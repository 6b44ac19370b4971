//! Loading and augmentation.

use crate::common::*;
use ham_engine::batch::counter;
use ham_engine::cpu::simd::Level;
use ham_engine::ops::Op;
use ham_engine::ops::load::Load;
use ham_engine::program::{Buffers, DType, Shape};
use ham_engine::rng::{Philox, Stream};

const IMAGE: Shape = Shape { c: 3, h: 5, w: 6 };
const SAMPLES: usize = 7;
const CAPACITY: usize = 4;
const EPOCH: u32 = 11;

/// A data set with a shuffled order of six of its seven samples, and its images as f32.
fn bench(level: Level, dtype: DType) -> (Bench, Vec<f32>, Vec<u32>, Vec<u32>) {
    let mut b = Bench::new(level, CAPACITY, IMAGE, 5, 1, (dtype, SAMPLES));
    let mut rng = Rng(1);
    let images = match dtype {
        DType::U8 => {
            let pixels: Vec<u8> = (0..SAMPLES * IMAGE.len()).map(|_| rng.below(256) as u8).collect();
            b.backend.write(b.data.images, 0, &pixels).unwrap();
            pixels.iter().map(|v| *v as f32 / 255.0).collect()
        }
        _ => {
            let pixels = rng.f32s(SAMPLES * IMAGE.len(), 0.0, 1.0);
            b.backend.write(b.data.images, 0, &pixels).unwrap();
            pixels
        }
    };
    let labels: Vec<u32> = (0..SAMPLES).map(|_| rng.below(5) as u32).collect();
    let order = vec![6, 0, 3, 5, 2, 1];
    b.backend.write(b.data.labels, 0, &labels).unwrap();
    b.backend.write(b.data.order, 0, &order).unwrap();
    (b, images, labels, order)
}

fn load(b: &Bench, augment: bool, seed: u64) -> Op {
    Op::Load(Load { data: b.data, image: IMAGE, batch: b.batch, stats: b.stats, augment, rng: Philox::new(seed) })
}

/// Pads by four zeros, crops, mirrors: step by step, as the description says it.
fn augmented(image: &[f32], [ry, rx, rflip, _]: [u32; 4]) -> Vec<f32> {
    let Shape { c, h, w } = IMAGE;
    let (ph, pw) = (h + 8, w + 8);
    let mut padded = vec![0.0; c * ph * pw];
    for (i, v) in image.iter().enumerate() {
        let (ci, y, x) = (i / (h * w), i / w % h, i % w);
        padded[(ci * ph + y + 4) * pw + x + 4] = *v;
    }
    let (top, left) = (ry as usize % 9, rx as usize % 9);
    let mut out = vec![0.0; image.len()];
    for (i, v) in out.iter_mut().enumerate() {
        let (ci, y, x) = (i / (h * w), i / w % h, i % w);
        let x = if rflip % 2 == 1 { w - 1 - x } else { x };
        *v = padded[(ci * ph + top + y) * pw + left + x];
    }
    out
}

#[test]
fn batches_follow_the_order_and_the_last_one_is_partial() {
    each_level(|level| {
        for (dtype, augment) in [(DType::U8, false), (DType::F32, false), (DType::U8, true), (DType::F32, true)] {
            let (mut b, images, labels, order) = bench(level, dtype);
            // The last: a cursor at the end loads nothing.
            for (cursor, n) in [(0usize, 4usize), (4, 2), (3, 3), (6, 0)] {
                let what = format!("{level} {dtype:?} augment={augment} from {cursor}");
                b.backend.write(b.data.control, 0, &[cursor as u32, order.len() as u32, EPOCH]).unwrap();
                for buf in [b.batch.kappa, b.batch.crossed, b.batch.keep] {
                    b.backend.write(buf, 0, &[7u32; CAPACITY]).unwrap();
                }
                for buf in [b.batch.step, b.batch.weight] {
                    b.backend.write(buf, 0, &[7.0f32; CAPACITY]).unwrap();
                }
                let op = load(&b, augment, 42);
                b.run([op]);
                assert_eq!(b.u32s(b.batch.live), [n as u32, n as u32], "{what}");
                assert_eq!(b.u32s(b.batch.position)[..n], (0..n as u32).collect::<Vec<_>>(), "{what}");
                assert_eq!(b.u32s(b.batch.sample)[..n], order[cursor..cursor + n], "{what}");
                let x = b.f32s(b.batch.x);
                for slot in 0..n {
                    let sample = order[cursor + slot] as usize;
                    assert_eq!(b.u32s(b.batch.label)[slot], labels[sample], "{what}");
                    let image = &images[sample * IMAGE.len()..(sample + 1) * IMAGE.len()];
                    let r = Philox::new(42).block(Stream::Augment, EPOCH, sample as u32, 0);
                    let want = if augment { augmented(image, r) } else { image.to_vec() };
                    let got = &x[slot * IMAGE.len()..(slot + 1) * IMAGE.len()];
                    assert_eq!(bits(got), bits(&want), "{what} slot {slot}");
                }
                for (buf, fresh) in [(b.batch.kappa, 0), (b.batch.crossed, 0), (b.batch.keep, 1)] {
                    assert!(b.u32s(buf)[..n].iter().all(|v| *v == fresh), "{what}: state is not fresh");
                }
                for buf in [b.batch.step, b.batch.weight] {
                    assert!(b.f32s(buf)[..n].iter().all(|v| *v == 0.0), "{what}: state is not fresh");
                }
            }
        }
    });
}

/// All crops and both flips occur, and an epoch's differ from the next one's.
#[test]
fn augmentation_draws_every_crop() {
    let mut seen = std::collections::BTreeSet::new();
    for sample in 0..2000 {
        let r = Philox::new(1).block(Stream::Augment, 1, sample, 0);
        seen.insert((r[0] % 9, r[1] % 9, r[2] % 2));
    }
    assert_eq!(seen.len(), 9 * 9 * 2);
    let (mut b, _, _, _) = bench(Level::detect(), DType::F32);
    let mut epoch = |e: u32| {
        b.backend.write(b.data.control, 0, &[0, 6, e]).unwrap();
        let op = load(&b, true, 42);
        b.run([op]);
        b.f32s(b.batch.x)
    };
    assert_ne!(epoch(1), epoch(2));
}

#[test]
fn a_halted_run_loads_nothing() {
    let (mut b, ..) = bench(Level::detect(), DType::U8);
    b.backend.write(b.data.control, 0, &[0u32, 6, 1]).unwrap();
    b.backend.write(b.stats.counters, counter::HALTED, &[1u64]).unwrap();
    let op = load(&b, false, 1);
    b.run([op]);
    assert_eq!(b.u32s(b.batch.live), [0, 0]);
}
