//! TRADES (Zhang et al., arXiv 1901.08573): the attack ascends the divergence from the clean outputs, and training minimises
//! it beside the clean cross-entropy.

use super::{Method, Plan, SMALL_START, Settings, TrainLoss, pgd_at};
use crate::attack::Pgd;
use crate::ops::head::Loss;
use crate::ops::start::Noise;
use crate::ops::two_pass::TwoPass;

const BETA: f32 = 6.0;

pub fn plan(s: &Settings) -> Plan {
    // At the image itself the divergence has no gradient: there must be noise.
    let attack = Pgd { loss: Loss::Divergence, start: Some(Noise::Normal(SMALL_START)), ..s.attack };
    let loss = TrainLoss::TwoPass(TwoPass::Trades, s.beta.unwrap_or(BETA));
    Plan { name: Method::Trades.name(), attack: Some(attack), loss, ..pgd_at::plan(s) }
}
