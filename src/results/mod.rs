//! Numbers that runs, evaluations and comparisons leave, as data and as files: `report.json`, `metrics.jsonl`, `bench.json`.
//!
//! What people look at, tables, figures and pages, is made of them in [`report`](crate::report).

pub mod comparison;
pub mod contract;
pub mod fairness;
pub mod metrics;
pub mod paired;
mod record;
mod seconds;

pub use contract::{Contract, Training};
pub use fairness::{ClassAccuracy, ClassCounts, Fairness, rho};
pub use metrics::{Epoch, Passes};
pub use record::{AttackPart, AttackResult, Cost, DataId, Report};
pub use seconds::Seconds;
