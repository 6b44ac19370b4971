//! FAB's projection against bisection in f64, and who is done, who goes back.

use crate::common::*;
use ham_engine::cpu::simd::Level;
use ham_engine::ops::Op;
use ham_engine::ops::ball::Norm;
use ham_engine::ops::fab::{FabBack, FabStep};
use ham_engine::program::{Buffers, DType, Shape};

/// A projection onto `w.d = -gap` within the box, its norm, and how far f32 may be off in the multiplier.
struct Projected {
    d: Vec<f64>,
    length: f64,
    off: f64,
}

fn project(norm: Norm, w: &[f64], at: &[f64], gap: f64) -> Projected {
    let room = |i: usize| if (w[i] > 0.0) == (gap >= 0.0) { at[i] } else { 1.0 - at[i] };
    let rate = |i: usize| if norm == Norm::Linf { 1.0 } else { w[i].abs() };
    let way = |l: f64| (0..w.len()).map(move |i| w[i].abs() * (l * rate(i)).min(room(i)));
    let sum = |l: f64| way(l).sum::<f64>();
    // Doubled until it is enough, or nothing is left to move.
    let most: f64 = (0..w.len()).map(|i| w[i].abs() * room(i)).sum();
    let (mut low, mut high) = (0.0, 1.0);
    while sum(high) < gap.abs() && sum(high) < most * (1.0 - 1e-12) {
        high *= 2.0;
    }
    for _ in 0..200 {
        let l = (low + high) / 2.0;
        if sum(l) < gap.abs() { low = l } else { high = l }
    }
    let l = if most <= gap.abs() { f64::INFINITY } else { high };
    let free = |i: &usize| w[*i] != 0.0 && room(*i) > l * rate(*i);
    let slope: f64 = (0..w.len()).filter(free).map(|i| w[i].abs() * rate(i)).sum();
    let d: Vec<f64> = (0..w.len())
        .map(|i| {
            let far = if w[i] == 0.0 { 0.0 } else { (l * rate(i)).min(room(i)) };
            if (w[i] > 0.0) == (gap >= 0.0) { -far } else { far }
        })
        .collect();
    let length = match norm {
        Norm::Linf => max_abs(d.iter().copied()),
        Norm::L2 => d.iter().map(|v| v * v).sum::<f64>().sqrt(),
    };
    // What is missing comes of two numbers of the gap's size, each a rounded sum, and is divided by the slope.
    let off = if slope > 0.0 { 2.0 * sum_tolerance(w.len(), gap.abs()) / slope } else { 0.0 };
    let rates = max_abs((0..w.len()).map(rate));
    Projected { d, length: length.max(1e-8), off: off * rates }
}

