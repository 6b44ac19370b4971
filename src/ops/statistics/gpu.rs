//! Launchers of the kernels in `kernels/statistics.cu`.

use super::{CountBatch, CountPass, NetPass};
use crate::Result;
use crate::batch::Stats;
use crate::gpu::driver::Arg;
use crate::gpu::launches::{GpuOp, Launches, bytes};
use crate::program::Phase;
use bytemuck::{Pod, Zeroable};

/// Threads of the block that closes a mini-batch, and of the one that counts passes.
const THREADS: usize = 256;
const PASS_THREADS: usize = 32;
/// Phases; also what `mark` takes for "no phase ends".
const PHASES: u32 = 3;
const _: () = assert!(PHASES as usize == Phase::ALL.len());

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CountBatchDims {
    classes: u32,
    kappas: u32,
    loaded: u32,
    live: u32,
}

impl GpuOp for CountBatch {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let (b, s) = (&self.batch, &self.stats);
        let dims = CountBatchDims {
            classes: s.classes as u32,
            kappas: s.kappas as u32,
            loaded: self.part.loaded().into(),
            live: self.part.live().into(),
        };
        let args = [
            Arg::Out(cx.buf(s.counters)),
            Arg::Out(cx.buf(s.loss)),
            Arg::Out(cx.buf(self.data.control)),
            Arg::In(cx.buf(b.label)),
            Arg::In(cx.buf(b.kappa)),
            Arg::In(cx.buf(b.crossed)),
            Arg::In(cx.buf(b.confidence)),
            Arg::In(cx.buf(b.weight)),
            Arg::In(cx.buf(b.loss)),
            Arg::In(cx.buf(b.position)),
            cx.live(),
            bytes(&dims),
        ];
        cx.launch("count_batch", [1, 1, 1], THREADS, 0, args, format!("{} classes, {} kappas", s.classes, s.kappas))
    }
}

impl GpuOp for CountPass {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let mut counts = PassCounts::new(self.stats);
        counts.add(self);
        count_passes(cx, &counts)
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MarkDims {
    ended: u32,
}

/// Books the time since the last mark to the phase that ends here; `next` starts.
pub fn mark(cx: &mut Launches, next: Option<Phase>) -> Result<()> {
    let ended = std::mem::replace(&mut cx.phase, next).map_or(PHASES, |phase| phase as u32);
    let args = [Arg::Out(cx.times()), bytes(&MarkDims { ended })];
    cx.launch("mark", [1, 1, 1], 1, 0, args, format!("{next:?} starts"))
}

/// PassCounts between two changes of the number of live examples.
#[derive(Clone, Debug)]
pub struct PassCounts {
    stats: Stats,
    /// Passes: fprop, dgrad, wgrad.
    passes: [u32; 3],
    /// Steps of the attack that are counted.
    steps: std::ops::Range<usize>,
}

impl PassCounts {
    /// None yet.
    pub fn new(stats: Stats) -> PassCounts {
        PassCounts { stats, passes: [0; 3], steps: 0..0 }
    }

    /// One more. Steps come in order.
    pub fn add(&mut self, pass: &CountPass) {
        self.passes[match pass.pass {
            NetPass::Fprop => 0,
            NetPass::Dgrad => 1,
            NetPass::Wgrad => 2,
        }] += 1;
        if let Some(step) = pass.step.filter(|s| *s < self.stats.steps()) {
            let first = if self.steps.is_empty() { step } else { self.steps.start };
            self.steps = first..step + 1;
        }
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CountPassDims {
    passes: [u32; 3],
    first: u32,
    steps: u32,
}

/// Adds the number of live examples to the counters, once for every pass and step.
pub fn count_passes(cx: &mut Launches, counts: &PassCounts) -> Result<()> {
    let PassCounts { stats, passes, steps } = counts;
    let dims = CountPassDims { passes: *passes, first: stats.step(steps.start) as u32, steps: steps.len() as u32 };
    let args = [Arg::Out(cx.buf(stats.counters)), cx.live(), bytes(&dims)];
    cx.launch("count_pass", [1, 1, 1], PASS_THREADS, 0, args, format!("{} passes", passes.iter().sum::<u32>()))
}
