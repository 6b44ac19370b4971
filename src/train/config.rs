//! The checked whole of a training run's options.

use super::options::{ArchName, Number, Options, Schedule};
use crate::attack::Pgd;
use crate::data::Dataset;
use crate::engine::TrainSpec;
use crate::gpu::Precision;
use crate::method::{Method, Plan, Settings};
use crate::net::{Arch, Family};
use crate::ops::head::Loss;
use crate::ops::start::Noise;
use crate::ops::stem::Normalisation;
use crate::program::Shape;
use crate::{Error, Result};

/// Everything a run is told, complete and in range.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data set, as the options name it.
    pub dataset: String,
    /// The network.
    pub arch: Arch,
    /// Training method.
    pub method: Method,
    /// What it is told. The attack is also the contract of what is evaluated.
    pub settings: Settings,
    /// Examples in a mini-batch.
    pub batch: usize,
    /// Largest learning rate.
    pub lr: f64,
    /// Its course.
    pub schedule: Schedule,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// Decay of the weights' moving average, if one is kept.
    pub ema: Option<f32>,
    /// Whether to augment.
    pub augment: bool,
    /// Whether to shuffle.
    pub shuffle: bool,
    /// Mini-batches per epoch at most.
    pub max_batches: Option<usize>,
    /// Share held out for validation.
    pub validation: f64,
    /// Seed.
    pub seed: u64,
    /// Element type of activations on a GPU.
    pub precision: Precision,
    /// Epochs between evaluations.
    pub eval_every: usize,
    /// Whether to write a TensorBoard event file.
    pub tensorboard: bool,
}

/// The epoch that a method's own work starts with where nobody says.
fn default_begin(method: Method, epochs: usize) -> usize {
    match method {
        Method::Gairat => (epochs / 2).max(1),
        _ => epochs / 2 + 1,
    }
}

impl Config {
    /// Completes `options` for `data`, and checks them. Also returns them complete, for `config.toml`.
    ///
    /// `init` is the architecture of the weights to start from, if there are some: it decides where options are silent.
    ///
    /// # Errors
    /// One line naming the option that is out of range or contradicts `init`.
    pub fn new(options: &Options, data: &Dataset, init: Option<&Arch>) -> Result<(Config, Options)> {
        // The data set is open already, whoever named it.
        let defaults = Options { dataset: None, ..Options::defaults() };
        let o = options.or(&Options::for_dataset(&data.name)).or(&defaults);
        let f32s = |v: &[Number]| v.iter().map(|n| n.0 as f32).collect::<Vec<_>>();
        let (mean, std) = match (&o.mean, &o.std, init) {
            (None, None, Some(init)) => init.normalisation.as_ref().map(|n| (n.mean.clone(), n.std.clone())),
            (None, None, None) => data.mean.clone().zip(data.std.clone()),
            (Some(m), Some(s), _) => Some((f32s(m), f32s(s))),
            _ => return Err(Error::usage("--mean and --std belong together: give both, one value per channel")),
        }
        .unzip();
        let normalisation = mean.clone().zip(std.clone()).map(|(mean, std)| Normalisation { mean, std });
        let image = Shape { c: data.channels, h: data.height, w: data.width };
        let named = o.arch.unwrap_or(ArchName::PreactResnet8);
        let ((widths, blocks), family) = match init {
            Some(init) => ((init.widths.clone(), init.blocks.clone()), init.family),
            None => (named.shape(), named.family()),
        };
        let (widths, blocks) = match (&o.widths, &o.blocks) {
            (Some(w), None) if init.is_none() => (w.clone(), vec![1; w.len()]),
            (w, b) => (w.clone().unwrap_or(widths), b.clone().unwrap_or(blocks)),
        };
        let blocks = if blocks.len() == 1 { vec![blocks[0]; widths.len()] } else { blocks };
        let arch = Arch { family, image, classes: data.classes, widths, blocks, normalisation }.validate()?;
        if let Some(init) = init {
            fits(&arch, init, o.arch)?;
        }

        // What follows from other options.
        let alpha = o.alpha.or(o.eps.map(|eps| Number(eps.0 / 4.0)));
        let begin_epoch =
            o.begin_epoch.or(o.method.zip(o.epochs).map(|(method, epochs)| default_begin(method, epochs)));
        let full = Options {
            widths: Some(arch.widths.clone()),
            blocks: Some(arch.blocks.clone()),
            // Of the name only the family still matters.
            arch: o.arch.filter(|a| a.family() != Family::PreActResNet),
            mean: mean.map(|m| m.iter().map(|v| Number(decimal(*v))).collect()),
            std: std.map(|s| s.iter().map(|v| Number(decimal(*v))).collect()),
            begin_epoch,
            alpha,
            ..o
        };
        Ok((Config::complete(arch, &full)?, full))
    }

