//! GAIRAT (Zhang et al., arXiv 2010.01736): the earlier an example crosses the boundary, the more it weighs.

use super::{Method, Plan, Settings, Weights, pgd_at};

pub fn plan(s: &Settings, epoch: usize) -> Plan {
    let baseline = pgd_at::plan(s);
    if epoch < s.begin_epoch {
        return baseline;
    }
    let name = Method::Gairat.name();
    Plan { name, weight: Weights::Kappa.formula(s.attack.steps), ..baseline.clone() }.unless_same_as(baseline)
}
