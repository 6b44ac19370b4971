//! The examples of a mini-batch and everything known of each, in backend memory.

mod resident;
mod statistics;

pub use resident::{Iteration, Resident, control};
pub use statistics::{BINS, Stats, bin, counter};

use crate::Result;
use crate::program::{Buf, Buffers, DType, Shape};

/// Buffers of a batch of `capacity` slots. By *slot*: `position`, `x`, `x_adv`, `x_gradient`, `pooled`. By *position*: the rest.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Slots.
    pub capacity: usize,
    /// Classes.
    pub classes: usize,
    /// u32 `[live, loaded]`: slots in use now, and at the start of the mini-batch.
    pub live: Buf,
    /// u32 `[slot]`: the example's position in the mini-batch as it was loaded; increasing.
    pub position: Buf,
    /// f32 `[slot, C, H, W]`: clean images in [0, 1].
    pub x: Buf,
    /// f32 `[slot, C, H, W]`: adversarial images.
    pub x_adv: Buf,
    /// f32 `[slot, C, H, W]`: gradient of what an attack ascends with respect to `x_adv`.
    pub x_gradient: Buf,
    /// f32 `[slot, channels]`: pooled features of the last forward pass.
    pub pooled: Buf,
    /// u32 `[position]`: label.
    pub label: Buf,
    /// u32 `[position]`: class that a targeted attack leads to, where an op has chosen it.
    pub target: Buf,
    /// u32 `[position]`: index in the data set, a counter of the random numbers.
    pub sample: Buf,
    /// u32 `[position]`: iterates that were classified correctly.
    pub kappa: Buf,
    /// u32 `[position]`: 1 if the last forward pass misclassified it.
    pub crossed: Buf,
    /// u32 `[position]`: 1 if it stays at the next compaction.
    pub keep: Buf,
    /// f32 `[position]`: probability of the true class in the last forward pass.
    pub confidence: Buf,
    /// f32 `[position]`: largest move of the probabilities between forward passes, in L1.
    pub step: Buf,
    /// f32 `[position]`: weight in the training loss; those of the live examples sum to 1.
    pub weight: Buf,
    /// f32 `[position]`: cross-entropy of the last forward pass.
    pub loss: Buf,
    /// f32 `[position, classes]`: logits of the last forward pass.
    pub logits: Buf,
    /// f32 `[position, classes]`: probabilities of the last forward pass.
    pub probs: Buf,
    /// f32 `[position, classes]`: gradient with respect to the logits, where a loss of two passes makes it.
    pub gradient: Buf,
    /// f32 `[position, C, H, W]`: adversarial images that have left the attack early but not the batch.
    pub frozen: Buf,
    /// What a pass over the clean images leaves, where there is one beside the adversarial.
    twin: Twin,
}

/// The fields of a batch that a forward pass writes.
#[derive(Clone, Copy, Debug)]
struct Twin {
    pooled: Buf,
    crossed: Buf,
    confidence: Buf,
    loss: Buf,
    logits: Buf,
    probs: Buf,
    gradient: Buf,
}

impl Batch {
    /// Allocates a batch of `capacity` slots for images of shape `image`.
    ///
    /// # Errors
    /// Where the backend's memory does not suffice.
    pub fn alloc<B: Buffers>(
        backend: &mut B,
        capacity: usize,
        image: Shape,
        classes: usize,
        channels: usize,
    ) -> Result<Batch> {
        let mut f32s = |n: usize| backend.alloc(DType::F32, n);
        let [x, x_adv, x_gradient] = [(); 3].map(|()| f32s(capacity * image.len()));
        let pooled = f32s(capacity * channels)?;
        let (confidence, step, weight, loss) = (f32s(capacity)?, f32s(capacity)?, f32s(capacity)?, f32s(capacity)?);
        let (logits, probs) = (f32s(capacity * classes)?, f32s(capacity * classes)?);
        let (gradient, frozen) = (f32s(capacity * classes)?, f32s(capacity * image.len())?);
        let twin = Twin {
            pooled: f32s(capacity * channels)?,
            confidence: f32s(capacity)?,
            loss: f32s(capacity)?,
            logits: f32s(capacity * classes)?,
            probs: f32s(capacity * classes)?,
            gradient: f32s(capacity * classes)?,
            crossed: backend.alloc(DType::U32, capacity)?,
        };
        let mut u32s = |n: usize| backend.alloc(DType::U32, n);
        Ok(Batch {
            capacity,
            classes,
            live: u32s(2)?,
            position: u32s(capacity)?,
            x: x?,
            x_adv: x_adv?,
            x_gradient: x_gradient?,
            pooled,
            label: u32s(capacity)?,
            target: u32s(capacity)?,
            sample: u32s(capacity)?,
            kappa: u32s(capacity)?,
            crossed: u32s(capacity)?,
            keep: u32s(capacity)?,
            confidence,
            step,
            weight,
            loss,
            logits,
            probs,
            gradient,
            frozen,
            twin,
        })
    }

    /// The same batch for a pass over the clean images: what it leaves does not touch what the adversarial pass leaves.
    pub fn clean(&self) -> Batch {
        let Twin { pooled, crossed, confidence, loss, logits, probs, gradient } = self.twin;
        Batch { pooled, crossed, confidence, loss, logits, probs, gradient, ..*self }
    }
}
