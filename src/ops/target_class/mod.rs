//! Which class a targeted attack leads each example to: by the order of its logits.

mod cpu;
mod gpu;

use crate::batch::Batch;
use crate::batch::Resident;
use crate::program::{Extent, Operation, Uses, Values};

/// Sets `target` of every live example to the class of rank `1 + epoch / restarts` in the logits of its last forward pass, the
/// largest logit having rank 0 (of equal ones the lower class comes first). The epoch is the run of an evaluation's attack: so each
/// class but the first has `restarts` runs in turn. No class with NaN has a rank; where none has the one asked for it is class 0.
///
/// Precondition: the rank is below the number of classes.
#[derive(Clone, Debug)]
pub struct TargetClass {
    /// The batch.
    pub batch: Batch,
    /// Where the epoch is read from.
    pub data: Resident,
    /// Runs that a class has; at least 1.
    pub restarts: u32,
}

impl Operation for TargetClass {
    fn name(&self) -> &'static str {
        "target class"
    }

    fn extent(&self) -> Extent {
        Extent::Example
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, _: &Values) -> String {
        format!("target = the class of rank 1 + run / {}", self.restarts)
    }
}
