//! Launchers of the kernels in `kernels/mine.cu`.

use super::{Compact, Select, Weigh};
use crate::Result;
use crate::gpu::record::{GpuOp, Recorder};
use crate::gpu::unsupported;

impl GpuOp for Select {
    fn launch(&self, _cx: &mut Recorder) -> Result<()> {
        Err(unsupported("mine", "not on a GPU yet"))
    }
}

impl GpuOp for Compact {
    fn launch(&self, _cx: &mut Recorder) -> Result<()> {
        Err(unsupported("mine", "not on a GPU yet"))
    }
}

impl GpuOp for Weigh {
    fn launch(&self, _cx: &mut Recorder) -> Result<()> {
        Err(unsupported("mine", "not on a GPU yet"))
    }
}
