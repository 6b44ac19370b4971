//! Launchers of the kernels in `kernels/refill.cu`.

use super::Refill;
use crate::Result;
use crate::gpu::driver::Arg;
use crate::gpu::launches::{GpuOp, Launches, bytes};
use bytemuck::{Pod, Zeroable};

/// Threads of a block, and elements of an image that it moves.
const THREADS: usize = 256;
const PART: usize = 4 * THREADS;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RefillDims {
    len: u32,
    capacity: u32,
}

impl GpuOp for Refill {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let (b, pool, len) = (&self.batch, &self.pool, self.image.len());
        let dims = bytes(&RefillDims { len: len as u32, capacity: cx.capacity() as u32 });
        let grid = [len.div_ceil(PART), cx.capacity(), 1];
        let waiting = [pool.x, pool.x_adv, pool.label, pool.sample, pool.kappa, pool.step].map(|buf| cx.buf(buf));
        let batch = [b.x, b.x_adv, b.label, b.sample, b.kappa, b.step].map(|buf| cx.buf(buf));
        let (position, ring, live) = (cx.buf(b.position), cx.buf(pool.ring), cx.buf(b.live));
        let moved = |to: [u64; 6], from: [u64; 6], rest: Vec<Arg>| {
            to.into_iter().map(Arg::Out).chain(from.into_iter().map(Arg::In)).chain(rest).collect::<Vec<_>>()
        };
        let put = moved(waiting, batch, vec![Arg::In(position), Arg::In(ring), Arg::In(live), dims.clone()]);
        cx.launch("refill_put", grid, THREADS, 0, put, self.image.to_string())?;
        let take = moved(batch, waiting, vec![Arg::Out(position), Arg::In(ring), Arg::In(live), dims.clone()]);
        cx.launch("refill_take", grid, THREADS, 0, take, self.image.to_string())?;
        let close = [Arg::Out(ring), Arg::Out(live), dims];
        cx.launch("refill_close", [1, 1, 1], 1, 0, close, format!("{} slots", cx.capacity()))
    }
}
