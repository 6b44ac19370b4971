//! FGSM from a random start (Wong et al., arXiv 2001.03994): one step of 1.25 eps.

use super::{Method, Plan, Settings, pgd_at};
use crate::attack::Pgd;

pub fn plan(s: &Settings) -> Plan {
    let attack = Pgd { steps: 1, alpha: 1.25 * s.attack.eps, ..s.attack };
    Plan { name: Method::FgsmRs.name(), attack: Some(attack), ..pgd_at::plan(s) }
}
