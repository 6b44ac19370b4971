//! Convolution of feature maps: fprop, dgrad and wgrad.
//!
//! ```text
//! fprop  y [n,p,q,k] = sum over r,s,c of  x [n, p*stride + r - pad, q*stride + s - pad, c] * w[k,r,s,c]
//! dgrad  dx[n,h,w,c] = sum over r,s,k of  dy[n, (h + pad - r)/stride, (w + pad - s)/stride, k] * w[k,r,s,c]
//! wgrad  dw[k,r,s,c] = sum over n,p,q of  dy[n,p,q,k] * x[n, p*stride + r - pad, q*stride + s - pad, c]
//! ```
//! Positions outside a map read as zero; dgrad sums only the taps whose division is exact.

pub mod cases;
pub mod cpu;
pub(crate) mod gpu;
pub mod run;

use crate::cpu::layout::MapShape;
use crate::program::{Affine, Bits, Buf, Filter, Map, Span};

/// The geometry of a convolution: a square filter, `pad = filter / 2`, the same stride in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv {
    /// Input channels C.
    pub c: usize,
    /// Output channels K.
    pub k: usize,
    /// Input height H.
    pub h: usize,
    /// Input width W.
    pub w: usize,
    /// Filter height and width R = S: 1 or 3.
    pub filter: usize,
    /// Stride: 1 or 2.
    pub stride: usize,
}

impl std::fmt::Display for Conv {
    /// Input and output channels, the input's size, the filter and its stride, as in `64>128 at 32x32, 3x3/2`.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Conv { c, k, h, w, filter, stride } = self;
        write!(f, "{c}>{k} at {h}x{w}, {filter}x{filter}/{stride}")
    }
}

impl Conv {
    /// Output height P.
    pub fn p(&self) -> usize {
        (self.h - 1) / self.stride + 1
    }

    /// Output width Q.
    pub fn q(&self) -> usize {
        (self.w - 1) / self.stride + 1
    }

    /// Zero padding on each side.
    pub fn pad(&self) -> usize {
        self.filter / 2
    }

    /// Elements of one input: C x H x W.
    pub fn input_len(&self) -> usize {
        self.c * self.h * self.w
    }

    /// Length of the KRSC filter.
    pub fn filter_len(&self) -> usize {
        self.k * self.filter * self.filter * self.c
    }

    /// The shape of the input map x (and of dx).
    pub fn x_map(&self) -> MapShape {
        MapShape { c: self.c, h: self.h, w: self.w }
    }

    /// The shape of the output map y (and of dy).
    pub fn y_map(&self) -> MapShape {
        MapShape { c: self.k, h: self.p(), w: self.q() }
    }

    /// Multiply-accumulates of one pass over one example (dgrad and wgrad need as many as fprop, but for borders).
    pub fn macs(&self) -> usize {
        self.p() * self.q() * self.filter_len()
    }
}

/// What follows the sum of an fprop, per element: `y = sum + shift[k] + residual`, then perhaps an activation.
#[derive(Clone, Debug, Default)]
pub struct Epilogue {
    /// Adds the `shift` of a folded batch norm (its scale is in the filter).
    pub bias: Option<Affine>,
    /// Adds this map; may be the map that `y` is written to.
    pub residual: Option<Map>,
    /// Where `y` is written, if it is needed.
    pub y: Option<Map>,
    /// Writes `a = max(0, scale[k]*y + shift[k])` as well.
    pub act: Option<Activation>,
}

/// `a = max(0, scale[k]*y + shift[k])`, and one bit per element where it is positive.
#[derive(Clone, Debug)]
pub struct Activation {
    /// The affine map; the identity if there is none.
    pub affine: Option<Affine>,
    /// Where `a` is written.
    pub a: Map,
    /// Where the bits are written.
    pub bits: Option<Bits>,
}

/// `y = conv(x, filter)` with an [`Epilogue`], for every live slot.
#[derive(Clone, Debug)]
pub struct ConvFprop {
    /// Geometry.
    pub conv: Conv,
    /// Input `[live, H, W, C]`.
    pub x: Map,
    /// Prepared for fprop.
    pub filter: Filter,
    /// Output `[live, P, Q, K]`.
    pub epilogue: Epilogue,
}

/// `dx = dgrad(dy, filter)`, zeroed where `bits` is 0, plus `residual`, for every live slot.
#[derive(Clone, Debug)]
pub struct ConvDgrad {
    /// Geometry.
    pub conv: Conv,
    /// Gradient of the output `[live, P, Q, K]`.
    pub dy: Map,
    /// Prepared for dgrad.
    pub filter: Filter,
    /// Mask of the input's ReLU.
    pub bits: Option<Bits>,
    /// Added after the mask; `dx` itself accumulates.
    pub residual: Option<Map>,
    /// Gradient of the input `[live, H, W, C]`.
    pub dx: Map,
}

/// `grads[weights] = wgrad(x, dy)`, summed over the live slots in a fixed order; overwrites.
#[derive(Clone, Debug)]
pub struct ConvWgrad {
    /// Geometry.
    pub conv: Conv,
    /// Input of the forward pass `[live, H, W, C]`.
    pub x: Map,
    /// Gradient of the output `[live, P, Q, K]`.
    pub dy: Map,
    /// The gradient arena.
    pub grads: Buf,
    /// The filter's place in it, KRSC.
    pub weights: Span,
}
