//! Mini-batches at fixed weights: what a method costs, without training.

use super::ledger::{self, Ledger};
use super::peer::{Peer, PeerSeconds, Style};
use super::{Round, Scale, better, cost, median};
use crate::attack::{Fate, Scene};
use crate::backend::Backend;
use crate::engine::{Engine, Images, TrainSpec};
use crate::method::{Method, Plan};
use crate::net::Arch;
use crate::net::state::Weights;
use crate::ops::formula::position;
use crate::results::Seconds;
use crate::results::comparison::{MethodCost, MethodRow, Spread};
use crate::{Error, Result};
use std::time::Instant;

/// What is timed.
pub struct Subject<'a> {
    /// The network.
    pub arch: Arch,
    /// Its weights.
    pub weights: &'a Weights,
    /// Direct convolutions only.
    pub exact: bool,
    /// A mini-batch of images.
    pub images: Images<'a>,
    /// Their labels.
    pub labels: &'a [u32],
    /// Whether to augment.
    pub augment: bool,
    /// Examples of an epoch, to which times are scaled.
    pub examples: usize,
    /// The seed.
    pub seed: u64,
    /// Share of the examples that stays at a method's first check that drops; none for whoever stays by itself.
    pub kept_share: Option<f64>,
}

/// Mini-batches that a method with a pool is timed over: its steps come now and then.
const POOLED: usize = 8;

/// A method's mini-batch, ready to be timed.
struct Timed<B: Backend> {
    spec: TrainSpec,
    engine: Engine<B>,
    scene: Scene,
    program: B::Compiled,
    order: Vec<u32>,
    rounds: Vec<Round>,
}

/// Makes the first check that drops keep this share, and later ones everybody.
fn force(plan: &mut Plan, share: f64, batch: usize) {
    let mut left = (share * batch as f64).round() as f32;
    for check in plan.checks.iter_mut().filter(|c| c.fate == Fate::Dropped) {
        (check.keep, check.keep_easy) = (position().less(left), 0.0);
        left = batch as f32;
    }
}

impl<B: Backend> Timed<B> {
    fn new(backend: B, subject: &Subject, mut plan: Plan) -> Result<Self> {
        let batch = subject.labels.len();
        if let Some(share) = subject.kept_share {
            force(&mut plan, share, batch);
        }
        let mut engine = Engine::new(backend, subject.arch.clone())?.exact(subject.exact);
        engine.set_weights(subject.weights)?;
        let steps = plan.attack.map_or(0, |a| a.steps);
        let mut scene = engine.scene(subject.images, subject.labels, batch, steps)?;
        if plan.refills() {
            engine.add_pool(&mut scene)?;
        }
        // A rate of zero takes as long as any other.
        engine.set_learning_rates(&[0.0; POOLED + 1])?;
        let (augment, seed) = (subject.augment, subject.seed);
        let spec = TrainSpec { plan, momentum: 0.9, weight_decay: 2e-4, ema: None, augment, seed };
        let program = engine.compile_train(&scene, &spec)?;
        Ok(Timed { spec, engine, scene, program, order: (0..batch as u32).collect(), rounds: Vec::new() })
    }

    fn prepare(&mut self, weights: &Weights) -> Result<()> {
        // Each step moves the running statistics.
        self.engine.set_weights(weights)?;
        self.engine.begin(&self.scene, 1, &self.order)?;
        Seconds::take(&mut self.engine.backend).map(drop)
    }

    fn run(&mut self, weights: &Weights) -> Result<Round> {
        self.prepare(weights)?;
        let start = Instant::now();
        self.engine.backend.replay(&mut self.program)?;
        if self.spec.plan.refills() {
            for _ in 1..POOLED {
                self.engine.rewind(&self.scene)?;
                self.engine.backend.replay(&mut self.program)?;
            }
            // For those that still wait.
            self.engine.backend.replay(&mut self.program)?;
        }
        let counts = self.engine.counts(&self.scene)?;
        let seconds = start.elapsed().as_secs_f64();
        if counts.halted != 0 {
            return Err(Error::NotFinite);
        }
        Ok(Round { parts: Seconds::take(&mut self.engine.backend)?, seconds, counts })
    }
}

/// What was found out.
pub struct Found {
    /// The methods, then the peer's.
    pub methods: Vec<MethodRow>,
    /// GFLOP/s of nothing but multiply-adds, where the device tells.
    pub peak_gflops: Option<f64>,
    /// Where the time of each method's mini-batch went, if that was asked for and the device tells.
    pub ledgers: Vec<(String, Ledger)>,
    /// The device, in words.
    pub device: String,
}

