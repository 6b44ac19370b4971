//! What people look at of a run, an evaluation or a comparison: tables, figures and pages, made of [`results`](crate::results).

pub mod comparison_csv;
pub mod comparison_table;
pub mod page;
pub mod plot;
pub mod run_figures;
pub mod table;
pub mod tensorboard;
