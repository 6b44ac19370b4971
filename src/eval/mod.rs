//! Evaluation: who is classified right, clean and under attack.

use crate::attack::{Pgd, Scene};
use crate::backend::Backend;
use crate::engine::{Counts, Engine, Images};
use crate::ops::head::Loss;
use crate::ops::start::Noise;
use crate::report::fairness::ClassCounts;
use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// Slots of an evaluation batch at most. Memory on the CPU hardly depends on it, and filters are prepared once a batch.
pub const CAPACITY: usize = 512;

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

impl Threat {
    /// The attack, none for clean examples. FGSM never starts at random.
    pub fn pgd(self, eps: f32, random_start: bool) -> Option<Pgd> {
        let pgd = |steps, alpha, random: bool, loss| {
            Some(Pgd { eps, alpha, steps, start: random.then_some(Noise::Uniform(eps)), loss })
        };
        match self {
            Threat::Clean => None,
            Threat::Fgsm => pgd(1, eps, false, Loss::CrossEntropy),
            Threat::Pgd(steps) => pgd(steps, eps / 4.0, random_start, Loss::CrossEntropy),
            Threat::Cw(steps) => pgd(steps, eps / 4.0, random_start, Loss::Margin),
        }
    }
}

/// A split made resident for evaluation.
pub struct Examined {
    scene: Scene,
    order: Vec<u32>,
}

/// An attack on an [`Examined`] split, recorded.
pub struct Examination<B: Backend> {
    recorded: B::Recorded,
}

impl Examined {
    /// Makes the examples resident.
    ///
    /// # Errors
    /// If they don't fit the network.
    pub fn new<B: Backend>(engine: &mut Engine<B>, images: Images, labels: &[u32]) -> Result<Examined> {
        let scene = engine.scene(images, labels, labels.len().clamp(1, CAPACITY), 0)?;
        Ok(Examined { scene, order: (0..labels.len() as u32).collect() })
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Records an attack with bound `eps`.
    ///
    /// # Errors
    /// Where the backend can't run it.
    pub fn record<B: Backend>(
        &self,
        engine: &mut Engine<B>,
        threat: Threat,
        eps: f32,
        random_start: bool,
        seed: u64,
    ) -> Result<Examination<B>> {
        let pgd = threat.pgd(eps, random_start);
        Ok(Examination { recorded: engine.record_eval(&self.scene, pgd.as_ref(), seed)? })
    }

    /// Runs it over all examples with the engine's present weights. `progress` is told how many are done, and stops the
    /// evaluation by returning false: the result is then none.
    ///
    /// # Errors
    /// Where the device fails, or [`Error::NotFinite`].
    pub fn run<B: Backend>(
        &self,
        engine: &mut Engine<B>,
        examination: &mut Examination<B>,
        mut progress: impl FnMut(usize) -> bool,
    ) -> Result<Option<ClassCounts>> {
        engine.begin(&self.scene, 0, &self.order)?;
        let mut done = 0;
        while done < self.order.len() {
            if !progress(done) {
                return Ok(None);
            }
            engine.backend.enter("eval");
            engine.backend.replay(&mut examination.recorded)?;
            engine.backend.leave();
            done += self.scene.batch.capacity;
        }
        progress(self.order.len());
        let Counts { halted, class_correct, class_kept, .. } = engine.counts(&self.scene)?;
        if halted != 0 {
            return Err(Error::NotFinite);
        }
        Ok(Some(ClassCounts { correct: class_correct, total: class_kept, ..ClassCounts::default() }))
    }
}
