//! Which class a targeted attack leads each example to: by the order of its logits.

mod cpu;
mod gpu;

use crate::batch::Batch;
use crate::ops::load::Resident;

/// Sets `target` of every live example to the class of rank `1 + epoch / restarts` in the logits of its last forward pass, the
/// largest logit having rank 0 (of equal ones the lower class comes first). The epoch is the run of an evaluation's attack: so each
/// class but the first has `restarts` runs in turn. No class with NaN has a rank; where none has the one asked for it is class 0.
///
/// Precondition: the rank is below the number of classes.
#[derive(Clone, Debug)]
pub struct Aim {
    /// The batch.
    pub batch: Batch,
    /// Where the epoch is read from.
    pub data: Resident,
    /// Runs that a class has; at least 1.
    pub restarts: u32,
}
