//! The training run: epochs, evaluation, checkpoints, and picking up where it was stopped.

pub mod checkpoint;
pub mod config;
mod evaluation;
pub mod options;
pub mod run_dir;
mod saving;

use crate::attack::{Budget, Scene};
use crate::backend::Backend;
use crate::data::Dataset;
use crate::engine::{Engine, Images, TrainSpec};
use crate::eval::{Examination, Examined, Threat};
use crate::net::state::Weights;
use crate::ops::statistics::Counts;
use crate::results::metrics::{Epoch, sum_over_classes};
use crate::results::{Fairness, Passes, Report, Seconds};
use crate::rng::{Philox, Stream};
use crate::{Error, Result};
use checkpoint::Best;
use config::Config;
use run_dir::RunDir;
use std::time::{Duration, Instant};

/// The attack of the evaluation after each epoch.
pub const EPOCH_THREAT: Threat = Threat::Pgd(10);
/// The attacks of the evaluation at the end.
pub const FINAL_THREATS: [Threat; 2] = [Threat::Clean, Threat::Pgd(20)];
/// How often the counters are looked at within an epoch, for the progress bar.
const GLANCE: Duration = Duration::from_millis(100);
/// How often a checkpoint is written within an epoch.
const SAVE_EVERY: Duration = Duration::from_secs(300);

/// How far a run is.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Epoch, from 1.
    pub epoch: usize,
    /// What it is doing: the epoch's method, or an evaluation.
    pub doing: String,
    /// Examples done in this epoch or evaluation.
    pub done: usize,
    /// Examples in it.
    pub total: usize,
    /// Share of the epoch's examples kept so far.
    pub kept_share: Option<f64>,
}

/// Who watches a run.
pub trait Observer {
    /// Called between mini-batches, now and then; the run stops and saves if it returns false.
    fn progress(&mut self, progress: &Progress) -> bool;
    /// Called when the metrics of all epochs so far are written, before the checkpoint: for figures of them.
    ///
    /// # Errors
    /// Where a file can't be written; the run ends.
    fn metrics(&mut self, run: &RunDir, epochs: &[Epoch]) -> Result<()>;
    /// Called after each epoch.
    fn epoch(&mut self, epoch: &Epoch);
    /// Called when the report is written: for figures of it.
    ///
    /// # Errors
    /// Where a file can't be written; the run ends.
    fn report(&mut self, run: &RunDir, report: &Report) -> Result<()>;
}

/// A run under way.
pub struct Trainer<'a, B: Backend> {
    engine: Engine<B>,
    config: &'a Config,
    data: &'a Dataset,
    run: &'a RunDir,
    scene: Scene,
    examples: usize,
    validation: Option<Evaluator<B>>,
    /// Completed epochs.
    epochs: Vec<Epoch>,
    counts: Counts,
    /// Who waits in the pool at the start, if a run that refills was picked up.
    pool: Option<Vec<u32>>,
    seconds: Seconds,
    best: Best,
    program: Option<(TrainSpec, B::Compiled)>,
    /// Mini-batches of this process that a profiler records, from 0.
    profiled: std::ops::Range<usize>,
    /// Mini-batches that this process has trained.
    trained: usize,
    /// The attacks of the evaluation at the end.
    threats: Vec<Threat>,
    /// Bytes that the backend has taken at most, as far as it has been asked.
    memory: Option<u64>,
}

/// What an evaluation after an epoch finds.
struct Scores {
    clean: Fairness,
    pgd: Fairness,
}

/// The examples that epochs are evaluated on, and their two attacks.
struct Evaluator<B: Backend> {
    examined: Examined,
    clean: Examination<B>,
    attack: Examination<B>,
}

impl<'a, B: Backend> Trainer<'a, B> {
    /// Sets a run up, from its last checkpoint if `run` has one, else from `init` or the seed.
    ///
    /// # Errors
    /// Where data, checkpoint and configuration don't fit, or memory does not suffice.
    pub fn new(
        backend: B,
        config: &'a Config,
        data: &'a Dataset,
        run: &'a RunDir,
        init: Option<&Weights>,
    ) -> Result<Self> {
        let mut engine = Engine::new(backend, config.arch.clone())?;
        let (train, held_out) = data.split_validation(config.validation, config.seed)?;
        let train = data.train.subset(&train)?;
        let mut scene = engine.scene(
            Images::from(&train),
            &train.labels,
            config.batch.min(train.len()),
            config.settings.attack.steps,
        )?;
        if config.own_plan().refills() {
            engine.add_pool(&mut scene)?;
        }
        // Without a validation split epochs are measured on the test set, and no checkpoint is called the best.
        let held_out = if held_out.is_empty() { data.test.clone() } else { data.train.subset(&held_out)? };
        let validation = if held_out.is_empty() {
            None
        } else {
            let examined = Examined::new(&mut engine, Images::from(&held_out), &held_out.labels)?;
            let budget = Budget::new(config.settings.attack.eps, config.seed);
            let mut record = |t| examined.record(&mut engine, t, &budget);
            let (clean, attack) = (record(Threat::Clean)?, record(EPOCH_THREAT)?);
            Some(Evaluator { examined, clean, attack })
        };
        let mut trainer = Trainer {
            engine,
            config,
            data,
            run,
            scene,
            examples: train.len(),
            validation,
            epochs: Vec::new(),
            counts: Counts::default(),
            pool: None,
            seconds: Seconds::default(),
            best: Best::NONE,
            program: None,
            profiled: 0..0,
            trained: 0,
            threats: FINAL_THREATS.to_vec(),
            memory: None,
        };
        if !trainer.load()? {
            let weights = init.cloned().unwrap_or_else(|| Weights::init(&trainer.engine.net, config.seed));
            trainer.engine.set_weights(&weights)?;
        }
        Ok(trainer)
    }

