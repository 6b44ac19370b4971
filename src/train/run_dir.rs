//! The folder of a run: what it is made of, and creating and reopening it.

use super::options::Options;
use crate::fsio::{TEMP_PREFIX, write_atomic};
use crate::results::Report;
use crate::results::metrics::{self, Epoch};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A run's folder.
#[derive(Clone, Debug)]
pub struct RunDir {
    root: PathBuf,
}

impl RunDir {
    /// Makes a new folder for a run with these options: `out`, or `runs/NAME-NNN` with the next free number.
    ///
    /// # Errors
    /// Where `out` holds a run already, or can't be written to.
    pub fn create(out: Option<&Path>, name: &str, options: &Options) -> Result<RunDir> {
        let root = match out {
            Some(out) => out.to_owned(),
            None => free(Path::new("runs"), name)?,
        };
        let run = RunDir { root };
        // Without its config.toml a run can't be resumed, but neither may another one take over its checkpoints.
        if run.config().exists() || run.last().exists() {
            let what = format!(
                "{}: holds a run already; resume it with --resume, or choose another --out",
                run.root.display()
            );
            return Err(Error::Usage(what));
        }
        std::fs::create_dir_all(&run.root).map_err(Error::io(&run.root, "cannot create the run directory"))?;
        let text = options.to_toml();
        write_atomic(&run.config(), |w| w.write_all(text.as_bytes())).inspect_err(|_| run.abandon())?;
        Ok(run)
    }

    /// Takes back [`RunDir::create`] where a run can't begin after all; a folder that holds anything else stays.
    pub fn abandon(&self) {
        let _ = std::fs::remove_file(self.config());
        let _ = std::fs::remove_dir(&self.root);
    }

    /// Reopens a run and returns its options.
    ///
    /// # Errors
    /// Where there is none.
    pub fn open(root: &Path) -> Result<(RunDir, Options)> {
        let run = RunDir { root: root.to_owned() };
        if !run.config().exists() {
            let what = format!("{}: no run here (no config.toml); start one with --out", root.display());
            return Err(Error::Usage(what));
        }
        let options = Options::read(&run.config())?;
        // What a killed process was writing.
        run.remove(|name| name.starts_with(TEMP_PREFIX));
        Ok((run, options))
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The complete options.
    pub fn config(&self) -> PathBuf {
        self.path("config.toml")
    }

    /// The latest checkpoint.
    pub fn last(&self) -> PathBuf {
        self.path("last.safetensors")
    }

    /// The moving average of the weights, beside the latest checkpoint.
    pub fn ema(&self) -> PathBuf {
        self.path("ema.safetensors")
    }

    /// The checkpoint of the best mean PGD accuracy on the validation split.
    pub fn best_mean(&self) -> PathBuf {
        self.path("best-mean.safetensors")
    }

    /// The checkpoint of the best worst-class PGD accuracy on the validation split.
    pub fn best_worst(&self) -> PathBuf {
        self.path("best-worst.safetensors")
    }

    /// The TensorBoard event file, of a run that writes one.
    pub fn tensorboard(&self) -> PathBuf {
        self.path("events.out.tfevents.ham-engine")
    }

    /// The epochs written so far.
    ///
    /// # Errors
    /// Where the file can't be read.
    pub fn read_metrics(&self) -> Result<Vec<Epoch>> {
        let path = self.path("metrics.jsonl");
        if path.exists() { metrics::read(&path) } else { Ok(Vec::new()) }
    }

    /// Writes the epochs as JSON lines and CSV.
    ///
    /// # Errors
    /// Where a file can't be written.
    pub fn write_metrics(&self, epochs: &[Epoch]) -> Result<()> {
        metrics::write_all(&self.path("metrics.jsonl"), epochs)?;
        metrics::write_csv(&self.path("metrics.csv"), epochs)
    }

    /// Writes the report.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub fn write_report(&self, report: &Report) -> Result<()> {
        report.write(&self.path("report.json"))
    }

    /// Removes state files that no checkpoint names any more. One that can't be removed does no harm.
    pub fn remove_states_but(&self, name: &str) {
        self.remove(|other| other.starts_with("state-") && other.ends_with(".safetensors") && other != name);
    }

    fn remove(&self, which: impl Fn(&str) -> bool) {
        let Ok(files) = std::fs::read_dir(&self.root) else { return };
        for file in files.flatten() {
            if file.file_name().to_str().is_some_and(&which) {
                let _ = std::fs::remove_file(file.path());
            }
        }
    }
}

/// Makes `folder`/NAME-NNN with the next free number. Two runs that start at once get two folders.
///
/// # Errors
/// Where `folder` can't be written to.
pub fn free(folder: &Path, name: &str) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder, "cannot create the folder of runs"))?;
    for i in 1.. {
        let path = folder.join(format!("{name}-{i:03}"));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io(&path, "cannot create the run directory")(e)),
        }
    }
    unreachable!("some number is free")
}
