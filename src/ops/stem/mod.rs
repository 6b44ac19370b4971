//! The stem: the 3x3, stride 1 convolution that reads the image itself.
//!
//! The image is plain NCHW f32 in \[0, 1\]. It is normalised, `(x - mean[c]) / std[c]`, and *then* padded with zeros, as
//! a padded convolution after a normalisation does. The gradient is with respect to the image, in its units.

use super::conv::Conv;

pub mod cpu;
#[cfg(test)]
mod tests;

/// The geometry of a stem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stem {
    /// Image channels C.
    pub c: usize,
    /// Output channels K.
    pub k: usize,
    /// Height.
    pub h: usize,
    /// Width.
    pub w: usize,
}

impl Stem {
    /// The same as a convolution of maps.
    pub fn conv(&self) -> Conv {
        Conv { c: self.c, k: self.k, h: self.h, w: self.w, filter: 3, stride: 1 }
    }

    /// f32 of one image: C x H x W.
    pub fn image(&self) -> usize {
        self.c * self.h * self.w
    }
}

/// Per-channel normalisation of the image: `(x - mean[c]) / std[c]`.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// C means.
    pub mean: &'a [f32],
    /// C standard deviations, not 0.
    pub std: &'a [f32],
}
