//! Every kernel, executed from its PTX on the simulated device with all checks on, against the CPU backend.

mod attacks;
#[path = "../engine/common.rs"]
#[allow(dead_code)] // each binary uses a part of it
mod common;
mod compact;
mod conv;
mod conv_wgrad;
mod fab;
mod formula;
mod freeze;
mod head;
mod lab;
mod load;
mod moments;
mod norm;
mod pgd_step;
mod refill;
mod run;
mod select;
mod square;
mod start;
mod statistics;
mod stem;
mod tiles;
mod two_pass;
mod update;
mod weigh;
