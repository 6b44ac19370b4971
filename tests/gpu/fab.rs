//! FAB: the same bits as on the CPU.

use crate::common::{Rng, bits, order};
use crate::lab::{Lab, SEEDS};
use ham_engine::gpu::Precision;
use ham_engine::ops::Op;
use ham_engine::ops::ball::Norm;
use ham_engine::ops::fab::{FabBack, FabStep};
use ham_engine::program::{DType, Shape};

const CAPACITY: usize = 5;
const CLASSES: usize = 4;

/// Images, and keep flags, after a step and after a move back, on the GPU. Position 1 can't reach its hyperplane, 2 has no gradient,
/// 3 is on it.
fn fab(seed: u64, image: Shape, norm: Norm, live: &[u32]) -> Vec<u32> {
    let mut lab = Lab::new(Precision::Fp32, seed, CAPACITY, image, CLASSES, 1, (DType::F32, 1));
    let mut rng = Rng(image.len() as u64);
    let (batch, len) = (lab.batch, image.len());
    lab.live(live, CAPACITY);
    // Pixels on the box's walls abound.
    let mut images = || -> Vec<f32> { (0..CAPACITY * len).map(|_| rng.f32(-0.5, 1.5).clamp(0.0, 1.0)).collect() };
    let (x, adv) = (images(), images());
    lab.write(batch.x, 0, &x);
    lab.write(batch.x_adv, 0, &adv);
    let mut gradient = rng.f32s(CAPACITY * len, -0.3, 0.3);
    gradient.iter_mut().step_by(5).for_each(|w| *w = 0.0);
    let mut logits = rng.f32s(CAPACITY * CLASSES, -1.0, 1.0);
    for (slot, position) in live.iter().enumerate() {
        match position {
            1 => logits[CLASSES] = 1e3,
            2 => gradient[slot * len..(slot + 1) * len].fill(0.0),
            3 => logits[3 * CLASSES..4 * CLASSES].fill(0.5),
            _ => {}
        }
    }
    let gradient = lab.buffer(&gradient);
    lab.write(batch.logits, 0, &logits);
    lab.write(batch.label, 0, &[0u32, 0, 1, 2, 3]);
    lab.write(batch.target, 0, &[1u32, 2, 0, 3, 2]);
    lab.write(batch.crossed, 0, &[1u32, 1, 0, 1, 1]);
    lab.write(batch.keep, 0, &[7u32; CAPACITY]);
    let mut seen = Vec::new();
    let mut check = |lab: &Lab, what: &str| {
        let what = format!("{what}, {image}, {norm:?}, {live:?} live");
        let [cpu, gpu] = lab.read::<f32>(batch.x_adv);
        for (i, (c, g)) in cpu.iter().zip(&gpu).enumerate() {
            assert_eq!(c.to_bits(), g.to_bits(), "{what}: [{i}]: {g}, on the CPU {c}");
        }
        let [cpu, keep] = lab.read::<u32>(batch.keep);
        assert_eq!(cpu, keep, "{what}: keep");
        seen.extend(bits(&gpu).into_iter().chain(keep));
    };
    lab.run([Op::FabStep(FabStep { image, batch, gradient, norm })]);
    check(&lab, "step");
    // Bounds that all are within, none, and some.
    let some = if norm == Norm::Linf { 0.7 } else { 0.35 * (len as f32).sqrt() };
    for eps in [some, 1e3, 0.0] {
        lab.run([Op::FabBack(FabBack { image, batch, norm, eps })]);
        check(&lab, "back");
    }
    seen
}

#[test]
fn fab_equals_the_cpu() {
    let all: Vec<u32> = order(CAPACITY);
    // Elements: one, a thread each but one, one each, one more; several.
    let images = [(1, 1, 1), (1, 15, 17), (1, 16, 16), (1, 1, 257), (3, 16, 18)].map(|(c, h, w)| Shape { c, h, w });
    for norm in [Norm::Linf, Norm::L2] {
        for image in images {
            for live in [&all[..], &[], &[4], &[0, 1, 3]] {
                let runs = SEEDS.map(|seed| fab(seed, image, norm, live));
                assert!(runs[0] == runs[1] && runs[0] == runs[2], "{image}: depends on the order of blocks");
            }
        }
    }
}
