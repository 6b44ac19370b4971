//! Losses of two passes.

use crate::common::{Rng, bits, sum_tolerance};
use crate::lab::{Lab, SEEDS, near};
use ham_engine::backend::Backend;
use ham_engine::gpu::Precision;
use ham_engine::ops::Op;
use ham_engine::ops::two_pass::{TwoPass, TwoPassLoss};
use ham_engine::program::{DType, Shape};

const PIXEL: Shape = Shape { c: 1, h: 1, w: 1 };
/// A block has four examples.
const CAPACITY: usize = 9;
const LIVE: [&[u32]; 4] = [&[], &[3], &[0, 2, 4, 5, 8], &[0, 1, 2, 3, 4, 5, 6, 7, 8]];

fn pair(seed: u64, loss: TwoPass, classes: usize, live: &[u32], beta: f32) -> Vec<u32> {
    let mut lab = Lab::new(Precision::Fp32, seed, CAPACITY, PIXEL, classes, 1, (DType::F32, 1));
    let mut rng = Rng(classes as u64);
    let (batch, clean) = (lab.batch, lab.batch.clean());
    lab.live(live, CAPACITY);
    for buf in [batch.logits, clean.logits] {
        lab.write(buf, 0, &rng.f32s(CAPACITY * classes, -3.0, 3.0));
    }
    let labels: Vec<u32> = (0..CAPACITY).map(|_| rng.below(classes) as u32).collect();
    lab.write(batch.label, 0, &labels);
    lab.write(batch.weight, 0, &rng.f32s(CAPACITY, 0.0, 0.4));
    for buf in [batch.gradient, clean.gradient] {
        lab.write(buf, 0, &vec![9.0f32; CAPACITY * classes]);
    }
    lab.run([Op::TwoPassLoss(TwoPassLoss { batch, loss, beta })]);
    let what = format!("{loss:?}, {classes} classes, {live:?} live");
    let mut all = Vec::new();
    for (name, buf) in [("loss", batch.loss), ("dz'", batch.gradient), ("dz", clean.gradient)] {
        let both = lab.read::<f32>(buf);
        // Logarithms of a few units, off by a few roundings each.
        near(&format!("{what}: {name}"), &both, 16.0 * sum_tolerance(classes, 8.0 * (1.0 + beta as f64)) as f32, 0.0);
        all.extend(bits(&both[1]));
    }
    all
}

#[test]
fn two_pass_loss_equals_the_cpu() {
    for loss in [TwoPass::Trades, TwoPass::Mart] {
        for classes in [2, 3, 10, 32, 33, 100] {
            for live in LIVE {
                let runs = SEEDS.map(|seed| pair(seed, loss, classes, live, 6.0));
                assert!(runs[0] == runs[1] && runs[0] == runs[2], "{classes} classes: depends on the order of blocks");
            }
        }
    }
}

#[test]
fn one_class_is_refused() {
    let mut lab = Lab::new(Precision::Fp32, 0, 1, PIXEL, 1, 1, (DType::F32, 1));
    let mut p = lab.program();
    p.push(TwoPassLoss { batch: lab.batch, loss: TwoPass::Mart, beta: 5.0 });
    let refused = lab.gpu.compile(p).err().map(|e| e.to_string());
    assert!(refused.as_ref().is_some_and(|e| e.contains("one class")), "{refused:?}");
}
