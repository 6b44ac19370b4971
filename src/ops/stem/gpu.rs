//! Launchers of the kernels in `kernels/stem.cu`.

use super::{MAX_CHANNELS, Normalisation, StemDgrad, StemFprop, StemWgrad};
use crate::Result;
use crate::gpu::driver::Arg;
use crate::gpu::launches::{GpuOp, Launches, bytes, padded};
use crate::gpu::unsupported;
use crate::ops::norm::NormFprop;
use crate::ops::norm::gpu::Moments;
use crate::ops::pgd_step::PgdStep;
use crate::program::{Buf, Conv, Filter, FilterDecl, Pass, Span};
use bytemuck::{Pod, Zeroable};

const THREADS: usize = 256;
/// Image channels that are in shared memory at a time.
const CHANNELS: usize = 4;
/// Bytes of a vector, and vectors of a block's channels of dy.
const VECTOR: usize = 16;
const VECTORS: usize = 8;
/// Columns of a tile of wgrad at most.
const COLUMNS: usize = 32;
/// Blocks that wgrad aims at: two for each multiprocessor of a large GPU.
const BLOCKS: usize = 264;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct StemDims {
    c: u32,
    h: u32,
    w: u32,
    k: u32,
    kp: u32,
    across: u32,
    tiles: u32,
    quads: u32,
    pitch: u32,
    vectors: u32,
    sets: u32,
    cols: u32,
    parts: u32,
    eps: f32,
    alpha: f32,
    mean: [f32; MAX_CHANNELS],
    scale: [f32; MAX_CHANNELS],
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct StemPrepareDims {
    c: u32,
    k: u32,
    kp: u32,
    block: u32,
    len: u32,
    std: [f32; MAX_CHANNELS],
}

impl StemDims {
    /// Tiles of `rows` x `cols` pixels.
    fn new(conv: &Conv, norm: Option<&Normalisation>, [rows, cols]: [usize; 2]) -> Result<StemDims> {
        let Conv { c, k, h, w, .. } = *conv;
        if !(1..=MAX_CHANNELS).contains(&c) {
            return Err(unsupported("stem", format!("images of {c} channels: 1 to {MAX_CHANNELS} are supported")));
        }
        let (across, down) = (w.div_ceil(cols), h.div_ceil(rows));
        let mut dims = StemDims {
            c: c as u32,
            h: h as u32,
            w: w as u32,
            k: k as u32,
            kp: padded(k) as u32,
            across: across as u32,
            tiles: (across * down) as u32,
            scale: [1.0; MAX_CHANNELS],
            ..StemDims::zeroed()
        };
        if let Some(norm) = norm {
            dims.mean[..c].copy_from_slice(&norm.mean[..c]);
            dims.scale.iter_mut().zip(&norm.std[..c]).for_each(|(scale, std)| *scale = 1.0 / std);
        }
        Ok(dims)
    }
}

fn log2(n: usize) -> usize {
    n.next_power_of_two().trailing_zeros() as usize
}

/// log2 of the groups of four pixels across a tile.
fn quads(conv: &Conv) -> usize {
    log2(conv.w.div_ceil(4)).min(3)
}

/// The least number that is `remainder` modulo `modulus` and at least `least`.
fn at_least(least: usize, remainder: usize, modulus: usize) -> usize {
    least + (remainder + modulus - least % modulus) % modulus
}

/// Image channels of a block of dgrad, and f32 of their taps in a row of the filter.
fn dgrad_block(conv: &Conv) -> (usize, usize) {
    if conv.c == 1 { (1, 4) } else { (3, 12) }
}

fn filter_len(conv: &Conv, pass: Pass) -> usize {
    let (block, row) = dgrad_block(conv);
    match pass {
        Pass::Fprop => conv.c * 9 * padded(conv.k),
        Pass::Dgrad => conv.c.div_ceil(block) * 3 * padded(conv.k) * row,
    }
}

/// Bytes of a stem's prepared filter.
pub fn filter_bytes(f: &FilterDecl) -> usize {
    4 * filter_len(&f.conv, f.pass)
}

/// Launches the preparation of a stem's filter from these weights.
pub fn prepare(
    cx: &mut Launches,
    filter: Filter,
    params: Buf,
    weights: Span,
    norm: Option<&Normalisation>,
) -> Result<()> {
    let FilterDecl { conv, pass, .. } = *cx.decl(filter);
    let StemDims { c, k, kp, .. } = StemDims::new(&conv, None, [1, 1])?;
    let (len, block) = (filter_len(&conv, pass), if pass == Pass::Dgrad { dgrad_block(&conv).0 } else { 0 });
    let mut dims = StemPrepareDims { c, k, kp, block: block as u32, len: len as u32, std: [1.0; MAX_CHANNELS] };
    if let Some(norm) = norm {
        dims.std[..conv.c].copy_from_slice(&norm.std[..conv.c]);
    }
    let args = [Arg::Out(cx.filter(filter)), Arg::In(cx.span(params, weights)), bytes(&dims)];
    let grid = [len.div_ceil(THREADS), 1, 1];
    cx.launch("stem_prepare", grid, THREADS, 0, args, format!("{pass:?} {conv}"))
}

/// The stem; then the batch norm of the result, whose statistics come from it.
pub fn fprop(cx: &mut Launches, stem: &StemFprop, norm: Option<&NormFprop>) -> Result<()> {
    let (conv, e) = (&stem.conv, &stem.epilogue);
    if e.residual.is_some() {
        return Err(unsupported("stem", format!("{conv} with a residual: add it in a convolution")));
    }
    let quads = quads(conv);
    // A warp has 8 channels of 64 groups of 4 pixels; warps are spread over channels first.
    let (width, warp_rows) = (4 << quads, 64 >> quads);
    let groups = (padded(conv.k) / 8).next_power_of_two().min(8);
    let sets = (8 / groups).min(conv.h.div_ceil(warp_rows));
    let (rows, threads) = (sets * warp_rows, 32 * groups * sets);
    let mut dims = StemDims::new(conv, stem.normalisation.as_ref(), [rows, width])?;
    // Rows of the tile lie in different banks for vectors of four.
    let pitch = at_least(width + 4, width, 32);
    (dims.quads, dims.vectors, dims.sets, dims.pitch) = (quads as u32, log2(groups) as u32, sets as u32, pitch as u32);
    let input = CHANNELS * 4 * ((rows + 2) * pitch + 9 * 8 * groups);
    let output = rows / 2 * width * 8 * groups * cx.precision.size();
    let act = e.act.as_ref();
    let [scale, shift] = act.and_then(|act| act.affine).map_or([0; 2], |affine| cx.affine(affine));
    let moments = norm.map(|_| Moments::new(cx, padded(conv.k), 1, dims.tiles as usize));
    let mut args = vec![Arg::Out(e.y.map_or(0, |y| cx.map(y)))];
    match &moments {
        Some(moments) => args.extend(moments.args()),
        None => args.extend([
            Arg::Out(act.map_or(0, |act| cx.map(act.a))),
            Arg::Out(act.and_then(|act| act.bits).map_or(0, |bits| cx.bits(bits))),
        ]),
    }
    let bias = e.bias.map_or(0, |bias| cx.affine(bias)[1]);
    args.extend([cx.buf(stem.image), cx.filter(stem.filter), bias].map(Arg::In));
    if moments.is_none() {
        args.extend([scale, shift].map(Arg::In));
    }
    args.extend([cx.live(), bytes(&dims)]);
    let grid = [dims.tiles as usize, cx.capacity(), padded(conv.k).div_ceil(64)];
    let launch = |cx: &mut Launches, name, shared| cx.launch_typed(name, grid, threads, shared, args, conv.to_string());
    match norm.zip(moments) {
        Some((norm, moments)) => {
            let combine = Moments::shared(cx.precision, threads, 8 * groups);
            launch(cx, "stem_fprop_moments", input.max(output).max(combine))?;
            norm.launch_after(cx, &moments)
        }
        None => launch(cx, "stem_fprop", input.max(output)),
    }
}

impl GpuOp for StemFprop {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        fprop(cx, self, None)
    }
}