#[test]
fn a_step_projects_both_points_within_the_box() {
    each_level(|level| {
        let image = Shape { c: 2, h: 9, w: 11 };
        let len = image.len();
        for norm in [Norm::Linf, Norm::L2] {
            // Gaps from nearly none to beyond what the box allows, to both sides.
            for (case, gap) in [1e-4f32, -0.02, 0.5, -3.0, 8.0, -12.0, 1e4, -1e4, 0.0].into_iter().enumerate() {
                let mut b = Bench::new(level, 3, image, 4, 1, (DType::F32, 1));
                b.live(&[0, 2], 3);
                let mut rng = Rng(case as u64);
                let mut pixels = |n| -> Vec<f32> { (0..n).map(|_| rng.f32(-0.4, 1.4).clamp(0.0, 1.0)).collect() };
                let (x, mut adv) = (pixels(2 * len), pixels(2 * len));
                // The second slot's iterate is near its image, as most are.
                adv[len..].iter_mut().zip(&x[len..]).for_each(|(a, x)| *a = 0.9 * x + 0.1 * *a);
                let mut w = rng.f32s(2 * len, -0.2, 0.2);
                w.iter_mut().step_by(7).for_each(|w| *w = 0.0);
                b.backend.write(b.batch.x, 0, &x).unwrap();
                b.backend.write(b.batch.x_adv, 0, &adv).unwrap();
                b.backend.write(b.batch.label, 0, &[0u32, 9, 1]).unwrap();
                b.backend.write(b.batch.target, 0, &[3u32, 9, 0]).unwrap();
                let logits = [0.25, 9.0, 9.0, 0.25 + gap, 0.0, 0.0, 0.0, 0.0, 0.5 + gap, 0.5, 9.0, 9.0];
                b.backend.write(b.batch.logits, 0, &logits.map(|z: f32| z)).unwrap();
                let gradient = b.buffer(&[&w[..], &vec![0.0; len]].concat());
                b.run([Op::FabStep(FabStep { image, batch: b.batch, gradient, norm })]);
                let got = b.f32s(b.batch.x_adv);
                for slot in 0..2 {
                    let of = |v: &[f32]| v[slot * len..(slot + 1) * len].iter().map(|v| *v as f64).collect::<Vec<_>>();
                    let (x, adv, w) = (of(&x), of(&adv), of(&w));
                    let z = |i: usize| logits[[0, 8][slot] + i] as f64;
                    let gap = if slot == 0 { z(3) - z(0) } else { z(0) - z(1) };
                    let way: f64 = w.iter().zip(&x).zip(&adv).map(|((w, x), a)| w * (x - a)).sum();
                    let near = project(norm, &w, &adv, gap);
                    let far = project(norm, &w, &x, gap + way);
                    let share = (near.length / (near.length + far.length)).min(0.1);
                    let want: Vec<f64> = (0..len)
                        .map(|i| {
                            let (from_adv, from_x) = (adv[i] + 1.05 * near.d[i], x[i] + 1.05 * far.d[i]);
                            (from_adv * (1.0 - share) + from_x * share).clamp(0.0, 1.0)
                        })
                        .collect();
                    // The image's gap is a rounded sum itself; the share is off as the lengths are, relatively.
                    let scale: f64 = w.iter().zip(&x).zip(&adv).map(|((w, x), a)| (w * (x - a)).abs()).sum();
                    let slack = sum_tolerance(len, scale) / w.iter().map(|w| w.abs()).sum::<f64>();
                    let lengths = near.length + far.length;
                    let tolerance =
                        2.0 * (near.off + far.off + slack) * (1.0 + 2.0 / lengths) + 4.0 * sum_tolerance(len, 1.0);
                    let what = format!("{norm:?}, gap {gap}, slot {slot}");
                    assert!(tolerance < 1e-3 || gap.abs() < 1e-3, "{what}: says nothing, {tolerance}");
                    close(&what, &got[slot * len..(slot + 1) * len], &want, tolerance);
                }
            }
        }
    });
}

#[test]
fn who_has_crossed_is_done_or_goes_back() {
    let image = Shape { c: 1, h: 2, w: 2 };
    let x = [[0.5f32; 4]; 4].concat();
    // Farthest by 0.25 and by 0.5; half as far again in length.
    let near = [0.25, 0.5, 0.5, 0.5];
    let far = [0.0, 0.75, 0.5, 0.5];
    let adv = [near, far, near, far].concat();
    for (norm, eps) in [(Norm::Linf, 0.25), (Norm::Linf, 0.3), (Norm::L2, 0.25), (Norm::L2, 0.5)] {
        let mut b = Bench::new(Level::detect(), 5, image, 2, 1, (DType::F32, 1));
        b.live(&[0, 1, 3, 4], 5);
        b.backend.write(b.batch.x, 0, &x).unwrap();
        b.backend.write(b.batch.x_adv, 0, &adv).unwrap();
        b.backend.write(b.batch.crossed, 0, &[1u32, 1, 9, 0, 0]).unwrap();
        b.backend.write(b.batch.keep, 0, &[7u32; 5]).unwrap();
        b.run([Op::FabBack(FabBack { image, batch: b.batch, norm, eps })]);
        assert_eq!(b.u32s(b.batch.keep), [0, 1, 7, 1, 1], "{norm:?} {eps}");
        let back = [0.5f32 + 0.9 * -0.5, 0.5 + 0.9 * 0.25, 0.5, 0.5];
        let want = [near, back, near, far].concat();
        assert_eq!(bits(&b.f32s(b.batch.x_adv)[..16]), bits(&want), "{norm:?} {eps}");
    }
}
