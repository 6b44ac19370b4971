//! The attacks of an evaluation by their names, and what bounds them.

use crate::attack::apgd::Apgd;
use crate::attack::ascent::Ascent;
use crate::attack::fab::Fab;
use crate::attack::square::Square;
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
    /// Auto-PGD on the cross-entropy, 100 iterations.
    ApgdCe,
    /// Auto-PGD on the targeted DLR loss, 100 iterations for each of nine classes.
    ApgdT,
    /// Targeted FAB, 100 iterations for each of nine classes.
    FabT,
    /// Square Attack of so many queries, the start not counted.
    Square(usize),
    /// The standard sequence of AutoAttack, each on the survivors of those before.
    AutoAttack,
}

/// Iterations of Auto-PGD.
const APGD_ITERATIONS: usize = 100;
/// Iterations of FAB.
const FAB_ITERATIONS: usize = 100;
/// Queries of Square Attack where none are given.
const SQUARE_QUERIES: usize = 5000;

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
            None if s == "autoattack" => Ok(Threat::AutoAttack),
            None if s == "square" => Ok(Threat::Square(SQUARE_QUERIES)),
            Some(("square", n)) => Ok(Threat::Square(steps(n)?)),
            Some(("fab", "t")) => Ok(Threat::FabT),
            Some(("apgd", "ce")) => Ok(Threat::ApgdCe),
            Some(("apgd", "t")) => Ok(Threat::ApgdT),
            Some(("pgd", n)) => Ok(Threat::Pgd(steps(n)?)),
            Some(("cw", n)) => Ok(Threat::Cw(steps(n)?)),
            _ => Err(format!(
                "unknown attack `{s}`: known are clean, fgsm, pgd-STEPS, cw-STEPS, apgd-ce, apgd-t, fab-t, square, \
                 square-QUERIES, autoattack"
            )),
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
            Threat::ApgdCe => f.write_str("apgd-ce"),
            Threat::ApgdT => f.write_str("apgd-t"),
            Threat::FabT => f.write_str("fab-t"),
            Threat::Square(SQUARE_QUERIES) => f.write_str("square"),
            Threat::Square(queries) => write!(f, "square-{queries}"),
            Threat::AutoAttack => f.write_str("autoattack"),
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
        match self {
            Threat::AutoAttack => {
                vec![Threat::Clean, Threat::ApgdCe, Threat::ApgdT, Threat::FabT, Threat::Square(SQUARE_QUERIES)]
            }
            part => vec![part],
        }
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
        let Budget { norm, eps, seed, restarts, .. } = *budget;
        let pgd = |steps, alpha, random: bool, loss| -> Result<Option<Box<dyn Attack>>> {
            if norm == Norm::L2 {
                return Err(Error::usage(format!("{self} in L2: not yet")));
            }
            let start = random.then_some(Noise::Uniform(eps));
            let restarts = if random { restarts } else { 1 };
            Ok(Some(Box::new(Ascent { pgd: Pgd { eps, alpha, steps, start, loss }, restarts, seed })))
        };
        let mut apgd = |loss| -> Result<Option<Box<dyn Attack>>> {
            Ok(Some(Box::new(Apgd::new(backend, scene, loss, APGD_ITERATIONS, budget)?)))
        };
        match self {
            Threat::Clean => Ok(None),
            Threat::AutoAttack => unreachable!("not a single part"),
            Threat::ApgdCe => apgd(Loss::CrossEntropy),
            Threat::ApgdT => apgd(Loss::TargetedDlr),
            Threat::FabT => Ok(Some(Box::new(Fab::new(backend, scene, FAB_ITERATIONS, budget)?))),
            Threat::Square(queries) => Ok(Some(Box::new(Square::new(backend, scene, queries, budget)?))),
            Threat::Fgsm => pgd(1, eps, false, Loss::CrossEntropy),
            Threat::Pgd(steps) => pgd(steps, eps / 4.0, budget.random_start, Loss::CrossEntropy),
            Threat::Cw(steps) => pgd(steps, eps / 4.0, budget.random_start, Loss::Margin),
        }
    }
}
