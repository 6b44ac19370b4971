//! Launchers of the kernels in `kernels/norm.cu`.

use super::{Fold, NormBprop, NormFprop};
use crate::Result;
use crate::gpu::driver::{Arg, Ptr};
use crate::gpu::launches::{GpuOp, Launches, bytes, padded};
use crate::gpu::{Precision, unsupported};
use crate::program::Shape;
use bytemuck::{Pod, Zeroable};

/// Threads of a block.
const THREADS: usize = 256;
/// Bytes of a vector.
const VECTOR: usize = 16;
/// Most vectors of a row that a block has: whole lines of 128 bytes, and many rows, which share what channels need.
const WIDTH: usize = 8;
/// Rows that a thread loads at a time.
const AHEAD: usize = 4;
/// Blocks of a pass over a map: four for each SM of a large GPU, so that a third of them still has work for all.
const BLOCKS: usize = 4 * 132;
/// Channels of a block that adds parts.
const CHANNELS: usize = 8;
/// Foldings of one launch.
const FOLDS: usize = 64;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FoldJob {
    gamma: Ptr,
    beta: Ptr,
    mean: Ptr,
    var: Ptr,
    affine: Ptr,
    channels: u32,
    cp: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FoldDims {
    jobs: [FoldJob; FOLDS],
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct NormDims {
    pixels: u32,
    channels: u32,
    cp: u32,
    rows: u32,
    width: u32,
    lanes: u32,
    group: u32,
    tiles: u32,
}

/// How a map is dealt out to blocks.
struct Tiling {
    dims: NormDims,
    grid: [usize; 3],
}

impl Tiling {
    fn new(cx: &Launches, shape: Shape) -> Result<Tiling> {
        let (cp, pixels) = (padded(shape.c), shape.h * shape.w);
        let (groups, all) = (cp * cx.precision.size() / VECTOR, cx.capacity() * pixels);
        if all >= 1 << 31 {
            return Err(unsupported("norm", format!("{} x {shape:?}: at most 2^31 - 1 pixels", cx.capacity())));
        }
        let width = groups.min(WIDTH);
        let (lanes, columns) = (THREADS / width, groups.div_ceil(width));
        let tile = lanes * AHEAD;
        let rows = (all.div_ceil(tile) * columns).div_ceil(BLOCKS) * tile;
        let dims = NormDims {
            pixels: pixels as u32,
            channels: shape.c as u32,
            cp: cp as u32,
            rows: rows as u32,
            width: width as u32,
            lanes: lanes as u32,
            group: 0,
            tiles: 0,
        };
        Ok(Tiling { dims, grid: [all.div_ceil(rows), columns, 1] })
    }

    /// Workspace: the parts' sums, then `vectors` values of each channel.
    fn workspace(&self, cx: &mut Launches, vectors: usize) -> [Ptr; 2] {
        let (cp, parts) = (self.dims.cp as usize, self.grid[0]);
        let start = cx.workspace((2 * parts + vectors) * cp * 4);
        [start, start + (2 * parts * cp * 4) as Ptr]
    }

    fn finalise_grid(&self) -> [usize; 3] {
        [self.dims.cp as usize / CHANNELS, 1, 1]
    }
}

/// Where a kernel leaves the moments of the map that it writes, tile by tile (`kernels/moments.cuh`), for the batch norm that
/// follows at once: in the workspace, which their launches share.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// f32 `[tiles][2][cp]`: mean and sum of squared deviations.
    parts: Ptr,
    /// u32 `[tiles]`: pixels of a tile.
    counts: Ptr,
    affine: Ptr,
    group: usize,
    tiles: usize,
}

impl Moments {
    /// Room for those of a map of `cp` channels, of which every `group` slots have `tiles`.
    pub fn new(cx: &mut Launches, cp: usize, group: usize, tiles: usize) -> Moments {
        let count = cx.capacity().div_ceil(group) * tiles;
        let [parts, vectors] = [2 * count * cp * 4, 2 * cp * 4];
        let start = cx.workspace(parts + vectors + count * 4);
        let affine = start + parts as Ptr;
        Moments { parts: start, counts: affine + vectors as Ptr, affine, group, tiles }
    }

    /// Bytes of shared memory that combining them takes, in a block of so many threads with `channels` of a pixel.
    pub fn shared(precision: Precision, threads: usize, channels: usize) -> usize {
        let lanes = VECTOR / precision.size();
        4 * (2 * lanes * (threads + 32 / lanes) + threads * lanes / channels)
    }

    /// As arguments of the kernel that writes them.
    pub fn args(&self) -> [Arg; 2] {
        [self.parts, self.counts].map(Arg::Out)
    }
}

impl GpuOp for NormFprop {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let plan = Tiling::new(cx, self.shape)?;
        let [parts, affine] = plan.workspace(cx, 2);
        let args = [Arg::Out(parts), Arg::In(cx.map(self.x)), cx.live(), bytes(&plan.dims)];
        cx.launch_typed("norm_fprop_stats", plan.grid, THREADS, 0, args, format!("{:?}", self.shape))?;
        self.finish(cx, &plan, parts, 0, affine)
    }
}

