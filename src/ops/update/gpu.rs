//! Launchers of the kernels in `kernels/update.cu`.

use super::Update;
use crate::Result;
use crate::gpu::record::{GpuOp, Recorder};
use crate::gpu::unsupported;

impl GpuOp for Update {
    fn launch(&self, _cx: &mut Recorder) -> Result<()> {
        Err(unsupported("update", "not on a GPU yet"))
    }
}
