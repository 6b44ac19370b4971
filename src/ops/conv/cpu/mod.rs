//! Convolution on the CPU, over maps in the layout of [`crate::cpu::layout`].
//!
//! A call works on a *tile*: `n` examples that follow each other in memory, `MapShape::example` f32 apart. Calls on
//! different tiles share nothing, so threads may each take some; the result for an example does not depend on `n` or on
//! its place in the tile. fprop and dgrad run on the calling thread, [`pack`] and [`wgrad`] on rayon's current pool.
//! Nothing allocates.
//!
//! fprop and dgrad are the same sum with other taps and the filter transposed, so both become one direct walk (or
//! one Winograd product) that hands each finished vector of sixteen channels to an epilogue.

// Register tiles are arrays indexed in step; iterators would hide which index goes with which.
#![allow(clippy::needless_range_loop)]

mod direct;
mod epilogue;
mod pack;
mod wgrad;
mod winograd;

#[cfg(test)]
pub(crate) mod oracle;
#[cfg(test)]
mod tests;

use super::{ConvDgrad, ConvFprop, ConvWgrad};
use crate::cpu::context::{Context, CpuOp};
use crate::cpu::layout::{LANES, MapShape};
use crate::cpu::simd::Level;
pub use crate::program::Pass;
use crate::program::{Conv, FilterDecl, Values};
pub(crate) use direct::{Walk, tap_offset};
pub(crate) use epilogue::Epilogue;
pub use pack::{filter_len, pack};
pub(crate) use wgrad::{Grad, chunk_range, reduce};
pub use wgrad::{wgrad, wgrad_scratch};
use winograd::scratch as winograd_scratch;

/// How a pass is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algo {
    /// The sum as written, any geometry.
    Direct,
    /// Winograd's F(4x4, 3x3): a quarter of the products and about ten times the rounding error. Filter 3, stride 1.
    Winograd,
}

impl Algo {
    /// Whether the algorithm can compute the geometry.
    pub fn supports(self, conv: &Conv) -> bool {
        self == Algo::Direct || (conv.filter == 3 && conv.stride == 1)
    }

    /// The faster algorithm for fprop and dgrad of the geometry.
    pub fn best(conv: &Conv) -> Algo {
        // A Winograd tile costs 36 products per channel pair, the direct sum 9 per pixel.
        let tiles = conv.h.div_ceil(4) * conv.w.div_ceil(4);
        if Algo::Winograd.supports(conv) && 36 * tiles * 3 < 9 * conv.h * conv.w * 2 {
            Algo::Winograd
        } else {
            Algo::Direct
        }
    }
}

/// What fprop makes of y besides (or instead of) storing it: `a = max(0, scale[k] * y + shift[k])`.
#[derive(Clone, Copy)]
pub struct Act<'a> {
    /// The map a, of y's shape.
    pub a: *mut f32,
    /// `(scale, shift)`, padded to blocks of sixteen channels with zeros; without them `a = max(0, y)`.
    pub affine: Option<(&'a [f32], &'a [f32])>,
    /// Bits of y's shape: set where the argument of max is positive.
    pub bits: Option<*mut u16>,
}

/// The operands of [`fprop`].
pub struct FpropArgs<'a> {
    /// Geometry.
    pub conv: Conv,
    /// Algorithm, the one the filter was packed for.
    pub algo: Algo,
    /// Examples.
    pub n: usize,
    /// Input maps.
    pub x: *const f32,
    /// The filter as [`pack`]ed for [`Pass::Fprop`].
    pub filter: &'a [f32],
    /// Added to y, per output channel, padded to blocks of sixteen with zeros.
    pub bias: Option<&'a [f32]>,
    /// Maps of y's shape, added to y; may be `y` itself.
    pub residual: Option<*const f32>,
    /// Where y goes, if anyone wants it.
    pub y: Option<*mut f32>,
    /// What else is made of y.
    pub act: Option<Act<'a>>,
    /// [`scratch`] f32 of workspace.
    pub scratch: &'a mut [f32],
}

