//! Data sets through the public interface and the command line: what is embedded, what is read, what is fetched, and what is
//! refused.

#[path = "../common_cli/mod.rs"]
mod common_cli;
#[path = "../../build/install.rs"]
#[allow(dead_code)] // nvcc is of no use here
mod install;
#[path = "../../build/nvcc.rs"]
#[allow(dead_code)] // install.rs uses a part of it
mod nvcc;

mod commands;
mod damage;
mod fetching;
mod files;
mod fixtures;
mod formats;
mod server;

/// What every error message is.
#[track_caller]
fn assert_one_line(message: &str) {
    assert!(!message.is_empty() && !message.contains(['\n', '\r']) && message.len() < 700, "{message:?}");
}
