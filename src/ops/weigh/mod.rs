//! What the live examples weigh in the training loss.

mod cpu;
mod gpu;

use crate::batch::Batch;
use crate::ops::formula::Formula;
use crate::program::{Extent, Operation, Uses, Values};

/// Sets the weights of the live examples: the formula, scaled to a sum of 1 (all equal if it does not sum to more than 0).
#[derive(Clone, Debug)]
pub struct Weigh {
    /// The batch.
    pub batch: Batch,
    /// The formula.
    pub weight: Formula,
}

impl Operation for Weigh {
    fn name(&self) -> &'static str {
        "weigh"
    }

    fn extent(&self) -> Extent {
        Extent::Batch
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        format!("weight = {}, scaled to a sum of 1", self.weight)
    }
}
