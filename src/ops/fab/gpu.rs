//! Launchers of the kernels in `kernels/fab.cu`.

use super::{ALPHA_MAX, BETA, ETA, FabBack, FabStep, ITERATES, LEAST};
use crate::Result;
use crate::gpu::driver::Arg;
use crate::gpu::launches::{GpuOp, Launches, bytes};
use bytemuck::{Pod, Zeroable};

/// Threads of a block, which has an example.
const THREADS: usize = 256;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FabDims {
    len: u32,
    classes: u32,
    iterates: u32,
    alpha_max: f32,
    eta: f32,
    least: f32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FabBackDims {
    len: u32,
    eps: f32,
    beta: f32,
}

impl GpuOp for FabStep {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let b = &self.batch;
        let dims = FabDims {
            len: self.image.len() as u32,
            classes: b.classes as u32,
            iterates: ITERATES as u32,
            alpha_max: ALPHA_MAX,
            eta: ETA,
            least: LEAST,
        };
        let args = [
            Arg::Out(cx.buf(b.x_adv)),
            Arg::In(cx.buf(b.x)),
            Arg::In(cx.buf(self.gradient)),
            Arg::In(cx.buf(b.logits)),
            Arg::In(cx.buf(b.label)),
            Arg::In(cx.buf(b.target)),
            Arg::In(cx.buf(b.position)),
            cx.live(),
            bytes(&dims),
        ];
        let shape = format!("{}, {} classes", self.image, b.classes);
        cx.launch(&format!("fab_step_{}", self.norm.suffix()), [cx.capacity(), 1, 1], THREADS, 0, args, shape)
    }
}

impl GpuOp for FabBack {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let b = &self.batch;
        let dims = FabBackDims { len: self.image.len() as u32, eps: self.eps, beta: BETA };
        let args = [
            Arg::Out(cx.buf(b.x_adv)),
            Arg::Out(cx.buf(b.keep)),
            Arg::In(cx.buf(b.x)),
            Arg::In(cx.buf(b.crossed)),
            Arg::In(cx.buf(b.position)),
            cx.live(),
            bytes(&dims),
        ];
        let name = format!("fab_back_{}", self.norm.suffix());
        cx.launch(&name, [cx.capacity(), 1, 1], THREADS, 0, args, self.image.to_string())
    }
}
