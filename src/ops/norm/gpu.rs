//! Launchers of the kernels in `kernels/norm.cu`.

use super::{Fold, NormBprop, NormFprop};
use crate::Result;
use crate::gpu::record::{GpuOp, Recorder};
use crate::gpu::unsupported;

impl GpuOp for NormFprop {
    fn launch(&self, _cx: &mut Recorder) -> Result<()> {
        Err(unsupported("norm", "not on a GPU yet"))
    }
}

impl GpuOp for NormBprop {
    fn launch(&self, _cx: &mut Recorder) -> Result<()> {
        Err(unsupported("norm", "not on a GPU yet"))
    }
}

/// Launches independent foldings together.
pub fn fold(_cx: &mut Recorder, _folds: &[&Fold]) -> Result<()> {
    Err(unsupported("norm", "not on a GPU yet"))
}
