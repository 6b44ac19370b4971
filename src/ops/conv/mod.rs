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

use crate::program::{Affine, Bits, Buf, Conv, Extent, Filter, Map, Operation, Span, Uses, Values};

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

impl Epilogue {
    /// These, and what the epilogue reads and writes.
    pub fn uses(&self, uses: Uses) -> Uses {
        let act = self.act.as_ref();
        uses.reads(self.residual).writes(self.y).writes(act.map(|act| act.a)).writes(act.and_then(|act| act.bits))
    }

    /// What follows the sum, for a printed program.
    pub fn describe(&self) -> &'static str {
        match (self.residual.is_some(), self.act.is_some()) {
            (false, false) => "",
            (false, true) => ", relu",
            (true, false) => ", + residual",
            (true, true) => ", + residual, relu",
        }
    }
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

impl Operation for ConvFprop {
    fn name(&self) -> &'static str {
        "conv fprop"
    }

    fn extent(&self) -> Extent {
        Extent::Example
    }

    fn uses(&self) -> Uses {
        self.epilogue.uses(Uses::none().reads([self.x]).filter(self.filter))
    }

    fn describe(&self, _: &Values) -> String {
        format!("{}{}", self.conv, self.epilogue.describe())
    }
}

impl Operation for ConvDgrad {
    fn name(&self) -> &'static str {
        "conv dgrad"
    }

    fn extent(&self) -> Extent {
        Extent::Example
    }

    fn uses(&self) -> Uses {
        Uses::none().reads([self.dy]).reads(self.bits).reads(self.residual).writes([self.dx]).filter(self.filter)
    }

    fn describe(&self, _: &Values) -> String {
        format!("{}{}", self.conv, if self.residual.is_some() { ", + residual" } else { "" })
    }
}

impl Operation for ConvWgrad {
    fn name(&self) -> &'static str {
        "conv wgrad"
    }

    fn extent(&self) -> Extent {
        Extent::Batch
    }

    fn uses(&self) -> Uses {
        Uses::none().reads([self.x, self.dy])
    }

    fn describe(&self, _: &Values) -> String {
        self.conv.to_string()
    }
}
