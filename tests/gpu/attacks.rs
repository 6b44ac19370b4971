//! What attacks of an evaluation compute per example: target classes, starts on the surface of the ball, and steps of Auto-PGD.

use crate::common::{Rng, bits, order, sum_tolerance};
use crate::lab::{Lab, SEEDS, near};
use ham_engine::batch::Iteration;
use ham_engine::gpu::Precision;
use ham_engine::ops::Op;
use ham_engine::ops::apgd::{Apgd, PROGRESS, State};
use ham_engine::ops::ball::Norm;
use ham_engine::ops::head::Loss;
use ham_engine::ops::start::{Draw, Noise, Start};
use ham_engine::ops::target_class::TargetClass;
use ham_engine::program::{Buf, Buffers, DType, Shape};
use ham_engine::rng::{Philox, Stream};

const CAPACITY: usize = 9;
const IMAGES: [Shape; 4] = [
    Shape { c: 1, h: 1, w: 1 },
    Shape { c: 3, h: 5, w: 7 },
    Shape { c: 1, h: 16, w: 16 },
    Shape { c: 2, h: 23, w: 13 },
];
const LIVE: [usize; 4] = [0, 1, 4, CAPACITY];

fn lab(seed: u64, image: Shape, classes: usize, live: usize) -> Lab {
    let mut lab = Lab::new(Precision::Fp32, seed, CAPACITY, image, classes, 1, (DType::F32, 1));
    // Slots and positions differ once examples have left.
    let positions: Vec<u32> = order(CAPACITY).into_iter().rev().take(live).collect();
    lab.live(&positions, CAPACITY);
    lab
}

fn zeros(lab: &mut Lab, n: usize) -> Buf {
    lab.buffer(&vec![0.0; n])
}

