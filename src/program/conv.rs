//! The geometry of convolutions, which sizes of filters and tiles follow from.

use super::Shape;

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
    pub fn x(&self) -> Shape {
        Shape { c: self.c, h: self.h, w: self.w }
    }

    /// The shape of the output map y (and of dy).
    pub fn y(&self) -> Shape {
        Shape { c: self.k, h: self.p(), w: self.q() }
    }

    /// Multiply-accumulates of one pass over one example (dgrad and wgrad need as many as fprop, but for borders).
    pub fn macs(&self) -> usize {
        self.p() * self.q() * self.filter_len()
    }
}

/// Which pass a [`Filter`](super::Filter) is prepared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Forward.
    Fprop,
    /// Gradient to the input.
    Dgrad,
}

/// What a [`Filter`](super::Filter) is prepared from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FilterDecl {
    /// The convolution it serves; the stem's has the image's channels as C.
    pub conv: Conv,
    /// Whether it belongs to the stem, whose input is an image.
    pub stem: bool,
    /// The pass it serves.
    pub pass: Pass,
    /// Whether the summation must keep the rounding of a direct convolution (no Winograd transform).
    pub exact: bool,
}
