//! The stem on the CPU. Tiles of images as in [`crate::ops::conv::cpu`].

mod wgrad;

use super::{MAX_CHANNELS, Normalisation, StemDgrad, StemFprop, StemWgrad};
use crate::cpu::context::{Context, CpuOp};
use crate::cpu::layout::{LANES, MapShape};
use crate::cpu::simd::{Kernel, Level, Simd};
use crate::ops::conv::cpu::{Act, Epilogue, Walk, operands, tap_offset};
use crate::program::{Buf, Conv, Pass, Values};
pub use wgrad::{wgrad, wgrad_scratch};

/// f32 of a packed filter: `[K/16][c, r, s][16]` for fprop, `[c][K/16][r, s flipped][16]` for dgrad.
pub fn filter_len(stem: &Conv) -> usize {
    stem.k.div_ceil(LANES) * 9 * stem.c * LANES
}

/// Packs the KRSC filter `w[k,r,s,c] * scale_k[k]` for a pass. The same `norm` as the pass's belongs here: dgrad's
/// filter is divided by `std[c]`, so that it gives the gradient in image units.
pub fn pack(
    stem: &Conv,
    pass: Pass,
    w: &[f32],
    scale_k: Option<&[f32]>,
    norm: Option<&Normalisation>,
    out: &mut [f32],
) {
    let Conv { c, k, .. } = *stem;
    assert!((1..=MAX_CHANNELS).contains(&c), "a stem has 1 to {MAX_CHANNELS} image channels, not {c}");
    assert_eq!(w.len(), k * 9 * c, "KRSC filter of {stem:?}");
    assert_eq!(out.len(), filter_len(stem), "packed filter of {stem:?}");
    out.fill(0.0);
    for kk in 0..k {
        let scale = scale_k.map_or(1.0, |s| s[kk]);
        for tap in 0..9 {
            for cc in 0..c {
                let v = w[(kk * 9 + tap) * c + cc] * scale;
                let (block, lane) = (kk / LANES, kk % LANES);
                match pass {
                    Pass::Fprop => out[((block * c + cc) * 9 + tap) * LANES + lane] = v,
                    Pass::Dgrad => {
                        let v = norm.map_or(v, |norm| v / norm.std[cc]);
                        out[((cc * k.div_ceil(LANES) + block) * 9 + 8 - tap) * LANES + lane] = v;
                    }
                }
            }
        }
    }
}

/// A normalised image with a border of zeros: `[c][h + 2][w + 2]`.
#[derive(Clone, Copy)]
struct Padded {
    row: usize,
    plane: usize,
}

impl Padded {
    fn new(stem: &Conv) -> Self {
        Padded { row: stem.w + 2, plane: (stem.h + 2) * (stem.w + 2) }
    }

    /// f32 of one image.
    fn len(&self, stem: &Conv) -> usize {
        stem.c * self.plane
    }

    /// Offsets of the taps `[c][r][s]` from a pixel's corner.
    fn taps(&self, stem: &Conv) -> [usize; 9 * MAX_CHANNELS] {
        let mut taps = [0; 9 * MAX_CHANNELS];
        for (i, tap) in taps[..9 * stem.c].iter_mut().enumerate() {
            *tap = i / 9 * self.plane + i / 3 % 3 * self.row + i % 3;
        }
        taps
    }

    /// Fills the interior of `out` (whose border is zero) with the normalised image.
    #[inline(always)]
    fn fill(&self, stem: &Conv, image: &[f32], norm: Option<&Normalisation>, out: &mut [f32]) {
        for c in 0..stem.c {
            // x * scale + shift would cancel digits; subtracting first does not.
            let (mean, scale) = norm.map_or((0.0, 1.0), |n| (n.mean[c], 1.0 / n.std[c]));
            for h in 0..stem.h {
                let from = &image[(c * stem.h + h) * stem.w..][..stem.w];
                let to = &mut out[c * self.plane + (h + 1) * self.row + 1..][..stem.w];
                for (to, from) in to.iter_mut().zip(from) {
                    *to = (from - mean) * scale;
                }
            }
        }
    }
}

fn check(stem: &Conv, norm: Option<&Normalisation>) {
    assert!((1..=MAX_CHANNELS).contains(&stem.c), "a stem has 1 to {MAX_CHANNELS} image channels: {stem:?}");
    if let Some(norm) = norm {
        assert!(norm.mean.len() >= stem.c && norm.std.len() >= stem.c, "a mean and a std for every image channel");
    }
}

