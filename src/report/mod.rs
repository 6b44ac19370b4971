//! What people look at of a run, an evaluation or a comparison: tables, figures and pages, made of [`results`](crate::results).

pub mod comparison_csv;
pub mod comparison_table;
pub mod page;
pub mod plot;
pub mod run_figures;
pub mod table;
pub mod tensorboard;

pub use crate::fsio::created_by;
pub use crate::results::{
    AttackPart, AttackResult, ClassAccuracy, ClassCounts, Cost, DataId, Epoch, Fairness, Report, comparison, fairness,
    metrics, paired, rho,
};