/// The operands of [`dgrad`].
pub struct DgradArgs<'a> {
    /// Geometry.
    pub conv: Conv,
    /// Algorithm, the one the filter was packed for.
    pub algo: Algo,
    /// Examples.
    pub n: usize,
    /// Output gradients: maps of y's shape.
    pub dy: *const f32,
    /// The filter as [`pack`]ed for [`Pass::Dgrad`].
    pub filter: &'a [f32],
    /// Bits of dx's shape: where 0, the convolution's gradient is dropped (before the residual is added).
    pub bits: Option<*const u16>,
    /// Maps of dx's shape, added after the bits; may be `dx` itself, which then accumulates.
    pub residual: Option<*const f32>,
    /// Input gradients.
    pub dx: *mut f32,
    /// [`scratch`] f32 of workspace.
    pub scratch: &'a mut [f32],
}

/// f32 of workspace that [`fprop`] and [`dgrad`] of up to `n` examples need.
pub fn scratch(conv: &Conv, algo: Algo, n: usize) -> usize {
    match algo {
        Algo::Direct => 0,
        Algo::Winograd => winograd_scratch(conv, n),
    }
}

fn check(conv: &Conv, algo: Algo, pass: Pass, filter: &[f32]) {
    assert!(matches!((conv.filter, conv.stride), (1 | 3, 1 | 2)), "filter 1 or 3, stride 1 or 2: {conv:?}");
    assert!(algo.supports(conv), "{algo:?} cannot compute {conv:?}");
    assert_eq!(filter.len(), filter_len(conv, pass, algo), "packed filter of {conv:?}");
}

/// Checks a per-channel vector and gives its pointer.
pub(crate) fn per_channel(v: &[f32], channels: usize) -> *const f32 {
    assert!(v.len() >= channels.next_multiple_of(LANES), "a per-channel vector is padded to {LANES}");
    v.as_ptr()
}

/// `y = conv(x, filter) + bias + residual`, stored and/or activated.
///
/// # Safety
/// `x` is valid for reading `n` examples of [`MapShape::x`], `residual` for reading and `y` and `act.a` for writing `n`
/// examples of [`MapShape::y`], `act.bits` for writing `n * bits()` of [`MapShape::y`] words. Borders and channels beyond C of x
/// are zero. Only `residual` and `y` may overlap, and only by being equal.
pub unsafe fn fprop(level: Level, args: FpropArgs<'_>) {
    let FpropArgs { conv, algo, n, x, filter, bias, residual, y, act, scratch } = args;
    check(&conv, algo, Pass::Fprop, filter);
    let epilogue = Epilogue::fprop(conv.k, bias, residual, y, act);
    // SAFETY: the caller's promises are those of the walks; the filter's length is checked.
    unsafe {
        match algo {
            Algo::Direct => {
                let taps = direct::fprop_taps(&conv);
                level.run(Walk::of_maps(
                    n,
                    x,
                    MapShape::x(&conv),
                    conv.stride,
                    MapShape::y(&conv),
                    taps.as_slice(),
                    filter,
                    epilogue,
                ));
            }
            Algo::Winograd => {
                winograd::run(level, n, x, MapShape::x(&conv), MapShape::y(&conv), filter, epilogue, scratch)
            }
        }
    }
}

/// `dx = mask(dgrad(dy, filter), bits) + residual`.
///
/// # Safety
/// `dy` is valid for reading `n` examples of [`MapShape::y`], `residual` for reading and `dx` for writing `n` examples of
/// [`MapShape::x`], `bits` for reading `n * bits()` of [`MapShape::x`] words. Borders and channels beyond K of dy are zero. Only
/// `residual` and `dx` may overlap, and only by being equal.
pub unsafe fn dgrad(level: Level, args: DgradArgs<'_>) {
    let DgradArgs { conv, algo, n, dy, filter, bits, residual, dx, scratch } = args;
    check(&conv, algo, Pass::Dgrad, filter);
    let epilogue = Epilogue::dgrad(bits, residual, dx);
    let (dy_map, dx_map) = (MapShape::y(&conv), MapShape::x(&conv));
    // SAFETY: as in `fprop`.
    unsafe {
        match algo {
            Algo::Winograd => winograd::run(level, n, dy, dy_map, dx_map, filter, epilogue, scratch),
            Algo::Direct if conv.stride == 1 => {
                let taps = direct::fprop_taps(&Conv { c: conv.k, k: conv.c, ..conv });
                level.run(Walk::of_maps(n, dy, dy_map, 1, dx_map, taps.as_slice(), filter, epilogue));
            }
            Algo::Direct => {
                let mut first = 0;
                for phase in direct::PHASES {
                    let taps = direct::dgrad_taps(&conv, phase);
                    let in_place = residual == Some(dx.cast_const());
                    // Where no tap reaches, in-place accumulation has nothing to add.
                    if !(taps.is_empty() && in_place) {
                        let walk = Walk::of_maps(n, dy, dy_map, 1, dx_map, taps.as_slice(), filter, epilogue);
                        level.run(walk.at_phase(phase, first));
                    }
                    first += taps.len() * dy_map.blocks() * LANES * LANES;
                }
            }
        }
    }
}

