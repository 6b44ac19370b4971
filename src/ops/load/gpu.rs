//! Launchers of the kernels in `kernels/load.cu`.

use super::LoadBatch;
use crate::Result;
use crate::gpu::record::{GpuOp, Recorder};
use crate::gpu::unsupported;

impl GpuOp for LoadBatch {
    fn launch(&self, _cx: &mut Recorder) -> Result<()> {
        Err(unsupported("load", "not on a GPU yet"))
    }
}
