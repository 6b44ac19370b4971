use super::cpu::{self, FpropArgs, Output};
use super::{Norm, Stem};
use crate::cpu::simd::Level;
use crate::ops::conv::cpu::oracle::{self, Maps, Noise, bit, with_threads};
use crate::ops::conv::cpu::{Act, Pass};

const STEMS: &[Stem] = &[
    Stem { c: 1, k: 16, h: 28, w: 28 },
    Stem { c: 3, k: 64, h: 9, w: 8 },
    Stem { c: 1, k: 1, h: 1, w: 1 },
    Stem { c: 2, k: 17, h: 5, w: 3 },
    Stem { c: 3, k: 20, h: 1, w: 7 },
    Stem { c: 16, k: 33, h: 4, w: 5 },
];

struct Problem {
    stem: Stem,
    n: usize,
    /// NCHW.
    image: Vec<f32>,
    mean: Vec<f32>,
    std: Vec<f32>,
    w: Vec<f32>,
    dy: Vec<f32>,
    noise: Noise,
}

fn nchw_to_nhwc(stem: &Stem, n: usize, image: &[f32]) -> Vec<f32> {
    let px = stem.h * stem.w;
    (0..n * stem.image()).map(|i| image[(i / stem.image() * stem.c + i % stem.c) * px + i / stem.c % px]).collect()
}

impl Problem {
    fn new(stem: Stem, n: usize) -> Self {
        let mut noise = Noise((stem.k * 100 + stem.w) as u64);
        let conv = stem.conv();
        Problem {
            image: noise.vec(n * stem.image()).iter().map(|v| v.abs()).collect(),
            mean: noise.vec(stem.c),
            std: noise.vec(stem.c).iter().map(|v| v.abs() + 0.2).collect(),
            w: noise.vec(conv.filter_len()),
            dy: noise.vec(n * stem.h * stem.w * stem.k),
            stem,
            n,
            noise,
        }
    }
    fn norm(&self) -> Norm<'_> {
        Norm { mean: &self.mean, std: &self.std }
    }
    /// The normalised images, NHWC.
    fn normalised(&self, norm: Option<Norm<'_>>) -> Vec<f32> {
        let mut x = nchw_to_nhwc(&self.stem, self.n, &self.image);
        if let Some(norm) = norm {
            for (i, x) in x.iter_mut().enumerate() {
                let c = i % self.stem.c;
                *x = ((f64::from(*x) - f64::from(norm.mean[c])) / f64::from(norm.std[c])) as f32;
            }
        }
        x
    }
    fn filter(&self, pass: Pass, norm: Option<Norm<'_>>) -> Vec<f32> {
        let mut out = vec![f32::NAN; cpu::filter_len(&self.stem)];
        cpu::pack(&self.stem, pass, &self.w, None, norm, &mut out);
        out
    }
    fn dgrad(&self, level: Level, norm: Option<Norm<'_>>) -> Vec<f32> {
        let dy = Maps::new(self.stem.conv().y_map(), self.n, &self.dy);
        let mut g = vec![f32::NAN; self.image.len()];
        let filter = self.filter(Pass::Dgrad, norm);
        // SAFETY: dy has `n` examples, `g` is `n` images.
        unsafe { cpu::dgrad(level, &self.stem, self.n, dy.ptr(), &filter, Output::Grad(g.as_mut_ptr())) };
        g
    }
    fn wgrad(&self, level: Level, norm: Option<Norm<'_>>) -> Vec<f32> {
        let dy = Maps::new(self.stem.conv().y_map(), self.n, &self.dy);
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
                let mut p = Problem::new(stem, 3);
                let (conv, n) = (stem.conv(), p.n);
                let bias = p.noise.per_channel(stem.k);
                let norm = normalise.then_some(p.norm());
                let (mut y, mut a) = (Maps::zero(conv.y_map(), n), Maps::zero(conv.y_map(), n));
                let mut bits = vec![0u16; n * conv.y_map().bits()];
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
                    assert_eq!(*y > 0.0, bit(&bits, &conv.y_map(), i), "{what}");
                }
            }
        }
    }
}

#[test]
fn dgrad_matches_the_oracle() {
    for &stem in STEMS {
        let p = Problem::new(stem, 3);
        for norm in [None, Some(p.norm())] {
            let mut want = oracle::dgrad(&stem.conv(), p.n, &p.dy, &p.w);
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
fn the_step_of_pgd_is_its_formula() {
    for &stem in STEMS {
        let mut p = Problem::new(stem, 2);
        // Some gradients are exactly zero: those of an image whose dy is.
        let half = p.dy.len() / 2;
        p.dy[half..].fill(0.0);
        let start: Vec<f32> = p.image.iter().map(|x| (x + 0.1 * p.noise.next()).clamp(0.0, 1.0)).collect();
        let (eps, alpha) = (0.08, 0.03);
        for level in Level::all_supported() {
            let g = p.dgrad(level, None);
            let mut x_adv = start.clone();
            let dy = Maps::new(stem.conv().y_map(), p.n, &p.dy);
            let output = Output::Pgd { x: p.image.as_ptr(), x_adv: x_adv.as_mut_ptr(), eps, alpha };
            // SAFETY: dy has `n` examples, the images too.
            unsafe { cpu::dgrad(level, &stem, p.n, dy.ptr(), &p.filter(Pass::Dgrad, None), output) };
            for i in 0..g.len() {
                let sign = if g[i] > 0.0 {
                    1.0
                } else if g[i] < 0.0 {
                    -1.0
                } else {
                    0.0
                };
                let x = p.image[i];
                let want = (start[i] + alpha * sign).clamp(x - eps, x + eps).clamp(0.0, 1.0);
                assert_eq!(x_adv[i], want, "{level} {stem:?} element {i}, gradient {}", g[i]);
            }
        }
    }
}

#[test]
fn wgrad_matches_the_oracle_on_any_number_of_threads() {
    for &stem in STEMS {
        for n in [1, 19] {
            let p = Problem::new(stem, n);
            for norm in [None, Some(p.norm())] {
                let want = oracle::wgrad(&stem.conv(), n, &p.normalised(norm), &p.dy);
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
    let (stem, n) = (Stem { c: 1, k: 16, h: 7, w: 9 }, 4);
    let all = Problem::new(stem, n);
    for level in Level::all_supported() {
        let g = all.dgrad(level, None);
        for i in 0..n {
            let mut one = Problem::new(stem, n);
            one.dy = one.dy[i * one.dy.len() / n..(i + 1) * one.dy.len() / n].to_vec();
            one.image = one.image[i * stem.image()..(i + 1) * stem.image()].to_vec();
            one.n = 1;
            assert_eq!(one.dgrad(level, None), g[i * stem.image()..(i + 1) * stem.image()], "{level}");
        }
    }
}
