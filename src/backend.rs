//! The seam between the engine and a device.

use crate::Result;
use crate::program::{Buf, DType, Phase, Program};
use bytemuck::Pod;
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
/// The operations themselves are data ([`crate::program::Op`]), so a backend sees a whole mini-batch before it runs: it may
/// reorder what is independent, keep values that never leave a stretch in scratch memory, or capture everything in a graph.
pub trait Backend {
    /// A program made ready to run on this device.
    type Recorded;

    /// A short name for reports, such as `cpu (avx2, 2 threads)`.
    fn name(&self) -> String;

    /// Hash of the sources of the kernels that it runs, if they are not part of this program's own code.
    fn kernels(&self) -> Option<&'static str> {
        None
    }

    /// A new buffer of `len` elements, all zero.
    ///
    /// # Errors
    /// Where memory does not suffice.
    fn alloc(&mut self, dtype: DType, len: usize) -> Result<Buf>;

    /// Copies `data` into `buf` from element `offset` on.
    ///
    /// # Errors
    /// Where the device fails.
    ///
    /// # Panics
    /// If the type or the range does not fit the buffer (an engine bug).
    fn write<T: Pod>(&mut self, buf: Buf, offset: usize, data: &[T]) -> Result<()>;

    /// Copies from `buf`, from element `offset` on, into `out`; waits for what was replayed before.
    ///
    /// # Errors
    /// Where the device fails, also in what was replayed before.
    ///
    /// # Panics
    /// If the type or the range does not fit the buffer (an engine bug).
    fn read<T: Pod>(&self, buf: Buf, offset: usize, out: &mut [T]) -> Result<()>;

    /// Prepares `program`: all memory it needs is allocated here, none in [`Backend::replay`].
    ///
    /// # Errors
    /// Where an op does not support its shape, or memory does not suffice.
    fn record(&mut self, program: Program) -> Result<Self::Recorded>;

    /// Runs the program once, in order with everything before it.
    ///
    /// # Errors
    /// Where the device fails.
    fn replay(&mut self, recorded: &mut Self::Recorded) -> Result<()>;

    /// Time spent in `phase` by replays of this backend since the last call for that phase.
    ///
    /// # Errors
    /// As [`Backend::read`].
    fn take_time(&mut self, phase: Phase) -> Result<Duration>;

    /// Bytes that the backend's buffers and this program take.
    fn memory(&self, recorded: &Self::Recorded) -> u64;

    /// GFLOP/s of a loop of nothing but multiply-adds, measured now; none where that is not known.
    fn peak_gflops(&self) -> Option<f64> {
        None
    }

    /// Runs the program once as [`Backend::replay`] does, and tells how long each op took, summed over the device's workers, and
    /// how many these are; none where only a profiler can.
    ///
    /// # Errors
    /// As [`Backend::replay`].
    fn trace(&mut self, recorded: &mut Self::Recorded) -> Result<Option<Trace>> {
        let _ = recorded;
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

    /// The whole buffer, as a vector.
    ///
    /// # Errors
    /// As [`Backend::read`].
    fn read_all<T: Pod>(&self, buf: Buf) -> Result<Vec<T>> {
        let mut out = vec![T::zeroed(); buf.len];
        self.read(buf, 0, &mut out)?;
        Ok(out)
    }
}
