//! Convolution of feature maps: fprop, dgrad and wgrad.
//!
//! ```text
//! fprop  y [n,p,q,k] = sum over r,s,c of  x [n, p*stride + r - pad, q*stride + s - pad, c] * w[k,r,s,c]
//! dgrad  dx[n,h,w,c] = sum over r,s,k of  dy[n, (h + pad - r)/stride, (w + pad - s)/stride, k] * w[k,r,s,c]
//! wgrad  dw[k,r,s,c] = sum over n,p,q of  dy[n,p,q,k] * x[n, p*stride + r - pad, q*stride + s - pad, c]
//! ```
//! Positions outside a map read as zero; dgrad sums only the taps whose division is exact.

use crate::cpu::layout::MapShape;

pub mod cases;
pub mod cpu;

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
