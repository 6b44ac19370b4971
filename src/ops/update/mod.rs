//! The parameter update: SGD with momentum and weight decay over the flat arena, the moving average of the weights where
//! one is kept, and the running statistics.
//!
//! ```text
//! v = momentum*v + (g + weight_decay*w);  w = w - lr*v
//! ema = decay*ema + (1 - decay)*w
//! running = 0.9*running + 0.1*batch
//! ```
//! Where there was a clean pass beside the adversarial one, g is the sum of both gradients, and `running` moves to the clean
//! pass's statistics first.
//!
//! Skipped, all of it, when no example is live or the loss was not finite. The average is of parameters only: running
//! statistics are an average already and are not averaged again.

mod cpu;
mod gpu;

use crate::batch::Batch;
use crate::batch::Stats;
use crate::program::{Buf, Extent, Operation, Uses, Values};

/// Share of the batch's statistics in the new running ones (PyTorch's `momentum` of batch norm).
pub const RUNNING_MOMENTUM: f32 = 0.1;

/// The arenas of a network.
#[derive(Clone, Copy, Debug)]
pub struct Arenas {
    /// Parameters, f32.
    pub params: Buf,
    /// Their gradients.
    pub grads: Buf,
    /// Their momenta.
    pub momenta: Buf,
    /// Running means and variances of all batch norms.
    pub running: Buf,
    /// Those of the current mini-batch.
    pub batch_stats: Buf,
}

/// An exponential moving average of the parameters.
#[derive(Clone, Copy, Debug)]
pub struct Ema {
    /// The average, f32, in the layout of the parameter arena.
    pub params: Buf,
    /// The share that it keeps at each step, in [0, 1).
    pub decay: f32,
}

/// What a pass of its own over the clean images left.
#[derive(Clone, Copy, Debug)]
pub struct CleanPass {
    /// Gradients, f32.
    pub grads: Buf,
    /// Statistics of the batch norms, f32.
    pub batch_stats: Buf,
}

/// One step of SGD.
#[derive(Clone, Debug)]
pub struct Update {
    /// The arenas.
    pub arenas: Arenas,
    /// The clean pass, if there was one.
    pub clean: Option<CleanPass>,
    /// Learning rate of each mini-batch of the epoch, f32; the entry is chosen by the count of batches in `stats`.
    pub lr: Buf,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay, on all parameters.
    pub weight_decay: f32,
    /// The average to move, if one is kept.
    pub ema: Option<Ema>,
    /// The batch.
    pub batch: Batch,
    /// The statistics.
    pub stats: Stats,
}

impl Operation for Update {
    fn name(&self) -> &'static str {
        "update"
    }

    fn extent(&self) -> Extent {
        Extent::Batch
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        let ema = if self.ema.is_some() { ", moving average" } else { "" };
        format!("SGD, momentum {}, weight decay {}{ema}; running statistics", self.momentum, self.weight_decay)
    }
}
