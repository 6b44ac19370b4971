//! Whole mini-batches on the simulated device against the CPU: the same kept sets, close weights, and what the engine promises
//! of the way there.

use crate::common::*;
use ham_engine::attack::{Budget, Scene};
use ham_engine::backend::Backend;
use ham_engine::backend::cpu::CpuBackend;
use ham_engine::backend::gpu::GpuBackend;
use ham_engine::batch::Iteration;
use ham_engine::engine::{Engine, Images, TrainSpec};
use ham_engine::eval::Threat;
use ham_engine::gpu::Precision;
use ham_engine::gpu::driver::Command;
use ham_engine::gpu::kernels::MODULES;
use ham_engine::gpu::sim::{Calls, SimDriver, SimOptions};
use ham_engine::method::{Method, Plan, Settings, Weights as Weighting, drop_easy};
use ham_engine::net::state::{StateDict, Weights};
use ham_engine::net::{Arch, Family};
use ham_engine::ops::ball::Norm;
use ham_engine::ops::statistics::Counts;
use ham_engine::program::{Buffers, DType, Shape};
use std::collections::BTreeSet;
use std::path::Path;

/// Three mini-batches, the last one partial.
const N: usize = 20;
const BATCH: usize = 8;
const BATCHES: usize = 3;

fn net() -> Arch {
    arch(Shape { c: 3, h: 9, w: 10 }, &[8, 20], 4)
}

fn spec() -> TrainSpec {
    TrainSpec {
        plan: plan(Some(pgd(0.02, 0.005, 4)), &[2], 0.0, Weighting::StepSize),
        momentum: 0.9,
        weight_decay: 2e-4,
        ema: None,
        augment: true,
        seed: 31,
    }
}

fn engine_on<B: Backend>(backend: B, dict: &StateDict) -> Engine<B> {
    let mut e = Engine::new(backend, net()).unwrap();
    e.set_weights(&Weights::from_state_dict(&e.net, dict, Path::new("test")).unwrap()).unwrap();
    e
}

/// Images of which every other one is classified right, so that some are easy and some are not.
fn half_easy(dict: &StateDict) -> (Vec<f32>, Vec<u32>) {
    let mut e = engine_on(CpuBackend::new(1).unwrap(), dict);
    let (images, mut labels) = examples(&net(), N, 33);
    let scene = e.scene(Images::F32(&images), &labels, N, 0).unwrap();
    let mut clean = e.compile_clean(&scene, None).unwrap();
    e.begin(&scene, 0, &order(N)).unwrap();
    e.backend.replay(&mut clean).unwrap();
    let logits: Vec<f32> = e.backend.read_all(scene.batch.logits).unwrap();
    for (label, z) in labels.iter_mut().zip(logits.chunks(scene.batch.classes)).step_by(2) {
        *label = (0..z.len()).max_by(|&a, &b| z[a].total_cmp(&z[b])).unwrap() as u32;
    }
    (images, labels)
}

fn on<B: Backend>(backend: B, dict: &StateDict) -> (Engine<B>, Scene) {
    let mut e = engine_on(backend, dict);
    let (images, labels) = half_easy(dict);
    let scene = e.scene(Images::F32(&images), &labels, BATCH, 4).unwrap();
    e.set_learning_rates(&[0.05; BATCHES]).unwrap();
    (e, scene)
}

fn sim(precision: Precision, seed: u64) -> GpuBackend<SimDriver> {
    GpuBackend::new(SimDriver::new(SimOptions { seed, ..SimOptions::default() }), precision).unwrap()
}

/// What an epoch leaves.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// Kept positions of each mini-batch.
    kept: Vec<Vec<u32>>,
    /// Adversarial images of the first mini-batch.
    x_adv: Vec<f32>,
    params: Vec<f32>,
    running: Vec<f32>,
    momenta: Vec<f32>,
    counts: Counts,
}

