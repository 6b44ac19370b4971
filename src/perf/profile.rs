//! What a training mini-batch would cost on a GPU: every launch executed on the simulated device, counted, and held against a
//! roofline.
//!
//! Launches that differ in addresses only are executed once. The kept share is forced: the keep flags are set so before the
//! compaction runs. The roofline knows DRAM, L2, shared memory, issue slots, lanes and tensor cores; it does not know latency,
//! launch overhead or hits in L1 (see `ptx_sim::roofline`).

use super::ptxas::{Assembled, assemble};
use crate::Result;
use crate::backend::gpu::GpuBackend;
use crate::engine::{Engine, Images, TrainSpec};
use crate::gpu::Precision;
use crate::gpu::driver::{Arg, Command, Launch};
use crate::gpu::sim::{Operands, SimDriver, SimOptions};
use crate::net::Arch;
use crate::net::state::Weights;
use crate::program::{Buffers, Range};
use ptx_sim::gpu::{Gpu, occupancy};
use ptx_sim::roofline::{Roofline, Work, roofline};
use ptx_sim::{Checks, Counters, FaultKind};
use std::collections::HashMap;

/// What is profiled.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The network.
    pub arch: Arch,
    /// Examples of a mini-batch.
    pub batch: usize,
    /// How a mini-batch is trained.
    pub spec: TrainSpec,
    /// Share of the examples that the first compaction keeps.
    pub kept_share: f64,
    /// Element type of activations.
    pub precision: Precision,
    /// The GPU.
    pub gpu: &'static Gpu,
    /// Host threads; 0: one per processor.
    pub threads: usize,
}

/// Launches that differ in addresses only, of one mini-batch.
#[derive(Clone, Debug)]
pub struct Profiled {
    /// The kernel.
    pub kernel: &'static str,
    /// The shape it works on.
    pub shape: String,
    /// Whether it runs after the first compaction.
    pub compacted: bool,
    /// Launches of a mini-batch in the attack.
    pub attack: usize,
    /// Launches of a mini-batch in the update.
    pub update: usize,
    /// Bytes of the allocations that it reads and writes.
    pub operands: Operands,
    /// What one launch counts.
    pub counters: Counters,
    /// What ptxas says of it.
    pub assembled: Assembled,
    /// The least time of a launch; none if not even one block fits an SM.
    pub roofline: Option<Roofline>,
}

impl Profiled {
    /// Launches of a mini-batch.
    pub fn launches(&self) -> usize {
        self.attack + self.update
    }

    /// Least seconds of one launch.
    pub fn seconds(&self) -> f64 {
        self.roofline.as_ref().map_or(f64::INFINITY, |r| r.seconds)
    }
}

/// A profiled mini-batch.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its launches, in the order of their first.
    pub launches: Vec<Profiled>,
    /// Launches of an attack step that holds no compaction.
    pub step_launches: usize,
    /// FLOPs of the convolutions with feature maps as input that the mini-batch needs, at the number of live examples that each
    /// sees.
    pub flops: f64,
}

/// Seconds of the two phases of a mini-batch that compute.
#[derive(Clone, Copy, Debug)]
pub struct PhaseSeconds {
    /// Of the attack.
    pub attack: f64,
    /// Of the update.
    pub update: f64,
}

impl PhaseSeconds {
    /// Both.
    pub fn sum(self) -> f64 {
        self.attack + self.update
    }
}

impl Profile {
    /// Least seconds of a mini-batch.
    pub fn seconds(&self) -> PhaseSeconds {
        let sum = |n: fn(&Profiled) -> usize| self.launches.iter().map(|l| n(l) as f64 * l.seconds()).sum();
        PhaseSeconds { attack: sum(|l| l.attack), update: sum(|l| l.update) }
    }

    /// Sum of a counter over a mini-batch.
    pub fn total(&self, count: impl Fn(&Counters) -> u64) -> u64 {
        self.launches.iter().map(|l| l.launches() as u64 * count(&l.counters)).sum()
    }
}

