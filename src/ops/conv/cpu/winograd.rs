//! Winograd's F(4x4, 3x3): 36 products for 16 pixels instead of 144.
//!
//! `Y = At [ (G g Gt) . (Bt d B) ] A` with the matrices of Lavin and Gray, "Fast Algorithms for Convolutional Neural
//! Networks" (2015), section 4.2 (points 0, 1, -1, 2, -2 and infinity). For each of the 36 points the sum over input
//! channels is a matrix product over the tiles of all images of the call.

use super::Epilogue;
use super::direct::{Product, Sink, tap_offset};
use crate::cpu::layout::{LANES, MapShape};
use crate::cpu::simd::{Kernel, Level, MAX_ROWS, Simd};
use crate::program::Conv;

/// Points of the transformed tile: 6 x 6.
pub(super) const POINTS: usize = 36;
/// A tile's step in both directions.
const TILE: usize = 4;

/// How the tiles of a call are grouped so that the transformed values stay in cache.
#[derive(Clone, Copy)]
struct Blocking {
    /// Tiles transformed before their products are taken.
    tiles: usize,
    /// Output blocks whose products are kept before the inverse transform.
    outputs: usize,
}

impl Blocking {
    fn new(src_blocks: usize, dst_blocks: usize, n: usize, tiles: usize) -> Self {
        let all = (n * tiles).next_multiple_of(MAX_ROWS);
        if src_blocks <= 8 {
            // The transformed input of a group of tiles stays in L2, next to the filter streaming through.
            let fit = 256 * 1024 / (POINTS * LANES * 4 * src_blocks);
            Blocking { tiles: (fit / MAX_ROWS * MAX_ROWS).clamp(MAX_ROWS, 2 * MAX_ROWS).min(all), outputs: 1 }
        } else {
            // The filter outgrows L2: use each point's part for as many tiles as there are, then go on.
            Blocking { tiles: all.min(16 * MAX_ROWS), outputs: dst_blocks }
        }
    }

    /// f32 from one point of V (the transformed input) to the next: an odd number of cache lines, since 36 of them at a
    /// multiple of 4096 bytes would share one set of L1.
    fn point(&self, blocks: usize) -> usize {
        ((blocks * self.tiles) | 1) * LANES
    }

    fn scratch(&self, src_blocks: usize) -> usize {
        POINTS * (self.point(src_blocks) + self.point(self.outputs)) + LANES
    }
}

fn tiles(map: &MapShape) -> usize {
    map.h.div_ceil(TILE) * map.w.div_ceil(TILE)
}

/// f32 of workspace for fprop and dgrad of up to `n` examples.
pub fn scratch(conv: &Conv, n: usize) -> usize {
    let (x, y) = (MapShape::x(conv), MapShape::y(conv));
    let one =
        |src: &MapShape, dst: &MapShape| Blocking::new(src.blocks(), dst.blocks(), n, tiles(src)).scratch(src.blocks());
    one(&x, &y).max(one(&y, &x))
}

/// The convolution of `n` examples of `src` to `dst` (maps of the same size) with a transformed filter.
///
/// # Safety
/// `src` and the epilogue's pointers are valid for `n` examples; the borders of `src` are zero.
pub(super) unsafe fn run(
    level: Level,
    n: usize,
    src: *const f32,
    src_map: MapShape,
    dst_map: MapShape,
    filter: &[f32],
    epilogue: Epilogue,
    scratch: &mut [f32],
) {
    if n == 0 {
        return;
    }
    let blocking = Blocking::new(src_map.blocks(), dst_map.blocks(), n, tiles(&src_map));
    let need = blocking.scratch(src_map.blocks());
    assert!(scratch.len() >= need, "winograd needs {need} f32 of scratch, not {}", scratch.len());
    // Vectors on cache lines.
    let skip = scratch.as_ptr().align_offset(64).min(LANES);
    let (v, m) = scratch[skip..].split_at_mut(POINTS * blocking.point(src_map.blocks()));
    level.run(Tiles { n, src, src_map, dst_map, filter, epilogue, blocking, v, m });
}

