//! The one error type: what failed, where, and what to do, in one line.

use std::path::{Path, PathBuf};

/// Everything that can go wrong between a command line and a checkpoint.
///
/// `Display` is one line fit for a terminal. [`Error::Interrupted`] and [`Error::Stopped`] mean exit code 130, all
/// others 2.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request itself is wrong: an option out of range, an unknown name, options that contradict each other.
    #[error("{0}")]
    Usage(String),
    /// A file or directory could not be read or written.
    #[error("{}: {what}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done, and what to do about it where that is known.
        what: &'static str,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file was read but does not hold what it should.
    #[error("{}: {what}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong in it, and what to do.
        what: String,
    },
    /// An operation was asked for a shape or a state that it does not support.
    #[error("{op}: {what}")]
    Op {
        /// The operation, by its name in `src/ops`.
        op: &'static str,
        /// The shape and the cause.
        what: String,
    },
    /// A device failed, or can't do what it was asked for.
    #[error("{what}")]
    Device {
        /// The device or kernel, its shape, the cause, and what to do.
        what: String,
    },
    /// The training loss stopped being a number.
    #[error("epoch {epoch}, batch {batch}: the loss is not finite; lower --lr or --eps ({kept})")]
    Diverged {
        /// Epoch, from 1.
        epoch: usize,
        /// Mini-batch in the epoch, from 1.
        batch: usize,
        /// Which checkpoint was kept.
        kept: String,
    },
    /// A network gave infinities or NaN for finite images.
    #[error("the network's outputs are not finite; use a checkpoint from before it diverged")]
    NotFinite,
    /// The user asked to stop; the state was saved first.
    #[error("interrupted; resume with: ham-engine train --resume {}", run.display())]
    Interrupted {
        /// The run directory to resume from.
        run: PathBuf,
    },
    /// The user asked to stop what has no state to save.
    #[error("interrupted; nothing was written")]
    Stopped,
}

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An [`Error::Usage`].
    pub fn usage(what: impl Into<String>) -> Self {
        Error::Usage(what.into())
    }

    /// An [`Error::Format`] at `path`.
    pub fn format(path: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Error::Format { path: path.as_ref().to_owned(), what: what.into() }
    }

    /// For `map_err`: turns an I/O error at `path` while doing `what` into an [`Error::Io`].
    pub fn io(path: impl AsRef<Path>, what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Error::Io { path: path.as_ref().to_owned(), what, source }
    }
}