#[test]
fn aims_equal_the_cpu() {
    for seed in SEEDS {
        for classes in [2, 10, 33, 70] {
            for live in LIVE {
                for (epoch, restarts) in [(0, 1), (1, 1), (5, 2), (8, 1), (90, 1)] {
                    let mut lab = lab(seed, IMAGES[0], classes, live);
                    let (batch, data) = (lab.batch, lab.data);
                    // Few different values, so that ties abound.
                    let mut rng = Rng(classes as u64);
                    let mut z: Vec<f32> = (0..CAPACITY * classes).map(|_| rng.below(7) as f32).collect();
                    z[classes] = f32::NAN;
                    lab.write(batch.logits, 0, &z);
                    lab.write(batch.target, 0, &[77u32; CAPACITY]);
                    lab.write(data.control, 0, &[0u32, 0, epoch, 0]);
                    lab.run([Op::TargetClass(TargetClass { batch, data, restarts })]);
                    let [cpu, gpu] = lab.read::<u32>(batch.target);
                    assert_eq!(cpu, gpu, "{classes} classes, {live} live, epoch {epoch}");
                    let rank = 1 + (epoch / restarts) as usize;
                    for position in order(CAPACITY).into_iter().rev().take(live).map(|p| p as usize) {
                        let z = &z[position * classes..(position + 1) * classes];
                        let mut ranked: Vec<usize> = (0..classes).collect();
                        ranked.sort_by(|a, b| z[*b].partial_cmp(&z[*a]).unwrap_or(std::cmp::Ordering::Equal));
                        if z.iter().all(|v| !v.is_nan()) && rank < classes {
                            assert_eq!(cpu[position] as usize, ranked[rank], "{z:?}, rank {rank}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn starts_on_the_surface_equal_the_cpu() {
    for image in IMAGES {
        for live in LIVE {
            for norm in [Norm::Linf, Norm::L2] {
                let eps = if norm == Norm::Linf { 0.1 } else { 0.5 };
                let runs = SEEDS.map(|seed| {
                    let mut lab = lab(seed, image, 2, live);
                    let (batch, data) = (lab.batch, lab.data);
                    let x = Rng(3).f32s(CAPACITY * image.len(), 0.0, 1.0);
                    lab.write(batch.x, 0, &x);
                    lab.write(batch.x_adv, 0, &vec![7.0f32; CAPACITY * image.len()]);
                    lab.write(batch.sample, 0, &[70_000u32, 3, 5, 0, u32::MAX, 8, 9, 10, 11]);
                    lab.write(data.control, 0, &[0u32, 0, 9, 0]);
                    let start = |clean| {
                        let noise = Noise::Surface { norm, length: eps, clean };
                        let draw = Draw { noise, rng: Philox::new(7), stream: Stream::Eval };
                        Op::Start(Start { image, batch, data, noise: Some(draw) })
                    };
                    // The tenth run: of every three a first one, of every four the second.
                    lab.run([start(3)]);
                    for adv in lab.read::<f32>(batch.x_adv) {
                        let n = live * image.len();
                        assert_eq!(bits(&adv[..n]), bits(&x[..n]), "{image:?}, {norm:?}");
                    }
                    lab.run([start(if live % 2 == 0 { 4 } else { 0 })]);
                    let both = lab.read::<f32>(batch.x_adv);
                    let what = format!("{image:?}, {live} live, {norm:?}");
                    match norm {
                        Norm::Linf => assert_eq!(bits(&both[0]), bits(&both[1]), "{what}"),
                        // A normal below 6 and its length are off by a few ulp; their quotient is below 1.
                        Norm::L2 => {
                            let error = 16.0 * f32::EPSILON + sum_tolerance(image.len(), 1.0) as f32;
                            near(&what, &both, eps * error, f32::EPSILON)
                        }
                    }
                    for (adv, x) in both[1].chunks(image.len()).zip(x.chunks(image.len())).take(live) {
                        let far = adv.iter().zip(x).map(|(a, b)| (a - b).abs());
                        let length = match norm {
                            Norm::Linf => far.fold(0.0, f32::max),
                            Norm::L2 => far.map(|v| v * v).sum::<f32>().sqrt(),
                        };
                        assert!((0.02..=eps * 1.00001).contains(&length) || image.len() == 1, "{what}: {length} away");
                    }
                    bits(&both[1])
                });
                assert!(runs[0] == runs[1] && runs[0] == runs[2], "{image:?}: depends on the order of blocks");
            }
        }
    }
}

/// A few iterations on both; gives the bits of all that the GPU wrote.
fn climb(
    seed: u64,
    image: Shape,
    classes: usize,
    live: usize,
    norm: Norm,
    (loss, fixed): (Loss, Option<f32>),
) -> Vec<u32> {
    let what = format!("{image:?}, {classes} classes, {live} live, {norm:?}, {loss:?}, {fixed:?}");
    let mut lab = lab(seed, image, classes, live);
    let (batch, eps, n) = (lab.batch, if norm == Norm::Linf { 0.1 } else { 0.5 }, CAPACITY * image.len());
    let mut rng = Rng(image.len() as u64);
    let x = rng.f32s(n, 0.0, 1.0);
    lab.write(batch.x, 0, &x);
    let start: Vec<f32> = x.iter().map(|x| (x + rng.f32(-0.01, 0.01)).clamp(0.0, 1.0)).collect();
    lab.write(batch.x_adv, 0, &start);
    let labels: Vec<u32> = (0..CAPACITY).map(|_| rng.below(classes) as u32).collect();
    let targets: Vec<u32> = labels.iter().map(|l| (l + 1) % classes as u32).collect();
    lab.write(batch.label, 0, &labels);
    lab.write(batch.target, 0, &targets);
    let gradient = zeros(&mut lab, n);
    let state = State {
        best: zeros(&mut lab, n),
        best_gradient: zeros(&mut lab, n),
        previous: zeros(&mut lab, n),
        progress: zeros(&mut lab, CAPACITY * PROGRESS),
    };
    // What no example has touched shows.
    for buf in [state.best, state.best_gradient, state.previous] {
        lab.write(buf, 0, &vec![7.0f32; n]);
    }
    let periods = [0u32, 0, 2, 0, 0, 3, 1];
    let schedule = lab.cpu.alloc(DType::U32, periods.len()).unwrap();
    assert_eq!(lab.gpu.alloc(DType::U32, periods.len()).unwrap(), schedule);
    lab.write(schedule, 0, &periods);
    let (mut all, mut halved) = (Vec::new(), [false; 2]);
    for k in 0..periods.len() as u32 {
        // Some pixels have no gradient; losses rise and fall, and stay.
        let g: Vec<f32> = (0..n).map(|_| [0.0, rng.f32(-1.0, 1.0)][rng.below(3).min(1)]).collect();
        lab.write(gradient, 0, &g);
        let f: Vec<f32> = (0..CAPACITY).map(|_| rng.below(5) as f32 * 0.3).collect();
        lab.write(batch.loss, 0, &f);
        lab.write(batch.logits, 0, &rng.f32s(CAPACITY * classes, -3.0, 3.0));
        let (whole, offset) = (k / 3 * 3, k % 3);
        lab.write(lab.data.control, 0, &[0u32, 0, 0, whole]);
        let at = Iteration { control: lab.data.control, offset };
        lab.run([Op::Apgd(Apgd { image, batch, gradient, loss, norm, eps, fixed, at, schedule, state })]);
        let progress = lab.read::<f32>(state.progress);
        assert_eq!(bits(&progress[0]), bits(&progress[1]), "{what}: progress at iteration {k}");
        for (name, buf) in [
            ("x_adv", batch.x_adv),
            ("best", state.best),
            ("best gradient", state.best_gradient),
            ("previous", state.previous),
        ] {
            let both = lab.read::<f32>(buf);
            match norm {
                Norm::Linf => assert_eq!(bits(&both[0]), bits(&both[1]), "{what}: {name} at iteration {k}"),
                // Three lengths, each off by the rounding of its sum, of directions and differences of length 1 and 0.5; the moves
                // before add up.
                Norm::L2 => {
                    let error = 4.0 * f32::EPSILON + sum_tolerance(image.len(), 1.0) as f32;
                    near(&format!("{what}: {name} at iteration {k}"), &both, 3.0 * (k + 1) as f32 * error, f32::EPSILON)
                }
            }
            all.extend(bits(&both[1]));
        }
        if periods[k as usize] > 0 {
            let positions = order(CAPACITY).into_iter().rev().take(live);
            positions.for_each(|p| halved[usize::from(progress[1][p as usize * PROGRESS + 5] == 1.0)] = true);
        }
    }
    assert!(
        live < CAPACITY || fixed.is_some() || halved == [true; 2],
        "{what}: {halved:?}: a step that is halved, and one that is not"
    );
    all
}

#[test]
fn steps_of_auto_pgd_equal_the_cpu() {
    for (i, image) in IMAGES.into_iter().enumerate() {
        for norm in [Norm::Linf, Norm::L2] {
            let kinds = [(Loss::CrossEntropy, None), (Loss::TargetedDlr, None), (Loss::Margin, Some(0.03))];
            for (j, kind) in kinds.into_iter().enumerate() {
                // The last image meets all kinds with all live; the others, and classes, take turns.
                for live in
                    if i + 1 == IMAGES.len() { vec![CAPACITY] } else { vec![LIVE[(i + j) % 4], LIVE[(i + j + 2) % 4]] }
                {
                    let classes = [4, 10, 33, 70][(i + j) % 4];
                    let runs = SEEDS.map(|seed| climb(seed, image, classes, live, norm, kind));
                    assert!(runs[0] == runs[1] && runs[0] == runs[2], "{image:?}: depends on the order of blocks");
                }
            }
        }
    }
}