impl NormFprop {
    /// The launches after a kernel that left the moments of x.
    pub fn launch_after(&self, cx: &mut Launches, moments: &Moments) -> Result<()> {
        let mut plan = Tiling::new(cx, self.shape)?;
        (plan.dims.group, plan.dims.tiles) = (moments.group as u32, moments.tiles as u32);
        self.finish(cx, &plan, moments.parts, moments.counts, moments.affine)
    }

    fn finish(&self, cx: &mut Launches, plan: &Tiling, parts: Ptr, counts: Ptr, affine: Ptr) -> Result<()> {
        let (dims, shape) = (bytes(&plan.dims), format!("{:?}", self.shape));
        let (x, live) = (cx.map(self.x), cx.live());
        let args = [
            Arg::Out(affine),
            Arg::Out(cx.span(self.batch_stats, self.norm.mean)),
            Arg::Out(cx.span(self.batch_stats, self.norm.var)),
            // Read, but of the allocation that is written.
            Arg::Out(parts),
            Arg::Out(counts),
            Arg::In(cx.span(self.params, self.norm.gamma)),
            Arg::In(cx.span(self.params, self.norm.beta)),
            live.clone(),
            dims.clone(),
        ];
        cx.launch("norm_fprop_finalise", plan.finalise_grid(), THREADS, 0, args, shape.clone())?;
        let args = [Arg::Out(cx.map(self.a)), Arg::In(x), Arg::In(affine), live, dims];
        cx.launch_typed("norm_fprop_apply", plan.grid, THREADS, 0, args, shape)
    }
}

impl GpuOp for NormBprop {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let plan = Tiling::new(cx, self.shape)?;
        let [parts, terms] = plan.workspace(cx, 4);
        let (dims, shape) = (bytes(&plan.dims), format!("{:?}", self.shape));
        let (x, a, grad, live) = (cx.map(self.x), cx.map(self.a), cx.map(self.grad), cx.live());
        let [mean, var] = [self.norm.mean, self.norm.var].map(|s| Arg::In(cx.span(self.batch_stats, s)));
        let args = [Arg::Out(parts), Arg::In(x), Arg::In(a), Arg::In(grad), mean.clone(), live.clone(), dims.clone()];
        cx.launch_typed("norm_bprop_sums", plan.grid, THREADS, 0, args, shape.clone())?;
        let args = [
            Arg::Out(terms),
            Arg::Out(cx.span(self.grads, self.norm.gamma)),
            Arg::Out(cx.span(self.grads, self.norm.beta)),
            Arg::Out(parts), // read, but of the allocation that is written
            Arg::In(cx.span(self.params, self.norm.gamma)),
            mean,
            var,
            live.clone(),
            dims.clone(),
        ];
        cx.launch("norm_bprop_finalise", plan.finalise_grid(), THREADS, 0, args, shape.clone())?;
        let residual = self.residual.map_or(0, |r| cx.map(r));
        let args = [Arg::Out(grad), Arg::In(x), Arg::In(a), Arg::In(residual), Arg::In(terms), live, dims];
        cx.launch_typed("norm_bprop_apply", plan.grid, THREADS, 0, args, shape)
    }
}

impl GpuOp for Fold {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        fold(cx, &[self])
    }
}

/// Launches independent foldings together.
pub fn fold(cx: &mut Launches, folds: &[&Fold]) -> Result<()> {
    for folds in folds.chunks(FOLDS) {
        let mut jobs = [FoldJob::zeroed(); FOLDS];
        for (job, f) in jobs.iter_mut().zip(folds) {
            *job = FoldJob {
                gamma: cx.span(f.params, f.norm.gamma),
                beta: cx.span(f.params, f.norm.beta),
                mean: cx.span(f.running, f.norm.mean),
                var: cx.span(f.running, f.norm.var),
                affine: cx.affine(f.affine)[0],
                channels: f.norm.gamma.len as u32,
                cp: padded(f.norm.gamma.len) as u32,
            };
        }
        let shape = format!("{} foldings", folds.len());
        cx.launch("norm_fold", [folds.len(), 1, 1], THREADS, 0, [bytes(&FoldDims { jobs })], shape)?;
    }
    Ok(())
}