/// The operands of [`fprop`].
pub struct FpropArgs<'a> {
    /// Geometry.
    pub stem: Conv,
    /// Examples.
    pub n: usize,
    /// Images, NCHW.
    pub image: *const f32,
    /// Their normalisation.
    pub norm: Option<&'a Normalisation>,
    /// The filter as [`pack`]ed for [`Pass::Fprop`].
    pub filter: &'a [f32],
    /// Added to y, per output channel, padded to blocks of sixteen with zeros.
    pub bias: Option<&'a [f32]>,
    /// Where y goes, if anyone wants it.
    pub y: Option<*mut f32>,
    /// What else is made of y.
    pub act: Option<Act<'a>>,
    /// [`scratch`] f32 of workspace.
    pub scratch: &'a mut [f32],
}

/// f32 of workspace that [`fprop`] needs.
pub fn scratch(stem: &Conv) -> usize {
    Padded::new(stem).len(stem)
}

/// `y = conv(normalise(image), filter) + bias`, stored and/or activated.
///
/// # Safety
/// `image` is valid for reading `n` images, `y` and `act.a` for writing `n` examples of [`MapShape::y`], `act.bits` for
/// writing their bits; none overlap.
pub unsafe fn fprop(level: Level, args: FpropArgs<'_>) {
    let FpropArgs { stem, n, image, norm, filter, bias, y, act, scratch } = args;
    check(&stem, norm);
    assert_eq!(filter.len(), filter_len(&stem), "packed filter of {stem:?}");
    let padded = Padded::new(&stem);
    let scratch = &mut scratch[..padded.len(&stem)];
    scratch.fill(0.0);
    let epilogue = Epilogue::fprop(stem.k, bias, None, y, act);
    level.run(Images { stem, n, image, norm, filter, epilogue, scratch });
}

struct Images<'a> {
    stem: Conv,
    n: usize,
    image: *const f32,
    norm: Option<&'a Normalisation>,
    filter: &'a [f32],
    epilogue: Epilogue,
    scratch: &'a mut [f32],
}

impl Kernel for Images<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (padded, dst) = (Padded::new(&self.stem), MapShape::y(&self.stem));
        let taps = padded.taps(&self.stem);
        for n in 0..self.n {
            // SAFETY: `n` images can be read by the promise of `fprop`'s caller.
            let image =
                unsafe { std::slice::from_raw_parts(self.image.add(n * self.stem.input_len()), self.stem.input_len()) };
            padded.fill(&self.stem, image, self.norm, self.scratch);
            let walk = Walk::<1> {
                n: 1,
                src: self.scratch.as_ptr(),
                src_example: self.scratch.len(),
                src_row: padded.row,
                src_col: 1,
                src_block: 0,
                src_blocks: 1,
                taps: &taps[..9 * self.stem.c],
                filter: self.filter.as_ptr(),
                filter_block: self.filter.len() / dst.blocks(),
                dst,
                dst_step: 1,
                dst_phase: (0, 0),
                // SAFETY: the maps have `n` examples.
                epilogue: unsafe { self.epilogue.at(n * dst.example(), n * dst.bits()) },
            };
            walk.run(s);
        }
    }
}

/// The gradient of the images, NCHW.
///
/// # Safety
/// `dy` is valid for reading `n` examples of the stem's output map, with zero borders; `gradient` for writing `n`
/// images.
pub unsafe fn dgrad(level: Level, stem: &Conv, n: usize, dy: *const f32, filter: &[f32], gradient: *mut f32) {
    check(stem, None);
    assert_eq!(filter.len(), filter_len(stem), "packed filter of {stem:?}");
    level.run(Gradient { stem: *stem, n, dy, filter, gradient });
}

struct Gradient<'a> {
    stem: Conv,
    n: usize,
    dy: *const f32,
    filter: &'a [f32],
    gradient: *mut f32,
}

impl Kernel for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let map = MapShape::y(&self.stem);
        let per = map.blocks() * 9 * LANES;
        // Groups of pixels may reach beyond the map, but not beyond the plane.
        let width = self.stem.w.next_multiple_of(4);
        for image in 0..self.n {
            for c in 0..self.stem.c {
                // The gradient as it comes, a group of pixels at a time; it leaves sixteen elements at a time.
                let mut ready = [0.0f32; 3 * LANES];
                let (mut len, mut at) = (0, (image * self.stem.c + c) * self.stem.h * self.stem.w);
                for row in 0..self.stem.h {
                    let mut col = 0;
                    while col < self.stem.w {
                        // SAFETY: the pixels lie inside dy's planes and the elements inside the images by the promise of
                        // `dgrad`'s caller; `ready` has room for what is left over (15) and a group (16).
                        unsafe {
                            let dy = self.dy.add(image * map.example() + tap_offset(&map, row, col));
                            let w = self.filter.as_ptr().add(c * per);
                            let to = ready.as_mut_ptr().add(len);
                            let group = match S::REG.min(width - col) {
                                16 => self.dots::<S, 16>(s, &map, dy, w, to),
                                8 | 12 => self.dots::<S, 8>(s, &map, dy, w, to),
                                _ => self.dots::<S, 4>(s, &map, dy, w, to),
                            };
                            len += group.min(self.stem.w - col);
                            col += group;
                            if len >= LANES {
                                self.finish(s, s.load(ready.as_ptr()), at, LANES);
                                s.store(ready.as_mut_ptr(), s.load(ready.as_ptr().add(LANES)));
                                (len, at) = (len - LANES, at + LANES);
                            }
                        }
                    }
                }
                if len > 0 {
                    // SAFETY: as above; `len` elements are left.
                    unsafe { self.finish(s, s.load(ready.as_ptr()), at, len) };
                }
            }
        }
    }
}

