//! Where an attack starts.

use crate::common::*;
use ham_engine::ops::Op;
use ham_engine::ops::start::{Draw, Noise, Start};
use ham_engine::program::{Buffers, DType, Shape};
use ham_engine::rng::{Philox, Stream, uniform};

const SAMPLES: usize = 7;
const CAPACITY: usize = 4;
const EPOCH: u32 = 11;

#[test]
fn random_start_is_the_clamped_noise_of_each_sample() {
    // Images whose length is no multiple of the four numbers that a block of random ones holds.
    let image = Shape { c: 1, h: 3, w: 5 };
    each_level(|level| {
        for eps in [0.0f32, 0.031, 0.5] {
            let mut b = Bench::new(level, CAPACITY, image, 2, 1, (DType::F32, SAMPLES));
            let x = Rng(2).f32s(CAPACITY * image.len(), 0.0, 1.0);
            let samples = [5u32, 0, 3, 1];
            // Compacted: slot 1 holds the example of position 3.
            let positions = [0u32, 3];
            b.live(&positions, 4);
            b.backend.write(b.data.control, 0, &[0u32, 6, EPOCH]).unwrap();
            b.backend.write(b.batch.sample, 0, &samples).unwrap();
            b.backend.write(b.batch.x, 0, &x).unwrap();
            b.backend.write(b.batch.x_adv, 0, &vec![7.0f32; x.len()]).unwrap();
            let rng = Philox::new(9);
            let noise = Some(Draw { noise: Noise::Uniform(eps), rng, stream: Stream::Attack });
            b.run([Op::Start(Start { image, batch: b.batch, data: b.data, noise })]);
            let got = b.f32s(b.batch.x_adv);
            for (slot, position) in positions.iter().enumerate() {
                for i in 0..image.len() {
                    let x = x[slot * image.len() + i];
                    let r = rng.block(Stream::Attack, EPOCH, samples[*position as usize], i as u32 / 4)[i % 4];
                    let want = (x + eps * (2.0 * uniform(r) - 1.0)).clamp(0.0, 1.0);
                    let got = got[slot * image.len() + i];
                    assert_eq!(got.to_bits(), want.to_bits(), "{level} eps {eps} slot {slot} pixel {i}");
                    assert!((0.0..=1.0).contains(&got) && got >= x - eps && got <= x + eps);
                }
            }
            assert!(got[2 * image.len()..].iter().all(|v| *v == 7.0), "{level}: a dead slot was touched");
            b.run([Op::Start(Start { image, batch: b.batch, data: b.data, noise: None })]);
            assert_eq!(
                bits(&b.f32s(b.batch.x_adv)[..2 * image.len()]),
                bits(&x[..2 * image.len()]),
                "{level}: no noise"
            );
        }
    });
}

#[test]
fn normal_start_is_box_and_mullers_transform() {
    let image = Shape { c: 2, h: 33, w: 31 };
    each_level(|level| {
        let (n, sigma) = (8, 0.25f32);
        let mut b = Bench::new(level, n, image, 2, 1, (DType::F32, SAMPLES));
        b.live(&order(n), n);
        b.backend.write(b.data.control, 0, &[0u32, 6, EPOCH]).unwrap();
        b.backend.write(b.batch.sample, 0, &order(n)).unwrap();
        let x = Rng(2).f32s(n * image.len(), 0.0, 1.0);
        b.backend.write(b.batch.x, 0, &x).unwrap();
        let rng = Philox::new(9);
        let noise = Some(Draw { noise: Noise::Normal(sigma), rng, stream: Stream::Attack });
        b.run([Op::Start(Start { image, batch: b.batch, data: b.data, noise })]);
        let got = b.f32s(b.batch.x_adv);
        let normal = |slot: usize, i: usize| {
            let r = rng.block(Stream::Attack, EPOCH, slot as u32, i as u32 / 4);
            let (u, v) = (uniform(r[i % 4 / 2 * 2]) as f64, uniform(r[i % 4 / 2 * 2 + 1]) as f64);
            let (radius, angle) = ((-2.0 * (1.0 - u).ln()).sqrt(), std::f64::consts::TAU * v);
            radius * if i.is_multiple_of(2) { angle.cos() } else { angle.sin() }
        };
        let all: Vec<f64> = (0..n).flat_map(|s| (0..image.len()).map(move |i| normal(s, i))).collect();
        let want: Vec<f64> = x.iter().zip(&all).map(|(x, n)| *x as f64 + sigma as f64 * n).collect();
        // The angle is off by its rounding, and values below 4 are rounded a few times.
        close(&format!("{level}"), &got, &want, 16.0 * f32::EPSILON as f64);
        // They are normal: mean and variance within four standard errors, and the tail as heavy.
        let count = all.len() as f64;
        let (mean, square) = (all.iter().sum::<f64>() / count, all.iter().map(|v| v * v).sum::<f64>() / count);
        assert!(
            mean.abs() < 4.0 / count.sqrt() && (square - 1.0).abs() < 4.0 * (2.0 / count).sqrt(),
            "{mean} {square}"
        );
        let tail = all.iter().filter(|v| v.abs() > 2.0).count() as f64 / count;
        assert!((tail - 0.0455).abs() < 4.0 * (0.0455 / count).sqrt(), "{tail} beyond two standard deviations");
    });
}
