//! The attacks of an evaluation by their names, as an evaluation runs them.

use crate::Result;
use crate::attack::apgd::Apgd;
use crate::attack::ascent::Ascent;
use crate::attack::fab::Fab;
use crate::attack::square::Square;
use crate::attack::stage::Attack;
use crate::attack::{Budget, Pgd, Scene};
use crate::backend::Backend;
use crate::ops::ball::Norm;
use crate::ops::head::Loss;
use crate::ops::start::Noise;
use std::fmt;
use std::str::FromStr;

/// What the examples go through before they are classified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threat {
    /// Nothing.
    Clean,
    /// One step of eps along the sign of the gradient, or in L2 along the gradient.
    Fgsm,
    /// PGD on cross-entropy, alpha = eps/4, random start.
    Pgd(usize),
    /// PGD on CW's margin, alpha = eps/4, random start.
    Cw(usize),
    /// Auto-PGD on the cross-entropy; so many iterations.
    ApgdCe(usize),
    /// Auto-PGD on the targeted DLR loss; so many iterations for each of nine classes.
    ApgdT(usize),
    /// Targeted FAB, 100 iterations for each of nine classes.
    FabT,
    /// Square Attack of so many queries, the start not counted.
    Square(usize),
    /// The standard sequence of AutoAttack, each on the survivors of those before.
    AutoAttack,
}

/// Iterations of Auto-PGD where nobody says.
const APGD_ITERATIONS: usize = 100;
/// Iterations of FAB.
const FAB_ITERATIONS: usize = 100;
/// Queries of Square Attack where nobody says.
const SQUARE_QUERIES: usize = 5000;

impl FromStr for Threat {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Self, String> {
        let steps = |n: &str| match n.parse() {
            Ok(steps @ 1..=10_000) => Ok(steps),
            _ => Err(format!("`{s}`: give the number of steps, 1 to 10000, as in pgd-20")),
        };
        let (name, number) = match s.rsplit_once('-') {
            Some((name, n)) if name.starts_with("apgd-") || ["pgd", "cw", "square"].contains(&name) => {
                (name, Some(steps(n)?))
            }
            _ => (s, None),
        };
        match (name, number) {
            ("clean", None) => Ok(Threat::Clean),
            ("fgsm", None) => Ok(Threat::Fgsm),
            ("pgd", Some(n)) => Ok(Threat::Pgd(n)),
            ("cw", Some(n)) => Ok(Threat::Cw(n)),
            ("apgd-ce", n) => Ok(Threat::ApgdCe(n.unwrap_or(APGD_ITERATIONS))),
            ("apgd-t", n) => Ok(Threat::ApgdT(n.unwrap_or(APGD_ITERATIONS))),
            ("fab-t", None) => Ok(Threat::FabT),
            ("square", n) => Ok(Threat::Square(n.unwrap_or(SQUARE_QUERIES))),
            ("autoattack", None) => Ok(Threat::AutoAttack),
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
            Threat::ApgdCe(APGD_ITERATIONS) => f.write_str("apgd-ce"),
            Threat::ApgdT(APGD_ITERATIONS) => f.write_str("apgd-t"),
            Threat::ApgdCe(k) => write!(f, "apgd-ce-{k}"),
            Threat::ApgdT(k) => write!(f, "apgd-t-{k}"),
            Threat::FabT => f.write_str("fab-t"),
            Threat::Square(SQUARE_QUERIES) => f.write_str("square"),
            Threat::Square(queries) => write!(f, "square-{queries}"),
            Threat::AutoAttack => f.write_str("autoattack"),
        }
    }
}

impl Threat {
    /// What it is made of, each on the survivors of those before.
    pub fn parts(self) -> Vec<Threat> {
        match self {
            Threat::AutoAttack => vec![
                Threat::Clean,
                Threat::ApgdCe(APGD_ITERATIONS),
                Threat::ApgdT(APGD_ITERATIONS),
                Threat::FabT,
                Threat::Square(SQUARE_QUERIES),
            ],
            part => vec![part],
        }
    }

    /// The steps of those that are L-inf PGD; FGSM never starts at random.
    pub fn pgd(self, eps: f32, random_start: bool) -> Option<Pgd> {
        let pgd = |steps, alpha, random: bool, loss| {
            Some(Pgd { eps, alpha, steps, start: random.then_some(Noise::Uniform(eps)), loss })
        };
        match self {
            Threat::Fgsm => pgd(1, eps, false, Loss::CrossEntropy),
            Threat::Pgd(steps) => pgd(steps, eps / 4.0, random_start, Loss::CrossEntropy),
            Threat::Cw(steps) => pgd(steps, eps / 4.0, random_start, Loss::Margin),
            _ => None,
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
        let Budget { norm, eps, random_start, restarts, seed } = *budget;
        let mut apgd = |loss, fixed, steps, budget: &Budget| -> Result<Option<Box<dyn Attack>>> {
            Ok(Some(Box::new(Apgd::new(backend, scene, loss, fixed, steps, budget)?)))
        };
        if let Some(pgd) = self.pgd(eps, random_start) {
            let Pgd { alpha, steps, start, loss, .. } = pgd;
            if norm == Norm::L2 {
                return apgd(loss, Some(alpha), steps, &Budget { random_start: start.is_some(), ..*budget });
            }
            let restarts = if start.is_some() { restarts } else { 1 };
            return Ok(Some(Box::new(Ascent { pgd, restarts, seed })));
        }
        match self {
            Threat::Clean | Threat::Fgsm | Threat::Pgd(_) | Threat::Cw(_) => Ok(None),
            Threat::ApgdCe(steps) => apgd(Loss::CrossEntropy, None, steps, budget),
            Threat::ApgdT(steps) => apgd(Loss::TargetedDlr, None, steps, budget),
            Threat::FabT => Ok(Some(Box::new(Fab::new(scene, FAB_ITERATIONS, budget)))),
            Threat::Square(queries) => Ok(Some(Box::new(Square::new(backend, scene, queries, budget)?))),
            Threat::AutoAttack => unreachable!("not a single part"),
        }
    }

    /// Whether `other` should break whatever this breaks, up to luck: the same with more steps, or more than one step, or the sequence
    /// that has this as a part.
    pub fn weaker_than(self, other: Threat) -> bool {
        use Threat::*;
        match (self, other) {
            (Pgd(a), Pgd(b))
            | (Cw(a), Cw(b))
            | (ApgdCe(a), ApgdCe(b))
            | (ApgdT(a), ApgdT(b))
            | (Square(a), Square(b)) => a < b,
            (Fgsm, Pgd(b) | ApgdCe(b)) => b >= 10,
            (part, AutoAttack) => part != AutoAttack,
            _ => false,
        }
    }

    /// Whether it follows gradients; Square Attack does not.
    pub fn has_gradients(self) -> bool {
        !matches!(self, Threat::Clean | Threat::Square(_) | Threat::AutoAttack)
    }
}
