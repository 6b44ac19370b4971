//! Launchers of the kernels in `kernels/account.cu`.

use super::{Account, Stats};
use crate::Result;
use crate::gpu::record::{GpuOp, Recorder};
use crate::gpu::unsupported;
use crate::program::Phase;

impl GpuOp for Account {
    fn launch(&self, _cx: &mut Recorder) -> Result<()> {
        Err(unsupported("account", "not on a GPU yet"))
    }
}

impl GpuOp for Phase {
    fn launch(&self, _cx: &mut Recorder) -> Result<()> {
        Err(unsupported("account", "not on a GPU yet"))
    }
}

/// Adds `passes` (fprop, dgrad, wgrad) times the number of live examples to the counters.
pub fn tally(_cx: &mut Recorder, _stats: Stats, _passes: [u32; 3]) -> Result<()> {
    Err(unsupported("account", "not on a GPU yet"))
}
