//! Square Attack: the same bits as on the CPU, query after query.

use crate::common::{Rng, bits, order};
use crate::lab::{Lab, SEEDS};
use ham_engine::backend::Backend;
use ham_engine::batch::{Iteration, control};
use ham_engine::gpu::Precision;
use ham_engine::ops::Op;
use ham_engine::ops::ball::Norm;
use ham_engine::ops::square::schedule::Schedule;
use ham_engine::ops::square::{Square, SquareState};
use ham_engine::program::{DType, Shape};
use ham_engine::rng::Philox;

const CAPACITY: usize = 3;

/// The images of the start and of some queries, and what is kept, on the GPU.
fn attack(seed: u64, image: Shape, norm: Norm, classes: usize, live: &[u32]) -> Vec<u32> {
    let mut lab = Lab::new(Precision::Fp32, seed, CAPACITY, image, classes, 1, (DType::F32, 1));
    let mut rng = Rng(image.len() as u64);
    lab.live(live, CAPACITY);
    let schedule = Schedule::new(image, norm);
    let state = SquareState {
        best: lab.buffer(&vec![0.5; CAPACITY * image.len()]),
        margin: lab.buffer(&[9.0; CAPACITY]),
        eta: lab.buffer(&schedule.tables),
    };
    let (batch, data, rng_of_attack) = (lab.batch, lab.data, Philox::new(seed_of(image)));
    lab.write(batch.x, 0, &rng.f32s(CAPACITY * image.len(), 0.0, 1.0));
    lab.write(batch.x_adv, 0, &vec![0.25f32; CAPACITY * image.len()]);
    lab.write(batch.sample, 0, &[7u32, 70_000, u32::MAX]);
    lab.write(batch.label, 0, &(0..CAPACITY as u32).map(|p| p % classes as u32).collect::<Vec<_>>());
    let eps = if norm == Norm::Linf { 0.1 } else { 0.7 };
    let square = Square { image, batch, data, state, norm, eps, schedule, rng: rng_of_attack, query: None };
    let mut seen = Vec::new();
    // The start, and then two queries a program, of which every third is missed.
    for first in [None, Some(0), Some(10), Some(200), Some(4000)] {
        lab.write(data.control, 0, &[0u32, 0, 2, 0]);
        lab.write(data.control, control::ITERATION, &[first.unwrap_or(0u32)]);
        let ops: Vec<Op> = match first {
            None => vec![Op::Square(square.clone())],
            Some(_) => (0..2)
                .map(|offset| Iteration { control: data.control, offset })
                .map(|at| Op::Square(Square { query: Some(at), ..square.clone() }))
                .collect(),
        };
        // Of equal logits some: an equal margin is no better one.
        let logits: Vec<f32> = (0..CAPACITY * classes).map(|_| rng.below(9) as f32 / 4.0).collect();
        lab.write(batch.logits, 0, &logits);
        lab.run(ops);
        for buf in [batch.x_adv, state.best, state.margin] {
            let [cpu, gpu] = lab.read::<f32>(buf);
            let what = format!("{image}, {norm:?}, {classes} classes, {live:?} live, query {first:?}");
            for (i, (c, g)) in cpu.iter().zip(&gpu).enumerate() {
                assert_eq!(c.to_bits(), g.to_bits(), "{what}, buffer {}, [{i}]: {g}, on the CPU {c}", buf.id);
            }
            seen.extend(bits(&gpu));
        }
    }
    seen
}

fn seed_of(image: Shape) -> u64 {
    (image.h as u64) << 33 | 5
}

#[test]
fn square_equals_the_cpu() {
    let all: Vec<u32> = order(CAPACITY);
    // More channels than warps; taller and wider; smaller than the grid; one pixel.
    let images = [(1, 12, 12), (3, 9, 14), (9, 11, 6), (1, 4, 3), (2, 1, 1)].map(|(c, h, w)| Shape { c, h, w });
    for norm in [Norm::Linf, Norm::L2] {
        for image in images {
            for live in [&all[..], &[2], &[0, 2]] {
                let runs = SEEDS.map(|seed| attack(seed, image, norm, 10, live));
                assert!(runs[0] == runs[1] && runs[0] == runs[2], "{image}: depends on the order of blocks");
            }
        }
        attack(0, Shape { c: 257 - 1, h: 2, w: 2 }, norm, 2, &[1]);
        attack(0, images[1], norm, 33, &all);
        attack(0, images[1], norm, 2, &[]);
    }
}

#[test]
fn one_class_is_refused() {
    let image = Shape { c: 1, h: 4, w: 4 };
    let mut lab = Lab::new(Precision::Fp32, 0, 1, image, 1, 1, (DType::F32, 1));
    let schedule = Schedule::new(image, Norm::Linf);
    let state = SquareState { best: lab.buffer(&[0.0; 16]), margin: lab.buffer(&[0.0]), eta: lab.buffer(&[]) };
    let (batch, data, rng) = (lab.batch, lab.data, Philox::new(0));
    let square = Square { image, batch, data, state, norm: Norm::Linf, eps: 0.1, schedule, rng, query: None };
    let mut p = lab.program();
    p.push(square);
    let refused = lab.gpu.compile(p).err().map(|e| e.to_string());
    assert!(refused.as_ref().is_some_and(|e| e.contains("one class")), "{refused:?}");
}
