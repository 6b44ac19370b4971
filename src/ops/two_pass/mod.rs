//! Losses of two forward passes, of the clean images and of the adversarial ones: TRADES and MART.
//!
//! With `z, p` of the clean pass, `z', p'` of the adversarial one, `KL = sum over k of p_k (log p_k - log p'_k)`, w the weight:
//!
//! ```text
//! TRADES (arXiv 1901.08573)  CE(z, y) + beta KL
//!     dz'_j = w beta (p'_j - p_j)
//!     dz_j  = w [p_j - (j = y) + beta p_j (log p_j - log p'_j - KL)]
//! MART (ICLR 2020)           CE(z', y) - log(1.0001 - q) + beta KL (1.0000001 - p_y),   q = p'_m, m = argmax over j != y of p'_j
//!     dz'_j = w [p'_j - (j = y) + q ((j = m) - p'_j) / (1.0001 - q) + beta (1.0000001 - p_y) (p'_j - p_j)]
//!     dz_j  = w beta [(1.0000001 - p_y) p_j (log p_j - log p'_j - KL) - KL p_y ((j = y) - p_j)]
//! ```
//! The gradient goes through both passes.

mod cpu;
mod gpu;

use crate::batch::Batch;
use crate::program::{Extent, Operation, Uses, Values};

/// Which loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TwoPass {
    /// Cross-entropy of the clean image, and the divergence between both.
    Trades,
    /// Boosted cross-entropy of the adversarial image, and the divergence, more where the clean image is misclassified.
    Mart,
}

/// MART's guard of a logarithm.
const MARGIN: f32 = 1.0001;
/// MART's guard of a weight.
const SURE: f32 = 1.000_000_1;

/// From the logits of both passes, of the live examples: their losses, to `loss`, and the gradients with respect to the logits
/// times the weights, to `gradient` of the batch and of its clean twin. It takes two classes at least.
#[derive(Clone, Debug)]
pub struct TwoPassLoss {
    /// The batch; its clean twin has the clean pass.
    pub batch: Batch,
    /// The loss.
    pub loss: TwoPass,
    /// Factor of the divergence.
    pub beta: f32,
}

impl Operation for TwoPassLoss {
    fn name(&self) -> &'static str {
        "two-pass loss"
    }

    fn extent(&self) -> Extent {
        Extent::Batch
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        format!("{:?}, beta {}", self.loss, self.beta)
    }
}