impl GpuOp for StemDgrad {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        dgrad(cx, self, None)
    }
}

/// The gradient of the images or, with the step that uses it up, the images after it.
pub fn dgrad(cx: &mut Launches, stem: &StemDgrad, step: Option<&PgdStep>) -> Result<()> {
    let (conv, quads) = (&stem.conv, quads(&stem.conv));
    let (width, rows) = (4 << quads, 64 >> quads);
    let (block, row) = dgrad_block(conv);
    let mut dims = StemDims::new(conv, stem.normalisation.as_ref(), [rows, width])?;
    dims.quads = quads as u32;
    let (out, x) = match step {
        None => (cx.buf(stem.gradient), 0),
        Some(step) => {
            (dims.eps, dims.alpha) = (step.eps, step.alpha);
            (cx.buf(step.batch.x_adv), cx.buf(step.batch.x))
        }
    };
    let channels = VECTORS * VECTOR / cx.precision.size();
    let input = (rows + 2) * (width + 2) * VECTORS * VECTOR + 3 * channels * row * 4;
    let sums = VECTORS * block * THREADS * 4;
    let args =
        [Arg::Out(out), Arg::In(x), Arg::In(cx.map(stem.dy)), Arg::In(cx.filter(stem.filter)), cx.live(), bytes(&dims)];
    let grid = [dims.tiles as usize, cx.capacity(), conv.c.div_ceil(block)];
    let name = if block == 1 { "stem_dgrad_one" } else { "stem_dgrad_three" };
    cx.launch_typed(name, grid, THREADS, input.max(sums), args, conv.to_string())
}

