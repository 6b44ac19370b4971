//! The engine: networks, data and mini-batch programs on a backend, written once for all of them.

use crate::attack::stage::Stage;
use crate::attack::{self, Check, Fate, Pgd, Scene};
use crate::backend::Backend;
use crate::batch::{Batch, Resident, Stats, control};
use crate::method::{Plan, TrainLoss};
use crate::net::eval_pass::EvalPass;
use crate::net::state::Weights;
use crate::net::train_pass::TrainPass;
use crate::net::{Arch, Net};
use crate::ops::Program;
use crate::ops::head::{Loss, Measures};
use crate::ops::refill::{Pool, ring};
use crate::ops::statistics::{Counts, NetPass, Part};
use crate::ops::two_pass::{TwoPass, TwoPassLoss};
use crate::ops::update::{Arenas, CleanPass, Ema, Update};
use crate::ops::weigh::Weigh;
use crate::program::{Buf, DType, Phase, Range};
use crate::rng::Stream;
use crate::{Error, Result};

/// Images `[N, C, H, W]` on the host.
#[derive(Clone, Copy, Debug)]
pub enum Images<'a> {
    /// Value v means v/255.
    U8(&'a [u8]),
    /// In [0, 1].
    F32(&'a [f32]),
}

/// A network on a backend, and what runs it.
pub struct Engine<B: Backend> {
    /// The device.
    pub backend: B,
    /// The network.
    pub net: Net,
    arenas: Arenas,
    /// The moving average of the parameters, once a run keeps one.
    ema: Option<Buf>,
    /// What training passes over clean images leave, once a run has such.
    clean: Option<CleanPass>,
    lr: Buf,
    /// Asks for the rounding of direct convolutions everywhere.
    exact: bool,
}

/// One way to make a training mini-batch.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainSpec {
    /// Attack, checks, weights and loss.
    pub plan: Plan,
    /// Momentum of SGD.
    pub momentum: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// Decay of the moving average of the parameters, in [0, 1); none keeps none.
    pub ema: Option<f32>,
    /// Whether to augment.
    pub augment: bool,
    /// Seed of augmentation and random start.
    pub seed: u64,
}

impl<B: Backend> Engine<B> {
    /// Puts `arch` on `backend`, all parameters zero.
    ///
    /// # Errors
    /// Where the backend's memory does not suffice.
    pub fn new(mut backend: B, arch: Arch) -> Result<Engine<B>> {
        let net = Net::new(arch.validate()?);
        let mut f32s = |n| backend.alloc(DType::F32, n);
        let arenas = Arenas {
            params: f32s(net.params)?,
            grads: f32s(net.params)?,
            momenta: f32s(net.params)?,
            running: f32s(net.running)?,
            batch_stats: f32s(net.running)?,
        };
        let lr = f32s(0)?;
        Ok(Engine { backend, net, arenas, ema: None, clean: None, lr, exact: false })
    }

    /// The same with the rounding of direct convolutions everywhere, if `exact`; call before anything is recorded.
    pub fn exact(self, exact: bool) -> Engine<B> {
        Engine { exact, ..self }
    }

