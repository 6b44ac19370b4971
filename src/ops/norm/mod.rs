//! Batch norm: folding for eval mode, and fprop and bprop of train mode with the ReLU that follows.
//!
//! ```text
//! fold    scale = gamma / sqrt(running_var + e),  shift = beta - running_mean*scale,            e = 1e-5
//! fprop   mean, var over live*H*W (var biased);  a = max(0, gamma*(x - mean)/sqrt(var + e) + beta)
//! bprop   g = da where a > 0, else 0;  xhat = (x - mean)/sqrt(var + e)
//!         dbeta = sum g,  dgamma = sum g*xhat
//!         dx = gamma/sqrt(var + e) * (g - dbeta/m - xhat*dgamma/m) + residual,                  m = live*H*W
//! ```
//! fprop leaves `mean` and the *unbiased* variance in the batch-statistics arena; [`Update`](super::update::Update) moves
//! the running ones towards them, so a skipped step touches neither.

mod cpu;
pub(crate) mod gpu;

use crate::program::{Affine, Buf, Extent, Map, Operation, Shape, Span, Uses, Values};

/// PyTorch's `eps` of batch norm.
pub const NORM_EPS: f32 = 1e-5;

/// Where a batch norm's parameters and statistics are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Norm {
    /// In the parameter (and gradient) arena.
    pub gamma: Span,
    /// In the parameter (and gradient) arena.
    pub beta: Span,
    /// In the running (and batch) statistics arena.
    pub mean: Span,
    /// In the running (and batch) statistics arena.
    pub var: Span,
}

/// Folds a batch norm in eval mode into an [`Affine`].
#[derive(Clone, Debug)]
pub struct Fold {
    /// The parameter arena.
    pub params: Buf,
    /// The running statistics.
    pub running: Buf,
    /// Where in them.
    pub norm: Norm,
    /// The affine to fill.
    pub affine: Affine,
}

/// Batch norm and ReLU in train mode over the live slots.
#[derive(Clone, Debug)]
pub struct NormFprop {
    /// Shape of `x` and `a`.
    pub shape: Shape,
    /// Input.
    pub x: Map,
    /// Output `a`.
    pub a: Map,
    /// The parameter arena.
    pub params: Buf,
    /// The batch-statistics arena, written.
    pub batch_stats: Buf,
    /// Where in them.
    pub norm: Norm,
}

/// Gradients of batch norm and ReLU in train mode.
#[derive(Clone, Debug)]
pub struct NormBprop {
    /// Shape of all maps.
    pub shape: Shape,
    /// Input of the forward pass.
    pub x: Map,
    /// Output of the forward pass.
    pub a: Map,
    /// Gradient of `a`, replaced by the gradient of `x`.
    pub grad: Map,
    /// Added to the result.
    pub residual: Option<Map>,
    /// The parameter arena.
    pub params: Buf,
    /// The gradient arena: `dgamma`, `dbeta`, overwritten.
    pub grads: Buf,
    /// The batch statistics that fprop left.
    pub batch_stats: Buf,
    /// Where in them.
    pub norm: Norm,
}

impl Operation for Fold {
    fn name(&self) -> &'static str {
        "fold"
    }

    fn extent(&self) -> Extent {
        Extent::Fold
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        format!("batch norm of {} channels", self.norm.gamma.len)
    }
}

impl Operation for NormFprop {
    fn name(&self) -> &'static str {
        "norm fprop"
    }

    fn extent(&self) -> Extent {
        Extent::Batch
    }

    fn uses(&self) -> Uses {
        Uses::none().reads([self.x]).writes([self.a])
    }

    fn describe(&self, _: &Values) -> String {
        format!("{}, relu", self.shape)
    }
}

impl Operation for NormBprop {
    fn name(&self) -> &'static str {
        "norm bprop"
    }

    fn extent(&self) -> Extent {
        Extent::Batch
    }

    fn uses(&self) -> Uses {
        Uses::none().reads([self.x, self.a, self.grad]).reads(self.residual).writes([self.grad])
    }

    fn describe(&self, _: &Values) -> String {
        format!("{}", self.shape)
    }
}
