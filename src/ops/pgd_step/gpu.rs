//! Launcher of the kernel in `kernels/pgd_step.cu`, for steps that no gradient's launch takes.

use super::PgdStep;
use crate::Result;
use crate::gpu::driver::Arg;
use crate::gpu::launches::{GpuOp, Launches, bytes};
use bytemuck::{Pod, Zeroable};

/// Threads of a block, an element each.
const THREADS: usize = 256;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct PgdStepDims {
    len: u32,
    eps: f32,
    alpha: f32,
}

impl GpuOp for PgdStep {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let len = self.image.len();
        let dims = PgdStepDims { len: len as u32, eps: self.eps, alpha: self.alpha };
        let b = &self.batch;
        let args =
            [Arg::Out(cx.buf(b.x_adv)), Arg::In(cx.buf(b.x)), Arg::In(cx.buf(self.gradient)), cx.live(), bytes(&dims)];
        let grid = [len.div_ceil(THREADS), cx.capacity(), 1];
        cx.launch("pgd_step", grid, THREADS, 0, args, self.image.to_string())
    }
}