fn epoch<B: Backend>(backend: B, spec: &TrainSpec) -> Outcome {
    let (mut e, scene) = on(backend, &random_dict(&net(), 32));
    let mut train = e.compile_train(&scene, spec).unwrap();
    e.begin(&scene, 1, &order(N)).unwrap();
    let (mut kept, mut x_adv) = (Vec::new(), Vec::new());
    for batch in 0..BATCHES {
        e.backend.replay(&mut train).unwrap();
        let live = e.backend.read_all::<u32>(scene.batch.live).unwrap()[0] as usize;
        kept.push(e.backend.read_all::<u32>(scene.batch.position).unwrap()[..live].to_vec());
        if batch == 0 {
            x_adv = e.backend.read_all::<f32>(scene.batch.x_adv).unwrap()[..live * scene.image.len()].to_vec();
        }
    }
    let Weights { params, running } = e.weights().unwrap();
    Outcome { kept, x_adv, params, running, momenta: e.momenta().unwrap(), counts: e.counts(&scene).unwrap() }
}

fn largest(v: &[f32]) -> f32 {
    v.iter().fold(0.0, |m, v| m.max(v.abs()))
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |m, (a, b)| m.max((a - b).abs()))
}

/// Share of pixels of the first mini-batch that took the same steps.
fn agreement(a: &Outcome, b: &Outcome) -> f64 {
    let same = a.x_adv.iter().zip(&b.x_adv).filter(|(a, b)| (*a - *b).abs() <= 1e-6).count();
    same as f64 / a.x_adv.len() as f64
}

#[test]
fn a_ham_epoch_in_fp32_keeps_what_the_cpu_keeps() {
    for weights in [Weighting::Uniform, Weighting::Kappa, Weighting::StepSize] {
        let spec = TrainSpec { plan: Plan { weight: weights.formula(4), ..spec().plan }, ..spec() };
        let cpu = epoch(CpuBackend::new(1).unwrap(), &spec);
        let gpu = epoch(sim(Precision::Fp32, 0), &spec);
        assert!(cpu.counts.kept > 0 && cpu.counts.kept < N as u64, "{} kept", cpu.counts.kept);
        assert_eq!(gpu.kept, cpu.kept, "{weights:?}: kept sets");
        assert_eq!(Counts { loss: 0.0, ..gpu.counts.clone() }, Counts { loss: 0.0, ..cpu.counts.clone() });
        assert!((gpu.counts.loss - cpu.counts.loss).abs() <= 1e-4 * cpu.counts.loss);
        assert!(agreement(&cpu, &gpu) >= 0.995, "{weights:?}: {} of the pixels agree", agreement(&cpu, &gpu));
        // The tolerance on updates of docs/method.md, after three of them.
        for (what, gpu, cpu) in [("momenta", &gpu.momenta, &cpu.momenta), ("running", &gpu.running, &cpu.running)] {
            let off = distance(gpu, cpu);
            assert!(off <= 3e-3 * largest(cpu), "{weights:?} {what}: off by {off} of {}", largest(cpu));
        }
        let off = distance(&gpu.params, &cpu.params);
        assert!(off <= 0.05 * 3e-3 * 3.0 * largest(&cpu.momenta), "{weights:?} parameters: off by {off}");
    }
}

#[test]
fn bf16_agrees_on_most_signs_and_kept_sets() {
    let cpu = epoch(CpuBackend::new(1).unwrap(), &spec());
    let gpu = epoch(sim(Precision::Bf16, 0), &spec());
    let positions: usize = (0..BATCHES).map(|b| BATCH.min(N - b * BATCH)).sum();
    let differ: usize = cpu
        .kept
        .iter()
        .zip(&gpu.kept)
        .map(|(a, b)| a.iter().filter(|p| !b.contains(p)).count() + b.iter().filter(|p| !a.contains(p)).count())
        .sum();
    println!("bf16: kept flags differ for {differ} of {positions} examples");
    assert!(differ * 10 <= positions, "kept flags differ for {differ} of {positions} examples");
    // One step from the same start: the signs of the input gradient.
    let mut one = spec();
    one.plan = plan(Some(pgd(0.02, 0.005, 1)), &[], 0.0, Weighting::Uniform);
    let agree = agreement(&epoch(CpuBackend::new(1).unwrap(), &one), &epoch(sim(Precision::Bf16, 0), &one));
    println!("bf16: {:.2} % of the gradient's signs agree", 100.0 * agree);
    // bf16 keeps eight bits: a gradient within 2^-8 of the largest of its image may change its sign, some percent of them.
    assert!(agree >= 0.95, "{agree} of the signs agree");
}

