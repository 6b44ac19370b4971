//! Continuous refill: the survivors of several mini-batches wait in a pool until there is a full batch of them.
//!
//! ```text
//! pool = pool ++ live examples;   batch = the pool's first examples, taken out of it:
//!     capacity of them if there are so many;  else all of them if nothing was loaded (the epoch has ended);  else none
//! ```
//! The pool is a ring of twice the batch's slots: before the op it holds less than a batch, and no more than a batch comes.

mod cpu;
mod gpu;

use crate::Result;
use crate::batch::Batch;
use crate::program::{Buf, Buffers, DType, Extent, Operation, Shape, Uses, Values};

/// Indices into the pool's `ring` (u32).
pub mod ring {
    /// The place of the first example.
    pub const HEAD: usize = 0;
    /// Examples.
    pub const COUNT: usize = 1;
    /// Length of the buffer.
    pub const LEN: usize = 2;
}

/// Examples that wait, by place in the ring of `2 * capacity`.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// See [`ring`].
    pub ring: Buf,
    /// f32 `[place, C, H, W]`: clean images.
    pub x: Buf,
    /// f32 `[place, C, H, W]`: adversarial images.
    pub x_adv: Buf,
    /// u32 `[place]`: label.
    pub label: Buf,
    /// u32 `[place]`: index in the data set.
    pub sample: Buf,
    /// u32 `[place]`: iterates that were classified correctly.
    pub kappa: Buf,
    /// f32 `[place]`: largest move of the probabilities so far.
    pub step: Buf,
}

impl Pool {
    /// An empty pool for a batch of `capacity` slots.
    ///
    /// # Errors
    /// Where the backend's memory does not suffice.
    pub fn alloc<B: Buffers>(backend: &mut B, capacity: usize, image: Shape) -> Result<Pool> {
        let mut alloc = |dtype, per_place: usize| backend.alloc(dtype, 2 * capacity * per_place);
        Ok(Pool {
            x: alloc(DType::F32, image.len())?,
            x_adv: alloc(DType::F32, image.len())?,
            label: alloc(DType::U32, 1)?,
            sample: alloc(DType::U32, 1)?,
            kappa: alloc(DType::U32, 1)?,
            step: alloc(DType::F32, 1)?,
            ring: backend.alloc(DType::U32, ring::LEN)?,
        })
    }

    /// All of its buffers; their elements have four bytes.
    pub fn buffers(&self) -> [Buf; 7] {
        let Pool { ring, x, x_adv, label, sample, kappa, step } = *self;
        [ring, x, x_adv, label, sample, kappa, step]
    }

    /// Elements of all buffers.
    pub fn words(&self) -> usize {
        self.buffers().iter().map(|b| b.len).sum()
    }
}

/// Puts the live examples into the pool, and makes the pool's first ones live and loaded, each at the position of its slot.
/// Nothing of the last forward pass comes along.
#[derive(Clone, Debug)]
pub struct Refill {
    /// Shape of an image.
    pub image: Shape,
    /// The batch.
    pub batch: Batch,
    /// The pool.
    pub pool: Pool,
}

impl Operation for Refill {
    fn name(&self) -> &'static str {
        "refill"
    }

    fn extent(&self) -> Extent {
        Extent::Live
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        format!("live = the pool's first, a full batch of {} or none", self.batch.capacity)
    }
}
