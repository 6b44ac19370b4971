//! The readers of data sets, on files that make.py wrote just now; and what it wrote before, which is in the repository.

#[path = "../cli/data/fixtures.rs"]
pub mod fixtures;
#[path = "../cli/data/formats.rs"]
mod formats;
#[path = "../cli/data/server.rs"]
#[allow(dead_code)] // a part of it is for the tests of fetching
pub mod server;

use std::path::PathBuf;

/// The folder that make.py wrote.
fn made() -> PathBuf {
    crate::place("DATA")
}

#[track_caller]
fn assert_one_line(message: &str) {
    assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
}
