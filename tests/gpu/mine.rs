//! Selection, compaction and weights.

use crate::common::{Rng, bits, order};
use crate::lab::{Lab, SEEDS, near};
use ham_engine::gpu::Precision;
use ham_engine::gpu::driver::Command;
use ham_engine::method::Weights;
use ham_engine::ops::Op;
use ham_engine::ops::compact::Compact;
use ham_engine::ops::formula::{Formula, confidence, crossed, kappa, label, loss, position, step, tanh};
use ham_engine::ops::freeze::{Freeze, Thaw};
use ham_engine::ops::select::Select;
use ham_engine::ops::weigh::Weigh;
use ham_engine::program::{DType, Shape};

fn lab(seed: u64, capacity: usize, image: Shape) -> Lab {
    Lab::new(Precision::Fp32, seed, capacity, image, 2, 1, (DType::F32, 1))
}

const PIXEL: Shape = Shape { c: 1, h: 1, w: 1 };

/// Positions of every `every`-th example.
fn some(capacity: usize, every: usize) -> Vec<u32> {
    order(capacity).into_iter().step_by(every).collect()
}

#[test]
fn select_equals_the_cpu() {
    // Capacity and every how many-th is live: less than a block, a block and its neighbours, several blocks.
    for seed in SEEDS {
        for (capacity, every) in [(1, 1), (11, 1), (11, 2), (255, 1), (256, 1), (257, 1), (700, 1), (700, 3)] {
            for keep_easy in [0.0, 0.1, 0.3, 0.5, 1.0] {
                let mut lab = lab(seed, capacity, PIXEL);
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

/// Masks whose records are moved by 16, by 4 and by 1 byte at a time, and of more units than a block has threads.
const MASKS: [Shape; 5] = [
    Shape { c: 16, h: 4, w: 8 },
    Shape { c: 9, h: 3, w: 2 },
    Shape { c: 3, h: 3, w: 5 },
    Shape { c: 1, h: 1, w: 1 },
    Shape { c: 24, h: 8, w: 64 },
];

fn compact(seed: u64, capacity: usize, image: Shape, masks: &[Shape], live: &[u32], stays: &dyn Fn(u32) -> bool) {
    let mut lab = lab(seed, capacity, image);
    lab.live(live, capacity);
    // Flags of dead examples are set: they must not come back.
    let keep: Vec<u32> = (0..capacity as u32).map(|p| u32::from(stays(p) || !live.contains(&p))).collect();
    lab.write(lab.batch.keep, 0, &keep);
    let mut rng = Rng(seed);
    let x = rng.f32s(capacity * image.len(), 0.0, 1.0);
    let x_adv = rng.f32s(capacity * image.len(), 0.0, 1.0);
    lab.write(lab.batch.x, 0, &x);
    lab.write(lab.batch.x_adv, 0, &x_adv);
    let mut p = lab.program();
    let all: Vec<_> = masks.iter().map(|s| (p.mask(*s), *s)).collect();
    p.push(Compact { image, batch: lab.batch, bits: all.iter().map(|m| m.0).collect() });
    let mut pair = lab.compile(p);
    for (mask, shape) in &all {
        for slot in 0..capacity {
            let values: Vec<bool> = (0..shape.len()).map(|_| rng.below(2) == 1).collect();
            lab.set_bits(&mut pair, *mask, slot, &values);
        }
    }
    lab.replay(&mut pair);
    let what = format!("{live:?} live of {capacity}, {image:?}");
    let [cpu, gpu] = lab.read::<u32>(lab.batch.live);
    assert_eq!(cpu, gpu, "{what}: live");
    let kept = gpu[0] as usize;
    assert_eq!(kept, live.iter().filter(|p| stays(**p)).count(), "{what}");
    let [cpu, gpu] = lab.read::<u32>(lab.batch.position);
    assert_eq!(cpu, gpu, "{what}: position");
    for (name, buf) in [("x", lab.batch.x), ("x_adv", lab.batch.x_adv)] {
        let [cpu, gpu] = lab.read::<f32>(buf);
        assert_eq!(bits(&cpu), bits(&gpu), "{what}: {name}");
    }
    for (mask, shape) in &all {
        for slot in 0..capacity {
            let [cpu, gpu] = lab.bits(&pair, *mask, slot);
            assert_eq!(cpu, gpu, "{what}: mask {shape:?} slot {slot}");
        }
    }
}

/// Live positions, and who of them stays.
type Case<'a> = (&'a [u32], &'a dyn Fn(u32) -> bool);

#[test]
fn compact_equals_the_cpu() {
    const CAPACITY: usize = 23;
    let full: Vec<u32> = order(CAPACITY);
    let every_third: Vec<u32> = some(CAPACITY, 3);
    let in_threes = |p: u32| p.is_multiple_of(3);
    let (first, last, late) = (|p: u32| p == 0, |p: u32| p == 22, |p: u32| p > 4 && p != 9);
    let (none, all) = (|_: u32| false, |_: u32| true);
    let cases: [Case; 11] = [
        (&[], &all),
        (&[0], &all),
        (&[0], &none),
        (&[3], &all),
        (&full, &all),
        (&full, &none),
        (&full, &in_threes),
        (&full, &first),
        (&full, &last),
        (&full, &late),
        (&every_third, &late),
    ];
    for seed in SEEDS {
        for image in [Shape { c: 3, h: 4, w: 7 }, Shape { c: 1, h: 1, w: 1 }, Shape { c: 2, h: 5, w: 5 }] {
            for (live, stays) in cases {
                compact(seed, CAPACITY, image, &MASKS, live, stays);
            }
        }
    }
}

#[test]
fn compact_scans_more_slots_than_a_block_has_threads() {
    for seed in SEEDS {
        for capacity in [255, 256, 257, 520] {
            compact(seed, capacity, PIXEL, &MASKS[3..4], &order(capacity), &|p| p % 5 > 1 || p == 256);
            compact(seed, capacity, PIXEL, &MASKS[3..4], &some(capacity, 2), &|p| p != 2);
        }
    }
}

#[test]
fn compact_of_many_masks_takes_several_launches() {
    let masks = vec![MASKS[3]; 127];
    compact(0, 5, PIXEL, &masks, &order(5), &|p| p % 2 == 1);
    let mut lab = lab(0, 5, PIXEL);
    for (masks, launches) in [(126, 1), (127, 2), (0, 1)] {
        let mut p = lab.program();
        let bits = (0..masks).map(|_| p.mask(PIXEL)).collect();
        p.push(Compact { image: PIXEL, batch: lab.batch, bits });
        let gathers = |c: &&Command| matches!(c, Command::Launch(l) if l.kernel.name == "compact");
        assert_eq!(lab.compile(p).gpu.commands.iter().filter(gathers).count(), launches, "{masks} masks");
    }
}

#[test]
fn weigh_equals_the_cpu() {
    for seed in SEEDS {
        for (capacity, every) in [(1, 1), (11, 2), (256, 1), (257, 1), (600, 1)] {
            for (weights, steps, zeros) in [
                (Weights::Uniform, 10, false),
                (Weights::StepSize, 10, false),
                (Weights::StepSize, 10, true),
                (Weights::Kappa, 10, false),
                (Weights::Kappa, 7, false),
                (Weights::Kappa, 1, false),
            ] {
                let mut lab = lab(seed, capacity, PIXEL);
                let mut rng = Rng(seed);
                let kappa: Vec<u32> = (0..capacity).map(|_| rng.below(steps + 1) as u32).collect();
                lab.write(lab.batch.kappa, 0, &kappa);
                let largest = if zeros { 0.0 } else { 2.0 };
                lab.write(lab.batch.step, 0, &rng.f32s(capacity, 0.0, largest));
                lab.write(lab.batch.weight, 0, &vec![7.0f32; capacity]);
                for live in [vec![], some(capacity, every)] {
                    lab.live(&live, capacity);
                    let weigh = Weigh { batch: lab.batch, weight: weights.formula(steps) };
                    lab.run([Op::Weigh(weigh)]);
                    let both = lab.read::<f32>(lab.batch.weight);
                    let what = format!("{weights:?}, {steps} steps, {} live", live.len());
                    if weights == Weights::Kappa && !live.is_empty() {
                        // Each tanh is within 2 ulp of a value near 1, and 1 + tanh keeps that absolute error; the sum of
                        // all such errors is relative to the sum.
                        let raw = |k: u32| {
                            let half = (steps / 2) as f64;
                            if half == 0.0 { 1.0 } else { (1.0 + (-1.0 + 5.0 * (half - k as f64) / half).tanh()) / 2.0 }
                        };
                        let sum: f64 = live.iter().map(|p| raw(kappa[*p as usize])).sum();
                        let error = 2.0 * f32::EPSILON as f64;
                        let relative = error * live.len() as f64 / sum + f32::EPSILON as f64;
                        near(&what, &both, (error / sum) as f32, relative as f32);
                    } else {
                        assert_eq!(bits(&both[0]), bits(&both[1]), "{what}");
                    }
                }
            }
        }
    }
}

/// Formulas that between them use everything there is; the last one is as long and as deep as one may be.
fn formulas() -> Vec<Formula> {
    let nest = (0..3).fold(kappa() * 0.5, |f, _| 1.0 - f / 3.0);
    let deep = (1..8).fold(position(), |f, i| i as f32 + f);
    vec![
        2.5.into(),
        !crossed(),
        kappa().less(2.0),
        kappa().more(1.0).and(label().less(1.0)),
        crossed().or(confidence().more(0.9)),
        confidence() * loss() - step() / (1.0 + loss()),
        (1.0 + tanh(-1.0 + 5.0 * (3.0 - kappa()) / 3.0)) / 2.0,
        loss().max(step()).max(confidence()),
        step() / kappa(),
        nest,
        (0..7).fold(deep, |f, _| f.max(0.5)),
    ]
}

#[test]
fn formulas_equal_the_cpu() {
    for seed in SEEDS {
        for (capacity, every) in [(1, 1), (11, 2), (257, 1)] {
            for (i, formula) in formulas().into_iter().enumerate() {
                let mut lab = lab(seed, capacity, PIXEL);
                let mut rng = Rng(seed);
                let mut below = |n: usize| -> Vec<u32> { (0..capacity).map(|_| rng.below(n) as u32).collect() };
                let (wrong, kappas, labels) = (below(2), below(5), below(2));
                lab.write(lab.batch.crossed, 0, &wrong);
                lab.write(lab.batch.kappa, 0, &kappas);
                lab.write(lab.batch.label, 0, &labels);
                for buf in [lab.batch.confidence, lab.batch.loss, lab.batch.step] {
                    let mut values = rng.f32s(capacity, 0.0, 2.0);
                    values[capacity / 2] = [0.0, f32::NAN, f32::INFINITY][i % 3];
                    lab.write(buf, 0, &values);
                }
                lab.write(lab.batch.keep, 0, &vec![7u32; capacity]);
                for live in [some(capacity, every), vec![]] {
                    lab.live(&live, capacity);
                    let (batch, keep) = (lab.batch, formula.clone());
                    let weigh = Weigh { batch, weight: formula.clone() };
                    lab.run([Op::Select(Select { batch, keep, keep_easy: 0.4 }), Op::Weigh(weigh)]);
                    let what = format!("formula {i}, {} live of {capacity}", live.len());
                    let [cpu, gpu] = lab.read::<u32>(batch.keep);
                    assert_eq!(cpu, gpu, "{what}: keep");
                    let [cpu, gpu] = lab.read::<f32>(batch.weight);
                    for (c, g) in cpu.iter().zip(&gpu) {
                        // tanh differs by two ulp; everything else is exact.
                        let off = (c - g).abs();
                        assert!(
                            c.to_bits() == g.to_bits() || (c.is_nan() && g.is_nan()) || off <= 1e-6 * c.abs(),
                            "{what}: {g}, {c} on the CPU"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn freeze_and_thaw_equal_the_cpu() {
    const CAPACITY: usize = 13;
    for seed in SEEDS {
        for image in [PIXEL, Shape { c: 3, h: 5, w: 7 }, Shape { c: 1, h: 32, w: 33 }] {
            for (live, loaded) in [(vec![], 0), (vec![], 9), (vec![4], 13), (some(CAPACITY, 3), 13), (order(13), 13)] {
                for all in [false, true] {
                    let mut lab = lab(seed, CAPACITY, image);
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