#[test]
fn the_same_bits_twice_and_in_any_order_of_blocks() {
    for precision in [Precision::Fp32, Precision::Bf16] {
        let first = epoch(sim(precision, 0), &spec());
        for seed in [0, 1, 2] {
            assert_eq!(epoch(sim(precision, seed), &spec()), first, "{precision:?}, seed {seed}");
        }
    }
}

#[test]
fn a_run_that_stops_in_an_epoch_goes_on_to_the_same_bits() {
    let whole = epoch(sim(Precision::Fp32, 0), &spec());
    let dict = random_dict(&net(), 32);
    let (mut e, scene) = on(sim(Precision::Fp32, 0), &dict);
    let mut train = e.compile_train(&scene, &spec()).unwrap();
    e.begin(&scene, 1, &order(N)).unwrap();
    e.backend.replay(&mut train).unwrap();
    let (weights, momenta, counts) = (e.weights().unwrap(), e.momenta().unwrap(), e.counts(&scene).unwrap());
    let (mut e, scene) = on(sim(Precision::Fp32, 5), &dict);
    e.set_weights(&weights).unwrap();
    e.set_momenta(&momenta).unwrap();
    let mut train = e.compile_train(&scene, &spec()).unwrap();
    e.begin(&scene, 1, &order(N)).unwrap();
    e.set_counts(&scene, &counts).unwrap();
    (1..BATCHES).for_each(|_| e.backend.replay(&mut train).unwrap());
    assert_eq!(bits(&e.weights().unwrap().params), bits(&whole.params));
    assert_eq!(bits(&e.momenta().unwrap()), bits(&whole.momenta));
    assert_eq!(e.counts(&scene).unwrap(), whole.counts);
}

#[test]
fn an_epoch_is_a_row_of_replays() {
    let (mut e, scene) = on(sim(Precision::Fp32, 0), &random_dict(&net(), 32));
    let mut train = e.compile_train(&scene, &spec()).unwrap();
    e.begin(&scene, 1, &order(N)).unwrap();
    let before = e.backend.driver.calls();
    (0..BATCHES).for_each(|_| e.backend.replay(&mut train).unwrap());
    let Calls { allocs, writes, reads, replays, .. } = e.backend.driver.calls();
    assert_eq!((allocs, writes, reads), (before.allocs, before.writes, before.reads), "within mini-batches");
    assert_eq!(replays, before.replays + BATCHES);
    // The read-back of statistics: the counters and the loss.
    e.counts(&scene).unwrap();
    assert_eq!(e.backend.driver.calls().reads, reads + 2);
}

#[test]
fn a_step_of_pgd_on_preact_resnet_18_takes_36_launches_at_most() {
    let arch = Arch {
        family: Family::PreActResNet,
        image: Shape { c: 3, h: 32, w: 32 },
        classes: 10,
        widths: vec![64, 128, 256, 512],
        blocks: vec![2; 4],
        normalisation: None,
    };
    let mut e = Engine::new(sim(Precision::Bf16, 0), arch.clone()).unwrap();
    let (images, labels) = examples(&arch, 2, 1);
    let scene = e.scene(Images::F32(&images), &labels, 2, 4).unwrap();
    e.set_learning_rates(&[0.1]).unwrap();
    let train = e.compile_train(&scene, &TrainSpec { plan: Plan { checks: vec![], ..spec().plan }, ..spec() }).unwrap();
    let from = train.commands.iter().position(|c| *c == Command::Push("attack step 2".into())).unwrap();
    let launches = train.commands[from..].iter().take_while(|c| !matches!(c, Command::Pop));
    let launches = launches.filter(|c| matches!(c, Command::Launch(_))).count();
    assert!(launches <= 36, "{launches} launches");
}

#[test]
fn a_batch_too_large_for_the_memory_is_told_what_would_fit() {
    let arch = Arch { image: Shape { c: 3, h: 256, w: 256 }, widths: vec![64], blocks: vec![8], ..net() };
    let mut e = Engine::new(sim(Precision::Fp32, 0), arch).unwrap();
    let (images, labels) = (vec![0u8; 3 * 256 * 256], [0]);
    let scene = e.scene(Images::U8(&images), &labels, 64, 4).unwrap();
    e.set_learning_rates(&[0.1]).unwrap();
    let error = e.compile_train(&scene, &spec()).err().expect("too large").to_string();
    assert!(error.starts_with("a batch of 64 takes ") && error.contains("--batch "), "{error}");
}

