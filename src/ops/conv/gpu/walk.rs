//! Launcher of the kernels in `kernels/conv_bf16.cu` and `kernels/conv_f32.cu`: one walk for every fprop and dgrad.

use super::patch::{CHUNK, PITCH, Patch, Tile};
use crate::Result;
use crate::gpu::driver::{Arg, Ptr};
use crate::gpu::launches::{Launches, bytes, padded};
use crate::gpu::tiles::{self, Kernel, TileSize, kernels};
use crate::gpu::{Precision, unsupported};
use crate::ops::norm::gpu::Moments;
use crate::program::Conv;
use crate::program::Pass;
use bytemuck::{Pod, Zeroable};

/// Filters have rows for a multiple of so many channels, zero beyond those there are.
pub const ROWS: usize = 64;
const MOST_PHASES: usize = 4;
const MOST_SEGMENTS: usize = 5;
const MOST_TAPS: usize = 9;

#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
struct Tap {
    place: u32,
    filter: u32,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Segment {
    patch: Patch,
    operand: u32,
    table: u32,
    chunks: u32,
    last: u32,
    taps: u32,
    tap: [Tap; MOST_TAPS],
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Phase {
    first: u32,
    end: u32,
    rows: u32,
    cols: u32,
    y: u32,
    x: u32,
}

#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct ConvDims {
    tile: Tile,
    columns: u32,
    channels: u32,
    h: u32,
    w: u32,
    step: u32,
    buffers: u32,
    tables: u32,
    phase: [Phase; MOST_PHASES],
    segment: [Segment; MOST_SEGMENTS],
}

/// One dimension of a part of a sum: the input rows (or columns) `step*(i + row) + at` for output `i`, `halo` more than the
/// tile has; each tap is a row and its index in the filter.
#[derive(Clone, Debug)]
pub(super) struct AxisTaps {
    pub step: usize,
    pub at: isize,
    pub halo: usize,
    pub taps: &'static [(usize, usize)],
}

/// Parts that together read every input that a convolution's fprop needs.
pub(super) fn fprop_taps(conv: &Conv) -> Vec<AxisTaps> {
    let step = conv.stride;
    match (conv.filter, step) {
        (1, _) => vec![AxisTaps { step, at: 0, halo: 0, taps: &[(0, 0)] }],
        (_, 1) => vec![AxisTaps { step, at: -1, halo: 2, taps: &[(0, 0), (1, 1), (2, 2)] }],
        // Even and odd rows apart, so that the rows of a patch are always neighbours for a tap.
        _ => vec![
            AxisTaps { step, at: 0, halo: 0, taps: &[(0, 1)] },
            AxisTaps { step, at: -1, halo: 1, taps: &[(0, 0), (1, 2)] },
        ],
    }
}

/// The part that reads every input of dgrad's outputs `stride*i + phase`, if any tap reaches them.
fn dgrad_taps(conv: &Conv, phase: usize) -> Option<AxisTaps> {
    let line = |at, halo, taps| Some(AxisTaps { step: 1, at, halo, taps });
    match (conv.filter, conv.stride, phase) {
        (1, _, 0) => line(0, 0, &[(0, 0)]),
        (1, ..) => None,
        (_, 1, _) => line(-1, 2, &[(2, 0), (1, 1), (0, 2)]),
        (_, _, 0) => line(0, 0, &[(0, 1)]),
        _ => line(0, 1, &[(1, 0), (0, 2)]),
    }
}

/// A convolution's input: its map and its filter, prepared for the pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand {
    pub conv: Conv,
    pub map: Ptr,
    pub filter: Ptr,
}

impl Operand {
    /// Channels, height and width of the map.
    fn input(&self, pass: Pass) -> (usize, [usize; 2]) {
        match pass {
            Pass::Fprop => (self.conv.c, [self.conv.h, self.conv.w]),
            Pass::Dgrad => (self.conv.k, [self.conv.p(), self.conv.q()]),
        }
    }