struct Tiles<'a> {
    n: usize,
    src: *const f32,
    src_map: MapShape,
    dst_map: MapShape,
    filter: &'a [f32],
    epilogue: Epilogue,
    blocking: Blocking,
    /// Transformed input `[point][src block][tile][16]`.
    v: &'a mut [f32],
    /// Products `[point][dst block of the group][tile][16]`.
    m: &'a mut [f32],
}

/// Where a tile is: its image and its first pixel.
#[derive(Clone, Copy)]
struct TilePlace {
    image: usize,
    row: usize,
    col: usize,
}

impl Tiles<'_> {
    #[inline(always)]
    fn place(&self, tile: usize) -> TilePlace {
        let (cols, per) = (self.src_map.w.div_ceil(TILE), tiles(&self.src_map));
        let (image, tile) = (tile / per, tile % per);
        TilePlace { image, row: tile / cols * TILE, col: tile % cols * TILE }
    }
}

/// Products of successive tiles, stored one after the other.
struct Store {
    to: *mut f32,
    block: usize,
}

impl Sink for Store {
    #[inline(always)]
    unsafe fn take<S: Simd, const NP: usize, const NB: usize>(&self, s: S, tile: [[S::V; NP]; NB]) {
        for j in 0..NB {
            for i in 0..NP {
                // SAFETY: the caller's promise.
                unsafe { s.store(self.to.add(j * self.block + i * LANES), tile[j][i]) };
            }
        }
    }
}

/// Offsets of successive tiles in V. A constant, so that they become displacements of one pointer.
const CONSECUTIVE: [usize; MAX_ROWS] = {
    let mut px = [0; MAX_ROWS];
    let mut i = 0;
    while i < MAX_ROWS {
        px[i] = i * LANES;
        i += 1;
    }
    px
};

/// One point's products of `count` tiles.
///
/// # Safety
/// As for [`Product::rows`].
#[inline(always)]
unsafe fn products<S: Simd, const NB: usize>(s: S, mut product: Product<'_>, mut to: Store, count: usize) {
    let mut left = count;
    // SAFETY: the caller's promise.
    unsafe {
        while left >= S::ROWS {
            product.rows::<S, _, NB, LANES>(s, S::ROWS, &to);
            product.x = product.x.add(S::ROWS * LANES);
            to.to = to.to.add(S::ROWS * LANES);
            left -= S::ROWS;
        }
        product.rows::<S, _, NB, LANES>(s, left, &to);
    }
}

impl Kernel for Tiles<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let all = self.n * tiles(&self.src_map);
        let (src_blocks, dst_blocks) = (self.src_map.blocks(), self.dst_map.blocks());
        let (v_point, m_point) = (self.blocking.point(src_blocks), self.blocking.point(self.blocking.outputs));
        let v_block = self.blocking.tiles * LANES;
        let (v, m) = (self.v.as_mut_ptr(), self.m.as_mut_ptr());
        let w_block = POINTS * src_blocks * LANES * LANES;
        let mut first = 0;
        while first < all {
            let count = self.blocking.tiles.min(all - first);
            // SAFETY: tiles below `all` lie inside the maps (planes are rounded up to whole tiles), V and M have room
            // for `blocking.tiles` tiles, the filter for all blocks (its length is checked by the callers).
            unsafe {
                for t in 0..count {
                    let at = self.place(first + t);
                    let src =
                        self.src.add(at.image * self.src_map.example() + at.row * self.src_map.row() + at.col * LANES);
                    for b in 0..src_blocks {
                        let to = v.add(b * v_block + t * LANES);
                        input_tile(s, src.add(b * self.src_map.plane()), self.src_map.row(), to, v_point);
                    }
                }
                let mut out = 0;
                while out < dst_blocks {
                    let outputs = self.blocking.outputs.min(dst_blocks - out);
                    for point in 0..POINTS {
                        let x = v.add(point * v_point);
                        let to = m.add(point * m_point);
                        let w = self.filter.as_ptr().add(out * w_block + point * src_blocks * LANES * LANES);
                        let mut o = 0;
                        while o < outputs {
                            let product = Product {
                                x,
                                px: &CONSECUTIVE,
                                taps: &[0],
                                blocks: src_blocks,
                                x_block: v_block,
                                w: w.add(o * w_block),
                                w_block,
                            };
                            let to = Store { to: to.add(o * v_block), block: v_block };
                            if S::BLOCKS == 2 && o + 2 <= outputs {
                                products::<S, 2>(s, product, to, count);
                                o += 2;
                            } else {
                                products::<S, 1>(s, product, to, count);
                                o += 1;
                            }
                        }
                    }
                    for t in 0..count {
                        let at = self.place(first + t);
                        for o in 0..outputs {
                            self.output_tile(s, m.add(o * v_block + t * LANES), m_point, at, out + o);
                        }
                    }
                    out += outputs;
                }
            }
            first += count;
        }
    }
}