impl GpuOp for StemWgrad {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let (conv, kp) = (&self.conv, padded(self.conv.k));
        let vectors = (kp * cx.precision.size() / VECTOR).next_power_of_two().min(VECTORS);
        // Two halves of rows, each as many as a warp has pixels.
        let (rows, cols) = (2 * 32 / vectors, conv.w.min(COLUMNS));
        let mut dims = StemDims::new(conv, self.normalisation.as_ref(), [rows, cols])?;
        // Rows of dy and of the image lie in different banks, for vectors and for single values.
        let row = if vectors == VECTORS { cols * vectors } else { at_least(cols * vectors, vectors, VECTORS) };
        let pitch = (cols + 2) | 1;
        (dims.vectors, dims.sets) = (log2(vectors) as u32, row as u32);
        (dims.cols, dims.pitch) = (cols as u32, pitch as u32);
        let channels = conv.c.min(CHANNELS);
        let chunks = (kp * cx.precision.size()).div_ceil(VECTORS * VECTOR);
        let blocks = conv.c.div_ceil(CHANNELS) * chunks;
        let parts = BLOCKS.div_ceil(blocks).min(dims.tiles as usize * cx.capacity()).max(1);
        dims.parts = parts as u32;
        let len = conv.c * 9 * kp;
        let sums = cx.workspace(4 * parts * len);
        let input = rows * row * VECTOR + channels * (rows + 2) * pitch * 4;
        let output = 2 * channels * 9 * vectors * VECTOR / cx.precision.size() * 4;
        let args = [Arg::Out(sums), Arg::In(cx.buf(self.image)), Arg::In(cx.map(self.dy)), cx.live(), bytes(&dims)];
        let grid = [parts, conv.c.div_ceil(CHANNELS), chunks];
        let shape = conv.to_string();
        cx.launch_typed("stem_wgrad", grid, 64 * channels, input.max(output), args, shape.clone())?;
        let args = [Arg::Out(cx.span(self.grads, self.weights)), Arg::In(sums), cx.live(), bytes(&dims)];
        cx.launch("stem_wgrad_sum", [len.div_ceil(32), 1, 1], THREADS, 0, args, shape)
    }
}
