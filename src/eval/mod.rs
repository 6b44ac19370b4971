//! Evaluation: who is classified right, clean and under attack.
//!
//! An example is robust under an attack if it is classified right as it is and at every iterate of the attack. Whoever is not
//! leaves at once, and the next run of an attack, or the next attack of a sequence, sees the survivors only.

pub mod outcome;
pub mod threat;
pub mod warnings;

pub use outcome::Outcome;
pub use threat::Threat;

use crate::attack::stage::Stage;
use crate::attack::{Budget, Scene};
use crate::backend::Backend;
use crate::batch::{Iteration, control};
use crate::engine::{Engine, Images};
use crate::ops::Program;
use crate::ops::head::top;
use crate::ops::statistics::Part;
use crate::results::AttackPart;
use crate::{Error, Result};

/// Slots of an evaluation batch at most. Memory on the CPU hardly depends on it, and filters are prepared once a program.
pub const CAPACITY: usize = 512;
/// Iterations of an attack in one program: between two of them the host looks whether anybody is left.
const BLOCK: usize = 10;

/// A split made resident for evaluation.
pub struct Examined {
    scene: Scene,
    labels: Vec<u32>,
}

/// A single attack on an [`Examined`] split, compiled.
pub struct Examination<B: Backend> {
    name: String,
    runs: usize,
    iterations: usize,
    begin: B::Compiled,
    /// [`BLOCK`] iterations, and what remains after whole blocks.
    block: Option<B::Compiled>,
    rest: Option<B::Compiled>,
    finish: Option<B::Compiled>,
}

/// How far an evaluation is.
#[derive(Clone, Debug)]
pub struct Doing {
    /// The attack, and which of its runs if it has several.
    pub name: String,
    /// Examples done in this run.
    pub done: usize,
    /// Examples of this run.
    pub total: usize,
}

