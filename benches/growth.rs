//! How the cost of a mini-batch grows: seconds and bytes an image from batch 32 to 512, and the gain of a second thread.
//!
//! `cargo bench --bench growth [-- preact-resnet18]`. PGD-AT and HAM (three in ten kept) at the initial weights, ten steps. A round
//! has one mini-batch of each size, so that a machine that slows down slows all of them; ratios are of times in one round, and their
//! median counts. Exit code 2 if a limit is missed.

use ham_engine::attack::{Pgd, Scene};
use ham_engine::backend::Backend;
use ham_engine::backend::cpu::{Compiled, CpuBackend};
use ham_engine::engine::{Engine, Images, TrainSpec};
use ham_engine::method::{Method, Plan, Settings, Weights as Weighting};
use ham_engine::net::state::Weights;
use ham_engine::net::{Arch, Net};
use ham_engine::ops::formula::position;
use ham_engine::ops::head::Loss;
use ham_engine::ops::start::Noise;
use ham_engine::program::Shape;
use ham_engine::train::options::ArchName;
use std::time::Instant;

const BATCHES: [usize; 5] = [32, 64, 128, 256, 512];
/// The mini-batch that threads are compared on.
const THREADS_AT: usize = 128;
/// The slowest size's seconds an image over the fastest's.
const FLAT: f64 = 1.10;
/// Bytes of the last image added over those of the first.
const LINEAR: f64 = 1.02;
/// Speed of two threads over one's.
const TWO_THREADS: f64 = 1.8;

struct Timed {
    engine: Engine<CpuBackend>,
    scene: Scene,
    program: Compiled,
    batch: usize,
    seconds: Vec<f64>,
}

impl Timed {
    fn new(arch: &Arch, plan: &Plan, batch: usize, threads: usize) -> Timed {
        let mut engine = Engine::new(CpuBackend::new(threads).unwrap(), arch.clone()).unwrap();
        let pixels: Vec<u8> = (0..batch * arch.image.len()).map(|i| (i * 7919 % 251) as u8).collect();
        let labels: Vec<u32> = (0..batch).map(|i| (i % arch.classes) as u32).collect();
        let steps = plan.attack.map_or(0, |a| a.steps);
        let scene = engine.scene(Images::U8(&pixels), &labels, batch, steps).unwrap();
        engine.set_learning_rates(&[0.0]).unwrap();
        let mut plan = plan.clone();
        for check in &mut plan.checks {
            check.keep = position().less((0.3 * batch as f64).round() as f32);
        }
        let spec = TrainSpec { plan, momentum: 0.9, weight_decay: 2e-4, ema: None, augment: true, seed: 0 };
        let program = engine.compile_train(&scene, &spec).unwrap();
        Timed { engine, scene, program, batch, seconds: vec![] }
    }

    fn run(&mut self, weights: &Weights) {
        self.engine.set_weights(weights).unwrap();
        let order: Vec<u32> = (0..self.batch as u32).collect();
        self.engine.begin(&self.scene, 1, &order).unwrap();
        let start = Instant::now();
        self.engine.backend.replay(&mut self.program).unwrap();
        self.seconds.push(start.elapsed().as_secs_f64());
    }

    /// Seconds an image in each round but the first, which touches memory.
    fn per_image(&self) -> Vec<f64> {
        self.seconds[1..].iter().map(|s| s / self.batch as f64).collect()
    }

    /// The median ratio to these times in the same rounds.
    fn over(&self, times: &[f64]) -> f64 {
        median(self.per_image().iter().zip(times).map(|(a, b)| a / b).collect())
    }

    fn bytes(&self) -> f64 {
        self.engine.backend.memory(&self.program) as f64
    }
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

/// Prints a figure beside its limit, and tells whether it holds.
fn held(what: &str, figure: f64, limit: f64, holds: bool) -> bool {
    println!("  {what:<64} {figure:6.3}   limit {limit:5.2}   {}", if holds { "held" } else { "MISSED" });
    holds
}

fn main() {
    let large = std::env::args().any(|a| a == "preact-resnet18");
    let (name, image, rounds) = match large {
        true => (ArchName::PreactResnet18, Shape { c: 3, h: 32, w: 32 }, 3),
        false => (ArchName::PreactResnet8, Shape { c: 1, h: 28, w: 28 }, 15),
    };
    let (widths, blocks) = name.shape();
    let arch = Arch { family: name.family(), image, classes: 10, widths, blocks, normalisation: None };
    let weights = Weights::init(&Net::new(arch.clone()), 0);
    let eps = 8.0 / 255.0;
    let start = Some(Noise::Uniform(eps));
    let settings = Settings {
        attack: Pgd { eps, alpha: eps / 4.0, steps: 10, start, loss: Loss::CrossEntropy },
        k_drop: vec![3],
        keep_easy: 0.0,
        weights: Weighting::Uniform,
        begin_epoch: 1,
        epochs: 1,
        refill: false,
        beta: None,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all_held = true;
    for plan in [Method::PgdAt, Method::Ham].map(|m| m.plan(&settings, 1)) {
        println!("{}, {} on {threads} threads, {rounds} rounds", plan.name, arch.describe());
        let mut sizes: Vec<Timed> = BATCHES.iter().map(|b| Timed::new(&arch, &plan, *b, threads)).collect();
        let mut by_threads: Vec<Timed> = [1, 2].iter().map(|t| Timed::new(&arch, &plan, THREADS_AT, *t)).collect();
        for _ in 0..=rounds {
            sizes.iter_mut().chain(&mut by_threads).for_each(|t| t.run(&weights));
        }
        for t in &sizes {
            let kib = t.bytes() / t.batch as f64 / 1024.0;
            println!("  batch {:>3}: {:7.3} ms an image, {kib:7.0} KiB an image", t.batch, 1e3 * median(t.per_image()));
        }
        let largest = sizes[BATCHES.len() - 1].per_image();
        let ratios = sizes.iter().map(|t| t.over(&largest));
        let spread = ratios.clone().reduce(f64::max).unwrap() / ratios.reduce(f64::min).unwrap();
        all_held &= held("seconds an image, slowest size over fastest: at most", spread, FLAT, spread <= FLAT);
        let added = |i: usize| (sizes[i + 1].bytes() - sizes[i].bytes()) / (BATCHES[i + 1] - BATCHES[i]) as f64;
        let bend = added(BATCHES.len() - 2) / added(0);
        all_held &= held("bytes of an added image, at 512 over at 64: at most", bend, LINEAR, bend <= LINEAR);
        let gain = by_threads[0].over(&by_threads[1].per_image());
        all_held &= held("speed of two threads over one's: at least", gain, TWO_THREADS, gain >= TWO_THREADS);
    }
    if !all_held {
        std::process::exit(2);
    }
}
