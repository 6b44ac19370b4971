//! Launchers of the kernels in `kernels/stem.cu`.

use super::{StemDgrad, StemFprop, StemWgrad};
use crate::Result;
use crate::gpu::record::{GpuOp, Recorder};
use crate::gpu::unsupported;
use crate::program::{FilterDecl, PrepareFilter};

/// Bytes of a stem's prepared filter.
pub fn filter_bytes(_f: &FilterDecl) -> usize {
    1
}

/// Launches preparations of stems' filters.
pub fn prepare(_cx: &mut Recorder, _filters: &[&PrepareFilter]) -> Result<()> {
    Err(unsupported("stem", "not on a GPU yet"))
}

impl GpuOp for StemFprop {
    fn launch(&self, _cx: &mut Recorder) -> Result<()> {
        Err(unsupported("stem", "not on a GPU yet"))
    }
}

impl GpuOp for StemDgrad {
    fn launch(&self, _cx: &mut Recorder) -> Result<()> {
        Err(unsupported("stem", "not on a GPU yet"))
    }
}

impl GpuOp for StemWgrad {
    fn launch(&self, _cx: &mut Recorder) -> Result<()> {
        Err(unsupported("stem", "not on a GPU yet"))
    }
}
