//! HAM (arXiv 2308.01823): examples that have not crossed the decision boundary after a few steps are easy, and dropped.
//!
//! With continuous refill, which is not in the paper, those that have crossed wait for a full batch of them, maybe through updates of
//! the weights, which takes the rest of the attack and the training step: fewer steps, each on as many examples as PGD-AT's.

use super::{Method, Plan, Settings, pgd_at, trades};
use crate::attack::{Check, Fate};
use crate::ops::formula::crossed;

/// On PGD-AT.
pub fn plan(s: &Settings, epoch: usize) -> Plan {
    mine(Names { plain: Method::Ham.name(), refilled: "ham-refill" }, pgd_at::plan(s), s, epoch)
}

/// On TRADES.
pub fn on_trades(s: &Settings, epoch: usize) -> Plan {
    mine(Names { plain: Method::HamTrades.name(), refilled: "ham-trades-refill" }, trades::plan(s), s, epoch)
}

/// What an epoch is called.
struct Names {
    plain: &'static str,
    refilled: &'static str,
}

fn mine(names: Names, baseline: Plan, s: &Settings, epoch: usize) -> Plan {
    if epoch < s.begin_epoch {
        return baseline;
    }
    let mut checks = drop_easy(&s.k_drop, s.keep_easy);
    // Those that the attack does not reach never happen.
    checks.retain(|c| c.iterate < s.attack.steps);
    let weight = s.weights.formula(s.attack.steps);
    let refill = s.refill && !checks.is_empty();
    let name = if refill { names.refilled } else { names.plain };
    Plan { name, checks, refill, weight, ..baseline.clone() }.unless_same_as(baseline)
}

/// Drops who has not crossed after each of these numbers of steps, all but the share `keep_easy` of the highest confidence.
pub fn drop_easy(k_drop: &[usize], keep_easy: f32) -> Vec<Check> {
    let check = |&iterate| Check { iterate, keep: crossed(), keep_easy, fate: Fate::Dropped };
    let mut iterates = k_drop.to_vec();
    iterates.sort_unstable();
    iterates.dedup();
    iterates.iter().map(check).collect()
}
