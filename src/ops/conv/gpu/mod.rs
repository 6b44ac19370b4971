//! Launchers of the kernels in `kernels/conv.cu`.

use super::{ConvDgrad, ConvFprop};
pub(crate) mod patch;
mod wgrad;

use crate::Result;
use crate::gpu::Precision;
use crate::gpu::record::Recorder;
use crate::gpu::unsupported;
use crate::program::{FilterDecl, PrepareFilter};

/// Bytes of a prepared filter.
pub fn filter_bytes(_f: &FilterDecl, _precision: Precision) -> usize {
    1
}

/// Launches independent preparations together.
pub fn prepare(_cx: &mut Recorder, _filters: &[&PrepareFilter]) -> Result<()> {
    Err(unsupported("conv", "not on a GPU yet"))
}

/// A convolution and, as part of its sum, the 1x1 convolution whose output it would add.
pub fn fprop(_cx: &mut Recorder, _conv: &ConvFprop, _shortcut: Option<&ConvFprop>) -> Result<()> {
    Err(unsupported("conv", "not on a GPU yet"))
}

/// A gradient and, as part of its sum, the 1x1 convolution's that would be added to it.
pub fn dgrad(_cx: &mut Recorder, _conv: &ConvDgrad, _shortcut: Option<&ConvDgrad>) -> Result<()> {
    Err(unsupported("conv", "not on a GPU yet"))
}
