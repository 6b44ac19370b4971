//! Launcher of the kernel in `kernels/prepare_filter.cu`; a stem's filters are prepared by its own.

use super::PrepareFilter;
use crate::Result;
use crate::gpu::Precision;
use crate::gpu::driver::{Arg, Ptr};
use crate::gpu::launches::{GpuOp, Launches, bytes};
use crate::ops::conv::gpu::ROWS;
use crate::ops::{conv, stem};
use crate::program::{Buf, FilterDecl, Pass, Span};
use bytemuck::{Pod, Zeroable};

/// Jobs of a launch: what its parameters have room for.
const JOBS: usize = 48;
const TILE: usize = 32;
const THREADS: usize = 256;

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct PrepareFilterJob {
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
struct PrepareFilterDims {
    jobs: u32,
    pad: u32,
    job: [PrepareFilterJob; JOBS],
}

/// Preparations of the same weights, of one pass or of both.
struct Weights {
    params: Buf,
    span: Span,
    job: PrepareFilterJob,
}

/// Bytes of a prepared filter.
pub fn filter_bytes(f: &FilterDecl, precision: Precision) -> usize {
    if f.stem { stem::gpu::filter_bytes(f) } else { conv::gpu::filter_bytes(f, precision) }
}

impl GpuOp for PrepareFilter {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        prepare(cx, &[self])
    }
}

/// Launches independent preparations together.
pub fn prepare(cx: &mut Launches, filters: &[&PrepareFilter]) -> Result<()> {
    let (stems, others): (Vec<&PrepareFilter>, Vec<_>) = filters.iter().copied().partition(|f| cx.decl(f.filter).stem);
    for f in stems {
        stem::gpu::prepare(cx, f.filter, f.params, f.weights, f.normalisation.as_ref())?;
    }
    let mut all: Vec<Weights> = Vec::new();
    for f in others {
        let decl = cx.decl(f.filter);
        let (conv, pass) = (decl.conv, matches!(decl.pass, Pass::Dgrad) as usize);
        // Passes of the same weights come one after the other: they are read once.
        let fits = |w: &Weights| w.params == f.params && w.span == f.weights && w.job.out[pass] == 0;
        if !all.last().is_some_and(fits) {
            let (k, c, taps) = (conv.k as u32, conv.c as u32, (conv.filter * conv.filter) as u32);
            let job = PrepareFilterJob { weights: f.weights.offset as u64, k, c, taps, ..PrepareFilterJob::zeroed() };
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

fn launch(cx: &mut Launches, weights: &[Weights]) -> Result<()> {
    let mut dims = PrepareFilterDims { jobs: weights.len() as u32, ..PrepareFilterDims::zeroed() };
    let mut blocks = 0;
    for (to, w) in dims.job.iter_mut().zip(weights) {
        let tiles = |n: u32| (n as usize).next_multiple_of(ROWS) / TILE;
        *to = PrepareFilterJob { first: blocks as u32, ..w.job };
        blocks += w.job.taps as usize * tiles(w.job.k) * tiles(w.job.c);
    }
    let args = [Arg::In(cx.buf(weights[0].params)), bytes(&dims)];
    cx.launch_typed("prepare_filter", [blocks, 1, 1], THREADS, 0, args, format!("{} filters", weights.len()))
}
