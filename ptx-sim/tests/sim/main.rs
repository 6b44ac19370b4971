//! Programs, what is wrong with them, what a launch counts, and in which order it runs.

#[path = "../cases/mod.rs"]
mod cases;
#[path = "../host/mod.rs"]
mod host;
#[path = "../place/mod.rs"]
mod place;
#[path = "../reference/mod.rs"]
mod reference;

mod broken_programs;
mod checks;
mod counting;
mod determinism;
mod fragments;
mod programs;
mod violations;
