use super::cpu::{self, FpropArgs};
use super::{Normalisation, stem};
use crate::cpu::layout::MapShape;
use crate::cpu::simd::Level;
use crate::ops::conv::cpu::oracle::{self, Maps, Noise, bit, with_threads};
use crate::ops::conv::cpu::{Act, Pass};
use crate::program::Conv;

const STEMS: &[Conv] = &[
    stem(1, 16, 28, 28),
    stem(3, 64, 9, 8),
    stem(1, 1, 1, 1),
    stem(2, 17, 5, 3),
    stem(3, 20, 1, 7),
    stem(40, 33, 4, 5),
];

struct Case {
    stem: Conv,
    n: usize,
    /// NCHW.
    image: Vec<f32>,
    norm: Normalisation,
    w: Vec<f32>,
    dy: Vec<f32>,
    noise: Noise,
}

fn nchw_to_nhwc(stem: &Conv, n: usize, image: &[f32]) -> Vec<f32> {
    let px = stem.h * stem.w;
    (0..n * stem.input_len())
        .map(|i| image[(i / stem.input_len() * stem.c + i % stem.c) * px + i / stem.c % px])
        .collect()
}

impl Case {
    fn new(stem: Conv, n: usize) -> Self {
        let mut noise = Noise((stem.k * 100 + stem.w) as u64);
        Case {
            image: noise.vec(n * stem.input_len()).iter().map(|v| v.abs()).collect(),
            norm: Normalisation {
                mean: noise.vec(stem.c),
                std: noise.vec(stem.c).iter().map(|v| v.abs() + 0.2).collect(),
            },
            w: noise.vec(stem.filter_len()),
            dy: noise.vec(n * stem.h * stem.w * stem.k),
            stem,
            n,
            noise,
        }
    }
    /// The normalised images, NHWC.
    fn normalised(&self, norm: Option<&Normalisation>) -> Vec<f32> {
        let mut x = nchw_to_nhwc(&self.stem, self.n, &self.image);
        if let Some(norm) = norm {
            for (i, x) in x.iter_mut().enumerate() {
                let c = i % self.stem.c;
                *x = ((f64::from(*x) - f64::from(norm.mean[c])) / f64::from(norm.std[c])) as f32;
            }
        }
        x
    }
    fn filter(&self, pass: Pass, norm: Option<&Normalisation>) -> Vec<f32> {
        let mut out = vec![f32::NAN; cpu::filter_len(&self.stem)];
        cpu::pack(&self.stem, pass, &self.w, None, norm, &mut out);
        out
    }
    fn dgrad(&self, level: Level, norm: Option<&Normalisation>) -> Vec<f32> {
        let dy = Maps::new(MapShape::y(&self.stem), self.n, &self.dy);
        let mut g = vec![f32::NAN; self.image.len()];
        let filter = self.filter(Pass::Dgrad, norm);
        // SAFETY: dy has `n` examples, `g` is `n` images.
        unsafe { cpu::dgrad(level, &self.stem, self.n, dy.ptr(), &filter, g.as_mut_ptr()) };
        g
    }
    fn wgrad(&self, level: Level, norm: Option<&Normalisation>) -> Vec<f32> {
        let dy = Maps::new(MapShape::y(&self.stem), self.n, &self.dy);
        let mut dw = vec![f32::NAN; self.w.len()];
        let mut scratch = vec![f32::NAN; cpu::wgrad_scratch(&self.stem, self.n)];
        // SAFETY: there are `n` images and dy has `n` examples.
        unsafe { cpu::wgrad(level, &self.stem, self.n, self.image.as_ptr(), norm, dy.ptr(), &mut dw, &mut scratch) };
        dw
    }
}

#[test]
fn fprop_matches_the_oracle() {
    for &stem in STEMS {
        for level in Level::all_supported() {
            for normalise in [false, true] {
                let what = format!("{level} {stem:?} normalise={normalise}");
                let mut p = Case::new(stem, 3);
                let (conv, n) = (stem, p.n);
                let bias = p.noise.per_channel(stem.k);
                let norm = normalise.then_some(&p.norm);
                let (mut y, mut a) = (Maps::zero(MapShape::y(&conv), n), Maps::zero(MapShape::y(&conv), n));
                let mut bits = vec![0u16; n * MapShape::y(&conv).bits()];
                // SAFETY: the maps and masks have `n` examples, the images too.
                unsafe {
                    cpu::fprop(
                        level,
                        FpropArgs {
                            stem,
                            n,
                            image: p.image.as_ptr(),
                            norm,
                            filter: &p.filter(Pass::Fprop, norm),
                            bias: Some(&bias),
                            y: Some(y.ptr_mut()),
                            act: Some(Act { a: a.ptr_mut(), affine: None, bits: Some(bits.as_mut_ptr()) }),
                            scratch: &mut vec![f32::NAN; cpu::scratch(&stem)],
                        },
                    );
                }
                let mut want = oracle::fprop(&conv, n, &p.normalised(norm), &p.w);
                for (i, v) in want.value.iter_mut().enumerate() {
                    *v += f64::from(bias[i % stem.k]);
                    want.magnitude[i] += f64::from(bias[i % stem.k].abs());
                }
                want.check(&y.nhwc(), 1.0, &what);
                for (i, (y, a)) in y.nhwc().iter().zip(a.nhwc()).enumerate() {
                    assert_eq!(a, y.max(0.0), "{what}");
                    assert_eq!(*y > 0.0, bit(&bits, &MapShape::y(&conv), i), "{what}");
                }
            }
        }
    }
}

#[test]
fn dgrad_matches_the_oracle() {
    for &stem in STEMS {
        let p = Case::new(stem, 3);
        for norm in [None, Some(&p.norm)] {
            let mut want = oracle::dgrad(&stem, p.n, &p.dy, &p.w);
            for i in 0..want.value.len() {
                let std = f64::from(norm.map_or(1.0, |n| n.std[i % stem.c]));
                want.value[i] /= std;
                want.magnitude[i] /= std;
            }
            for level in Level::all_supported() {
                let got = nchw_to_nhwc(&stem, p.n, &p.dgrad(level, norm));
                want.check(&got, 1.0, &format!("{level} {stem:?}"));
            }
        }
    }
}

#[test]
fn wgrad_matches_the_oracle_on_any_number_of_threads() {
    for &stem in STEMS {
        for n in [1, 19] {
            let p = Case::new(stem, n);
            for norm in [None, Some(&p.norm)] {
                let want = oracle::wgrad(&stem, n, &p.normalised(norm), &p.dy);
                for level in Level::all_supported() {
                    let one = with_threads(1, || p.wgrad(level, norm));
                    want.check(&one, 1.0, &format!("{level} {stem:?}"));
                    for threads in [2, 3] {
                        assert_eq!(with_threads(threads, || p.wgrad(level, norm)), one, "{level} {stem:?} {threads}");
                    }
                }
            }
        }
    }
}

#[test]
fn an_image_does_not_depend_on_its_tile() {
    let (stem, n) = (stem(1, 16, 7, 9), 4);
    let all = Case::new(stem, n);
    for level in Level::all_supported() {
        let g = all.dgrad(level, None);
        for i in 0..n {
            let mut one = Case::new(stem, n);
            one.dy = one.dy[i * one.dy.len() / n..(i + 1) * one.dy.len() / n].to_vec();
            one.image = one.image[i * stem.input_len()..(i + 1) * stem.input_len()].to_vec();
            one.n = 1;
            assert_eq!(one.dgrad(level, None), g[i * stem.input_len()..(i + 1) * stem.input_len()], "{level}");
        }
    }
}
