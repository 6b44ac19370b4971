//! What other programs read of ours, and what we read of theirs. `tools/clients` installs them and runs this.

mod browser;
#[path = "../cli/common.rs"]
mod common;
mod data;
mod fashion_mnist;
#[path = "../cli/networks.rs"]
mod networks;
mod onnx;
mod pages;
mod pytorch;
mod tensorboard;

use std::path::PathBuf;

/// Where `tools/clients` put something.
#[track_caller]
fn place(of: &str) -> PathBuf {
    let variable = format!("HAM_CLIENTS_{of}");
    std::env::var_os(&variable).unwrap_or_else(|| panic!("{variable} is not set: run tools/clients")).into()
}
