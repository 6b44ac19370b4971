//! Launcher of the kernels in `kernels/conv_wgrad.cu`.

use crate::Result;
use crate::gpu::record::{GpuOp, Recorder};
use crate::gpu::unsupported;
use crate::ops::conv::ConvWgrad;

impl GpuOp for ConvWgrad {
    fn launch(&self, _cx: &mut Recorder) -> Result<()> {
        Err(unsupported("conv", "not on a GPU yet"))
    }
}
