//! Launcher of the kernel in `kernels/target_class.cu`.

use super::TargetClass;
use crate::Result;
use crate::gpu::driver::Arg;
use crate::gpu::launches::{GpuOp, Launches, bytes};
use bytemuck::{Pod, Zeroable};

/// Threads of a block: a warp an example.
const THREADS: usize = 256;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct TargetClassDims {
    classes: u32,
    restarts: u32,
}

impl GpuOp for TargetClass {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let b = &self.batch;
        let dims = TargetClassDims { classes: b.classes as u32, restarts: self.restarts };
        let args = [
            Arg::Out(cx.buf(b.target)),
            Arg::In(cx.buf(b.logits)),
            Arg::In(cx.buf(b.position)),
            Arg::In(cx.buf(self.data.control)),
            cx.live(),
            bytes(&dims),
        ];
        let grid = [cx.capacity().div_ceil(THREADS / 32), 1, 1];
        cx.launch("target_class", grid, THREADS, 0, args, format!("{} classes", b.classes))
    }
}
