//! Standard training: clean images.

use super::{Plan, TrainLoss};

pub const NAME: &str = "standard";

pub fn plan() -> Plan {
    Plan { name: NAME, attack: None, checks: vec![], refill: false, weight: 1.0.into(), loss: TrainLoss::CrossEntropy }
}
