//! The head: global average pool, linear layer, softmax, and everything that is decided per example.
//!
//! ```text
//! z = W * pool(a) + b;  p = softmax(z);  loss = -log p[y];  crossed = argmax z != y (ties: the lowest class)
//! kappa += !crossed;    step = max(step, |p - p_before|_1)
//! gradient of the logits: cross-entropy  p - onehot(y);   margin  onehot(best other) - onehot(y);   divergence  p - target
//! difference  onehot(target) - onehot(y);   targeted DLR  the quotient rule on its formula, as in [`dlr`]
//! ```
//! The gradients are those of the *sum* of the examples' losses; in training each is multiplied by its weight.

mod cpu;
pub(crate) mod gpu;

use crate::batch::Batch;
use crate::program::{Affine, Bits, Buf, Extent, Map, Operation, Shape, Span, Uses, Values};

/// The linear layer in the parameter arena: weights `[classes, C]`, bias `[classes]`.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// Weights.
    pub weight: Span,
    /// Bias.
    pub bias: Span,
}

/// What is differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Cross-entropy.
    CrossEntropy,
    /// CW's margin: `max over j != y of z_j, minus z_y`.
    Margin,
    /// TRADES' divergence `KL(target || p)`; the target is the probabilities of the batch's clean twin.
    Divergence,
    /// How far the class that the batch's `target` names is ahead: `z_target - z_y`.
    Difference,
    /// The targeted difference of logits ratio (Croce and Hein, 2020), of four classes at least:
    /// `(z_target - z_y) / (z_1st - (z_3rd + z_4th)/2 + 1e-12)`, the largest logits below.
    TargetedDlr,
    /// A loss of two passes, whose weighted gradient an op has left in the batch's `gradient`.
    TwoPass,
}

/// The class with the largest logit; of equal ones the lowest.
pub fn top(z: &[f32]) -> usize {
    z.iter().enumerate().fold(0, |best, (k, v)| if *v > z[best] { k } else { best })
}

/// The scale of the targeted DLR loss of these logits, `z_1st - (z_3rd + z_4th)/2 + 1e-12`, and the classes it is made of (of equal
/// ones the lower comes first).
pub(crate) fn dlr(z: &[f32]) -> (f32, [usize; 4]) {
    let mut top = [usize::MAX; 4];
    for k in 0..z.len() {
        let at = top.iter().take_while(|t| **t != usize::MAX && z[**t] >= z[k]).count();
        if at < 4 {
            top[at..].rotate_right(1);
            top[at] = k;
        }
    }
    (z[top[0]] - 0.5 * (z[top[2]] + z[top[3]]) + 1e-12, top)
}

/// The forward half; writes logits, probabilities, crossed, confidence, loss and pooled features of the live examples.
#[derive(Clone, Debug)]
pub struct HeadFprop {
    /// Shape of `a`.
    pub shape: Shape,
    /// The last activation.
    pub a: Map,
    /// The parameter arena.
    pub params: Buf,
    /// The linear layer.
    pub linear: Linear,
    /// The batch and its state.
    pub batch: Batch,
    /// What else is measured.
    pub measures: Measures,
}

/// What a forward pass measures besides what it always leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    /// This input is one of the attack's iterates x_0 .. x_{K-1} (or the check): count it in `kappa` if it has not crossed.
    pub kappa: bool,
    /// Take the move from the probabilities of the previous forward pass into `step`.
    pub step: bool,
}

/// The gradient of the last feature map: `dy = scale[c] * (W^T dz)[c] / (H*W)` where `bits` is 1.
#[derive(Clone, Debug)]
pub struct HeadDgrad {
    /// Shape of `dy`.
    pub shape: Shape,
    /// The parameter arena.
    pub params: Buf,
    /// The linear layer.
    pub linear: Linear,
    /// The batch and its state.
    pub batch: Batch,
    /// What is differentiated.
    pub loss: Loss,
    /// Multiply each example's gradient by its weight (training; [`Loss::TwoPass`]'s is weighted already).
    pub weighted: bool,
    /// Mask of the last ReLU.
    pub bits: Option<Bits>,
    /// Folded final batch norm.
    pub affine: Option<Affine>,
    /// The gradient.
    pub dy: Map,
}

/// Gradients of the linear layer: `dW = sum of dz pooled^T`, `db = sum of dz`, weighted; overwrites.
#[derive(Clone, Debug)]
pub struct HeadWgrad {
    /// Channels of the pooled features.
    pub channels: usize,
    /// The gradient arena.
    pub grads: Buf,
    /// The linear layer.
    pub linear: Linear,
    /// The batch and its state.
    pub batch: Batch,
    /// Take dz, weighted, from the batch's `gradient` ([`Loss::TwoPass`]) instead of the cross-entropy's.
    pub given: bool,
}

impl Operation for HeadFprop {
    fn name(&self) -> &'static str {
        "head fprop"
    }

    fn extent(&self) -> Extent {
        Extent::Example
    }

    fn uses(&self) -> Uses {
        Uses::none().reads([self.a])
    }

    fn describe(&self, _: &Values) -> String {
        format!("{}, {} classes: logits, crossed, confidence, loss", self.shape, self.batch.classes)
    }
}

impl Operation for HeadDgrad {
    fn name(&self) -> &'static str {
        "head dgrad"
    }

    fn extent(&self) -> Extent {
        Extent::Example
    }

    fn uses(&self) -> Uses {
        Uses::none().reads(self.bits).writes([self.dy])
    }

    fn describe(&self, _: &Values) -> String {
        format!("{:?}, {} classes > {}", self.loss, self.batch.classes, self.shape)
    }
}

impl Operation for HeadWgrad {
    fn name(&self) -> &'static str {
        "head wgrad"
    }

    fn extent(&self) -> Extent {
        Extent::Batch
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        format!("{} channels, {} classes", self.channels, self.batch.classes)
    }
}
