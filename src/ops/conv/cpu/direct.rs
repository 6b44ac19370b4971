//! The direct sum: a register tile of pixels by channels, fed by a run-time list of taps.

use super::{Conv, Epilogue};
use crate::cpu::layout::{LANES, MapShape};
use crate::cpu::simd::{Kernel, MAX_ROWS, Simd};

/// A short list of tap offsets.
#[derive(Clone, Copy, Default)]
pub(crate) struct Taps {
    offsets: [usize; 9],
    len: usize,
}

impl Taps {
    fn push(&mut self, offset: usize) {
        self.offsets[self.len] = offset;
        self.len += 1;
    }
    pub fn as_slice(&self) -> &[usize] {
        &self.offsets[..self.len]
    }
    pub fn len(&self) -> usize {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Offset in a plane of the pixel `row`, `col` counted from the border's corner.
pub(crate) fn tap_offset(map: &MapShape, row: usize, col: usize) -> usize {
    row * map.row() + col * LANES
}

/// Taps of fprop (and of stride 1 dgrad, whose filter is packed flipped), from the plane's corner.
pub(crate) fn fprop_taps(conv: &Conv) -> Taps {
    let mut taps = Taps::default();
    // The border is one pixel wide: a 1x1 filter starts inside it.
    let first = 1 - conv.pad();
    for r in 0..conv.filter {
        for s in 0..conv.filter {
            taps.push(tap_offset(&MapShape::x(conv), first + r, first + s));
        }
    }
    taps
}

/// Stride 2 dgrad is four sums, one for each parity (h % 2, w % 2) of the pixel.
pub(crate) const PHASES: [(usize, usize); 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];

/// For one dimension: the pairs (filter row, row of dy from its border) that reach pixel `2 * i + phase` from dy's row
/// i, which is row `i + 1` counted from the border: `(2 * i + phase + pad - r) / 2`, where exact.
pub(crate) fn phase_rows(filter: usize, phase: usize) -> &'static [(usize, usize)] {
    match (filter, phase) {
        (3, 0) => &[(1, 1)],
        (3, 1) => &[(0, 2), (2, 1)],
        (1, 0) => &[(0, 1)],
        _ => &[],
    }
}

/// Taps of stride 2 dgrad at the pixels of one parity.
pub(crate) fn dgrad_taps(conv: &Conv, phase: (usize, usize)) -> Taps {
    let mut taps = Taps::default();
    for &(_, row) in phase_rows(conv.filter, phase.0) {
        for &(_, col) in phase_rows(conv.filter, phase.1) {
            taps.push(tap_offset(&MapShape::y(conv), row, col));
        }
    }
    taps
}

/// The direct sum over a grid of pixels of `n` examples:
///
/// ```text
/// acc[n, i, j, o] = sum over b, t, c of  src[n*src_example + b*src_block + i*src_row + j*src_col + taps[t] + c]
///                                        * filter[o/16][b][t][c][o%16]          c in 0..CI
/// ```
/// finished by the epilogue at pixel `(i, j) * dst_step + dst_phase` of the destination. The order of the sum is b, t,
/// c whatever the tiling, so a pixel's result does not depend on its neighbours in the tile.
pub(crate) struct Walk<'a, const CI: usize> {
    pub n: usize,
    pub src: *const f32,
    pub src_example: usize,
    pub src_row: usize,
    pub src_col: usize,
    pub src_block: usize,
    pub src_blocks: usize,
    pub taps: &'a [usize],
    pub filter: *const f32,
    /// f32 from the filter of one output block to the next.
    pub filter_block: usize,
    pub dst: MapShape,
    pub dst_step: usize,
    pub dst_phase: (usize, usize),
    pub epilogue: Epilogue,
}

/// Bytes of source maps that stay in L2 while each output block's filter passes over them.
const SOURCE_BYTES: usize = 192 * 1024;

