use super::options::{Selected, Selection, Taken, take};
use super::say;
use super::terminal::watch;
use crate::data::{self, Known, Source};
use crate::{Error, Result};
use clap::Subcommand;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// List data sets, fetch and check them, look at one, or convert one to safetensors.
///
/// `ham-engine data fetch cifar10` makes `ham-engine train --preset cifar10` work. Files are kept in the folder given with
/// --data-dir, else in $HAM_ENGINE_DATA, else in ham-engine in your folder for caches (~/.cache).
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// The folder of data sets.
struct Folder;

impl Selection for Folder {
    fn rows() -> Vec<Taken> {
        vec![take("data-dir").or_default()]
    }
}

/// What pictures are brought to.
struct PictureSize;

impl Selection for PictureSize {
    fn rows() -> Vec<Taken> {
        vec![take("size")]
    }
}

#[derive(clap::Args)]
struct Which {
    /// A known name, a .safetensors or .npz file, or an image folder
    #[arg(value_name = "NAME|PATH")]
    dataset: String,
    #[command(flatten)]
    folder: Selected<Folder>,
    #[command(flatten)]
    size: Selected<PictureSize>,
}

impl Which {
    fn open(&self) -> Result<data::Dataset> {
        let data_dir = self.folder.options.data_dir.as_deref();
        Source { data_dir, size: self.size.options.size, watch: &watch(), ..Source::new(&self.dataset) }.open()
    }
}

#[derive(Subcommand)]
enum Command {
    /// The data sets that are known by name, and which are here
    List {
        #[command(flatten)]
        folder: Selected<Folder>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch known data sets, check them, and decode them once for all later runs
    ///
    /// A download that was cut off goes on where it stopped. The proxy is that of HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and
    /// NO_PROXY. Where there is no network, fetch the files elsewhere (`data list --json` names them) and give their folder
    /// with --offline.
    Fetch {
        /// Names that `data list` shows
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        #[command(flatten)]
        folder: Selected<Folder>,
        /// A folder on the web that holds the files, asked before their own places; may be given several times
        #[arg(long, value_name = "URL")]
        mirror: Vec<String>,
        /// A folder that holds the files, taken instead of asking the network
        #[arg(long, value_name = "DIR", conflicts_with = "mirror")]
        offline: Option<PathBuf>,
        /// Seconds that a server may be silent
        #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
        timeout: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Compare fetched files with their lengths and checksums, and what was decoded from them with its hash
    Verify {
        /// A known name, a .safetensors or .npz file, or an image folder
        #[arg(value_name = "NAME|PATH", required = true)]
        datasets: Vec<String>,
        #[command(flatten)]
        folder: Selected<Folder>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Shape, classes, counts, mean and deviation, and hash of a data set
    Info {
        #[command(flatten)]
        which: Which,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a data set as one safetensors file
    Export {
        #[command(flatten)]
        which: Which,
        /// The file to write
        #[arg(value_name = "FILE.safetensors")]
        output: PathBuf,
    },
}

pub(super) fn run(args: Args) -> Result<()> {
    match args.command {
        Command::List { folder, json } => list(&folder, json),
        Command::Fetch { names, folder, mirror, offline, timeout, json } => {
            let watch = watch();
            let patience = Duration::from_secs(timeout);
            let how = data::Fetch { mirrors: &mirror, offline: offline.as_deref(), patience, watch: &watch };
            // A wrong name is to be noticed before hours of downloads.
            let known: Vec<&Known> = names.iter().map(|name| Known::by_name(name)).collect::<Result<_>>()?;
            for known in known {
                let set = data::fetch(known, folder.options.data_dir.as_deref(), &how)?;
                if json {
                    say(
                        json!({"name": set.name, "train": set.train.len(), "test": set.test.len(), "sha256": set.hash}),
                    );
                } else {
                    say(format!("{}: {} training and {} test examples", set.name, set.train.len(), set.test.len()));
                }
            }
            Ok(())
        }
        Command::Verify { datasets, folder, json } => {
            let mut faults = 0;
            for dataset in &datasets {
                faults += verify(dataset, &folder, json)?;
            }
            match faults {
                0 => Ok(()),
                n => Err(Error::usage(format!(
                    "faults found: {n}; ham-engine data fetch replaces files that are missing or wrong"
                ))),
            }
        }
        Command::Info { which, json } => {
            let info = data::info(&which.open()?);
            if json {
                say(serde_json::to_string(&info).expect("plain data"));
            } else {
                say(info);
            }
            Ok(())
        }
        Command::Export { which, output } => {
            let data = which.open()?;
            data.write_safetensors(&output)?;
            let (train, test) = (data.train.len(), data.test.len());
            say(format!("{} written: {train} training and {test} test examples", output.display()));
            Ok(())
        }
    }
}

fn list(folder: &Selected<Folder>, json: bool) -> Result<()> {
    let dir = data::data_folder(folder.options.data_dir.as_deref())?;
    let mut all = Vec::new();
    for known in data::known() {
        let here = known.is_here(&dir);
        if json {
            let mut entry = serde_json::to_value(known).expect("plain data");
            entry["here"] = here.into();
            all.push(entry);
        } else {
            let state = if here { "here" } else { "to fetch" };
            say(format!("{:<20} {}\n{state:>18}   {}", known.name, known.description, known.source));
        }
    }
    if json {
        say(serde_json::Value::from(all));
    }
    Ok(())
}

/// Prints what is wrong with a data set, and returns how much that is.
fn verify(dataset: &str, folder: &Selected<Folder>, json: bool) -> Result<usize> {
    let data_dir = folder.options.data_dir.as_deref();
    let watch = watch();
    let mut checks = Vec::new();
    if let Ok(known) = Known::by_name(dataset) {
        checks = data::verify(known, &data::data_folder(data_dir)?, &watch)?;
    }
    // What can't be opened is a fault like others: the rest is still to be checked.
    if checks.iter().all(|c| c.fault.is_none()) {
        let opened = Source { data_dir, watch: &watch, ..Source::new(dataset) }.open();
        let fault = opened.err().map(|e| e.to_string());
        checks.push(data::FileCheck { path: dataset.into(), fault });
    }
    for check in &checks {
        match (json, &check.fault) {
            (true, _) => say(serde_json::to_string(check).expect("plain data")),
            (false, None) => say(format!("{}: whole", check.path.display())),
            (false, Some(fault)) => say(format!("{}: {fault}", check.path.display())),
        }
    }
    Ok(checks.iter().filter(|c| c.fault.is_some()).count())
}
