//! The seam between the engine and a device, and the executors behind it.

pub mod cpu;
pub mod gpu;

use crate::Result;
use crate::ops::Program;
use crate::program::{Buffers, Phase};
use std::time::Duration;

/// Where the time of a replay went.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Of each op of the program, in its order: seconds, summed over the workers.
    pub seconds: Vec<f64>,
    /// Workers that share the ops.
    pub workers: usize,
}

/// A device: flat buffers, and programs that it prepares once and replays.
///
/// The operations themselves are data ([`crate::ops::Op`]), so a backend sees a whole mini-batch before it runs: it may
/// reorder what is independent, keep values that never leave a stretch in scratch memory, or capture everything in a graph.
pub trait Backend: Buffers {
    /// A program made ready to run on this device.
    type Compiled;

    /// A short name for reports, such as `cpu (avx2, 2 threads)`.
    fn name(&self) -> String;

    /// Hash of the sources of the kernels that it runs, if they are not part of this program's own code.
    fn kernels(&self) -> Option<&'static str> {
        None
    }

    /// Prepares `program`: all memory it needs is allocated here, none in [`Backend::replay`].
    ///
    /// # Errors
    /// Where an op does not support its shape, or memory does not suffice.
    fn compile(&mut self, program: Program) -> Result<Self::Compiled>;

    /// Runs the program once, in order with everything before it.
    ///
    /// # Errors
    /// Where the device fails.
    fn replay(&mut self, compiled: &mut Self::Compiled) -> Result<()>;

    /// Time spent in `phase` by replays of this backend since the last call for that phase.
    ///
    /// # Errors
    /// Where the device fails, also in what was replayed before.
    fn take_time(&mut self, phase: Phase) -> Result<Duration>;

    /// Bytes that the backend's buffers and this program take.
    fn memory(&self, compiled: &Self::Compiled) -> u64;

    /// GFLOP/s of a loop of nothing but multiply-adds, measured now; none where that is not known.
    fn peak_gflops(&self) -> Option<f64> {
        None
    }

    /// Runs the program once as [`Backend::replay`] does, and tells how long each op took, summed over the device's workers, and
    /// how many these are; none where only a profiler can.
    ///
    /// # Errors
    /// As [`Backend::replay`].
    fn trace(&mut self, compiled: &mut Self::Compiled) -> Result<Option<Trace>> {
        let _ = compiled;
        Ok(None)
    }

    /// Opens a range that profilers show by this name.
    fn enter(&mut self, name: &str) {
        let _ = name;
    }

    /// Closes the innermost range.
    fn leave(&mut self) {}

    /// Begins or ends the part of a run that a waiting profiler records. Within it a device may give up speed to show more.
    ///
    /// # Errors
    /// Where the device fails, also in what was replayed before.
    fn profile(&mut self, on: bool) -> Result<()> {
        let _ = on;
        Ok(())
    }
}