/// `Bt d` in one dimension.
#[inline(always)]
fn input_1d<S: Simd>(s: S, d: [S::R; 6]) -> [S::R; 6] {
    let (four, two) = (s.r_splat(4.0), s.r_splat(2.0));
    let (minus4, minus5, minus2) = (s.r_splat(-4.0), s.r_splat(-5.0), s.r_splat(-2.0));
    let a = s.r_fma(d[2], minus4, d[4]);
    let b = s.r_fma(d[1], minus4, d[3]);
    let c = s.r_sub(d[4], d[2]);
    let e = s.r_sub(d[3], d[1]);
    [
        s.r_fma(d[0], four, s.r_fma(d[2], minus5, d[4])),
        s.r_add(a, b),
        s.r_sub(a, b),
        s.r_fma(e, two, c),
        s.r_fma(e, minus2, c),
        s.r_fma(d[1], four, s.r_fma(d[3], minus5, d[5])),
    ]
}

/// `At m` in one dimension.
#[inline(always)]
fn output_1d<S: Simd>(s: S, m: [S::R; 6]) -> [S::R; 4] {
    let (two, four, eight) = (s.r_splat(2.0), s.r_splat(4.0), s.r_splat(8.0));
    let (a, b) = (s.r_add(m[1], m[2]), s.r_sub(m[1], m[2]));
    let (c, d) = (s.r_add(m[3], m[4]), s.r_sub(m[3], m[4]));
    [s.r_add(s.r_add(m[0], a), c), s.r_fma(d, two, b), s.r_fma(c, four, a), s.r_add(s.r_fma(d, eight, b), m[5])]
}

/// V = Bt d B of one tile and block; point p goes to `to + p * point`.
///
/// # Safety
/// A 6x6 tile can be read at `src`, 36 vectors written at `to`.
#[inline(always)]
unsafe fn input_tile<S: Simd>(s: S, src: *const f32, row: usize, to: *mut f32, point: usize) {
    // One register's share of the lanes at a time, so that a row of the tile fits the registers.
    for lane in (0..LANES).step_by(S::REG) {
        let mut t = [[s.r_splat(0.0); 6]; 6];
        // SAFETY: the caller's promise.
        unsafe {
            for j in 0..6 {
                let mut d = [s.r_splat(0.0); 6];
                for i in 0..6 {
                    d[i] = s.r_load(src.add(i * row + j * LANES + lane));
                }
                let d = input_1d(s, d);
                for i in 0..6 {
                    t[i][j] = d[i];
                }
            }
            for i in 0..6 {
                let d = input_1d(s, t[i]);
                for j in 0..6 {
                    s.r_store(to.add((i * 6 + j) * point + lane), d[j]);
                }
            }
        }
    }
}

