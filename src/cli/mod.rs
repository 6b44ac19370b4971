//! The command line.

mod attack;
mod bench;
mod data;
mod device;
mod devices;
mod eval;
mod export;
mod kernels;
mod model;
mod options;
mod report;
mod terminal;
mod train;

use crate::train::options::Number;
use crate::{Error, Result};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Adversarial training with hard adversarial example mining (HAM), fast on CPUs and GPUs.
///
/// `ham-engine train` with nothing else trains a small network on embedded Fashion-MNIST images and shows how robust, how fair
/// and how cheap the result is.
#[derive(Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(Box<train::Args>),
    Eval(Box<eval::Args>),
    Attack(attack::Args),
    Bench(Box<bench::Args>),
    Report(report::Args),
    Export(export::ExportArgs),
    Import(export::ImportArgs),
    Data(data::Args),
    Kernels(kernels::Args),
    Devices(devices::Args),
}

/// A number of the command line as f32, in a range.
fn ranged(name: &str, number: Number, range: std::ops::RangeInclusive<f64>) -> Result<f32> {
    if range.contains(&number.0) {
        return Ok(number.0 as f32);
    }
    Err(Error::usage(format!("--{name} {}: must be between {} and {}", number.0, range.start(), range.end())))
}

/// Runs the command line and returns the process's exit code: 0, 2 for an error, 130 when interrupted.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Train(args) => train::run(*args),
        Command::Eval(args) => eval::run(*args),
        Command::Attack(args) => attack::run(args),
        Command::Bench(args) => bench::run(*args),
        Command::Report(args) => report::run(args),
        Command::Export(args) => export::export(args),
        Command::Import(args) => export::import(args),
        Command::Data(args) => data::run(args),
        Command::Kernels(args) => kernels::run(args),
        Command::Devices(args) => devices::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("ham-engine: {}", e.to_string().replace('\n', " "));
            ExitCode::from(if matches!(e, Error::Interrupted { .. } | Error::Stopped) { 130 } else { 2 })
        }
    }
}

/// Prints a line to standard output; a closed pipe ends the program quietly, as it does for any filter.
fn say(line: impl std::fmt::Display) {
    use std::io::Write;
    if let Err(e) = writeln!(std::io::stdout(), "{line}") {
        if e.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        eprintln!("ham-engine: cannot write to standard output: {e}");
        std::process::exit(2);
    }
}
