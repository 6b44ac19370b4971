//! Logits and gradients of whole networks against the naive f64 network and its central differences.

use crate::common::*;
use crate::naive::{Mode, Naive, cross_entropy};
use ham_engine::attack::Pgd;
use ham_engine::backend::Backend;
use ham_engine::backend::cpu::CpuBackend;
use ham_engine::engine::{Engine, Images, TrainSpec};
use ham_engine::method::Weights as Weighting;
use ham_engine::net::Arch;
use ham_engine::net::state::{StateDict, to_pytorch};
use ham_engine::program::{Buffers, DType, Shape};
use proptest::prelude::*;

/// Step of the central differences: their own error (h^2 from the cubic term, 1e-16/h from rounding) stays near 1e-9.
const H: f64 = 1e-6;

/// Bound of the error of gradients that reach `scale` in their tensor. Five convolutions and five batch norms in a row, both
/// ways: 20 ops whose errors, each a few roundings of a sum of at most 54 products, add up. And whatever cancels later, the
/// probabilities start with an absolute error: half an epsilon of each logit, and logits reach 8.
fn gradient_tolerance(scale: f64) -> f64 {
    20.0 * sum_tolerance(54, scale) + 4.0 * f32::EPSILON as f64
}

fn f64s(v: &[f32]) -> Vec<f64> {
    v.iter().map(|v| *v as f64).collect()
}

#[test]
fn input_gradients_are_central_differences() {
    for arch in walks() {
        let dict = random_dict(&arch, 1);
        let naive = Naive::new(&arch, &dict);
        let (images, labels) = examples(&arch, 4, 2);
        let len = arch.image.len();
        let difference = |i: usize| {
            let (n, at) = (i / len, i % len);
            let mut x = f64s(&images[n * len..(n + 1) * len]);
            let mut loss = |v: f64| {
                x[at] = v;
                naive.loss(&x, &labels[n..n + 1], &[1.0], Mode::Eval)
            };
            let v = images[i] as f64;
            (loss(v + H) - loss(v - H)) / (2.0 * H)
        };
        let want: Vec<f64> = (0..images.len()).map(difference).collect();
        let tolerance = gradient_tolerance(max_abs(want.iter().copied()));
        each_level(|level| {
            let mut e = engine(&arch, &dict, 2, level);
            let scene = e.scene(Images::F32(&images), &labels, 4, 0).unwrap();
            let gradient = e.backend.alloc(DType::F32, images.len()).unwrap();
            let mut clean = e.compile_clean(&scene, Some(gradient)).unwrap();
            e.begin(&scene, 0, &order(4)).unwrap();
            e.backend.replay(&mut clean).unwrap();
            let got: Vec<f32> = e.backend.read_all(gradient).unwrap();
            close(&format!("{level} {} input gradient", arch.describe()), &got, &want, tolerance);
        });
    }
}

/// What a step should do: the naive network's gradients, and running statistics after it.
struct Expected {
    /// Gradients of every `stride`-th parameter of each tensor.
    gradients: Vec<(String, Vec<f64>)>,
    stride: usize,
    running: Vec<(String, Vec<f64>)>,
}

/// For the loss `sum of weights * CE` in train mode, by central differences.
fn expected(arch: &Arch, dict: &StateDict, images: &[f32], labels: &[u32], weights: &[f32], stride: usize) -> Expected {
    let mut naive = Naive::new(arch, dict);
    let (images, weights) = (f64s(images), f64s(weights));
    let (_, stats) = naive.forward(&images, Mode::Train);
    let moved = |name: String, batch: Vec<f64>| {
        let running = naive.tensors[&name].iter().zip(&batch).map(|(r, b)| 0.9 * r + 0.1 * b).collect();
        (name, running)
    };
    let both =
        |(name, (mean, var))| [moved(format!("{name}.running_mean"), mean), moved(format!("{name}.running_var"), var)];
    let running = stats.into_iter().flat_map(both).collect();
    let names: Vec<String> = naive.tensors.keys().filter(|n| !n.contains("running")).cloned().collect();
    let mut gradients = vec![];
    for name in names {
        let len = naive.tensors[&name].len();
        let difference = |i: usize| {
            let mut loss = |step: f64| {
                let before = naive.tensors[&name][i];
                naive.tensors.get_mut(&name).unwrap()[i] = before + step;
                let loss = naive.loss(&images, labels, &weights, Mode::Train);
                naive.tensors.get_mut(&name).unwrap()[i] = before;
                loss
            };
            (loss(H) - loss(-H)) / (2.0 * H)
        };
        let gradient = (0..len).step_by(stride).map(difference).collect();
        gradients.push((name, gradient));
    }
    Expected { gradients, stride, running }
}

/// A step without momentum, decay or learning rate leaves the gradient in the momenta, exactly.
fn step_for_gradient(attack: Option<Pgd>, k_drop: &[usize], weights: Weighting) -> TrainSpec {
    TrainSpec {
        plan: plan(attack, k_drop, 0.0, weights),
        momentum: 0.0,
        weight_decay: 0.0,
        ema: None,
        augment: false,
        seed: 5,
    }
}

/// Compares gradients, parameters and running statistics after one step from `dict`.
fn check_step(e: &Engine<CpuBackend>, dict: &StateDict, expected: &Expected, what: &str) {
    let momenta = e.momenta().unwrap();
    let after = e.weights().unwrap().state_dict(&e.net);
    for (name, want) in &expected.gradients {
        let tensor = e.net.tensors.iter().find(|t| t.name == *name).unwrap();
        let got = to_pytorch(tensor, &momenta[tensor.span.range()]);
        // The step itself: learning rate 1 subtracts just the gradient.
        let moved: Vec<f32> = dict[name].1.iter().zip(&got).map(|(w, g)| w - g).collect();
        assert_eq!(bits(&after[name].1), bits(&moved), "{what}: {name} after the step");
        let sample: Vec<f32> = got.into_iter().step_by(expected.stride).collect();
        let tolerance = gradient_tolerance(max_abs(want.iter().copied()));
        close(&format!("{what}: gradient of {name}"), &sample, want, tolerance);
    }
    for (name, want) in &expected.running {
        let tolerance = gradient_tolerance(max_abs(want.iter().copied()));
        close(&format!("{what}: {name}"), &after[name].1, want, tolerance);
    }
}

