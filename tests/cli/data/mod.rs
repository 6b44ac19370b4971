//! Data sets through the public interface and the command line: what is embedded, what is read, what is fetched, and what is
//! refused.

mod commands;
mod damage;
mod fetching;
mod files;
mod fixtures;
mod formats;
#[allow(dead_code)] // a part of it is for tests/clients
mod server;

use std::path::{Path, PathBuf};

/// The folder that make.py wrote.
fn made() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/data/made")
}

/// What every error message is.
#[track_caller]
fn assert_one_line(message: &str) {
    assert!(!message.is_empty() && !message.contains(['\n', '\r']) && message.len() < 700, "{message:?}");
}