/// Times a mini-batch of each plan (of plans that refill several, and the one that empties the pool), `repeats` rounds of all of
/// them in turn after one that does not count. Ratios are to the plan of index `baseline`. `progress` is told how many of how many mini-batches are done, and ends it by returning false.
///
/// # Errors
/// Where the device or the peer fails, or [`Error::Stopped`].
pub fn run<B: Backend>(
    open: impl Fn() -> Result<B>,
    subject: &Subject,
    plans: Vec<Plan>,
    baseline: usize,
    repeats: usize,
    mut peer: Option<Peer>,
    with_ledger: bool,
    mut progress: impl FnMut(usize, usize) -> bool,
) -> Result<Found> {
    let timed = plans.into_iter().map(|plan| Timed::new(open()?, subject, plan));
    let mut timed = timed.collect::<Result<Vec<_>>>()?;
    let mut peers: Vec<(Method, Style, Vec<PeerSeconds>)> = Vec::new();
    if peer.is_some() {
        let timed = |m: &Method| timed.iter().any(|t| t.spec.plan.name == m.name());
        for method in [Method::PgdAt, Method::Ham].into_iter().filter(timed) {
            peers.extend(Style::ALL.map(|style| (method, style, Vec::new())));
        }
    }
    let per_round = timed.len() + peers.len();
    let total = (repeats + 1) * per_round;
    let mut done = 0;
    let mut step = || {
        done += 1;
        if progress(done, total) { Ok(()) } else { Err(Error::Stopped) }
    };
    let backend = &timed[baseline].engine.backend;
    let (device, mut peak) = (backend.name(), backend.peak_gflops());
    for round in 0..=repeats {
        for t in &mut timed {
            let found = t.run(subject.weights)?;
            // The first touch of all memory.
            if round > 0 {
                t.rounds.push(found);
            }
            step()?;
        }
        for (method, style, seconds) in &mut peers {
            let found = peer.as_mut().expect("there are peers").run(method.name(), *style)?;
            if round > 0 {
                seconds.push(found);
            }
            step()?;
        }
    }
    // The machine may have been slower before than now.
    peak = better(peak, timed[baseline].engine.backend.peak_gflops());
    let per_epoch = |r: &Round| subject.examples as f64 / r.counts.examples as f64;
    let times: Vec<f64> = timed[baseline].rounds.iter().map(|r| r.seconds * per_epoch(r)).collect();
    let scale = Scale { examples: subject.examples as f64, macs: timed[baseline].engine.net.macs(), peak };
    let mut methods = Vec::new();
    for t in &timed {
        let memory = Some(t.engine.backend.memory(&t.program));
        let cost = cost(&t.rounds, &times, scale, memory).expect("a round at least");
        methods.push(MethodRow { method: t.spec.plan.name.into(), cost, results: vec![] });
    }
    let kept = |method: &str| methods.iter().find(|m| m.method == method).map_or(1.0, |m| m.cost.kept_share);
    let rows: Vec<_> = peers
        .iter()
        .map(|(method, style, found)| MethodRow {
            method: format!("{} (PyTorch, {style})", method.name()),
            cost: peer_cost(found, &times, subject, kept(method.name())),
            results: vec![],
        })
        .collect();
    methods.extend(rows);
    let mut ledgers = Vec::new();
    if with_ledger {
        // One mini-batch of a method with a pool has no second half.
        for t in timed.iter_mut().filter(|t| !t.spec.plan.refills()) {
            t.prepare(subject.weights)?;
            let start = Instant::now();
            let trace = t.engine.backend.trace(&mut t.program)?;
            let (wall, counts) = (start.elapsed().as_secs_f64(), &t.rounds[0].counts);
            if let Some(trace) = trace {
                let program = t.engine.train_program(&t.scene, &t.spec)?;
                ledgers.push((t.spec.plan.name.to_owned(), ledger::of(&program, &trace, wall, counts)));
            }
        }
    }
    Ok(Found { methods, peak_gflops: peak, ledgers, device })
}

/// The cost of a peer's mini-batches.
fn peer_cost(found: &[PeerSeconds], baseline: &[f64], subject: &Subject, kept_share: f64) -> MethodCost {
    let per_epoch = subject.examples as f64 / subject.labels.len() as f64;
    let of = |seconds: fn(&PeerSeconds) -> f64| found.iter().map(move |f| seconds(f) * per_epoch);
    let seconds = Spread::of(&of(|s| s.all).collect::<Vec<_>>()).expect("a round at least");
    let ratio = found.iter().zip(baseline).map(|(f, b)| f.all * per_epoch / b).collect::<Vec<_>>();
    MethodCost {
        seconds,
        data: 0.0,
        attack: median(of(|s| s.attack)),
        update: median(of(|s| s.update)),
        eval: None,
        ratio: Spread::of(&ratio).expect("a round at least"),
        images_per_second: subject.examples as f64 / seconds.median,
        passes: [0.0; 3].into(),
        kept_share,
        gflops: None,
        peak_share: None,
        memory: None,
        live: vec![],
    }
}
