//! Launcher of the kernel in `kernels/weigh.cu`.

use super::Weigh;
use crate::Result;
use crate::gpu::driver::Arg;
use crate::gpu::launches::{GpuOp, Launches, bytes};
use crate::ops::formula::gpu::{FormulaDims, THREADS, state};

impl GpuOp for Weigh {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let b = &self.batch;
        let rest = [Arg::In(cx.buf(b.position)), cx.live(), bytes(&FormulaDims::new(&self.weight)?)];
        let args = [Arg::Out(cx.buf(b.weight))].into_iter().chain(state(cx, b)).chain(rest);
        let args = args.collect::<Vec<_>>();
        cx.launch("weigh", [1, 1, 1], THREADS, 0, args, format!("{} slots", cx.capacity()))
    }
}
