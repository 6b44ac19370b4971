//! Launcher of the kernels in `kernels/conv_wgrad.cu`.

use super::patch::{CHUNK, PITCH, Patch, Tile};
use super::walk::{AxisTaps, fprop_taps};
use crate::Result;
use crate::gpu::driver::Arg;
use crate::gpu::launches::{GpuOp, Launches, bytes, padded};
use crate::gpu::{Precision, unsupported};
use crate::ops::conv::ConvWgrad;
use crate::program::Conv;
use bytemuck::{Pod, Zeroable};

/// Multiprocessors that a grid should fill.
const SMS: usize = 132;
/// Pixels of a tile at most, and what their number is rounded up to: the depth of an mma.
const PIXELS: [usize; 4] = [64, 48, 32, 16];
const DEPTH: usize = 16;
/// Threads of a block of the sum over parts, and of an element at most.
const SUM_THREADS: usize = 256;
const SUM_GROUPS: usize = 8;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ConvWgradDims {
    tile: Tile,
    dense: Tile,
    dy: Patch,
    x: [Patch; 4],
    patches: u32,
    patch_bytes: u32,
    stage_bytes: u32,
    dy_at: u32,
    tables: u32,
    places: u32,
    entries: [u32; 5],
    entries_all: u32,
    tap: [u32; 9],
    c: u32,
    k: u32,
    cp: u32,
    taps: u32,
    parts: u32,
    pixels: u32,
    padded: u32,
    groups: u32,
}

/// What one tile size comes to.
struct Candidate {
    dims: ConvWgradDims,
    shared: usize,
    /// Of all tiles: products, and a tenth of one for each pixel that is copied.
    cost: usize,
}

impl Candidate {
    fn new(conv: &Conv, cx: &Launches, pixels: usize) -> Option<Candidate> {
        let precision = cx.precision;
        let lines = fprop_taps(conv);
        let parts: Vec<_> = lines.iter().flat_map(|y| lines.iter().map(move |x| [y, x])).collect();
        let halo = lines.iter().map(|line| line.halo).max().unwrap_or(0);
        let depth = |t: &Tile| t.pixels([0; 2]).next_multiple_of(DEPTH);
        let entries = |t: &Tile, part: &[&AxisTaps; 2]| t.pixels(part.map(|line| line.halo));
        let stage = |t: &Tile| (parts.len() * t.patch_bytes() + depth(t) * PITCH).next_multiple_of(CHUNK);
        let all = |t: &Tile| parts.iter().map(|part| entries(t, part)).sum::<usize>() + t.pixels([0; 2]);
        let shared = |t: &Tile| 2 * stage(t) + 4 * (2 * all(t) + depth(t));
        let size = [conv.p(), conv.q()];
        let tile = Tile::choose(pixels, size, [halo; 2], |t| shared(t) <= cx.shared)?;
        let pixel = |channels: usize| padded(channels) * precision.size();
        let dense = tile.dense();
        let mut dims = ConvWgradDims {
            tile,
            dense,
            dy: Patch::new(&dense, pixel(conv.k), size, 1, [0; 2], [0; 2])?,
            patches: parts.len() as u32,
            patch_bytes: tile.patch_bytes() as u32,
            stage_bytes: stage(&tile) as u32,
            dy_at: (parts.len() * tile.patch_bytes()) as u32,
            tables: 2 * stage(&tile) as u32,
            places: (2 * stage(&tile) + 8 * all(&tile)) as u32,
            entries_all: all(&tile) as u32,
            c: conv.c as u32,
            k: conv.k as u32,
            cp: padded(conv.c) as u32,
            taps: (conv.filter * conv.filter) as u32,
            pixels: tile.pixels([0; 2]) as u32,
            padded: depth(&tile) as u32,
            ..ConvWgradDims::zeroed()
        };
        let mut before = 0;
        for (i, part) in parts.iter().enumerate() {
            let [y, x] = part;
            let (at, halo) = ([y.at, x.at], [y.halo, x.halo]);
            dims.x[i] = Patch::new(&tile, pixel(conv.c), [conv.h, conv.w], y.step, at, halo)?;
            dims.entries[i] = before as u32;
            before += entries(&tile, part);
            for (down, r) in y.taps {
                for (right, s) in x.taps {
                    dims.tap[r * conv.filter + s] = i as u32 * dims.patch_bytes + tile.offset(*down, *right);
                }
            }
        }
        dims.entries[4] = before as u32;
        let cost = tile.count(cx.capacity()) * (10 * depth(&tile) + all(&tile));
        Some(Candidate { dims, shared: shared(&tile), cost })
    }
}

impl GpuOp for ConvWgrad {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let (conv, capacity, precision) = (&self.conv, cx.capacity(), cx.precision);
        let candidates = PIXELS.iter().filter_map(|pixels| Candidate::new(conv, cx, *pixels));
        let Some(Candidate { mut dims, shared, .. }) = candidates.min_by_key(|c| c.cost) else {
            return Err(unsupported(
                "conv",
                format!("{conv}: rows too wide for a table of pixels; use narrower images"),
            ));
        };
        let channels = CHUNK / precision.size();
        let (rows, columns) = (conv.k.div_ceil(channels), conv.c.div_ceil(channels));
        // A block of one tap needs few registers, so that two are on a multiprocessor.
        let blocks = if conv.filter == 1 { 2 * SMS } else { SMS };
        let parts = (blocks / (rows * columns)).clamp(1, dims.tile.count(capacity));
        // About eight parts for a thread.
        let groups = (parts / 8).max(1).next_power_of_two().min(SUM_GROUPS);
        (dims.parts, dims.groups) = (parts as u32, groups as u32);
        let len = conv.k * dims.taps as usize * padded(conv.c);
        if len * parts >= 1 << 32 {
            return Err(unsupported("conv", format!("{conv}: more than 2^32 weights")));
        }
        let sums = cx.workspace(4 * parts * len);
        let (filter, shape) = (conv.filter, conv.to_string());
        let warps = if precision == Precision::Bf16 { 4 } else { 2 };
        let args = [Arg::Out(sums), Arg::In(cx.map(self.x)), Arg::In(cx.map(self.dy)), cx.live(), bytes(&dims)];
        let name = format!("conv_wgrad_{filter}x{filter}");
        cx.launch_typed(&name, [rows, columns, parts], 32 * warps * filter, shared, args, shape.clone())?;
        let args = [Arg::Out(cx.span(self.grads, self.weights)), Arg::In(sums), cx.live(), bytes(&dims)];
        cx.launch("conv_wgrad_sum", [len.div_ceil(SUM_THREADS / groups), 1, 1], SUM_THREADS, 0, args, shape)
    }
}
