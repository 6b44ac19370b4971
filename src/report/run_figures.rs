//! What a run's folder has for eyes: curves over its epochs, bars of its classes, and TensorBoard's events.

use super::{plot, tensorboard};
use crate::Result;
use crate::results::{Epoch, Report};
use crate::train::run_dir::RunDir;

/// Writes the figures of runs.
#[derive(Clone, Debug)]
pub struct RunFigures {
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// Whether to write a TensorBoard event file.
    pub tensorboard: bool,
}

impl RunFigures {
    /// Those of the epochs so far.
    ///
    /// # Errors
    /// Where a file can't be written.
    pub fn of_epochs(&self, run: &RunDir, epochs: &[Epoch]) -> Result<()> {
        plot::write_curves(&run.path("curves.svg"), epochs)?;
        if self.tensorboard {
            tensorboard::update(&run.tensorboard(), epochs, &self.class_names)?;
        }
        Ok(())
    }

    /// That of the results, if there are some.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub fn of_results(&self, run: &RunDir, report: &Report) -> Result<()> {
        if report.attacks.is_empty() {
            return Ok(());
        }
        plot::write_classes(&run.path("classes.svg"), &report.class_names, &report.attacks)
    }
}
