//! Launcher of the kernel in `kernels/conv_prepare.cu`.

use super::walk::ROWS;
use crate::Result;
use crate::gpu::driver::{Arg, Ptr};
use crate::gpu::record::{Recorder, bytes};
use crate::program::{Buf, Pass, PrepareFilter, Span};
use bytemuck::{Pod, Zeroable};

/// Jobs of a launch: what its parameters have room for.
const JOBS: usize = 48;
const TILE: usize = 32;
const THREADS: usize = 256;

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct ConvPrepareJob {
    out: [Ptr; 2],
    scale_k: [Ptr; 2],
    scale_c: [Ptr; 2],
    weights: u64,
    k: u32,
    c: u32,
    taps: u32,
    first: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ConvPrepareDims {
    jobs: u32,
    pad: u32,
    job: [ConvPrepareJob; JOBS],
}

/// Preparations of the same weights, of one pass or of both.
struct Weights {
    params: Buf,
    span: Span,
    job: ConvPrepareJob,
}

/// Launches preparations of filters that no stem has.
pub(super) fn prepare(cx: &mut Recorder, filters: &[&PrepareFilter]) -> Result<()> {
    let mut all: Vec<Weights> = Vec::new();
    for f in filters {
        let decl = cx.decl(f.filter);
        let (conv, pass) = (decl.conv, matches!(decl.pass, Pass::Dgrad) as usize);
        // Passes of the same weights come one after the other: they are read once.
        let fits = |w: &Weights| w.params == f.params && w.span == f.weights && w.job.out[pass] == 0;
        if !all.last().is_some_and(fits) {
            let (k, c, taps) = (conv.k as u32, conv.c as u32, (conv.filter * conv.filter) as u32);
            let job = ConvPrepareJob { weights: f.weights.offset as u64, k, c, taps, ..ConvPrepareJob::zeroed() };
            all.push(Weights { params: f.params, span: f.weights, job });
        }
        let job = &mut all.last_mut().expect("there is one").job;
        let scale = |a| cx.affine(a)[0];
        job.out[pass] = cx.filter(f.filter);
        job.scale_k[pass] = f.scale_k.map_or(0, scale);
        job.scale_c[pass] = f.scale_c.map_or(0, scale);
    }
    for same in all.chunk_by(|a, b| a.params == b.params) {
        same.chunks(JOBS).try_for_each(|jobs| launch(cx, jobs))?;
    }
    Ok(())
}

fn launch(cx: &mut Recorder, weights: &[Weights]) -> Result<()> {
    let mut dims = ConvPrepareDims { jobs: weights.len() as u32, ..ConvPrepareDims::zeroed() };
    let mut blocks = 0;
    for (to, w) in dims.job.iter_mut().zip(weights) {
        let tiles = |n: u32| (n as usize).next_multiple_of(ROWS) / TILE;
        *to = ConvPrepareJob { first: blocks as u32, ..w.job };
        blocks += w.job.taps as usize * tiles(w.job.k) * tiles(w.job.c);
    }
    let args = [Arg::In(cx.buf(weights[0].params)), bytes(&dims)];
    cx.launch_typed("conv_prepare", [blocks, 1, 1], THREADS, 0, args, format!("{} filters", weights.len()))
}
