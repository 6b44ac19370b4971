//! Seconds of one training mini-batch, PGD-AT and HAM, and what share of the machine's peak that is.
//!
//! ```text
//! cargo bench --bench step [-- --threads N] [--repeats N]
//! ```
//! The kept share is forced: labels of the share that is to be kept are wrong from the start, the others are what the network
//! predicts, and the attack's steps are too small to change either. Costs don't depend on anything else.

use clap::Parser;
use ham_engine::attack::{Pgd, Scene};
use ham_engine::backend::Backend;
use ham_engine::cpu::CpuBackend;
use ham_engine::engine::{Engine, Images, TrainSpec};
use ham_engine::method::{Plan, TrainLoss, drop_easy};
use ham_engine::net::Arch;
use ham_engine::net::state::Weights;
use ham_engine::ops::head::Loss;
use ham_engine::ops::start::Noise;
use ham_engine::program::{Phase, Shape};
use ham_engine::rng::{Philox, Stream, uniform};
use std::time::Instant;

#[derive(Parser)]
struct Args {
    /// Threads (0: one per core).
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Timed mini-batches of each kind; the median counts.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Share of the examples that HAM keeps.
    #[arg(long, default_value_t = 0.3)]
    kept_share: f64,
    /// Only the cases whose name contains this.
    filter: Option<String>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

struct Case {
    name: &'static str,
    image: Shape,
    widths: &'static [usize],
    blocks: usize,
    batch: usize,
}

const CASES: [Case; 3] = [
    Case {
        name: "16,32,64 x1, 1x28x28, batch 128",
        image: Shape { c: 1, h: 28, w: 28 },
        widths: &[16, 32, 64],
        blocks: 1,
        batch: 128,
    },
    Case {
        name: "16,32,64 x3, 3x32x32, batch 64",
        image: Shape { c: 3, h: 32, w: 32 },
        widths: &[16, 32, 64],
        blocks: 3,
        batch: 64,
    },
    Case {
        name: "PreActResNet-18, 3x32x32, batch 32",
        image: Shape { c: 3, h: 32, w: 32 },
        widths: &[64, 128, 256, 512],
        blocks: 2,
        batch: 32,
    },
];

fn main() {
    let args = Args::parse();
    println!(
        "{:<36} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "", "seconds", "attack", "update", "images/s", "GFLOP/s"
    );
    for case in CASES.iter().filter(|c| args.filter.as_ref().is_none_or(|f| c.name.contains(f))) {
        run(case, &args);
    }
}

fn run(case: &Case, args: &Args) {
    let arch = Arch {
        image: case.image,
        classes: 10,
        widths: case.widths.to_vec(),
        blocks: vec![case.blocks; case.widths.len()],
        normalisation: None,
    };
    let mut e = Engine::new(CpuBackend::new(args.threads).unwrap(), arch, false).unwrap();
    e.set_weights(&Weights::init(&e.net, 0)).unwrap();
    let rng = Philox::new(0);
    let len = case.image.len();
    let images: Vec<f32> = (0..case.batch * len).map(|i| uniform(rng.block(Stream::Init, 1, i as u32, 0)[0])).collect();
    let order: Vec<u32> = (0..case.batch as u32).collect();
    let scene = e.scene(Images::F32(&images), &vec![0; case.batch], case.batch, 10).unwrap();
    let mut clean = e.record_clean(&scene, None).unwrap();
    e.begin(&scene, 0, &order).unwrap();
    e.backend.replay(&mut clean).unwrap();
    let logits: Vec<f32> = e.backend.read_all(scene.batch.logits).unwrap();
    let kept = (args.kept_share * case.batch as f64).round() as usize;
    let labels: Vec<u32> = logits
        .chunks(10)
        .enumerate()
        .map(|(i, z)| {
            let top = (0..10).fold(0, |best, k| if z[k] > z[best] { k } else { best });
            (if i < kept { (top + 1) % 10 } else { top }) as u32
        })
        .collect();
    e.backend.write(scene.data.labels, 0, &labels).unwrap();
    e.set_learning_rates(&[0.0]).unwrap();
    let weights = e.weights().unwrap();
    let mut programs = [("PGD-AT", vec![]), ("HAM", vec![3])].map(|(name, k_drop): (_, Vec<usize>)| {
        let pgd =
            Pgd { eps: 1e-9, alpha: 1e-9, steps: 10, start: Some(Noise::Uniform(1e-9)), loss: Loss::CrossEntropy };
        let spec = TrainSpec {
            plan: Plan {
                name,
                attack: Some(pgd),
                checks: drop_easy(&k_drop, 0.0),
                weight: 1.0.into(),
                loss: TrainLoss::CrossEntropy,
            },
            momentum: 0.9,
            weight_decay: 2e-4,
            ema: None,
            augment: false,
            seed: 0,
        };
        (name, e.record_train(&scene, &spec).unwrap(), Vec::new())
    });
    for _ in 0..=args.repeats {
        for (_, program, times) in &mut programs {
            // Each step moves the running statistics, and with them what is predicted.
            e.set_weights(&weights).unwrap();
            times.push(timed(&mut e, &scene, program, &order));
        }
    }
    for (i, (name, _, times)) in programs.iter_mut().enumerate() {
        times.remove(0); // the first touch of all memory
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (total, attack, update, units) = times[times.len() / 2];
        let flops = 2.0 * e.net.macs() as f64 * units as f64;
        println!(
            "{:<36} {name:>9} {total:>9.4} {attack:>9.4} {update:>9.4} {:>9.0} {:>9.0}",
            if i == 0 { case.name } else { "" },
            case.batch as f64 / total,
            flops / total / 1e9
        );
    }
}

/// Seconds in all, of the attack and of the update, and units.
fn timed(
    e: &mut Engine<CpuBackend>,
    scene: &Scene,
    program: &mut <CpuBackend as Backend>::Recorded,
    order: &[u32],
) -> (f64, f64, f64, u64) {
    e.begin(scene, 0, order).unwrap();
    let start = Instant::now();
    e.backend.replay(program).unwrap();
    let total = start.elapsed().as_secs_f64();
    let mut phase = |p| e.backend.take_time(p).unwrap().as_secs_f64();
    let (attack, update) = (phase(Phase::Attack), phase(Phase::Update));
    (total, attack, update, e.counts(scene).unwrap().units())
}
