//! Data sets through the public interface and the command line: what is embedded, what is read, what is fetched, and what is
//! refused.

#[path = "../common_cli/mod.rs"]
mod common_cli;

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