    /// From options of which none is absent that matters.
    fn complete(arch: Arch, o: &Options) -> Result<Config> {
        let set = |name: &str| Error::usage(format!("--{name} is not set"));
        let number = |name: &str, v: Option<Number>, range: std::ops::RangeInclusive<f64>| match v {
            Some(Number(v)) if range.contains(&v) => Ok(v),
            Some(Number(v)) => {
                Err(Error::usage(format!("--{name} {v}: must be between {} and {}", range.start(), range.end())))
            }
            None => Err(set(name)),
        };
        let count = |name: &str, v: Option<usize>, range: std::ops::RangeInclusive<usize>| match v {
            Some(v) if range.contains(&v) => Ok(v),
            Some(v) => {
                Err(Error::usage(format!("--{name} {v}: must be between {} and {}", range.start(), range.end())))
            }
            None => Err(set(name)),
        };
        let method = o.method.ok_or_else(|| set("method"))?;
        let eps = number("eps", o.eps, 0.0..=1.0)? as f32;
        let random_start = !o.no_random_start.unwrap_or(false);
        if !random_start && matches!(method, Method::Trades | Method::HamTrades) {
            let what = "--no-random-start: TRADES can't start at the image, where its gradient is zero; leave it out";
            return Err(Error::usage(what));
        }
        let attack = Pgd {
            eps,
            alpha: number("alpha", o.alpha, 0.0..=1.0)? as f32,
            steps: count("steps", o.steps, 0..=10_000)?,
            start: random_start.then_some(Noise::Uniform(eps)),
            loss: Loss::CrossEntropy,
        };
        let settings = Settings {
            attack: attack.validate()?,
            k_drop: o.k_drop.clone().ok_or_else(|| set("k-drop"))?,
            keep_easy: number("keep-easy", o.keep_easy, 0.0..=1.0)? as f32,
            weights: o.weights.ok_or_else(|| set("weights"))?,
            begin_epoch: count("begin-epoch", o.begin_epoch, 1..=1_000_000)?,
            epochs: count("epochs", o.epochs, 1..=1_000_000)?,
            refill: o.refill.unwrap_or(false),
            beta: o.beta.map(|b| number("beta", Some(b), 0.0..=1e6)).transpose()?.map(|b| b as f32),
        };
        let validation = number("validation", o.validation, 0.0..=1.0)?;
        if validation >= 1.0 {
            return Err(Error::usage("--validation 1: nothing would be left to train on; give a share below 1"));
        }
        let ema = o.ema.map(|d| number("ema", Some(d), 0.0..=1.0)).transpose()?.map(|d| d as f32);
        if ema == Some(1.0) {
            return Err(Error::usage("--ema 1: the average would never move; give a decay below 1"));
        }
        Ok(Config {
            dataset: o.dataset.clone().ok_or_else(|| set("dataset"))?,
            arch,
            method,
            settings,
            batch: count("batch", o.batch, 1..=65_536)?,
            lr: number("lr", o.lr, 0.0..=1e6)?,
            schedule: o.lr_schedule.ok_or_else(|| set("lr-schedule"))?,
            momentum: number("momentum", o.momentum, 0.0..=1.0)? as f32,
            weight_decay: number("weight-decay", o.weight_decay, 0.0..=1.0)? as f32,
            ema,
            augment: !o.no_augment.unwrap_or(false),
            shuffle: !o.no_shuffle.unwrap_or(false),
            max_batches: o.max_batches.map(|m| count("max-batches", Some(m), 1..=1_000_000_000)).transpose()?,
            validation,
            seed: o.seed.ok_or_else(|| set("seed"))?,
            precision: o.precision.ok_or_else(|| set("precision"))?,
            eval_every: count("eval-every", o.eval_every, 1..=1_000_000)?,
            tensorboard: o.tensorboard.unwrap_or(false),
        })
    }

