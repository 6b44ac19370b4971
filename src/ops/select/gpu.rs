//! Launcher of the kernel in `kernels/select.cu`.

use super::Select;
use crate::Result;
use crate::gpu::driver::Arg;
use crate::gpu::launches::{GpuOp, Launches, bytes};
use crate::ops::formula::gpu::{FormulaDims, THREADS, state};
use bytemuck::{Pod, Zeroable};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SelectDims {
    keep: FormulaDims,
    keep_easy: f32,
}

impl GpuOp for Select {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let b = &self.batch;
        let dims = SelectDims { keep: FormulaDims::new(&self.keep)?, keep_easy: self.keep_easy };
        let rest = [Arg::In(cx.buf(b.position)), cx.live(), bytes(&dims)];
        let args = [Arg::Out(cx.buf(b.keep))].into_iter().chain(state(cx, b)).chain(rest);
        let grid = [cx.capacity().div_ceil(THREADS), 1, 1];
        let shape = format!("{} slots, {} of the easy", cx.capacity(), self.keep_easy);
        cx.launch("select_keep", grid, THREADS, 0, args.collect::<Vec<_>>(), shape)
    }
}
