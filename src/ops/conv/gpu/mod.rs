//! Launchers of the kernels in `kernels/conv_*.cu`.
//!
//! Filters are prepared as `[tap, out, in]` of the maps' element type, `tap = r*S + s`, where `out` and `in` are the channels
//! of what the pass makes and of what it reads, rounded up to [`ROWS`] and to 8, zero beyond.

pub(crate) mod patch;
mod walk;
mod wgrad;

use super::{ConvDgrad, ConvFprop};
use crate::Result;
use crate::gpu::Precision;
use crate::gpu::driver::Ptr;
use crate::gpu::launches::{GpuOp, Launches, padded};
use crate::gpu::tiles;
use crate::ops::norm::NormFprop;
use crate::program::{Conv, FilterDecl, Pass};
use walk::{Finish, Operand};

pub use walk::{Fit, ROWS, fit};

/// What the tile of a convolution, with or without a shortcut in its sum, is chosen by.
pub fn problem(precision: Precision, batch: usize, pass: Pass, conv: &Conv, shortcut: bool) -> tiles::Problem {
    let Conv { c, k, h, w, filter, stride } = *conv;
    let (channels, size) = match pass {
        Pass::Fprop => ([c, k], [conv.p(), conv.q()]),
        Pass::Dgrad => ([k, c], [h, w]),
    };
    tiles::Problem { precision, pass, filter, stride, shortcut, channels, size, batch }
}

/// Bytes of a prepared filter.
pub fn filter_bytes(f: &FilterDecl, precision: Precision) -> usize {
    let (out, of) = match f.pass {
        Pass::Fprop => (f.conv.k, f.conv.c),
        Pass::Dgrad => (f.conv.c, f.conv.k),
    };
    f.conv.filter * f.conv.filter * out.next_multiple_of(ROWS) * padded(of) * precision.size()
}

impl GpuOp for ConvFprop {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        fprop(cx, self, None, None)
    }
}

impl GpuOp for ConvDgrad {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        dgrad(cx, self, None)
    }
}

/// A convolution and, as part of its sum, the 1x1 convolution whose output it would add; then the batch norm of the result,
/// whose statistics come from the convolution.
pub fn fprop(
    cx: &mut Launches,
    conv: &ConvFprop,
    shortcut: Option<&ConvFprop>,
    norm: Option<&NormFprop>,
) -> Result<()> {
    let operand = |o: &ConvFprop| Operand { conv: o.conv, map: cx.map(o.x), filter: cx.filter(o.filter) };
    let operands: Vec<Operand> = [Some(conv), shortcut].into_iter().flatten().map(operand).collect();
    let e = &conv.epilogue;
    let act = e.act.as_ref();
    let or_null = |p: Option<Ptr>| p.unwrap_or(0);
    let finish = Finish {
        y: or_null(e.y.map(|m| cx.map(m))),
        a: or_null(act.map(|act| cx.map(act.a))),
        bits: or_null(act.and_then(|act| act.bits).map(|b| cx.bits(b))),
        bias: or_null(e.bias.map(|a| cx.affine(a)[1])),
        affine: act.and_then(|act| act.affine).map_or([0; 2], |a| cx.affine(a)),
        // What the shortcut makes is in the sum.
        residual: or_null(e.residual.filter(|_| shortcut.is_none()).map(|m| cx.map(m))),
        moments: norm.is_some(),
        ..Finish::default()
    };
    let moments = walk::walk(cx, Pass::Fprop, &operands, &finish)?;
    match (norm, moments) {
        (Some(norm), Some(moments)) => norm.launch_after(cx, &moments),
        (Some(norm), None) => norm.launch(cx),
        (None, _) => Ok(()),
    }
}

/// A gradient and, as part of its sum, the 1x1 convolution's that would be added to it.
pub fn dgrad(cx: &mut Launches, conv: &ConvDgrad, shortcut: Option<&ConvDgrad>) -> Result<()> {
    let operand = |o: &ConvDgrad| Operand { conv: o.conv, map: cx.map(o.dy), filter: cx.filter(o.filter) };
    let operands: Vec<Operand> = [Some(conv), shortcut].into_iter().flatten().map(operand).collect();
    let finish = Finish {
        y: cx.map(conv.dx),
        mask: conv.bits.map_or(0, |b| cx.bits(b)),
        residual: conv.residual.map_or(0, |m| cx.map(m)),
        in_place: conv.residual == Some(conv.dx),
        ..Finish::default()
    };
    walk::walk(cx, Pass::Dgrad, &operands, &finish)?;
    Ok(())
}
