use super::say;
use crate::Result;
use crate::data;
use clap::Subcommand;
use std::path::PathBuf;

/// List data sets, look at one, or convert one to safetensors.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The data sets that are known by name
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Shape, classes, counts, mean and deviation, and hash of a data set
    Info {
        /// A name or a .safetensors file
        #[arg(value_name = "NAME|FILE")]
        dataset: String,
        /// Folder that holds the data set's files
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a data set as one safetensors file
    Export {
        /// A name or a .safetensors file
        #[arg(value_name = "NAME|FILE")]
        dataset: String,
        /// The file to write
        #[arg(value_name = "FILE.safetensors")]
        output: PathBuf,
        /// Folder that holds the data set's files
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
}

pub(super) fn run(args: Args) -> Result<()> {
    match args.command {
        Command::List { json: true } => say(serde_json::to_string(data::known()).expect("plain data")),
        Command::List { json: false } => {
            for known in data::known() {
                say(format!("{:<20} {}\n{:<20} {}", known.name, known.description, "", known.source));
            }
        }
        Command::Info { dataset, data_dir, json } => {
            let info = data::info(&data::open(&dataset, data_dir.as_deref())?);
            if json {
                say(serde_json::to_string(&info).expect("plain data"));
            } else {
                say(info);
            }
        }
        Command::Export { dataset, output, data_dir } => {
            let data = data::open(&dataset, data_dir.as_deref())?;
            data.write_safetensors(&output)?;
            say(format!(
                "{} written: {} training and {} test examples",
                output.display(),
                data.train.len(),
                data.test.len()
            ));
        }
    }
    Ok(())
}
