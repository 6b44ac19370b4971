//! Statistics of an epoch, accumulated in backend memory and read once.

mod counts;
mod cpu;
pub(crate) mod gpu;

pub use counts::Counts;

use crate::batch::Batch;
use crate::batch::{Resident, Stats};
use crate::program::{Extent, Operation, Uses, Values};

/// A pass over the whole network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetPass {
    /// Forward.
    Fprop,
    /// Backward to the input.
    Dgrad,
    /// Weight gradients.
    Wgrad,
}

/// Adds the number of live examples to a pass's counter, and to that of a step of the attack.
#[derive(Clone, Debug)]
pub struct CountPass {
    /// The pass.
    pub pass: NetPass,
    /// The step, where this is the pass that takes it; steps without a counter are not counted.
    pub step: Option<usize>,
    /// The statistics.
    pub stats: Stats,
}

/// What of a mini-batch is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// What was loaded, and the kappa of who was dropped: the live examples go into a pool.
    Loaded,
    /// The rest: the live examples come from a pool.
    Refilled,
}

impl Part {
    /// Whether the loaded examples are counted.
    fn loaded(self) -> bool {
        self != Part::Refilled
    }

    /// Whether the live examples are counted, and the mini-batch.
    fn live(self) -> bool {
        self != Part::Loaded
    }
}

/// Counts a mini-batch or a part of it: the loaded examples, which moves the cursor of the data set; and the live ones, which
/// closes the mini-batch, adds its loss (weights times cross-entropy) and marks a loss that is not finite. A run that has
/// halted counts nothing.
#[derive(Clone, Debug)]
pub struct CountBatch {
    /// What is counted.
    pub part: Part,
    /// The batch.
    pub batch: Batch,
    /// The data set.
    pub data: Resident,
    /// The statistics.
    pub stats: Stats,
}

impl Operation for CountPass {
    fn name(&self) -> &'static str {
        "count pass"
    }

    fn extent(&self) -> Extent {
        Extent::Count
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        format!("{:?} += live", self.pass)
    }
}

impl Operation for CountBatch {
    fn name(&self) -> &'static str {
        "count batch"
    }

    fn extent(&self) -> Extent {
        Extent::Batch
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        format!("{:?}", self.part)
    }
}