impl Tiles<'_> {
    /// Y = At m A of one tile and block, through the epilogue, for the pixels inside the map.
    ///
    /// # Safety
    /// 36 vectors can be read at `m`, `point` apart; `at` is a tile of the map.
    #[inline(always)]
    unsafe fn output_tile<S: Simd>(&self, s: S, m: *const f32, point: usize, at: TilePlace, block: usize) {
        let map = &self.dst_map;
        let mut y = [[[0.0f32; LANES]; 4]; 4];
        for lane in (0..LANES).step_by(S::REG) {
            let mut t = [[s.r_splat(0.0); 6]; 4];
            // SAFETY: the caller's promise; `y` has sixteen lanes.
            unsafe {
                for j in 0..6 {
                    let mut d = [s.r_splat(0.0); 6];
                    for i in 0..6 {
                        d[i] = s.r_load(m.add((i * 6 + j) * point + lane));
                    }
                    let d = output_1d(s, d);
                    for i in 0..4 {
                        t[i][j] = d[i];
                    }
                }
                for i in 0..4 {
                    let d = output_1d(s, t[i]);
                    for j in 0..4 {
                        s.r_store(y[i][j].as_mut_ptr().add(lane), d[j]);
                    }
                }
            }
        }
        let to = at.image * map.example() + block * map.plane() + map.origin();
        let bit = (at.image * map.blocks() + block) * map.h * map.w;
        let (to, bit) = (to + tap_offset(map, at.row, at.col), bit + at.row * map.w + at.col);
        let cols = TILE.min(map.w - at.col);
        for i in 0..TILE.min(map.h - at.row) {
            let (to, bit) = (to + i * map.row(), bit + i * map.w);
            let tos: [usize; TILE] = [to, to + LANES, to + 2 * LANES, to + 3 * LANES];
            let bits: [usize; TILE] = [bit, bit + 1, bit + 2, bit + 3];
            // SAFETY: the first `cols` pixels are inside the map.
            unsafe {
                if cols == TILE {
                    let mut v = [s.zero(); TILE];
                    for j in 0..TILE {
                        v[j] = s.load(y[i][j].as_ptr());
                    }
                    self.epilogue.apply(s, v, block, tos.as_ptr(), bits.as_ptr());
                } else {
                    for j in 0..cols {
                        let v = [s.load(y[i][j].as_ptr())];
                        self.epilogue.apply(s, v, block, tos[j..].as_ptr(), bits[j..].as_ptr());
                    }
                }
            }
        }
    }
}

/// `G g Gt` of sixteen by sixteen filters `[tap][input][output]`; point p goes to `out[p * point..]`, `[input][output]`.
#[inline(always)]
pub(super) fn transform_filter<S: Simd>(s: S, g: &[[[f32; LANES]; LANES]; 9], out: &mut [f32], point: usize) {
    assert!(out.len() >= (POINTS - 1) * point + LANES * LANES);
    for input in 0..LANES {
        for lane in (0..LANES).step_by(S::REG) {
            let mut t = [[s.r_splat(0.0); 3]; 6];
            // SAFETY: `g` has the lanes read; the length of `out` is checked above.
            unsafe {
                for j in 0..3 {
                    let mut d = [s.r_splat(0.0); 3];
                    for i in 0..3 {
                        d[i] = s.r_load(g[i * 3 + j][input].as_ptr().add(lane));
                    }
                    let d = filter_1d(s, d);
                    for i in 0..6 {
                        t[i][j] = d[i];
                    }
                }
                for i in 0..6 {
                    let d = filter_1d(s, t[i]);
                    for j in 0..6 {
                        s.r_store(out.as_mut_ptr().add((i * 6 + j) * point + input * LANES + lane), d[j]);
                    }
                }
            }
        }
    }
}

/// `G g` in one dimension.
#[inline(always)]
fn filter_1d<S: Simd>(s: S, g: [S::R; 3]) -> [S::R; 6] {
    let zero = s.r_splat(0.0);
    let (sixth, twelfth) = (s.r_splat(-1.0 / 6.0), s.r_splat(1.0 / 12.0));
    let a = s.r_fma(s.r_add(g[0], g[2]), sixth, zero);
    let b = s.r_fma(g[1], sixth, zero);
    let c = s.r_fma(g[0], s.r_splat(1.0 / 24.0), s.r_fma(g[2], s.r_splat(1.0 / 6.0), zero));
    let d = s.r_fma(g[1], twelfth, zero);
    [s.r_fma(g[0], s.r_splat(0.25), zero), s.r_add(a, b), s.r_sub(a, b), s.r_add(c, d), s.r_sub(c, d), g[2]]
}
