//! What `report` and `train --tensorboard` write, read by the programs that people read it with.

mod browser;
#[path = "../common_cli/mod.rs"]
mod common_cli;
mod pages;
mod tensorboard;
