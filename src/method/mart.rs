//! MART (Wang et al., ICLR 2020): a boosted cross-entropy of the attacked image, and the divergence from the clean outputs,
//! more of it where the clean image is misclassified.

use super::{Method, Plan, SMALL_START, Settings, TrainLoss, pgd_at};
use crate::attack::Pgd;
use crate::ops::start::Noise;
use crate::ops::two_pass::TwoPass;

const BETA: f32 = 5.0;

pub fn plan(s: &Settings) -> Plan {
    let start = s.attack.start.map(|_| Noise::Normal(SMALL_START));
    let loss = TrainLoss::TwoPass(TwoPass::Mart, s.beta.unwrap_or(BETA));
    Plan { name: Method::Mart.name(), attack: Some(Pgd { start, ..s.attack }), loss, ..pgd_at::plan(s) }
}
