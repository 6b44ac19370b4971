//! Every kernel, executed from its PTX on the simulated device with all checks on, against the CPU backend.

mod attacks;
#[path = "../engine/common.rs"]
#[allow(dead_code)] // each binary uses a part of it
mod common;
mod conv;
mod fab;
mod head;
mod lab;
mod load;
mod mine;
mod moments;
mod norm;
mod pair;
mod pgd_step;
mod refill;
mod run;
mod square;
mod start;
mod stem;
mod tiles;
mod update_account;
mod wgrad;
