//! The stem: a 3x3 convolution, stride 1, whose input is an image, and its gradients.
//!
//! The network sees `(x - mean[c]) / std[c]`, padded with zeros *after* the normalisation. dgrad gives the gradient in image
//! units (with the factor `1/std`).

pub mod cpu;
pub(crate) mod gpu;
#[cfg(test)]
mod tests;

use crate::ops::conv::Epilogue;
use crate::program::{Buf, Conv, Extent, Filter, Map, Operation, Span, Uses, Values};

/// Image channels at most: what the kernels keep tap offsets for.
pub const MAX_CHANNELS: usize = 256;

/// The geometry of a stem for images of `c` x `h` x `w`: 3x3, stride 1.
pub const fn stem(c: usize, k: usize, h: usize, w: usize) -> Conv {
    Conv { c, k, h, w, filter: 3, stride: 1 }
}

/// The normalisation inside the model, a value per image channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalisation {
    /// Subtracted.
    pub mean: Vec<f32>,
    /// Divided by; positive.
    pub std: Vec<f32>,
}

/// `y = conv(normalise(image), filter)` with an epilogue, for every live slot.
#[derive(Clone, Debug)]
pub struct StemFprop {
    /// Geometry; C is the image's channels.
    pub conv: Conv,
    /// Images, f32 `[capacity, C, H, W]`, by slot.
    pub image: Buf,
    /// Normalisation, none for the identity.
    pub normalisation: Option<Normalisation>,
    /// Prepared for the stem's fprop.
    pub filter: Filter,
    /// Output `[live, P, Q, K]`.
    pub epilogue: Epilogue,
}

/// The gradient with respect to the image, for every live slot.
#[derive(Clone, Debug)]
pub struct StemDgrad {
    /// Geometry.
    pub conv: Conv,
    /// Gradient of the stem's output `[live, P, Q, K]`.
    pub dy: Map,
    /// Prepared for the stem's dgrad.
    pub filter: Filter,
    /// Normalisation, none for the identity.
    pub normalisation: Option<Normalisation>,
    /// Gradient of the images, f32 `[capacity, C, H, W]`, by slot.
    pub gradient: Buf,
}

/// `grads[weights] = wgrad(normalise(image), dy)`, summed over the live slots in a fixed order; overwrites.
#[derive(Clone, Debug)]
pub struct StemWgrad {
    /// Geometry.
    pub conv: Conv,
    /// Images, f32 `[capacity, C, H, W]`, by slot.
    pub image: Buf,
    /// Normalisation, none for the identity.
    pub normalisation: Option<Normalisation>,
    /// Gradient of the output.
    pub dy: Map,
    /// The gradient arena.
    pub grads: Buf,
    /// The filter's place in it, KRSC.
    pub weights: Span,
}

impl Operation for StemFprop {
    fn name(&self) -> &'static str {
        "stem fprop"
    }

    fn extent(&self) -> Extent {
        Extent::Example
    }

    fn uses(&self) -> Uses {
        self.epilogue.uses(Uses::none().filter(self.filter))
    }

    fn describe(&self, _: &Values) -> String {
        format!("{}{}", self.conv, self.epilogue.describe())
    }
}

impl Operation for StemDgrad {
    fn name(&self) -> &'static str {
        "stem dgrad"
    }

    fn extent(&self) -> Extent {
        Extent::Example
    }

    fn uses(&self) -> Uses {
        Uses::none().reads([self.dy]).filter(self.filter)
    }

    fn describe(&self, _: &Values) -> String {
        self.conv.to_string()
    }
}

impl Operation for StemWgrad {
    fn name(&self) -> &'static str {
        "stem wgrad"
    }

    fn extent(&self) -> Extent {
        Extent::Batch
    }

    fn uses(&self) -> Uses {
        Uses::none().reads([self.dy])
    }

    fn describe(&self, _: &Values) -> String {
        self.conv.to_string()
    }
}
