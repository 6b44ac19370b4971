//! Launchers of the kernels in `kernels/load.cu`.

use super::{Load, PAD};
use crate::Result;
use crate::batch::counter;
use crate::gpu::driver::Arg;
use crate::gpu::launches::{GpuOp, Launches, bytes};
use crate::program::{DType, Span};
use crate::rng::{Philox, Stream};
use bytemuck::{Pod, Zeroable};

const THREADS: usize = 256;
/// Pixels of a block.
const PIXELS: usize = 4 * THREADS;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LoadDims {
    h: u32,
    w: u32,
    len: u32,
    capacity: u32,
    augment: u32,
    pad: u32,
    seed: Philox,
    stream: u32,
}

impl GpuOp for Load {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let (b, data, image) = (&self.batch, &self.data, self.image);
        let (capacity, len) = (cx.capacity(), image.len());
        let order = Arg::In(cx.buf(data.order));
        let control = Arg::In(cx.buf(data.control));
        let halted = Arg::In(cx.span(self.stats.counters, Span { offset: counter::HALTED, len: 1 }));
        let state = [b.live, b.position, b.label, b.sample, b.kappa, b.crossed, b.keep, b.step, b.weight];
        let args = state.map(|buf| Arg::Out(cx.buf(buf))).into_iter().chain([
            Arg::In(cx.buf(data.labels)),
            order.clone(),
            control.clone(),
            halted.clone(),
            bytes(&(capacity as u32)),
        ]);
        cx.launch("load_state", [capacity.div_ceil(THREADS), 1, 1], THREADS, 0, args, format!("{capacity} slots"))?;
        let dims = LoadDims {
            h: image.h as u32,
            w: image.w as u32,
            len: len as u32,
            capacity: capacity as u32,
            augment: self.augment as u32,
            pad: PAD as u32,
            seed: self.rng,
            stream: Stream::Augment as u32,
        };
        let kernel = if data.images.dtype == DType::U8 { "load_images_u8" } else { "load_images_f32" };
        let args = [Arg::Out(cx.buf(b.x)), Arg::In(cx.buf(data.images)), order, control, halted, bytes(&dims)];
        cx.launch(kernel, [len.div_ceil(PIXELS), capacity, 1], THREADS, 0, args, image.to_string())
    }
}
