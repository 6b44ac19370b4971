//! Training methods: what a mini-batch does, a short file each.
//!
//! A method turns [`Settings`] and an epoch into a [`Plan`]. Dropping, freezing and weighting are formulas over the state of the
//! live examples ([`formula`](crate::ops::formula)), so a new method needs no kernel: it is a file here, and a line in
//! [`Method`] and in [`Method::plan`].

mod fat;
mod fgsm_rs;
mod gairat;
mod ham;
mod mart;
mod pgd_at;
mod standard;
mod trades;
mod weights;

pub use ham::drop_easy;
pub use weights::Weights;

use crate::attack::{Check, Fate, Pgd};
use crate::ops::formula::Formula;
use crate::ops::two_pass::TwoPass;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// PGD adversarial training that drops easy examples early, from --begin-epoch on.
    Ham,
    /// TRADES that drops easy examples early, from --begin-epoch on.
    HamTrades,
    /// PGD adversarial training.
    PgdAt,
    /// Clean images.
    Standard,
    /// One attack step of 1.25 eps from a random start.
    FgsmRs,
    /// Clean cross-entropy, and the divergence between clean and attacked outputs.
    Trades,
    /// Boosted cross-entropy, and the divergence, weighted by misclassification.
    Mart,
    /// PGD adversarial training whose attack stops, per example, soon after it has succeeded.
    Fat,
    /// PGD adversarial training weighted by how soon examples cross, from --begin-epoch on.
    Gairat,
}

/// What methods are told. Epochs count from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The attack: PGD on the cross-entropy. Methods change it as they need.
    pub attack: Pgd,
    /// HAM: checks after so many steps.
    pub k_drop: Vec<usize>,
    /// HAM: share of the easy examples that stays.
    pub keep_easy: f32,
    /// HAM: weighting.
    pub weights: Weights,
    /// First epoch of what HAM and GAIRAT do; before it their baseline.
    pub begin_epoch: usize,
    /// Epochs of the run.
    pub epochs: usize,
    /// HAM: survivors wait for a full batch of them.
    pub refill: bool,
    /// TRADES and MART: factor of the divergence; none for the method's own.
    pub beta: Option<f32>,
}

/// What the training step minimises: the sum of this, by weight, over the live examples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TrainLoss {
    /// Cross-entropy of the attacked image.
    CrossEntropy,
    /// A loss of the clean and the attacked image, and its factor beta.
    TwoPass(TwoPass, f32),
}

/// What a mini-batch does: all that methods differ in.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What an epoch of it is called.
    pub name: &'static str,
    /// The attack; none to train on clean images.
    pub attack: Option<Pgd>,
    /// Who leaves the attack when, in this order.
    pub checks: Vec<Check>,
    /// Whether those that pass the last check wait until there is a full batch of them, which takes the rest of the attack and the
    /// training step.
    pub refill: bool,
    /// What an example weighs; weights are scaled to a sum of 1.
    pub weight: Formula,
    /// The loss.
    pub loss: TrainLoss,
}

impl Plan {
    /// Whether the attack must measure the moves of the outputs.
    pub fn measures_step(&self) -> bool {
        self.weight.uses_step() || self.checks.iter().any(|c| c.keep.uses_step())
    }

    /// Whether a pool is refilled: there is a check that the attack reaches.
    pub fn refills(&self) -> bool {
        let steps = self.attack.map_or(0, |a| a.steps);
        self.refill && self.checks.iter().any(|c| c.iterate < steps)
    }

    /// Whether examples may be dropped.
    pub fn drops(&self) -> bool {
        self.checks.iter().any(|c| c.fate == Fate::Dropped)
    }
}

impl Method {
    /// What a mini-batch of `epoch` does.
    pub fn plan(self, s: &Settings, epoch: usize) -> Plan {
        match self {
            Method::Ham => ham::plan(s, epoch),
            Method::HamTrades => ham::on_trades(s, epoch),
            Method::PgdAt => pgd_at::plan(s),
            Method::Standard => standard::plan(),
            Method::FgsmRs => fgsm_rs::plan(s),
            Method::Trades => trades::plan(s),
            Method::Mart => mart::plan(s),
            Method::Fat => fat::plan(s, epoch),
            Method::Gairat => gairat::plan(s, epoch),
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Method::Ham => ham::NAME,
            Method::HamTrades => ham::ON_TRADES,
            Method::PgdAt => pgd_at::NAME,
            Method::Standard => standard::NAME,
            Method::FgsmRs => fgsm_rs::NAME,
            Method::Trades => trades::NAME,
            Method::Mart => mart::NAME,
            Method::Fat => fat::NAME,
            Method::Gairat => gairat::NAME,
        }
    }
}

/// Standard deviation of the noise that TRADES and MART start with.
const SMALL_START: f32 = 1e-3;