/// What tells launches apart: all but addresses.
type Key = (&'static str, [u32; 3], [u32; 3], usize, Vec<Vec<u8>>, bool);

fn key(launch: &Launch, compacted: bool) -> Key {
    let arg = |a: &Arg| match a {
        Arg::In(p) | Arg::Out(p) => vec![u8::from(*p != 0)],
        Arg::Bytes(bytes) => bytes.clone(),
    };
    let Launch { kernel, grid, block, shared, args, .. } = launch;
    (kernel.name, *grid, *block, *shared, args.iter().map(arg).collect(), compacted)
}

/// Profiles a mini-batch. `progress` is told how many of its launches are done, and of how many.
///
/// # Errors
/// If there is no ptxas, or a kernel fails.
pub fn profile(subject: &Subject, mut progress: impl FnMut(usize, usize)) -> Result<Profile> {
    let Subject { arch, batch, spec, kept_share, precision, gpu, threads } = subject;
    let (major, minor) = gpu.compute_capability;
    let assembled: HashMap<String, Assembled> =
        assemble(&format!("sm_{major}{minor}"))?.into_iter().map(|a| (a.kernel.clone(), a)).collect();
    // These are the tests' matter; without their checks this is faster. (Races of blocks are what lets them run side by side.)
    let checks = [FaultKind::SharedRace, FaultKind::Uninitialised]
        .into_iter()
        .try_fold(Checks::all(), Checks::without)
        .expect("these can be left out");
    let sim = SimDriver::new(SimOptions { gpu, checks, threads: *threads, ..SimOptions::default() });
    let mut e = Engine::new(GpuBackend::new(sim, *precision)?, arch.clone())?;
    e.set_weights(&Weights::init(&e.net, 1))?;
    let images: Vec<u8> = (0..batch * arch.image.len()).map(|i| (i * 37 % 251) as u8).collect();
    let labels: Vec<u32> = (0..*batch).map(|i| (i % arch.classes) as u32).collect();
    let steps = spec.plan.attack.map_or(0, |a| a.steps);
    let scene = e.scene(Images::U8(&images), &labels, *batch, steps)?;
    e.set_learning_rates(&[0.01])?;
    let compiled = e.compile_train(&scene, spec)?;
    e.begin(&scene, 1, &(0..*batch as u32).collect::<Vec<_>>())?;

    let kept = ((kept_share * *batch as f64).round() as usize).min(*batch);
    let total = compiled.commands.iter().filter(|c| matches!(c, Command::Launch(_))).count();
    let mut launches: Vec<Profiled> = Vec::new();
    let mut seen: HashMap<Key, usize> = HashMap::new();
    let (mut done, mut updating, mut compacted, mut checked) = (0, false, false, false);
    let mut ranges: Vec<&str> = Vec::new();
    let mut step = (0, false);
    let mut step_launches = 0;
    for command in &compiled.commands {
        let launch = match command {
            Command::Push(name) => {
                let name = name.as_str();
                updating |= name == Range::Forward.to_string();
                if name == Range::Check.to_string() {
                    step.1 = true;
                    if !checked {
                        let keep: Vec<u32> = (0..*batch).map(|i| u32::from(i < kept)).collect();
                        e.backend.write(scene.batch.keep, 0, &keep)?;
                    }
                }
                if ranges.is_empty() {
                    step = (0, false);
                }
                ranges.push(name);
                continue;
            }
            Command::Pop => {
                let name = ranges.pop().unwrap_or_default();
                if name == Range::Check.to_string() {
                    (checked, compacted) = (true, true);
                }
                if name.starts_with("attack step") && !step.1 {
                    step_launches = step.0;
                }
                continue;
            }
            Command::Launch(launch) => launch,
        };
        done += 1;
        progress(done, total);
        step.0 += 1;
        let at = match seen.get(&key(launch, compacted)) {
            Some(at) => *at,
            None => {
                let counters = e.backend.driver.run(launch)?;
                let assembled = assembled.get(launch.kernel.name).cloned().unwrap_or_default();
                let shared = assembled.shared + launch.shared as u32;
                let fits = occupancy(gpu, launch.block.iter().product(), assembled.registers, shared);
                let roofline = roofline(&Work::from(&counters), gpu, &fits);
                seen.insert(key(launch, compacted), launches.len());
                let (kernel, shape) = (launch.kernel.name, launch.shape.clone());
                let operands = e.backend.driver.operands(launch);
                launches.push(Profiled {
                    operands,
                    kernel,
                    shape,
                    compacted,
                    attack: 0,
                    update: 0,
                    counters,
                    assembled,
                    roofline,
                });
                launches.len() - 1
            }
        };
        match updating {
            false => launches[at].attack += 1,
            true => launches[at].update += 1,
        }
    }
    // Each step has a pass forward on all that are live and one backward on those that stay.
    let convs = e.net.blocks.iter().flat_map(|b| [Some(b.conv1), Some(b.conv2), b.shortcut].into_iter().flatten());
    let pass = 2.0 * convs.map(|f| f.conv.macs()).sum::<usize>() as f64;
    let drop = spec.plan.checks.iter().map(|c| c.iterate).min().filter(|k| *k < steps).unwrap_or(steps);
    let live = |all: bool| if all { *batch } else { kept };
    let attack: usize = (0..steps).map(|k| live(k <= drop) + live(k < drop)).sum();
    let flops = pass * (attack + 3 * live(drop == steps)) as f64;
    Ok(Profile { launches, step_launches, flops })
}