impl Examined {
    /// Makes the examples resident.
    ///
    /// # Errors
    /// If they don't fit the network.
    pub fn new<B: Backend>(engine: &mut Engine<B>, images: Images, labels: &[u32]) -> Result<Examined> {
        let scene = engine.scene(images, labels, labels.len().clamp(1, CAPACITY), 0)?;
        Ok(Examined { scene, labels: labels.to_vec() })
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Records an attack of a single part.
    ///
    /// # Errors
    /// Where the attack does not fit network or budget, or the backend can't run it.
    pub fn record<B: Backend>(
        &self,
        engine: &mut Engine<B>,
        threat: Threat,
        budget: &Budget,
    ) -> Result<Examination<B>> {
        let scene = &self.scene;
        let attack = threat.attack(&mut engine.backend, scene, budget)?;
        let attack = attack.as_deref();
        let begin = engine.compile_stage(scene, |p, stage| {
            scene.load(p, None);
            stage.forward(p, scene.batch.x);
            scene.count_batch(p, Part::Whole);
            stage.leave_crossed(p);
            if let Some(attack) = attack {
                attack.begin(p, stage);
            }
        })?;
        let mut block = |n: usize| {
            let Some(attack) = attack.filter(|_| n > 0) else { return Ok(None) };
            let iterate = |p: &mut Program, stage: &Stage| {
                for offset in 0..n as u32 {
                    attack.iterate(p, stage, Iteration { control: scene.data.control, offset });
                }
            };
            engine.compile_stage(scene, iterate).map(Some)
        };
        let iterations = attack.map_or(0, |a| a.iterations());
        let (block, rest) = (block(if iterations < BLOCK { 0 } else { BLOCK })?, block(iterations % BLOCK)?);
        let finish = attack.map(|a| engine.compile_stage(scene, |p, stage| a.finish(p, stage))).transpose()?;
        let runs = attack.map_or(1, |a| a.runs());
        Ok(Examination { name: threat.to_string(), runs, iterations, begin, block, rest, finish })
    }

    /// Runs it over the survivors in `outcome` with the engine's present weights, and adds what it found. `progress` is told how far
    /// it is, and stops the evaluation by returning false: so does this, then.
    ///
    /// # Errors
    /// Where the device fails, or [`Error::NotFinite`].
    pub fn run<B: Backend>(
        &self,
        engine: &mut Engine<B>,
        examination: &mut Examination<B>,
        outcome: &mut Outcome,
        mut progress: impl FnMut(&Doing) -> bool,
    ) -> Result<bool> {
        engine.backend.enter("eval");
        let units = self.all_runs(engine, examination, outcome, &mut progress);
        engine.backend.leave();
        let Some(units) = units? else { return Ok(false) };
        let survivors = outcome.survivors().len() as u64;
        outcome.parts.push(AttackPart { name: examination.name.clone(), survivors, units });
        Ok(true)
    }

    /// All runs, and their cost in units; none if stopped.
    fn all_runs<B: Backend>(
        &self,
        engine: &mut Engine<B>,
        examination: &mut Examination<B>,
        outcome: &mut Outcome,
        progress: &mut impl FnMut(&Doing) -> bool,
    ) -> Result<Option<u64>> {
        let mut units = 0;
        for run in 0..examination.runs {
            let order = outcome.survivors();
            if order.is_empty() {
                break;
            }
            let of = if examination.runs > 1 { format!(" {}/{}", run + 1, examination.runs) } else { String::new() };
            let mut doing = Doing { name: format!("{}{of}", examination.name), done: 0, total: order.len() };
            engine.begin(&self.scene, run as u32, &order)?;
            for batch in order.chunks(self.scene.batch.capacity) {
                let first = doing.done;
                let mut at = |share: f64| {
                    doing.done = first + (share * batch.len() as f64) as usize;
                    progress(&doing)
                };
                if !self.attack_batch(engine, examination, &mut at)? {
                    return Ok(None);
                }
                self.gather(engine, batch, outcome)?;
                doing.done = first + batch.len();
            }
            progress(&doing);
            let counts = engine.counts(&self.scene)?;
            if counts.halted != 0 {
                return Err(Error::NotFinite);
            }
            units += counts.units();
        }
        Ok(Some(units))
    }

    /// One run over the next batch: whoever it breaks has left the batch. False if stopped.
    fn attack_batch<B: Backend>(
        &self,
        engine: &mut Engine<B>,
        e: &mut Examination<B>,
        progress: &mut impl FnMut(f64) -> bool,
    ) -> Result<bool> {
        let backend = &mut engine.backend;
        if !progress(0.0) {
            return Ok(false);
        }
        backend.replay(&mut e.begin)?;
        let mut at = 0;
        while at < e.iterations {
            if at > 0 && !progress(at as f64 / e.iterations as f64) {
                return Ok(false);
            }
            let mut live = [0u32];
            backend.read(self.scene.batch.live, 0, &mut live)?;
            if live[0] == 0 {
                return Ok(true);
            }
            backend.write(self.scene.data.control, control::ITERATION, &[at as u32])?;
            let next = if e.iterations - at >= BLOCK { &mut e.block } else { &mut e.rest };
            backend.replay(next.as_mut().expect("compiled for these iterations"))?;
            at += BLOCK;
        }
        if let Some(finish) = &mut e.finish {
            backend.replay(finish)?;
        }
        Ok(true)
    }

    /// Takes over what has become of the samples `batch`, which were loaded last.
    fn gather<B: Backend>(&self, engine: &Engine<B>, batch: &[u32], outcome: &mut Outcome) -> Result<()> {
        let (b, backend) = (&self.scene.batch, &engine.backend);
        let live = backend.read_all::<u32>(b.live)?[0] as usize;
        let mut left = vec![true; batch.len()];
        backend.read_all::<u32>(b.position)?[..live].iter().for_each(|p| left[*p as usize] = false);
        let (logits, confidence): (Vec<f32>, Vec<f32>) = (backend.read_all(b.logits)?, backend.read_all(b.confidence)?);
        for (position, sample) in batch.iter().enumerate() {
            let (sample, confidence) = (*sample as usize, confidence[position]);
            if left[position] {
                let z = &logits[position * b.classes..(position + 1) * b.classes];
                outcome.robust[sample] = false;
                outcome.predicted[sample] = top(z) as u32;
                outcome.confidence[sample] = confidence;
            } else {
                outcome.confidence[sample] = outcome.confidence[sample].min(confidence);
            }
        }
        Ok(())
    }

    /// Runs all parts of an attack, each on the survivors of those before. None if `progress` stopped it, as in [`Examined::run`].
    ///
    /// # Errors
    /// As [`Examined::record`] and [`Examined::run`].
    pub fn evaluate<B: Backend>(
        &self,
        engine: &mut Engine<B>,
        threat: Threat,
        budget: &Budget,
        mut progress: impl FnMut(&Doing) -> bool,
    ) -> Result<Option<Outcome>> {
        let mut outcome = Outcome::new(&self.labels);
        for part in threat.parts() {
            let mut examination = self.record(engine, part, budget)?;
            if !self.run(engine, &mut examination, &mut outcome, &mut progress)? {
                return Ok(None);
            }
        }
        Ok(Some(outcome))
    }

    /// Nothing has happened to any example.
    pub fn outcome(&self) -> Outcome {
        Outcome::new(&self.labels)
    }
}
