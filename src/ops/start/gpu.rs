//! Launcher of the kernel in `kernels/start.cu`.

use super::Start;
use crate::Result;
use crate::gpu::driver::Arg;
use crate::gpu::record::{GpuOp, Recorder, bytes};
use crate::rng::Stream;
use bytemuck::{Pod, Zeroable};

/// Elements of a thread and threads of a block.
const QUAD: usize = 4;
const THREADS: usize = 256;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct StartDims {
    len: u32,
    noise: u32,
    eps: f32,
    seed: [u32; 2],
    stream: u32,
}

impl GpuOp for Start {
    fn launch(&self, cx: &mut Recorder) -> Result<()> {
        let (b, len) = (&self.batch, self.image.len());
        let (eps, seed, stream) = self.noise.map_or((0.0, [0; 2], Stream::Attack), |n| (n.eps, n.rng.key(), n.stream));
        let dims = StartDims { len: len as u32, noise: self.noise.is_some() as u32, eps, seed, stream: stream as u32 };
        let args = [
            Arg::Out(cx.buf(b.x_adv)),
            Arg::In(cx.buf(b.x)),
            Arg::In(cx.buf(b.position)),
            Arg::In(cx.buf(b.sample)),
            Arg::In(cx.buf(self.data.control)),
            cx.live(),
            bytes(&dims),
        ];
        let grid = [len.div_ceil(QUAD).div_ceil(THREADS), cx.capacity(), 1];
        cx.launch("start", grid, THREADS, 0, args, self.image.to_string())
    }
}