    /// Channels, height and width of the result.
    fn output(&self, pass: Pass) -> (usize, [usize; 2]) {
        match pass {
            Pass::Fprop => (self.conv.k, [self.conv.p(), self.conv.q()]),
            Pass::Dgrad => (self.conv.c, [self.conv.h, self.conv.w]),
        }
    }
}

/// Pointers of an epilogue: `v = sum + bias`, zero where the mask is, `+ residual`, to `y`; `a = max(0, scale*v + shift)` and
/// its bits. 0 for none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Finish {
    pub y: Ptr,
    pub a: Ptr,
    pub bits: Ptr,
    pub bias: Ptr,
    pub affine: [Ptr; 2],
    pub mask: Ptr,
    pub residual: Ptr,
    /// Whether the residual is y itself.
    pub in_place: bool,
    /// Whether the moments of y are wanted: of fprop to y alone.
    pub moments: bool,
}

/// A part of a sum in both dimensions.
type Part = (usize, [AxisTaps; 2]);

/// The outputs `step*i + at`, `count` of them downwards and across, and the parts of their sums.
struct OutputPhase {
    at: [usize; 2],
    count: [usize; 2],
    parts: Vec<Part>,
}

fn output_phases(pass: Pass, operands: &[Operand], in_place: bool) -> Vec<OutputPhase> {
    let (_, size) = operands[0].output(pass);
    let step = if pass == Pass::Dgrad { operands[0].conv.stride } else { 1 };
    let phases = (0..step).rev().flat_map(|y| (0..step).rev().map(move |x| [y, x]));
    let output = |at: [usize; 2]| {
        let lines = |o: &Operand| match pass {
            Pass::Fprop => {
                let lines = fprop_taps(&o.conv);
                lines.iter().flat_map(|y| lines.iter().map(move |x| [y.clone(), x.clone()])).collect()
            }
            Pass::Dgrad => match at.map(|phase| dgrad_taps(&o.conv, phase)) {
                [Some(y), Some(x)] => vec![[y, x]],
                _ => vec![],
            },
        };
        let parts = operands.iter().enumerate().flat_map(|(i, o)| lines(o).into_iter().map(move |l| (i, l))).collect();
        OutputPhase { at, count: [0, 1].map(|i| (size[i] - at[i].min(size[i])).div_ceil(step)), parts }
    };
    // Where no tap reaches, accumulation in place has nothing to add.
    phases.map(output).filter(|p| !(p.count.contains(&0) || p.parts.is_empty() && in_place)).collect()
}

/// Patches that must be in shared memory at a time, if they serve `taps` one after the other and copies start `ahead` taps
/// early: the place of the one that is copied must have been read for the last time.
fn buffers(taps: &[usize], ahead: usize) -> usize {
    let free = |n: usize| (n..taps.len()).all(|j| taps[j + 1 - n..j].iter().sum::<usize>() >= ahead);
    (1..).find(|n| free(*n)).expect("as many as patches do")
}

/// A kernel and what it is launched with.
struct Choice<'k> {
    kernel: &'k Kernel,
    dims: ConvDims,
    grid: [usize; 3],
    shared: usize,
}

/// A sum over one or two inputs.
struct Sum<'a> {
    precision: Precision,
    /// Bytes of shared memory that a block may have.
    shared: usize,
    capacity: usize,
    pass: Pass,
    operands: &'a [Operand],
    phases: Vec<OutputPhase>,
}

