//! PGD adversarial training (Madry et al., arXiv 1706.06083).

use super::{Method, Plan, Settings, standard};

pub fn plan(s: &Settings) -> Plan {
    Plan { name: Method::PgdAt.name(), attack: Some(s.attack), ..standard::plan() }
}