/// Names of the kernels of a compiled program.
fn kernels(commands: &[Command]) -> impl Iterator<Item = &'static str> {
    commands.iter().filter_map(|c| if let Command::Launch(l) = c { Some(l.kernel.name) } else { None })
}

/// A kernel that no program launches would be tested by nobody. (Parity of each is the matter of the other files; this holds
/// them to it: a new entry must be reached.)
#[test]
fn every_kernel_has_a_launcher_that_a_program_reaches() {
    let mut reached = BTreeSet::new();
    let narrow = |c| Arch { blocks: vec![1, 1], ..arch(Shape { c, h: 8, w: 8 }, &[8, 24], 3) };
    let wide = arch(Shape { c: 3, h: 16, w: 16 }, &[64, 128], 3);
    let spec = TrainSpec { plan: Plan { checks: drop_easy(&[1, 2], 0.3), ..spec().plan }, ..spec() };
    let of = |method: Method| {
        let (attack, k_drop, weights) = (pgd(0.02, 0.005, 4), vec![2], Weighting::Uniform);
        let settings =
            Settings { attack, k_drop, keep_easy: 0.0, weights, begin_epoch: 1, epochs: 1, refill: false, beta: None };
        TrainSpec { plan: method.plan(&settings, 1), ..spec.clone() }
    };
    for precision in [Precision::Fp32, Precision::Bf16] {
        for (arch, capacity) in [(narrow(1), 4), (narrow(3), 4), (wide.clone(), 128)] {
            let mut e = Engine::new(sim(precision, 0), arch.clone()).unwrap();
            let (images, labels) = examples(&arch, 4, 1);
            let bytes = vec![7u8; images.len()];
            e.set_learning_rates(&[0.1]).unwrap();
            for images in [Images::F32(&images), Images::U8(&bytes)] {
                let mut scene = e.scene(images, &labels, capacity, 4).unwrap();
                e.add_pool(&mut scene).unwrap();
                let gradient = e.backend.alloc(DType::F32, capacity * arch.image.len()).unwrap();
                let refill = TrainSpec { plan: Plan { refill: true, ..spec.plan.clone() }, ..spec.clone() };
                for spec in [&spec, &refill, &of(Method::HamTrades), &of(Method::Fat)] {
                    reached.extend(kernels(&e.compile_train(&scene, spec).unwrap().commands));
                }
                reached.extend(kernels(&e.compile_clean(&scene, Some(gradient)).unwrap().commands));
            }
        }
    }
    // The attacks of an evaluation, one of which takes four classes.
    let arch = arch(Shape { c: 1, h: 8, w: 8 }, &[8], 4);
    let mut e = Engine::new(sim(Precision::Fp32, 0), arch.clone()).unwrap();
    let (images, labels) = examples(&arch, 4, 1);
    let scene = e.scene(Images::F32(&images), &labels, 4, 0).unwrap();
    for norm in [Norm::Linf, Norm::L2] {
        for threat in Threat::AutoAttack.parts() {
            let budget = Budget { norm, ..Budget::new(0.1, 0) };
            let Some(attack) = threat.attack(&mut e.backend, &scene, &budget).unwrap() else { continue };
            let compiled = e.compile_stage(&scene, |p, stage| {
                attack.begin(p, stage);
                attack.iterate(p, stage, Iteration { control: scene.data.control, offset: 0 });
                attack.finish(p, stage);
            });
            reached.extend(kernels(&compiled.unwrap().commands));
        }
    }
    let all: BTreeSet<_> = MODULES.iter().flat_map(|m| m.entries.iter().map(|e| e.name)).collect();
    // The tiles of convolutions depend on the problem; the tests of conv and of moments hold that each is chosen and right. In a
    // network a convolution precedes each batch norm and makes its statistics, and the stem's gradient takes the PGD step; the tests
    // of norm and of pgd_step have each by itself.
    let alone = ["norm_fprop_stats", "pgd_step"];
    let others = |name: &&&str| !(name.starts_with("conv_walk_") || alone.iter().any(|a| name.starts_with(a)));
    let missed: Vec<_> = all.difference(&reached).filter(others).collect();
    assert!(missed.is_empty(), "no program launches {missed:?}");
}