impl Sum<'_> {
    /// The launch by that kernel; None if it does not suit.
    fn choice<'k>(&self, kernel: &'k Kernel) -> Option<Choice<'k>> {
        let most = |f: &dyn Fn(&OutputPhase) -> usize| self.phases.iter().map(f).max().unwrap_or(0);
        let halo = [0, 1].map(|i| most(&|p| p.parts.iter().map(|(_, l)| l[i].halo).max().unwrap_or(0)));
        let ahead = kernel.stages - 1;
        let buffers = most(&|p| buffers(&p.parts.iter().flat_map(|part| self.taps(part)).collect::<Vec<_>>(), ahead));
        let filters = kernel.stages * kernel.size.channels * PITCH;
        let sums = kernel.size.pixels * (kernel.size.channels + 16 / self.precision.size()) * 4;
        let tables = |t: &Tile| (filters + buffers * t.patch_bytes()).max(sums);
        let entries = |t: &Tile| most(&|p| p.parts.iter().map(|(_, l)| t.pixels(l.each_ref().map(|l| l.halo))).sum());
        let shared = |t: &Tile| tables(t) + 4 * (kernel.size.pixels + entries(t));
        let count = [0, 1].map(|i| most(&|p| p.count[i]));
        let tile = Tile::choose(kernel.size.pixels, count, halo, |t| shared(t) <= self.shared)?;
        let (channels, [h, w]) = self.operands[0].output(self.pass);
        let channels = padded(channels);
        let (columns, rows) = (channels.div_ceil(kernel.size.channels), channels.next_multiple_of(ROWS));
        if columns * kernel.size.channels > rows {
            return None;
        }
        let mut dims = ConvDims {
            tile,
            columns: columns as u32,
            channels: channels as u32,
            h: h as u32,
            w: w as u32,
            step: if self.pass == Pass::Dgrad { self.operands[0].conv.stride as u32 } else { 1 },
            buffers: buffers as u32,
            tables: tables(&tile) as u32,
            phase: Zeroable::zeroed(),
            segment: Zeroable::zeroed(),
        };
        let mut segments = 0;
        for (outputs, phase) in self.phases.iter().zip(&mut dims.phase) {
            let (first, mut table) = (segments, 0);
            for part in &outputs.parts {
                dims.segment[segments] = self.segment(&tile, part, rows, table)?;
                table += tile.pixels(part.1.each_ref().map(|l| l.halo));
                segments += 1;
            }
            let ([rows, cols], [y, x]) = (outputs.count.map(|n| n as u32), outputs.at.map(|n| n as u32));
            *phase = Phase { first: first as u32, end: segments as u32, rows, cols, y, x };
        }
        let grid = [tile.count(self.capacity) * columns, 1, self.phases.len()];
        let shared = shared(&tile);
        Some(Choice { kernel, dims, grid, shared })
    }

    /// The launch by the tile `forced`, or the one that the table says.
    fn choose(&self, forced: Option<TileSize>) -> Option<Choice<'static>> {
        let kernels = kernels(self.precision);
        let by = |size: &TileSize| kernels.iter().find(|k| k.size == *size).and_then(|k| self.choice(k));
        if let Some(size) = forced {
            return by(&size);
        }
        let ranked = tiles::ranked(&self.problem());
        ranked.iter().find_map(by).or_else(|| kernels.iter().find_map(|k| self.choice(k)))
    }

    /// As the table has it.
    fn problem(&self) -> tiles::Problem {
        let Operand { conv, .. } = &self.operands[0];
        super::problem(self.precision, self.capacity, self.pass, conv, self.operands.len() > 1)
    }

    /// Bytes of a pixel of a part's input.
    fn pixel(&self, (operand, _): &Part) -> usize {
        padded(self.operands[*operand].input(self.pass).0) * self.precision.size()
    }

    /// How many taps each patch of a part serves, one by one.
    fn taps(&self, part: &Part) -> impl Iterator<Item = usize> {
        let taps = part.1.iter().map(|line| line.taps.len()).product();
        std::iter::repeat_n(taps, self.pixel(part).div_ceil(CHUNK))
    }

    fn segment(&self, tile: &Tile, part: &Part, rows: usize, table: usize) -> Option<Segment> {
        let (operand, [down, across]) = part;
        let o = &self.operands[*operand];
        let (pixel, (_, map)) = (self.pixel(part), o.input(self.pass));
        let (at, halo) = ([down.at, across.at], [down.halo, across.halo]);
        let chunks = pixel.div_ceil(CHUNK);
        // Bytes of the channels that a kernel adds in one step.
        let step = match self.precision {
            Precision::Fp32 => 16,
            Precision::Bf16 => 32,
        };
        let mut s = Segment {
            patch: Patch::new(tile, pixel, map, down.step, at, halo)?,
            operand: *operand as u32,
            table: table as u32,
            chunks: chunks as u32,
            last: (pixel - (chunks - 1) * CHUNK).div_ceil(step) as u32,
            taps: (down.taps.len() * across.taps.len()) as u32,
            tap: Zeroable::zeroed(),
        };
        let pairs = down.taps.iter().flat_map(|y| across.taps.iter().map(move |x| (y, x)));
        for (tap, (y, x)) in s.tap.iter_mut().zip(pairs) {
            let index = y.1 * o.conv.filter + x.1;
            *tap = Tap { place: tile.offset(y.0, x.0), filter: u32::try_from(index * rows * pixel).ok()? };
        }
        Some(s)
    }
}