/// The algorithm of a filter's passes.
pub fn algo(f: &FilterDecl) -> Algo {
    if f.exact { Algo::Direct } else { Algo::best(&f.conv) }
}

/// The epilogue's operands for the CPU kernels: bias, residual, y, activation.
pub(crate) type Operands<'a> = (Option<&'a [f32]>, Option<*const f32>, Option<*mut f32>, Option<Act<'a>>);

/// Resolves an epilogue's values.
pub(crate) fn operands<'a>(cx: &'a Context, e: &super::Epilogue) -> Operands<'a> {
    let act = e.act.as_ref().map(|act| Act {
        a: cx.map(act.a),
        affine: act.affine.map(|a| cx.affine(a)),
        bits: act.bits.map(|b| cx.bits(b)),
    });
    let bias = e.bias.map(|a| cx.affine(a).1);
    (bias, e.residual.map(|m| cx.map(m).cast_const()), e.y.map(|m| cx.map(m)), act)
}

impl CpuOp for ConvFprop {
    fn scratch(&self, n: usize, values: &Values) -> usize {
        scratch(&self.conv, algo(values.filter(self.filter)), n)
    }

    fn run(&self, cx: &Context) {
        let (bias, residual, y, act) = operands(cx, &self.epilogue);
        let (algo, filter) = (algo(cx.decl(self.filter)), cx.filter(self.filter));
        // SAFETY: the only use of the scratch.
        let (conv, n, x, scratch) = (self.conv, cx.n, cx.map(self.x), unsafe { cx.scratch() });
        // SAFETY: the program's maps have the shapes it declares, the slots are this thread's own, and the engine lets
        // only residual and y be the same map.
        unsafe { fprop(cx.level, FpropArgs { conv, algo, n, x, filter, bias, residual, y, act, scratch }) }
    }
}

impl CpuOp for ConvDgrad {
    fn scratch(&self, n: usize, values: &Values) -> usize {
        scratch(&self.conv, algo(values.filter(self.filter)), n)
    }

    fn run(&self, cx: &Context) {
        let (algo, filter) = (algo(cx.decl(self.filter)), cx.filter(self.filter));
        let (bits, residual) =
            (self.bits.map(|b| cx.bits(b).cast_const()), self.residual.map(|m| cx.map(m).cast_const()));
        let (conv, n, dy, dx) = (self.conv, cx.n, cx.map(self.dy), cx.map(self.dx));
        // SAFETY: the only use of the scratch.
        let scratch = unsafe { cx.scratch() };
        // SAFETY: as in fprop.
        unsafe { dgrad(cx.level, DgradArgs { conv, algo, n, dy, filter, bits, residual, dx, scratch }) }
    }
}

impl CpuOp for ConvWgrad {
    fn scratch(&self, n: usize, _: &Values) -> usize {
        wgrad_scratch(&self.conv, n)
    }

    fn run(&self, cx: &Context) {
        // SAFETY: this op runs alone.
        let (dw, scratch) = unsafe { (&mut cx.buf::<f32>(self.grads)[self.weights.range()], cx.scratch()) };
        // SAFETY: the maps hold the live slots.
        unsafe { wgrad(cx.level, &self.conv, cx.n, cx.map(self.x), cx.map(self.dy), dw, scratch) }
    }
}