    /// Lets a profiler record these mini-batches, counted from 0 from here on.
    pub fn profile(&mut self, batches: std::ops::Range<usize>) {
        self.profiled = batches;
    }

    /// Chooses the attacks of the evaluation at the end.
    pub fn threats(&mut self, threats: &[Threat]) {
        self.threats = threats.to_vec();
    }

    /// Bytes that the backend took at most for a mini-batch; none before one was trained.
    pub fn memory(&self) -> Option<u64> {
        self.memory
    }

    /// What the device reaches at most; see [`Backend::peak_gflops`].
    pub fn peak_gflops(&self) -> Option<f64> {
        self.engine.backend.peak_gflops()
    }

    /// The device, as reports name it.
    pub fn device(&self) -> String {
        self.engine.backend.name()
    }

    /// Epochs completed so far.
    pub fn epochs(&self) -> &[Epoch] {
        &self.epochs
    }

    /// Mini-batches in an epoch.
    pub fn batches(&self) -> usize {
        let all = self.examples.div_ceil(self.scene.batch.capacity);
        self.config.max_batches.map_or(all, |m| m.min(all))
    }

    /// Examples in an epoch.
    pub fn examples(&self) -> usize {
        self.examples.min(self.batches() * self.scene.batch.capacity)
    }

    /// Trains until the last epoch is done, and writes the report.
    ///
    /// # Errors
    /// [`Error::Interrupted`] after saving when the observer asks to stop, [`Error::Diverged`], or where a file can't be
    /// written.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<Report> {
        while self.epochs.len() < self.config.epochs() {
            self.run_epoch(observer)?;
        }
        self.report(observer)
    }

    /// Trains the next epoch, evaluates and saves.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn run_epoch(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let epoch = self.epochs.len() + 1;
        self.engine.backend.enter(&format!("epoch {epoch}"));
        let metrics = self.train_epoch(epoch, observer).and_then(|()| self.close_epoch(epoch, observer));
        self.engine.backend.leave();
        observer.epoch(&metrics?);
        Ok(())
    }

    fn train_epoch(&mut self, epoch: usize, observer: &mut dyn Observer) -> Result<()> {
        let capacity = self.scene.batch.capacity;
        let spec = self.config.spec(epoch);
        // Once more than the examples fill, for those that still wait in the pool.
        let batches = self.batches() + usize::from(spec.plan.refills());
        let rates: Vec<f32> = (0..batches).map(|b| self.config.learning_rate(epoch, b, batches) as f32).collect();
        self.engine.set_learning_rates(&rates)?;
        if self.program.as_ref().is_none_or(|(s, _)| *s != spec) {
            self.program = None; // its memory goes before the next one's comes
            let program = self.engine.compile_train(&self.scene, &spec)?;
            self.memory = self.memory.max(Some(self.engine.backend.memory(&program)));
            self.program = Some((spec.clone(), program));
        }
        let mut order: Vec<u32> = if self.config.shuffle {
            Philox::new(self.config.seed).permutation(Stream::Order, epoch as u32, self.examples)
        } else {
            (0..self.examples as u32).collect()
        };
        order.truncate(self.examples());
        let total = order.len();
        self.engine.begin(&self.scene, epoch as u32, &order)?;
        if self.counts.batches > 0 {
            self.engine.set_counts(&self.scene, &self.counts)?;
            if let Some(pool) = self.pool.take() {
                self.engine.set_pool(&self.scene, &pool)?;
            }
        }
        let first = self.counts.batches as usize;
        let (mut glanced, mut saved) = (Instant::now() - GLANCE, Instant::now());
        for batch in first..batches {
            let done = (batch * capacity).min(total);
            if glanced.elapsed() >= GLANCE {
                glanced = Instant::now();
                let counts = self.engine.counts(&self.scene)?;
                let kept_share = spec.plan.drops().then(|| counts.kept_share());
                let doing = spec.plan.name.to_owned();
                if !observer.progress(&Progress { epoch, doing, done, total, kept_share }) {
                    return Err(self.interrupt());
                }
                if counts.halted != 0 {
                    break;
                }
            }
            if saved.elapsed() >= SAVE_EVERY {
                self.save()?;
                saved = Instant::now();
            }
            let (_, program) = self.program.as_mut().expect("compiled above");
            let backend = &mut self.engine.backend;
            if self.trained == self.profiled.start && !self.profiled.is_empty() {
                backend.profile(true)?;
            }
            backend.enter(&format!("mini-batch {batch}"));
            backend.replay(program)?;
            backend.leave();
            self.trained += 1;
            if self.trained == self.profiled.end && !self.profiled.is_empty() {
                backend.profile(false)?;
            }
        }
        self.gather()?;
        match self.counts.halted {
            0 => Ok(()),
            batch => Err(self.diverged(epoch, batch)),
        }
    }

    /// The loss of the next mini-batch would tell, but there may be none, and a checkpoint must be good to load.
    fn check_weights(&self, epoch: usize) -> Result<()> {
        let Weights { params, running } = self.engine.weights()?;
        if params.iter().chain(&running).all(|v| v.is_finite()) {
            return Ok(());
        }
        Err(self.diverged(epoch, self.counts.batches))
    }

    fn diverged(&self, epoch: usize, batch: u64) -> Error {
        let last = self.run.last();
        let kept = if last.exists() {
            format!("{} holds the last good state", last.display())
        } else {
            "no checkpoint yet".into()
        };
        Error::Diverged { epoch, batch: batch as usize, kept }
    }

    /// Takes counts and times from the backend.
    fn gather(&mut self) -> Result<()> {
        self.counts = self.engine.counts(&self.scene)?;
        self.seconds += Seconds::take(&mut self.engine.backend)?;
        Ok(())
    }

    fn interrupt(&mut self) -> Error {
        match self.save() {
            Ok(()) => Error::Interrupted { run: self.run.root().to_owned() },
            Err(e) => e,
        }
    }

    /// Evaluates, writes metrics and checkpoints, and starts the next epoch's count.
    fn close_epoch(&mut self, epoch: usize, observer: &mut dyn Observer) -> Result<Epoch> {
        self.check_weights(epoch)?;
        let start = Instant::now();
        let mut scores = None;
        if epoch.is_multiple_of(self.config.eval_every) || epoch == self.config.epochs() {
            scores = self.validate(epoch, observer).map_err(|e| match e {
                Error::NotFinite => self.diverged(epoch, self.counts.batches),
                e => e,
            })?;
        }
        // What an evaluation replayed is no part of the next epoch's attack.
        Seconds::take(&mut self.engine.backend)?;
        let c = &self.counts;
        let batches = self.batches();
        let (clean, pgd) = (scores.as_ref().map(|s| &s.clean), scores.as_ref().map(|s| &s.pgd));
        let per_class = |f: &Fairness| f.per_class.iter().map(|c| c.as_ref().map(|c| c.accuracy)).collect();
        let metrics = Epoch {
            epoch: epoch as u64,
            method: self.config.plan(epoch).name.to_owned(),
            train_seconds: self.seconds.sum(),
            data_seconds: self.seconds.data,
            attack_seconds: self.seconds.attack,
            update_seconds: self.seconds.update,
            eval_seconds: start.elapsed().as_secs_f64(),
            examples: c.examples,
            kept: c.kept,
            batches: c.batches,
            batches_skipped: c.skipped,
            units: c.units() as f64,
            loss: c.mean_loss(),
            lr: self.config.learning_rate(epoch, batches / 2, batches),
            clean_accuracy: clean.map(|f| f.mean),
            pgd_accuracy: pgd.map(|f| f.mean),
            clean_worst: clean.map(|f| f.worst),
            pgd_worst: pgd.map(|f| f.worst),
            clean_per_class: clean.map(per_class),
            pgd_per_class: pgd.map(per_class),
            kept_per_class: c.class_kept.clone(),
            examples_per_class: c.class_examples.clone(),
            kappa_histogram: sum_over_classes(&c.class_kappa),
            kappa_per_class: c.class_kappa.clone(),
            kept_confidence_per_class: c.class_confidence.clone(),
            dropped_confidence_per_class: c.class_dropped_confidence.clone(),
            live_per_step: c.live.clone(),
            passes: Passes { fprop: c.fprop, dgrad: c.dgrad, wgrad: c.wgrad },
        };
        self.epochs.push(metrics.clone());
        (self.counts, self.seconds) = (Counts::default(), Seconds::default());
        self.run.write_metrics(&self.epochs)?;
        observer.metrics(self.run, &self.epochs)?;
        if self.config.validation > 0.0
            && let Some(Scores { pgd, .. }) = &scores
        {
            if pgd.mean > self.best.mean {
                self.best.mean = pgd.mean;
                self.write_checkpoint(&self.run.best_mean(), &self.engine.weights()?, None)?;
            }
            if pgd.worst > self.best.worst {
                self.best.worst = pgd.worst;
                self.write_checkpoint(&self.run.best_worst(), &self.engine.weights()?, None)?;
            }
        }
        self.engine.begin(&self.scene, 0, &[])?;
        self.save()?;
        Ok(metrics)
    }
}
