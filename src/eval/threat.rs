//! The attacks of an evaluation by their names, and what bounds them.

use crate::attack::ascent::Ascent;
use crate::attack::stage::Attack;
use crate::attack::{Norm, Pgd, Scene};
use crate::backend::Backend;
use crate::ops::head::Loss;
use crate::ops::start::Noise;
use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// What the examples go through before they are classified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threat {
    /// Nothing.
    Clean,
    /// One step of eps along the sign of the gradient.
    Fgsm,
    /// PGD on cross-entropy, alpha = eps/4, random start.
    Pgd(usize),
    /// PGD on CW's margin, alpha = eps/4, random start.
    Cw(usize),
}

impl FromStr for Threat {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Self, String> {
        let steps = |n: &str| match n.parse() {
            Ok(steps @ 1..=10_000) => Ok(steps),
            _ => Err(format!("`{s}`: give the number of steps, 1 to 10000, as in pgd-20")),
        };
        match s.split_once('-') {
            None if s == "clean" => Ok(Threat::Clean),
            None if s == "fgsm" => Ok(Threat::Fgsm),
            Some(("pgd", n)) => Ok(Threat::Pgd(steps(n)?)),
            Some(("cw", n)) => Ok(Threat::Cw(steps(n)?)),
            _ => Err(format!("unknown attack `{s}`: known are clean, fgsm, pgd-STEPS, cw-STEPS")),
        }
    }
}

impl fmt::Display for Threat {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Threat::Clean => f.write_str("clean"),
            Threat::Fgsm => f.write_str("fgsm"),
            Threat::Pgd(k) => write!(f, "pgd-{k}"),
            Threat::Cw(k) => write!(f, "cw-{k}"),
        }
    }
}

/// What attacks may do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// The norm of the bound.
    pub norm: Norm,
    /// The bound, pixels in [0, 1].
    pub eps: f32,
    /// Whether to start at random within the bound; else at the image.
    pub random_start: bool,
    /// Runs of an attack, each from another start; at least 1.
    pub restarts: usize,
    /// Seed of all random numbers.
    pub seed: u64,
}

impl Budget {
    /// The usual: L-inf, one run from a random start.
    pub fn new(eps: f32, seed: u64) -> Budget {
        Budget { norm: Norm::Linf, eps, random_start: true, restarts: 1, seed }
    }
}

impl Threat {
    /// What it is made of, each on the survivors of those before.
    pub fn parts(self) -> Vec<Threat> {
        vec![self]
    }

    /// The attack of a single part, with its memory on `backend`; none for clean examples. FGSM never starts at random.
    ///
    /// # Errors
    /// Where the attack does not fit network or budget, or memory does not suffice.
    pub fn attack<B: Backend>(
        self,
        backend: &mut B,
        scene: &Scene,
        budget: &Budget,
    ) -> Result<Option<Box<dyn Attack>>> {
        let _ = (backend, scene);
        let Budget { norm, eps, seed, restarts, .. } = *budget;
        let pgd = |steps, alpha, random: bool, loss| -> Result<Option<Box<dyn Attack>>> {
            if norm == Norm::L2 {
                return Err(Error::usage(format!("{self} in L2: not yet")));
            }
            let start = random.then_some(Noise::Uniform(eps));
            let restarts = if random { restarts } else { 1 };
            Ok(Some(Box::new(Ascent { pgd: Pgd { eps, alpha, steps, start, loss }, restarts, seed })))
        };
        match self {
            Threat::Clean => Ok(None),
            Threat::Fgsm => pgd(1, eps, false, Loss::CrossEntropy),
            Threat::Pgd(steps) => pgd(steps, eps / 4.0, budget.random_start, Loss::CrossEntropy),
            Threat::Cw(steps) => pgd(steps, eps / 4.0, budget.random_start, Loss::Margin),
        }
    }
}
