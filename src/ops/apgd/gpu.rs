//! Launcher of the kernels in `kernels/apgd.cu`.

use super::Apgd;
use crate::Result;
use crate::gpu::driver::Arg;
use crate::gpu::launches::{GpuOp, Launches, bytes};
use crate::gpu::unsupported;
use crate::ops::head::Loss;
use bytemuck::{Pod, Zeroable};

/// Threads that have an example.
const THREADS: usize = 256;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ApgdDims {
    len: u32,
    classes: u32,
    eps: f32,
    step: f32,
    fixed: u32,
    offset: u32,
}

impl GpuOp for Apgd {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let (b, s, len) = (&self.batch, &self.state, self.image.len());
        let aim = match self.loss {
            _ if self.fixed.is_some() => 0,
            Loss::CrossEntropy => 0,
            Loss::TargetedDlr if b.classes >= 4 => cx.buf(b.target),
            loss => return Err(unsupported("apgd", format!("{loss:?} of {} classes", b.classes))),
        };
        let dims = ApgdDims {
            len: len as u32,
            classes: b.classes as u32,
            eps: self.eps,
            step: self.fixed.unwrap_or(2.0 * self.eps),
            fixed: self.fixed.is_some().into(),
            offset: self.at.offset,
        };
        let written = [b.x_adv, s.best, s.best_gradient, s.previous, s.progress].map(|buf| Arg::Out(cx.buf(buf)));
        let read = [b.x, self.gradient, b.loss, b.logits, b.label].map(|buf| Arg::In(cx.buf(buf)));
        let rest = [self.schedule, self.at.control, b.position].map(|buf| Arg::In(cx.buf(buf)));
        let args = written.into_iter().chain(read).chain([Arg::In(aim)]).chain(rest);
        let args: Vec<Arg> = args.chain([cx.live(), bytes(&dims)]).collect();
        let name = format!("apgd_{}", self.norm.suffix());
        cx.launch(&name, [cx.capacity(), 1, 1], THREADS, 0, args, self.image.to_string())
    }
}