#[test]
fn weight_gradients_of_a_standard_step_are_central_differences() {
    for arch in walks() {
        let dict = random_dict(&arch, 3);
        // Over a handful of values a batch norm's deviation may come out near zero, and its gradient amplifies every
        // rounding: maps of one pixel take more examples.
        let n = if arch.image.h * arch.image.w == 1 { 32 } else { 4 };
        let (images, labels) = examples(&arch, n, 4);
        let expected = expected(&arch, &dict, &images, &labels, &vec![1.0 / n as f32; n], 1);
        each_level(|level| {
            let mut e = engine(&arch, &dict, 2, level);
            e.set_learning_rates(&[1.0]).unwrap();
            let scene = e.scene(Images::F32(&images), &labels, n, 0).unwrap();
            let spec = step_for_gradient(None, &[], Weighting::Uniform);
            let mut train = e.compile_train(&scene, &spec).unwrap();
            e.begin(&scene, 1, &order(n)).unwrap();
            e.backend.replay(&mut train).unwrap();
            let what = format!("{level} {}", arch.describe());
            check_step(&e, &dict, &expected, &what);
        });
    }
}

/// The same after an attack that dropped examples, with weights that differ: what the batch then holds is what was learnt.
#[test]
fn weight_gradients_of_a_mined_step_are_central_differences() {
    let arch = tiny();
    let dict = random_dict(&arch, 5);
    let n = 12;
    let (images, labels) = examples(&arch, n, 6);
    each_level(|level| {
        let mut e = engine(&arch, &dict, 2, level);
        e.set_learning_rates(&[1.0]).unwrap();
        let scene = e.scene(Images::F32(&images), &labels, n, 4).unwrap();
        let spec = step_for_gradient(Some(pgd(0.1, 0.03, 4)), &[2], Weighting::StepSize);
        let mut train = e.compile_train(&scene, &spec).unwrap();
        e.begin(&scene, 1, &order(n)).unwrap();
        e.backend.replay(&mut train).unwrap();
        let live = e.backend.read_all::<u32>(scene.batch.live).unwrap()[0] as usize;
        assert!((2..n).contains(&live), "{live} of {n} kept: the case shows nothing");
        let position: Vec<u32> = e.backend.read_all(scene.batch.position).unwrap();
        let (label, weight): (Vec<u32>, Vec<f32>) =
            (e.backend.read_all(scene.batch.label).unwrap(), e.backend.read_all(scene.batch.weight).unwrap());
        let x_adv: Vec<f32> = e.backend.read_all(scene.batch.x_adv).unwrap();
        let kept = || position[..live].iter().map(|p| *p as usize);
        let (labels, weights): (Vec<u32>, Vec<f32>) = kept().map(|p| (label[p], weight[p])).unzip();
        assert!(weights.iter().any(|w| (w - weights[0]).abs() > 1e-3), "all weigh the same: the case shows nothing");
        let x_adv = &x_adv[..live * arch.image.len()];
        let expected = expected(&arch, &dict, x_adv, &labels, &weights, 5);
        check_step(&e, &dict, &expected, &format!("{level}"));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn clean_logits_are_the_naive_networks(
        h in 1usize..12, w in 1usize..12, c in 1usize..5, classes in 2usize..21,
        widths in prop::collection::vec(1usize..20, 1..4), seed in 0u64..1000, exact: bool,
    ) {
        let arch = arch(Shape { c, h, w }, &widths, classes);
        let dict = random_dict(&arch, seed);
        let n = 3;
        let (images, labels) = examples(&arch, n, seed);
        let (want, _) = Naive::new(&arch, &dict).forward(&f64s(&images), Mode::Eval);
        let scale = max_abs(want.iter().flatten().copied()).max(1.0);
        each_level(|level| {
            let mut e = engine(&arch, &dict, 2, level);
            if exact {
                let weights = e.weights().unwrap();
                e = Engine::new(CpuBackend::with_level(1, level).unwrap(), arch.clone()).unwrap().exact(true);
                e.set_weights(&weights).unwrap();
            }
            // More slots than examples: the rest of the batch stays unused.
            let scene = e.scene(Images::F32(&images), &labels, n + 2, 0).unwrap();
            let mut clean = e.compile_clean(&scene, None).unwrap();
            e.begin(&scene, 0, &order(n)).unwrap();
            e.backend.replay(&mut clean).unwrap();
            let what = format!("{level} {}", arch.describe());
            let logits: Vec<f32> = e.backend.read_all(scene.batch.logits).unwrap();
            // Seven convolutions in a row at most, of up to 19 * 9 products; Winograd's transforms lose two bits more.
            let tolerance = 4.0 * 7.0 * sum_tolerance(19 * 9, scale);
            let flat: Vec<f64> = want.iter().flatten().copied().collect();
            close(&what, &logits[..n * classes], &flat, tolerance);
            let loss: Vec<f32> = e.backend.read_all(scene.batch.loss).unwrap();
            let ce: Vec<f64> = want.iter().zip(&labels).map(|(z, y)| cross_entropy(z, *y as usize)).collect();
            close(&what, &loss[..n], &ce, 2.0 * tolerance);
        });
    }
}