impl<'a> Walk<'a, LANES> {
    /// Over all pixels of `dst`, reading `src` `src_step` pixels apart.
    ///
    /// # Safety
    /// `run` will read `src`, the filter (whole blocks) and the epilogue's operands for `n` examples.
    pub unsafe fn of_maps(
        n: usize,
        src: *const f32,
        src_map: MapShape,
        src_step: usize,
        dst: MapShape,
        taps: &'a [usize],
        filter: &[f32],
        epilogue: Epilogue,
    ) -> Self {
        Walk {
            n,
            src,
            src_example: src_map.example(),
            src_row: src_step * src_map.row(),
            src_col: src_step * LANES,
            src_block: src_map.plane(),
            src_blocks: src_map.blocks(),
            taps,
            filter: filter.as_ptr(),
            filter_block: filter.len() / dst.blocks(),
            dst,
            dst_step: 1,
            dst_phase: (0, 0),
            epilogue,
        }
    }

    /// Only the pixels of one parity, whose filter starts `first` f32 into each block.
    ///
    /// # Safety
    /// As for `of_maps`.
    pub unsafe fn at_phase(mut self, phase: (usize, usize), first: usize) -> Self {
        self.dst_step = 2;
        self.dst_phase = phase;
        // SAFETY: the parity's filter lies inside the block.
        self.filter = unsafe { self.filter.add(first) };
        self
    }
}

impl<const CI: usize> Kernel for Walk<'_, CI> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.dst.h.saturating_sub(self.dst_phase.0).div_ceil(self.dst_step);
        let cols = self.dst.w.saturating_sub(self.dst_phase.1).div_ceil(self.dst_step);
        if rows * cols == 0 {
            return;
        }
        let chunk = (SOURCE_BYTES / 4 / self.src_example).max(1);
        let mut first = 0;
        while first < self.n {
            let images = chunk.min(self.n - first);
            let mut block = 0;
            while block < self.dst.blocks() {
                // SAFETY: the constructor's caller promised the operands for `n` examples and all blocks.
                unsafe {
                    if S::BLOCKS == 2 && block + 2 <= self.dst.blocks() {
                        self.pixels::<S, 2>(s, first, images, block, rows, cols);
                        block += 2;
                    } else {
                        self.pixels::<S, 1>(s, first, images, block, rows, cols);
                        block += 1;
                    }
                }
            }
            first += images;
        }
    }
}

impl<const CI: usize> Walk<'_, CI> {
    /// All pixels of `images` examples, for `NB` output blocks.
    #[inline(always)]
    unsafe fn pixels<S: Simd, const NB: usize>(
        &self,
        s: S,
        first: usize,
        images: usize,
        block: usize,
        rows: usize,
        cols: usize,
    ) {
        let (dst, step) = (&self.dst, self.dst_step);
        let mut to = Pixels {
            epilogue: self.epilogue,
            block,
            plane: dst.plane(),
            bit_plane: dst.h * dst.w,
            map: [0; MAX_ROWS],
            bit: [0; MAX_ROWS],
        };
        // Where the next pixel is: added up, since these loops run once for few products where the filter is 1x1.
        let mut px = first * self.src_example;
        let mut map = first * dst.example()
            + block * to.plane
            + dst.origin()
            + tap_offset(dst, self.dst_phase.0, self.dst_phase.1);
        let mut bit = first * dst.bits() + block * to.bit_plane + self.dst_phase.0 * dst.w + self.dst_phase.1;
        let (map_col, map_row) = (step * LANES, step * dst.row());
        let (mut row, mut col) = (0, 0);
        let mut left = images * rows * cols;
        let mut tile = [0; MAX_ROWS];
        while left > 0 {
            let np = left.min(S::ROWS);
            if np == S::ROWS && col + np < cols {
                for i in 0..S::ROWS {
                    tile[i] = px + i * self.src_col;
                    to.map[i] = map + i * map_col;
                    to.bit[i] = bit + i * step;
                }
                px += S::ROWS * self.src_col;
                map += S::ROWS * map_col;
                bit += S::ROWS * step;
                col += S::ROWS;
            } else {
                for i in 0..np {
                    (tile[i], to.map[i], to.bit[i]) = (px, map, bit);
                    col += 1;
                    (px, map, bit) = (px + self.src_col, map + map_col, bit + step);
                    if col == cols {
                        px = px - cols * self.src_col + self.src_row;
                        map = map - cols * map_col + map_row;
                        bit = bit - cols * step + step * dst.w;
                        (row, col) = (row + 1, 0);
                        if row == rows {
                            px = px - rows * self.src_row + self.src_example;
                            map = map - rows * map_row + dst.example();
                            bit = bit - rows * step * dst.w + dst.bits();
                            row = 0;
                        }
                    }
                }
            }
            // SAFETY: pixels and blocks lie inside the operands.
            unsafe {
                let product = Product {
                    x: self.src,
                    px: &tile,
                    taps: self.taps,
                    blocks: self.src_blocks,
                    x_block: self.src_block,
                    w: self.filter.add(block * self.filter_block),
                    w_block: self.filter_block,
                };
                product.rows::<S, _, NB, CI>(s, np, &to);
            }
            left -= np;
        }
    }
}

