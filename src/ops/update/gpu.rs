//! Launcher of the kernel in `kernels/update.cu`.

use super::{RUNNING_MOMENTUM, Update};
use crate::Result;
use crate::gpu::driver::Arg;
use crate::gpu::launches::{GpuOp, Launches, bytes};
use crate::gpu::unsupported;
use bytemuck::{Pod, Zeroable};

/// Threads of a block, and the elements that they have.
const THREADS: usize = 256;
const PART: usize = 2 * 4 * THREADS;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct UpdateDims {
    len: u32,
    stats: u32,
    momentum: f32,
    decay: f32,
    keep: f32,
    share: f32,
    ema_keep: f32,
    ema_share: f32,
}

impl GpuOp for Update {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let a = &self.arenas;
        let (len, stats) = (a.params.len, a.running.len);
        if len.max(stats) >= 1 << 31 {
            return Err(unsupported(
                "update",
                format!("{len} parameters, {stats} statistics: at most 2^31 - 1 of each"),
            ));
        }
        let ema_keep = self.ema.map_or(0.0, |e| e.decay);
        let dims = UpdateDims {
            len: len as u32,
            stats: stats as u32,
            momentum: self.momentum,
            decay: self.weight_decay,
            keep: 1.0 - RUNNING_MOMENTUM,
            share: RUNNING_MOMENTUM,
            ema_keep,
            ema_share: 1.0 - ema_keep,
        };
        let args = [
            Arg::Out(cx.buf(a.params)),
            Arg::Out(cx.buf(a.momenta)),
            Arg::Out(cx.buf(a.running)),
            Arg::Out(self.ema.map_or(0, |e| cx.buf(e.params))),
            Arg::In(cx.buf(a.grads)),
            Arg::In(cx.buf(a.batch_stats)),
            Arg::In(self.clean.map_or(0, |c| cx.buf(c.grads))),
            Arg::In(self.clean.map_or(0, |c| cx.buf(c.batch_stats))),
            Arg::In(cx.buf(self.lr)),
            Arg::In(cx.buf(self.stats.counters)),
            cx.live(),
            bytes(&dims),
        ];
        let grid = [len.div_ceil(PART) + stats.div_ceil(PART), 1, 1];
        cx.launch("update", grid, THREADS, 0, args, format!("{len} parameters, {stats} statistics"))
    }
}
