//! Launchers of the kernels in `kernels/head.cu`.

use super::{HeadDgrad, HeadFprop, HeadWgrad};
use crate::Result;
use crate::gpu::record::{GpuOp, Recorder};
use crate::gpu::unsupported;

impl GpuOp for HeadDgrad {
    fn launch(&self, _cx: &mut Recorder) -> Result<()> {
        Err(unsupported("head", "not on a GPU yet"))
    }
}

impl GpuOp for HeadWgrad {
    fn launch(&self, _cx: &mut Recorder) -> Result<()> {
        Err(unsupported("head", "not on a GPU yet"))
    }
}

/// The forward half; `keep` marks the examples that crossed to be kept, the others not; `dgrad` is the backward half.
pub fn fprop(_cx: &mut Recorder, _fprop: &HeadFprop, _keep: bool, _dgrad: Option<&HeadDgrad>) -> Result<()> {
    Err(unsupported("head", "not on a GPU yet"))
}