/// How a tile covers a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Images that have tiles together.
    pub images: usize,
    /// Blocks of the launch.
    pub blocks: usize,
}

/// How that tile covers a batch of a convolution and perhaps a shortcut; None if it does not suit.
pub fn fit(
    precision: Precision,
    shared: usize,
    capacity: usize,
    pass: Pass,
    convs: &[Option<Conv>],
    size: TileSize,
) -> Option<Fit> {
    let operands: Vec<Operand> = convs.iter().flatten().map(|c| Operand { conv: *c, map: 0, filter: 0 }).collect();
    let phases = output_phases(pass, &operands, false);
    let sum = Sum { precision, shared, capacity, pass, operands: &operands, phases };
    let choice = sum.choose(Some(size))?;
    Some(Fit { images: choice.dims.tile.group().0, blocks: choice.grid.iter().product() })
}

/// Launches the sum over the operands, and what finishes it; says where the moments are, if they are wanted.
pub(super) fn walk(cx: &mut Launches, pass: Pass, operands: &[Operand], finish: &Finish) -> Result<Option<Moments>> {
    let (precision, shared, capacity) = (cx.precision, cx.shared, cx.capacity());
    let sum =
        Sum { precision, shared, capacity, pass, operands, phases: output_phases(pass, operands, finish.in_place) };
    if sum.phases.is_empty() {
        return Ok(None);
    }
    let (channels, [h, w]) = operands[0].output(pass);
    let refuse = |why: &str| Err(unsupported("conv", format!("{:?}: {why}", operands[0].conv)));
    if capacity * h * w >= u32::MAX as usize {
        return refuse("more than 2^32 pixels in a batch; a smaller batch would do");
    }
    let Some(c) = sum.choose(cx.tile) else {
        return refuse(match cx.tile {
            Some(_) => "the tile that was asked for does not suit it",
            None => "rows too wide for a patch in shared memory; smaller images would do",
        });
    };
    let second = operands.get(1);
    let conv = operands[0].conv;
    let moments = finish.moments.then(|| {
        let (group, tiles) = c.dims.tile.group();
        Moments::new(cx, padded(channels), group, tiles)
    });
    let mut args = vec![Arg::Out(finish.y)];
    match &moments {
        Some(moments) => args.extend(moments.args()),
        None => args.extend([finish.a, finish.bits].map(Arg::Out)),
    }
    args.extend([operands[0].map, operands[0].filter].map(Arg::In));
    args.extend([second.map_or(0, |o| o.map), second.map_or(0, |o| o.filter), finish.bias].map(Arg::In));
    if moments.is_none() {
        args.extend([finish.affine[0], finish.affine[1], finish.mask].map(Arg::In));
    }
    args.extend([Arg::In(finish.residual), cx.live(), bytes(&c.dims)]);
    let kind = if moments.is_some() { "_moments" } else { "" };
    let name = format!("conv_walk{kind}_{}", c.kernel.size);
    let shape = format!(
        "{pass:?} {h}x{w}x{channels}, {0}x{0}/{1} of {2}{3}",
        conv.filter,
        conv.stride,
        operands[0].input(pass).0,
        if second.is_some() { ", and a shortcut" } else { "" }
    );
    cx.launch_typed(&name, c.grid, c.kernel.threads, c.shared, args, shape)?;
    Ok(moments)
}
