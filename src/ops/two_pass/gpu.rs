//! Launcher of the kernel in `kernels/two_pass.cu`.

use super::{MARGIN, SURE, TwoPass, TwoPassLoss};
use crate::Result;
use crate::gpu::driver::Arg;
use crate::gpu::launches::{GpuOp, Launches, bytes};
use crate::gpu::unsupported;
use bytemuck::{Pod, Zeroable};

/// Threads of a block, and examples that it has.
const THREADS: usize = 128;
const EXAMPLES: usize = THREADS / 32;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct TwoPassDims {
    classes: u32,
    mart: u32,
    beta: f32,
    margin: f32,
    sure: f32,
}

impl GpuOp for TwoPassLoss {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let (b, clean) = (&self.batch, self.batch.clean());
        if b.classes < 2 {
            return Err(unsupported("two-pass loss", "one class: it takes two; use another method"));
        }
        let mart = u32::from(self.loss == TwoPass::Mart);
        let dims = TwoPassDims { classes: b.classes as u32, mart, beta: self.beta, margin: MARGIN, sure: SURE };
        let args = [
            Arg::Out(cx.buf(b.loss)),
            Arg::Out(cx.buf(b.gradient)),
            Arg::Out(cx.buf(clean.gradient)),
            Arg::In(cx.buf(b.logits)),
            Arg::In(cx.buf(clean.logits)),
            Arg::In(cx.buf(b.label)),
            Arg::In(cx.buf(b.weight)),
            Arg::In(cx.buf(b.position)),
            cx.live(),
            bytes(&dims),
        ];
        let grid = [cx.capacity().div_ceil(EXAMPLES), 1, 1];
        cx.launch("two_pass_loss", grid, THREADS, 0, args, format!("{:?}, {} classes", self.loss, b.classes))
    }
}