impl Gradient<'_> {
    /// The gradient of `NP` pixels in a row, whose taps start at `dy`, to `to`; gives `NP`.
    ///
    /// A pixel's gradient is a sum over output channels, the lanes. One register's share of the lanes at a time, so that
    /// the pixels, a row of taps and each dy (used for three pixels) fit the registers.
    ///
    /// # Safety
    /// `NP + 2` pixels of three rows can be read at `dy` in every plane, a register be written at `to`.
    #[inline(always)]
    unsafe fn dots<S: Simd, const NP: usize>(
        &self,
        s: S,
        map: &MapShape,
        dy: *const f32,
        mut w: *const f32,
        to: *mut f32,
    ) -> usize {
        let mut acc = [s.r_splat(0.0); LANES];
        // SAFETY: the caller's promise.
        unsafe {
            for b in 0..map.blocks() {
                for r in 0..3 {
                    let dy = dy.add(b * map.plane() + r * map.row());
                    for lane in (0..LANES).step_by(S::REG) {
                        let mut taps = [s.r_splat(0.0); 3];
                        for (q, tap) in taps.iter_mut().enumerate() {
                            *tap = s.r_load(w.add(q * LANES + lane));
                        }
                        // A load for each tap, which the compiler merges once unrolled: with a test on the pixel instead it
                        // keeps sixteen pixels a loop, and their sums in memory.
                        #[allow(clippy::needless_range_loop)] // indexed on both sides, as the sum is written
                        for i in 0..NP {
                            for q in 0..3 {
                                let d = s.r_load(dy.add((i + q) * LANES + lane));
                                acc[i] = s.r_fma(d, taps[q], acc[i]);
                            }
                        }
                    }
                    w = w.add(3 * LANES);
                }
            }
            s.r_store(to, s.r_sums(&acc));
        }
        NP
    }

    /// Stores the gradient of `count` elements of the images from `at`.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, s: S, g: S::V, at: usize, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match count {
                LANES => s.store(self.gradient.add(at), g),
                _ => s.store_part(self.gradient.add(at), g, count),
            }
        }
    }
}

/// The images of the context's slots.
fn images(cx: &Context, conv: &Conv, buf: Buf) -> *mut f32 {
    let len = conv.input_len();
    // SAFETY: the slots of this context are this thread's own.
    unsafe { cx.rows::<f32>(buf, cx.first, cx.n, len) }.as_mut_ptr()
}

impl CpuOp for StemFprop {
    fn scratch(&self, _: usize, _: &Values) -> usize {
        scratch(&self.conv)
    }

    fn run(&self, cx: &Context) {
        let (bias, _, y, act) = operands(cx, &self.epilogue);
        // SAFETY: the only use of the scratch.
        let (n, filter, scratch) = (cx.n, cx.filter(self.filter), unsafe { cx.scratch() });
        let (stem, image, norm) = (self.conv, images(cx, &self.conv, self.image), self.normalisation.as_ref());
        // SAFETY: maps and images have the shapes that the program declares.
        unsafe { fprop(cx.level, FpropArgs { stem, n, image, norm, filter, bias, y, act, scratch }) }
    }
}

impl CpuOp for StemDgrad {
    fn run(&self, cx: &Context) {
        let gradient = images(cx, &self.conv, self.gradient);
        // SAFETY: maps and images have the shapes that the program declares.
        unsafe { dgrad(cx.level, &self.conv, cx.n, cx.map(self.dy), cx.filter(self.filter), gradient) }
    }
}

impl CpuOp for StemWgrad {
    fn scratch(&self, n: usize, _: &Values) -> usize {
        wgrad_scratch(&self.conv, n)
    }

    fn run(&self, cx: &Context) {
        // SAFETY: this op runs alone.
        let (dw, scratch) = unsafe { (&mut cx.buf::<f32>(self.grads)[self.weights.range()], cx.scratch()) };
        let (image, norm) = (images(cx, &self.conv, self.image), self.normalisation.as_ref());
        // SAFETY: maps and images have the shapes that the program declares.
        unsafe { wgrad(cx.level, &self.conv, cx.n, image, norm, cx.map(self.dy), dw, scratch) }
    }
}
