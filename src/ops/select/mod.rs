//! Hard-example mining, the decision: which examples stay. What a policy decides by is a [`Formula`] of the examples' state.

mod cpu;
mod gpu;

use crate::batch::Batch;
use crate::ops::formula::Formula;
use crate::program::{Extent, Operation, Uses, Values};

/// Sets the keep flag of every live example: 1 where `keep` is not zero. Of the others, the easy ones, the share `keep_easy`
/// with the highest true-class confidence stays as well: `floor(keep_easy * easy)` of them, ties by slot.
#[derive(Clone, Debug)]
pub struct Select {
    /// The batch.
    pub batch: Batch,
    /// Who stays.
    pub keep: Formula,
    /// Share of the others to keep, in [0, 1].
    pub keep_easy: f32,
}

impl Operation for Select {
    fn name(&self) -> &'static str {
        "select"
    }

    fn extent(&self) -> Extent {
        Extent::Batch
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        match self.keep_easy {
            0.0 => format!("keep where {}", self.keep),
            share => format!("keep where {}, and {share} of the others, the most confident", self.keep),
        }
    }
}