/// What becomes of a finished register tile.
pub(crate) trait Sink {
    /// Takes the first `NP` rows of `NB` blocks.
    ///
    /// # Safety
    /// The sink's pointers are valid there.
    unsafe fn take<S: Simd, const NP: usize, const NB: usize>(&self, s: S, tile: [[S::V; NP]; NB]);
}

/// Pixels of maps, through the epilogue.
struct Pixels {
    epilogue: Epilogue,
    block: usize,
    plane: usize,
    bit_plane: usize,
    map: [usize; MAX_ROWS],
    bit: [usize; MAX_ROWS],
}

impl Sink for Pixels {
    #[inline(always)]
    unsafe fn take<S: Simd, const NP: usize, const NB: usize>(&self, s: S, tile: [[S::V; NP]; NB]) {
        for j in 0..NB {
            // SAFETY: the caller's promise.
            unsafe {
                let epilogue =
                    if j == 0 { self.epilogue } else { self.epilogue.at(j * self.plane, j * self.bit_plane) };
                epilogue.apply(s, tile[j], self.block + j, self.map.as_ptr(), self.bit.as_ptr());
            }
        }
    }
}

/// The product every pass is made of: rows of x at any place by a filter read linearly.
///
/// ```text
/// tile[j][i][o] = sum over b, t, c of  x[px[i] + b*x_block + taps[t] + c] * w[j*w_block + ((b*T + t)*CI + c)*16 + o]
/// ```
pub(crate) struct Product<'a> {
    pub x: *const f32,
    pub px: &'a [usize; MAX_ROWS],
    pub taps: &'a [usize],
    pub blocks: usize,
    pub x_block: usize,
    pub w: *const f32,
    pub w_block: usize,
}

impl Product<'_> {
    /// For the first `np` rows (at most [`Simd::ROWS`]) and `NB` output blocks.
    ///
    /// # Safety
    /// All elements of the formula lie inside the buffers, and the sink can take the tile.
    #[inline(always)]
    pub unsafe fn rows<S: Simd, K: Sink, const NB: usize, const CI: usize>(&self, s: S, np: usize, sink: &K) {
        macro_rules! dispatch {
            ($($rows:literal)*) => {
                // SAFETY: the caller's promise.
                unsafe {
                    match np {
                        // Arms beyond the level's tile fold away.
                        $($rows if $rows <= S::ROWS => sink.take(s, self.tile::<S, $rows, NB, CI>(s)),)*
                        _ => {}
                    }
                }
            };
        }
        dispatch!(12 6 1 2 3 4 5 7 8 9 10 11);
    }

    /// # Safety
    /// As `rows`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const NP: usize, const NB: usize, const CI: usize>(&self, s: S) -> [[S::V; NP]; NB] {
        let mut acc = [[s.zero(); NP]; NB];
        let mut w = self.w;
        let mut x = self.x;
        // SAFETY: the caller's promise.
        unsafe {
            for _ in 0..self.blocks {
                let mut p = [x; NP];
                for i in 0..NP {
                    p[i] = x.add(self.px[i]);
                }
                for &tap in self.taps {
                    // Four channels at a time (CI is 1 or 16): left to itself the compiler makes sixteen rounds of one.
                    let step = CI.min(4);
                    for first in (0..CI).step_by(step) {
                        for c in first..first + step {
                            let mut wv = [s.zero(); NB];
                            for j in 0..NB {
                                wv[j] = s.load(w.add(j * self.w_block + c * LANES));
                            }
                            for i in 0..NP {
                                let xv = s.splat(*p[i].add(tap + c));
                                for j in 0..NB {
                                    acc[j][i] = s.fma(xv, wv[j], acc[j][i]);
                                }
                            }
                        }
                    }
                    w = w.add(CI * LANES);
                }
                x = x.add(self.x_block);
            }
        }
        acc
    }
}
