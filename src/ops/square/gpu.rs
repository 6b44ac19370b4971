//! Launchers of the kernels in `kernels/square.cu`.

use super::schedule::{LEVELS, Level};
use super::{BLOCK_BITS, Square};
use crate::Result;
use crate::gpu::driver::Arg;
use crate::gpu::launches::{GpuOp, Launches, bytes};
use crate::gpu::unsupported;
use crate::ops::stem::MAX_CHANNELS;
use crate::rng::{Philox, Stream};
use bytemuck::{Pod, Zeroable};

/// Threads of a block, which has an example.
const THREADS: usize = 256;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LevelDims {
    side: u32,
    table: u32,
}

impl From<Level> for LevelDims {
    fn from(level: Level) -> Self {
        LevelDims { side: level.side, table: level.table }
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SquareDims {
    c: u32,
    h: u32,
    w: u32,
    classes: u32,
    eps: f32,
    offset: u32,
    blocks: u32,
    seed: Philox,
    stream: u32,
    levels: [LevelDims; LEVELS],
    from: [u32; LEVELS - 1],
    start: LevelDims,
    corner: u32,
    grid: [u32; 2],
}

impl GpuOp for Square {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let (b, image, state, schedule) = (&self.batch, self.image, &self.state, &self.schedule);
        // A bit of a block's word, and a shared value, for each channel.
        const { assert!(MAX_CHANNELS <= THREADS && BLOCK_BITS == 128) };
        if image.c > MAX_CHANNELS {
            return Err(unsupported("square", format!("{} channels: at most {MAX_CHANNELS}", image.c)));
        }
        if b.classes < 2 {
            return Err(unsupported("square", "the margin of one class: it takes two"));
        }
        let dims = SquareDims {
            c: image.c as u32,
            h: image.h as u32,
            w: image.w as u32,
            classes: b.classes as u32,
            eps: self.eps,
            offset: self.query.map_or(0, |at| at.offset),
            blocks: self.blocks() as u32,
            seed: self.rng,
            stream: Stream::Square as u32,
            levels: schedule.levels.map(LevelDims::from),
            from: schedule.from,
            start: schedule.start.into(),
            corner: schedule.corner,
            grid: self.grid().map(|n| n as u32),
        };
        let eta = Arg::In(cx.buf(state.eta));
        let (sample, control) = (Arg::In(cx.buf(b.sample)), Arg::In(cx.buf(self.data.control)));
        let rest = [sample, control, Arg::In(cx.buf(b.position)), cx.live(), bytes(&dims)];
        let (adv, margin, x) = (Arg::Out(cx.buf(b.x_adv)), Arg::Out(cx.buf(state.margin)), Arg::In(cx.buf(b.x)));
        let (name, args) = match self.query {
            None => ("start", vec![adv, margin, x, eta]),
            Some(_) => {
                let (logits, label) = (Arg::In(cx.buf(b.logits)), Arg::In(cx.buf(b.label)));
                ("step", vec![adv, Arg::Out(cx.buf(state.best)), margin, x, logits, eta, label])
            }
        };
        let args = args.into_iter().chain(rest);
        let name = format!("square_{name}_{}", self.norm.suffix());
        cx.launch(&name, [cx.capacity(), 1, 1], THREADS, 0, args, format!("{image}, {} classes", b.classes))
    }
}
