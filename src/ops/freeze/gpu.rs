//! Launchers of the kernels in `kernels/freeze.cu`.

use super::{Freeze, Thaw};
use crate::Result;
use crate::gpu::driver::Arg;
use crate::gpu::launches::{GpuOp, Launches, bytes};
use bytemuck::{Pod, Zeroable};

/// Threads of a block.
const THREADS: usize = 256;
/// Elements of an image that a block puts aside.
const FREEZE_PART: usize = 4 * THREADS;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FreezeDims {
    len: u32,
    all: u32,
}

impl GpuOp for Freeze {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let (b, len) = (&self.batch, self.image.len());
        let dims = FreezeDims { len: len as u32, all: self.all.into() };
        let args = [
            Arg::Out(cx.buf(b.frozen)),
            Arg::In(cx.buf(b.x_adv)),
            Arg::In(cx.buf(b.keep)),
            Arg::In(cx.buf(b.position)),
            cx.live(),
            bytes(&dims),
        ];
        let grid = [len.div_ceil(FREEZE_PART), cx.capacity(), 1];
        cx.launch("freeze", grid, THREADS, 0, args, self.image.to_string())
    }
}

impl GpuOp for Thaw {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let args = [Arg::Out(cx.buf(self.batch.position)), Arg::Out(cx.buf(self.batch.live))];
        cx.launch("thaw", [1, 1, 1], THREADS, 0, args, format!("{} slots", cx.capacity()))
    }
}
