//! HAM (arXiv 2308.01823): examples that have not crossed the decision boundary after a few steps are easy, and dropped.
//!
//! With continuous refill, which is not in the paper, those that have crossed wait for a full batch of them, maybe through updates of
//! the weights, which takes the rest of the attack and the training step: fewer steps, each on as many examples as PGD-AT's.

use super::{Plan, Settings, pgd_at, trades};
use crate::attack::{Check, Fate};
use crate::ops::formula::crossed;

pub const NAME: &str = "ham";
pub const ON_TRADES: &str = "ham-trades";
const REFILLED: &str = "ham-refill";
const REFILLED_ON_TRADES: &str = "ham-trades-refill";

/// On PGD-AT.
pub fn plan(s: &Settings, epoch: usize) -> Plan {
    mine([NAME, REFILLED], pgd_at::plan(s), s, epoch)
}

/// On TRADES.
pub fn on_trades(s: &Settings, epoch: usize) -> Plan {
    mine([ON_TRADES, REFILLED_ON_TRADES], trades::plan(s), s, epoch)
}

fn mine(names: [&'static str; 2], baseline: Plan, s: &Settings, epoch: usize) -> Plan {
    if epoch < s.begin_epoch {
        return baseline;
    }
    let checks = drop_easy(&s.k_drop, s.keep_easy);
    let weight = s.weights.formula(s.attack.steps);
    let plan = Plan { checks, refill: s.refill, weight, ..baseline };
    Plan { name: names[usize::from(plan.refills())], ..plan }
}

/// Drops who has not crossed after each of these numbers of steps, all but the share `keep_easy` of the highest confidence.
pub fn drop_easy(k_drop: &[usize], keep_easy: f32) -> Vec<Check> {
    let check = |&iterate| Check { iterate, keep: crossed(), keep_easy, fate: Fate::Dropped };
    let mut iterates = k_drop.to_vec();
    iterates.sort_unstable();
    iterates.dedup();
    iterates.iter().map(check).collect()
}
