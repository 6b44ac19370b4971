//! The PreActResNet in f64, from a state dict, by the formula of docs/method.md, "The network", and nothing clever.

use ham_engine::net::state::StateDict;
use ham_engine::net::{Arch, Family};
use std::collections::BTreeMap;

/// Maps `[n, c, h, w]`.
#[derive(Clone)]
struct Maps {
    n: usize,
    c: usize,
    h: usize,
    w: usize,
    v: Vec<f64>,
}

/// The network.
pub struct Naive {
    pub arch: Arch,
    pub tensors: BTreeMap<String, Vec<f64>>,
}

/// Which statistics a batch norm uses.
#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    Eval,
    Train,
}

/// Mean and unbiased variance of each batch norm in train mode, by name.
pub type BatchStats = BTreeMap<String, (Vec<f64>, Vec<f64>)>;

fn conv(x: &Maps, weight: &[f64], k: usize, stride: usize) -> Maps {
    let filter = ((weight.len() / k / x.c) as f64).sqrt() as usize;
    let pad = filter as isize / 2;
    let (p, q) = ((x.h - 1) / stride + 1, (x.w - 1) / stride + 1);
    let mut v = Vec::with_capacity(x.n * k * p * q);
    for n in 0..x.n {
        for (ko, yo) in (0..k).flat_map(|k| (0..p).map(move |y| (k, y))) {
            for xo in 0..q {
                let mut sum = 0.0;
                for c in 0..x.c {
                    for (r, s) in (0..filter).flat_map(|r| (0..filter).map(move |s| (r, s))) {
                        let (y, xx) = ((yo * stride + r) as isize - pad, (xo * stride + s) as isize - pad);
                        if (0..x.h as isize).contains(&y) && (0..x.w as isize).contains(&xx) {
                            let at = ((n * x.c + c) * x.h + y as usize) * x.w + xx as usize;
                            sum += x.v[at] * weight[((ko * x.c + c) * filter + r) * filter + s];
                        }
                    }
                }
                v.push(sum);
            }
        }
    }
    Maps { n: x.n, c: k, h: p, w: q, v }
}

impl Naive {
    pub fn new(arch: &Arch, dict: &StateDict) -> Naive {
        let tensors = dict.iter().map(|(name, (_, v))| (name.clone(), v.iter().map(|v| *v as f64).collect()));
        Naive { arch: arch.clone(), tensors: tensors.collect() }
    }

    fn conv(&self, name: &str, x: &Maps, k: usize, stride: usize) -> Maps {
        conv(x, &self.tensors[&format!("{name}.weight")], k, stride)
    }

    /// relu(norm(x)).
    fn norm_relu(&self, name: &str, x: &Maps, mode: Mode, stats: &mut BatchStats) -> Maps {
        let t = |what: &str| &self.tensors[&format!("{name}.{what}")];
        let mut out = x.clone();
        let plane = x.h * x.w;
        let (mut means, mut vars) = (vec![], vec![]);
        for c in 0..x.c {
            let index = |i: usize| (i / plane * x.c + c) * plane + i % plane;
            let count = (x.n * plane) as f64;
            let (mean, var) = match mode {
                Mode::Eval => (t("running_mean")[c], t("running_var")[c]),
                Mode::Train => {
                    let mean = (0..x.n * plane).map(|i| x.v[index(i)]).sum::<f64>() / count;
                    let var = (0..x.n * plane).map(|i| (x.v[index(i)] - mean).powi(2)).sum::<f64>() / count;
                    means.push(mean);
                    vars.push(var * count / (count - 1.0));
                    (mean, var)
                }
            };
            let scale = t("weight")[c] / (var + 1e-5).sqrt();
            for i in 0..x.n * plane {
                let v = &mut out.v[index(i)];
                *v = ((*v - mean) * scale + t("bias")[c]).max(0.0);
            }
        }
        stats.insert(name.to_owned(), (means, vars));
        out
    }

    /// Logits `[n][class]` of `images`, and the batch's statistics.
    pub fn forward(&self, images: &[f64], mode: Mode) -> (Vec<Vec<f64>>, BatchStats) {
        let mut stats = BatchStats::new();
        let image = self.arch.image;
        let n = images.len() / image.len();
        let mut x = Maps { n, c: image.c, h: image.h, w: image.w, v: images.to_vec() };
        if let Some(norm) = &self.arch.normalisation {
            for (i, v) in x.v.iter_mut().enumerate() {
                let c = i / (image.h * image.w) % image.c;
                *v = (*v - norm.mean[c] as f64) / norm.std[c] as f64;
            }
        }
        let (stage, between, shortcut_name, norm, linear) = match self.arch.family {
            Family::PreActResNet => ("layer", ".", "shortcut.0", "bn", "linear"),
            Family::WideResNet { .. } => ("block", ".layer.", "convShortcut", "bn1", "fc"),
        };
        let mut x = self.conv("conv1", &x, self.arch.stem(), 1);
        for (s, (&width, &blocks)) in self.arch.widths.iter().zip(&self.arch.blocks).enumerate() {
            for b in 0..blocks {
                let name = format!("{stage}{}{between}{b}", s + 1);
                let stride = if s > 0 && b == 0 { 2 } else { 1 };
                let a = self.norm_relu(&format!("{name}.bn1"), &x, mode, &mut stats);
                let h = self.conv(&format!("{name}.conv1"), &a, width, stride);
                let a2 = self.norm_relu(&format!("{name}.bn2"), &h, mode, &mut stats);
                let mut y = self.conv(&format!("{name}.conv2"), &a2, width, 1);
                let shortcut = if stride != 1 || x.c != width {
                    self.conv(&format!("{name}.{shortcut_name}"), &a, width, stride)
                } else {
                    x
                };
                y.v.iter_mut().zip(&shortcut.v).for_each(|(y, s)| *y += s);
                x = y;
            }
        }
        let a = self.norm_relu(norm, &x, mode, &mut stats);
        let plane = a.h * a.w;
        let pooled: Vec<f64> = a.v.chunks(plane).map(|v| v.iter().sum::<f64>() / plane as f64).collect();
        let (weight, bias) = (&self.tensors[&format!("{linear}.weight")], &self.tensors[&format!("{linear}.bias")]);
        let logits = |p: &[f64]| -> Vec<f64> {
            let dot = |row: &[f64]| row.iter().zip(p).map(|(w, p)| w * p).sum::<f64>();
            weight.chunks(a.c).zip(bias).map(|(row, b)| dot(row) + b).collect()
        };
        (pooled.chunks(a.c).map(logits).collect(), stats)
    }

    /// Sum over the examples of weight times cross-entropy.
    pub fn loss(&self, images: &[f64], labels: &[u32], weights: &[f64], mode: Mode) -> f64 {
        let (logits, _) = self.forward(images, mode);
        logits.iter().zip(labels).zip(weights).map(|((z, y), w)| w * cross_entropy(z, *y as usize)).sum()
    }
}

pub fn softmax(z: &[f64]) -> Vec<f64> {
    let top = z.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
    let sum: f64 = z.iter().map(|v| (v - top).exp()).sum();
    z.iter().map(|v| (v - top).exp() / sum).collect()
}

pub fn cross_entropy(z: &[f64], label: usize) -> f64 {
    -softmax(z)[label].ln()
}
