//! Launcher of the kernel in `kernels/start.cu`.

use super::{Noise, Start};
use crate::Result;
use crate::gpu::driver::Arg;
use crate::gpu::launches::{GpuOp, Launches, bytes};
use crate::ops::ball::Norm;
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
    scale: f32,
    seed: [u32; 2],
    stream: u32,
    clean: u32,
}

impl GpuOp for Start {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let (b, len) = (&self.batch, self.image.len());
        // The numbers of `kernels/start.cu`.
        let (noise, scale, clean) = match self.noise.map(|d| d.noise) {
            None => (0, 0.0, 0),
            Some(Noise::Uniform(eps)) => (1, eps, 0),
            Some(Noise::Normal(sigma)) => (2, sigma, 0),
            Some(Noise::Surface { norm: Norm::Linf, length, clean }) => (1, length, clean),
            Some(Noise::Surface { norm: Norm::L2, length, clean }) => (2, length, clean),
        };
        let (seed, stream) = self.noise.map_or(([0; 2], Stream::Attack), |d| (d.rng.key(), d.stream));
        let dims = StartDims { len: len as u32, noise, scale, seed, stream: stream as u32, clean };
        let args = [
            Arg::Out(cx.buf(b.x_adv)),
            Arg::In(cx.buf(b.x)),
            Arg::In(cx.buf(b.position)),
            Arg::In(cx.buf(b.sample)),
            Arg::In(cx.buf(self.data.control)),
            cx.live(),
            bytes(&dims),
        ];
        if let Some(Noise::Surface { .. }) = self.noise.map(|d| d.noise) {
            return cx.launch("start_surface", [cx.capacity(), 1, 1], THREADS, 0, args, self.image.to_string());
        }
        let grid = [len.div_ceil(QUAD).div_ceil(THREADS), cx.capacity(), 1];
        cx.launch("start", grid, THREADS, 0, args, self.image.to_string())
    }
}
