//! FAT (Zhang et al., arXiv 2002.11242): once an example has been misclassified at more than tau iterates it is frozen: out of
//! the attack, still in the loss. tau is 0 for the first 50 of 120 epochs, 1 for the next 40, then 2.

use super::{Method, Plan, Settings, pgd_at};
use crate::attack::{Check, Fate};
use crate::ops::formula::{crossed, kappa};

pub fn plan(s: &Settings, epoch: usize) -> Plan {
    let tau = match epoch as f64 / s.epochs as f64 {
        share if share <= 50.0 / 120.0 => 0.0,
        share if share <= 90.0 / 120.0 => 1.0,
        _ => 2.0,
    };
    // Of k + 1 iterates, kappa were classified correctly.
    let done = |k: usize| crossed().and(((k + 1) as f32 - kappa()).more(tau));
    let check = |k| Check { iterate: k, keep: !done(k), keep_easy: 0.0, fate: Fate::Frozen };
    Plan { name: Method::Fat.name(), checks: (0..s.attack.steps).map(check).collect(), ..pgd_at::plan(s) }
}
