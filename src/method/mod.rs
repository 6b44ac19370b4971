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
use crate::named::named;
use crate::ops::formula::Formula;
use crate::ops::two_pass::TwoPass;

named! {
    /// What is trained on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Method {
        /// PGD adversarial training that drops easy examples early, from --begin-epoch on.
        Ham = "ham",
        /// TRADES that drops easy examples early, from --begin-epoch on.
        HamTrades = "ham-trades",
        /// PGD adversarial training.
        PgdAt = "pgd-at",
        /// Clean images.
        Standard = "standard",
        /// One attack step of 1.25 eps from a random start.
        FgsmRs = "fgsm-rs",
        /// Clean cross-entropy, and the divergence between clean and attacked outputs.
        Trades = "trades",
        /// Boosted cross-entropy, and the divergence, weighted by misclassification.
        Mart = "mart",
        /// PGD adversarial training whose attack stops, per example, soon after it has succeeded.
        Fat = "fat",
        /// PGD adversarial training weighted by how soon examples cross, from --begin-epoch on.
        Gairat = "gairat",
    }
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
        self.refill && self.reached().next().is_some()
    }

    /// Whether examples may be dropped.
    pub fn drops(&self) -> bool {
        self.reached().any(|c| c.fate == Fate::Dropped)
    }

    /// The checks that the attack reaches; the others never happen.
    fn reached(&self) -> impl Iterator<Item = &Check> {
        let steps = self.attack.map_or(0, |a| a.steps);
        self.checks.iter().filter(move |c| c.iterate < steps)
    }

    /// `baseline` where this does nothing else, so that it is called by what it does.
    fn unless_same_as(self, baseline: Plan) -> Plan {
        if (Plan { name: baseline.name, ..self.clone() }) == baseline { baseline } else { self }
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

    /// What it does once it has begun.
    pub fn own_plan(self, s: &Settings) -> Plan {
        self.plan(s, usize::MAX)
    }

    /// The method whose work its own begins as.
    fn baseline(self) -> Option<Method> {
        match self {
            Method::Ham | Method::Gairat => Some(Method::PgdAt),
            Method::HamTrades => Some(Method::Trades),
            _ => None,
        }
    }

    /// What a run with these settings is a run of: the baseline where the method never does anything else.
    pub fn in_effect(self, s: &Settings) -> Method {
        let own = self.own_plan(s);
        self.baseline().filter(|baseline| baseline.own_plan(s) == own).unwrap_or(self)
    }
}

/// Standard deviation of the noise that TRADES and MART start with.
const SMALL_START: f32 = 1e-3;
