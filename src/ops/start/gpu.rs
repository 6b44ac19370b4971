//! Launcher of the kernel in `kernels/start.cu`.

use super::{Noise, Start};
use crate::Result;
use crate::gpu::driver::Arg;
use crate::gpu::launches::{GpuOp, Launches, bytes};
use crate::ops::ball::Norm;
use crate::rng::{Philox, Stream};
use bytemuck::{Pod, Zeroable};

/// Elements of a thread and threads of a block.
const QUAD: usize = 4;
const THREADS: usize = 256;

/// Numbers of the noise.
mod noise {
    pub const NONE: u32 = 0;
    pub const UNIFORM: u32 = 1;
    pub const NORMAL: u32 = 2;
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct StartDims {
    len: u32,
    noise: u32,
    scale: f32,
    seed: Philox,
    stream: u32,
    clean: u32,
}

impl GpuOp for Start {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let (b, len) = (&self.batch, self.image.len());
        let (number, scale, clean) = match self.noise.map(|d| d.noise) {
            None => (noise::NONE, 0.0, 0),
            Some(Noise::Uniform(eps)) => (noise::UNIFORM, eps, 0),
            Some(Noise::Normal(sigma)) => (noise::NORMAL, sigma, 0),
            Some(Noise::Surface { norm: Norm::Linf, length, clean }) => (noise::UNIFORM, length, clean),
            Some(Noise::Surface { norm: Norm::L2, length, clean }) => (noise::NORMAL, length, clean),
        };
        let (seed, stream) = self.noise.map_or((Philox::zeroed(), Stream::Attack), |d| (d.rng, d.stream));
        let dims = StartDims { len: len as u32, noise: number, scale, seed, stream: stream as u32, clean };
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