    /// Epochs of the run.
    pub fn epochs(&self) -> usize {
        self.settings.epochs
    }

    /// What the run is a run of; see [`Method::in_effect`].
    pub fn in_effect(&self) -> Method {
        self.method.in_effect(&self.settings)
    }

    /// What the method does once it has begun.
    pub fn own_plan(&self) -> Plan {
        self.method.own_plan(&self.settings)
    }

    /// What a mini-batch of `epoch` (from 1) does.
    pub fn plan(&self, epoch: usize) -> Plan {
        self.method.plan(&self.settings, epoch)
    }

    /// The mini-batch program of `epoch`.
    pub fn spec(&self, epoch: usize) -> TrainSpec {
        TrainSpec {
            plan: self.plan(epoch),
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            ema: self.ema,
            augment: self.augment,
            seed: self.seed,
        }
    }

    /// The learning rate of mini-batch `batch` of `batches`, in `epoch` (from 1).
    pub fn learning_rate(&self, epoch: usize, batch: usize, batches: usize) -> f64 {
        let done = (epoch - 1) as f64 / self.epochs() as f64;
        let t = done + batch as f64 / (batches.max(1) * self.epochs()) as f64;
        // The paper's 120 epochs: x1 to 59, x0.1 to 89, x0.01 to 109, then x0.005.
        let piecewise = || match (epoch * 120).div_euclid(self.epochs()) {
            0..60 => 1.0,
            60..90 => 0.1,
            90..110 => 0.01,
            _ => 0.005,
        };
        self.lr
            * match self.schedule {
                Schedule::Piecewise => piecewise(),
                Schedule::Cosine => (1.0 + (std::f64::consts::PI * t).cos()) / 2.0,
                Schedule::Onecycle => {
                    // The middle of the mini-batch, so that neither the first nor the last is wasted at 0.
                    let t = t + 0.5 / (batches.max(1) * self.epochs()) as f64;
                    if t < 0.3 { t / 0.3 } else { (1.0 - t) / 0.7 }
                }
                Schedule::Constant => 1.0,
            }
    }
}

/// The shortest decimal that reads as `v`, so that files don't show f32's digits in f64.
fn decimal(v: f32) -> f64 {
    v.to_string().parse().expect("f32 prints as a number")
}

/// Whether what the options ask for is the network that the weights are of.
fn fits(arch: &Arch, init: &Arch, named: Option<ArchName>) -> Result<()> {
    let err = |what: String| Err(Error::usage(format!("{what}: leave the option out, or use other weights")));
    if arch.widths != init.widths {
        return err(format!("--widths {:?}, but the checkpoint has {:?}", arch.widths, init.widths));
    }
    if arch.blocks != init.blocks {
        return err(format!("--blocks {:?}, but the checkpoint has {:?}", arch.blocks, init.blocks));
    }
    if let Some(name) =
        named.filter(|n| n.family() != init.family || n.shape() != (init.widths.clone(), init.blocks.clone()))
    {
        return err(format!(
            "--arch {}, but the checkpoint is a {} of widths {:?}, blocks {:?}",
            name.name(),
            init.family,
            init.widths,
            init.blocks
        ));
    }
    if arch.image.c != init.image.c {
        return err(format!("the data has {} channels, the checkpoint {}", arch.image.c, init.image.c));
    }
    if arch.classes != init.classes {
        return err(format!("the data has {} classes, the checkpoint {}", arch.classes, init.classes));
    }
    Ok(())
}
