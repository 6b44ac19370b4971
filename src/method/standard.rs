//! Standard training: clean images.

use super::{Method, Plan, TrainLoss};

pub fn plan() -> Plan {
    Plan {
        name: Method::Standard.name(),
        attack: None,
        checks: vec![],
        refill: false,
        weight: 1.0.into(),
        loss: TrainLoss::CrossEntropy,
    }
}
