//! PGD adversarial training (Madry et al., arXiv 1706.06083).

use super::{Plan, Settings, standard};

pub const NAME: &str = "pgd-at";

pub fn plan(s: &Settings) -> Plan {
    Plan { name: NAME, attack: Some(s.attack), ..standard::plan() }
}