    /// Sets the weights; momenta become zero, and the moving average, if one is kept, the weights.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn set_weights(&mut self, weights: &Weights) -> Result<()> {
        self.backend.write(self.arenas.params, 0, &weights.params)?;
        self.backend.write(self.arenas.running, 0, &weights.running)?;
        if let Some(ema) = self.ema {
            self.backend.write(ema, 0, &weights.params)?;
        }
        self.set_momenta(&vec![0.0; self.net.params])
    }

    /// The weights.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn weights(&self) -> Result<Weights> {
        Ok(Weights {
            params: self.backend.read_all(self.arenas.params)?,
            running: self.backend.read_all(self.arenas.running)?,
        })
    }

    /// Sets the momenta, in the layout of the parameter arena.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn set_momenta(&mut self, momenta: &[f32]) -> Result<()> {
        self.backend.write(self.arenas.momenta, 0, momenta)
    }

    /// The momenta.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn momenta(&self) -> Result<Vec<f32>> {
        self.backend.read_all(self.arenas.momenta)
    }

    /// Sets the moving average of the parameters, which is kept from here on.
    ///
    /// # Errors
    /// Where memory does not suffice, or the device fails.
    pub fn set_ema(&mut self, params: &[f32]) -> Result<()> {
        let ema = match self.ema {
            Some(ema) => ema,
            None => *self.ema.insert(self.backend.alloc(DType::F32, self.net.params)?),
        };
        self.backend.write(ema, 0, params)
    }

    /// The moving average of the parameters, if one is kept.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn ema(&self) -> Result<Option<Vec<f32>>> {
        self.ema.map(|ema| self.backend.read_all(ema)).transpose()
    }

    /// Makes a data set resident, with a batch of `capacity` slots and statistics for attacks of up to `steps` steps.
    ///
    /// # Errors
    /// If images and labels don't match the network, or memory does not suffice.
    pub fn scene(&mut self, images: Images, labels: &[u32], capacity: usize, steps: usize) -> Result<Scene> {
        let (image, classes) = (self.net.arch.image, self.net.arch.classes);
        let len = match images {
            Images::U8(v) => v.len(),
            Images::F32(v) => v.len(),
        };
        if len != labels.len() * image.len() {
            let what = format!("{len} pixels are not {} images of {image:?}", labels.len());
            return Err(Error::Op { op: "load", what });
        }
        if let Some(label) = labels.iter().find(|l| **l as usize >= classes) {
            return Err(Error::usage(format!("label {label}: the network has {classes} classes")));
        }
        let b = &mut self.backend;
        let buf = match images {
            Images::U8(v) => {
                let buf = b.alloc(DType::U8, len)?;
                b.write(buf, 0, v)?;
                buf
            }
            Images::F32(v) => {
                let buf = b.alloc(DType::F32, len)?;
                b.write(buf, 0, v)?;
                buf
            }
        };
        let data = Resident {
            images: buf,
            labels: b.alloc(DType::U32, labels.len())?,
            order: b.alloc(DType::U32, labels.len())?,
            control: b.alloc(DType::U32, control::LEN)?,
        };
        b.write(data.labels, 0, labels)?;
        let kappas = steps + 1;
        let stats = Stats {
            counters: b.alloc(DType::U64, Stats::len(classes, kappas))?,
            loss: b.alloc(DType::F64, 1)?,
            classes,
            kappas,
        };
        let channels = self.net.last().c;
        let batch = Batch::alloc(b, capacity, image, classes, channels)?;
        Ok(Scene { image, batch, data, stats, pool: None })
    }

    /// Gives a scene a pool, for plans that refill.
    ///
    /// # Errors
    /// Where memory does not suffice.
    pub fn add_pool(&mut self, scene: &mut Scene) -> Result<()> {
        scene.pool = Some(Pool::alloc(&mut self.backend, scene.batch.capacity, scene.image)?);
        Ok(())
    }

    /// All words of a scene's pool, if it has one, for [`Engine::set_pool`].
    ///
    /// # Errors
    /// Where the device fails.
    pub fn pool(&self, scene: &Scene) -> Result<Option<Vec<u32>>> {
        let words = |pool: Pool| -> Result<Vec<u32>> {
            let parts = pool.buffers().map(|buf| self.backend.read_all::<u32>(buf));
            Ok(parts.into_iter().collect::<Result<Vec<_>>>()?.concat())
        };
        scene.pool.map(words).transpose()
    }

    /// Puts a scene's pool back as it was.
    ///
    /// # Errors
    /// Where the device fails.
    ///
    /// # Panics
    /// If the words are not of such a pool.
    pub fn set_pool(&mut self, scene: &Scene, mut words: &[u32]) -> Result<()> {
        for buf in scene.pool.expect("a scene with a pool").buffers() {
            let (part, rest) = words.split_at(buf.len);
            self.backend.write(buf, 0, part)?;
            words = rest;
        }
        Ok(())
    }

    /// Points a scene at the start of an epoch over the samples `order`, with fresh statistics and an empty pool.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn begin(&mut self, scene: &Scene, epoch: u32, order: &[u32]) -> Result<()> {
        self.backend.write(scene.data.order, 0, order)?;
        self.backend.write(scene.data.control, 0, &[0, order.len() as u32, epoch])?;
        if let Some(pool) = scene.pool {
            self.backend.write(pool.ring, 0, &[0u32; ring::LEN])?;
        }
        let zero = Counts::from_raw(&vec![0; scene.stats.counters.len], 0.0, scene.stats.classes);
        self.set_counts(scene, &zero)
    }

    /// Makes the next mini-batch start with the epoch's first example again; counts go on.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn rewind(&mut self, scene: &Scene) -> Result<()> {
        self.backend.write(scene.data.control, control::CURSOR, &[0u32])
    }

    /// Continues an epoch from what it has counted so far.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn set_counts(&mut self, scene: &Scene, counts: &Counts) -> Result<()> {
        let (raw, loss) = counts.to_raw();
        self.backend.write(scene.stats.counters, 0, &raw)?;
        self.backend.write(scene.stats.loss, 0, &[loss])?;
        self.backend.write(scene.data.control, control::CURSOR, &[counts.examples as u32])
    }

    /// What the scene has counted since [`Engine::begin`].
    ///
    /// # Errors
    /// Where the device fails, also in what was replayed before.
    pub fn counts(&self, scene: &Scene) -> Result<Counts> {
        let mut loss = [0.0f64];
        self.backend.read(scene.stats.loss, 0, &mut loss)?;
        Ok(Counts::from_raw(&self.backend.read_all::<u64>(scene.stats.counters)?, loss[0], scene.stats.classes))
    }

    /// Sets the learning rate of each mini-batch of the epoch; call before recording a program for longer epochs.
    ///
    /// # Errors
    /// Where memory does not suffice.
    pub fn set_learning_rates(&mut self, rates: &[f32]) -> Result<()> {
        if rates.len() > self.lr.len {
            self.lr = self.backend.alloc(DType::F32, rates.len())?;
        }
        self.backend.write(self.lr, 0, rates)
    }

    /// Records a training mini-batch: load, attack, train step, update. A moving average that `spec` asks for and that is not
    /// kept yet starts at the weights.
    ///
    /// # Errors
    /// Where the backend can't run it.
    pub fn compile_train(&mut self, scene: &Scene, spec: &TrainSpec) -> Result<B::Compiled> {
        let program = self.train_program(scene, spec)?;
        self.backend.compile(program)
    }

    /// The program that [`Engine::compile_train`] records.
    ///
    /// # Errors
    /// As there.
    pub fn train_program(&mut self, scene: &Scene, spec: &TrainSpec) -> Result<Program> {
        let plan = &spec.plan;
        let formulas = plan.checks.iter().map(|c| &c.keep).chain([&plan.weight]);
        formulas.into_iter().try_for_each(|f| f.validate())?;
        let clean = self.clean_pass(plan)?;
        if spec.ema.is_some() && self.ema.is_none() {
            let params: Vec<f32> = self.backend.read_all(self.arenas.params)?;
            self.set_ema(&params)?;
        }
        let refill = plan.refills().then(|| pool_of(scene, plan)).transpose()?;
        let Scene { batch, stats, .. } = *scene;
        let mut p = Program::new(batch.capacity, batch.live);
        p.mark(Phase::Data);
        scene.load(&mut p, spec.augment.then_some(spec.seed));
        p.mark(Phase::Attack);
        let input = if let Some(pgd) = &plan.attack {
            let pass = EvalPass::prepare(&mut p, &self.net, self.arenas, self.exact);
            let from = (spec.seed, Stream::Attack);
            attack::record(&mut p, scene, &pass, pgd, &plan.checks, refill, from, plan.measures_step())
        } else {
            batch.x
        };
        p.mark(Phase::Update);
        p.push(Weigh { batch, weight: plan.weight.clone() });
        let pass = TrainPass::prepare(&mut p, &self.net, self.arenas, self.exact);
        let part = if refill.is_some() { Part::Refilled } else { Part::Whole };
        let tally = || [NetPass::Fprop, NetPass::Dgrad, NetPass::Wgrad].into_iter();
        match clean {
            None => {
                p.within(Range::Forward, |p| {
                    pass.forward(p, &batch, input);
                    scene.count_batch(p, part);
                });
                p.within(Range::Backward, |p| pass.backward(p, &batch, Loss::CrossEntropy, input));
            }
            Some((loss, beta, CleanPass { grads, batch_stats })) => {
                let twin = pass.twin(&mut p, Arenas { grads, batch_stats, ..self.arenas });
                p.within(Range::Forward, |p| {
                    twin.forward(p, &batch.clean(), batch.x);
                    pass.forward(p, &batch, input);
                    p.push(TwoPassLoss { batch, loss, beta });
                    scene.count_batch(p, part);
                });
                p.within(Range::Backward, |p| {
                    twin.backward(p, &batch.clean(), Loss::TwoPass, batch.x);
                    pass.backward(p, &batch, Loss::TwoPass, input);
                });
                tally().for_each(|pass| scene.count_pass(&mut p, pass));
            }
        }
        tally().for_each(|pass| scene.count_pass(&mut p, pass));
        let Engine { arenas, lr, .. } = *self;
        let (momentum, weight_decay) = (spec.momentum, spec.weight_decay);
        let ema = self.ema.zip(spec.ema).map(|(params, decay)| Ema { params, decay });
        let clean = clean.map(|c| c.2);
        let update = Update { arenas, lr, momentum, weight_decay, ema, clean, batch, stats };
        p.within(Range::Update, |p| p.push(update));
        Ok(p)
    }

    /// The loss of two passes that a plan has, its factor, and where the clean pass leaves its gradients.
    fn clean_pass(&mut self, plan: &Plan) -> Result<Option<(TwoPass, f32, CleanPass)>> {
        let TrainLoss::TwoPass(loss, beta) = plan.loss else { return Ok(None) };
        if plan.checks.iter().any(|c| c.fate == Fate::Frozen) {
            // Compaction has moved the clean images by then.
            let what = format!("{}: examples can't be frozen for a loss that needs their clean images", plan.name);
            return Err(Error::Op { op: "train", what });
        }
        if self.clean.is_none() {
            let grads = self.backend.alloc(DType::F32, self.net.params)?;
            self.clean = Some(CleanPass { grads, batch_stats: self.backend.alloc(DType::F32, self.net.running)? });
        }
        Ok(self.clean.map(|clean| (loss, beta, clean)))
    }

    /// Records what `record` appends onto the network's lean pass, which is prepared for it.
    ///
    /// # Errors
    /// Where the backend can't run it.
    pub fn compile_stage(&mut self, scene: &Scene, record: impl FnOnce(&mut Program, &Stage)) -> Result<B::Compiled> {
        let mut p = Program::new(scene.batch.capacity, scene.batch.live);
        let pass = EvalPass::prepare(&mut p, &self.net, self.arenas, self.exact);
        record(&mut p, &Stage { scene, pass: &pass });
        self.backend.compile(p)
    }

    /// Records a pass over clean images that leaves their logits in the batch and, with `gradient`, the gradient of their
    /// summed cross-entropy in that buffer. It does not advance the scene.
    ///
    /// # Errors
    /// Where the backend can't run it.
    pub fn compile_clean(&mut self, scene: &Scene, gradient: Option<Buf>) -> Result<B::Compiled> {
        self.compile_stage(scene, |p, stage| {
            scene.load(p, None);
            stage.pass.forward(p, &scene.batch, scene.batch.x, Measures::default());
            if let Some(gradient) = gradient {
                stage.pass.backward(p, &scene.batch, Loss::CrossEntropy, gradient);
            }
        })
    }

    /// Records an attack that leaves its results in the batch, and advances the scene.
    ///
    /// # Errors
    /// Where the backend can't run it.
    pub fn compile_attack(&mut self, scene: &Scene, pgd: &Pgd, checks: &[Check], seed: u64) -> Result<B::Compiled> {
        self.compile_stage(scene, |p, stage| {
            scene.load(p, None);
            attack::record(p, scene, stage.pass, pgd, checks, None, (seed, Stream::Attack), true);
            scene.count_batch(p, Part::Whole);
        })
    }
}

/// The pool that a plan refills from.
fn pool_of(scene: &Scene, plan: &Plan) -> Result<Pool> {
    let err = |what: &str| Error::Op { op: "train", what: format!("{}: {what}", plan.name) };
    if plan.checks.iter().any(|c| c.fate == Fate::Frozen) {
        return Err(err("examples can't be frozen and wait in a pool as well"));
    }
    scene.pool.ok_or_else(|| err("there is no pool to refill from"))
}
