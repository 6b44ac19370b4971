//! What a run shows while it works: a progress bar on a terminal, and the wish to stop.

use crate::train::Progress;
use crate::{Error, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

static STOP: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C (and SIGTERM) a wish that [`stopping`] tells; a second one ends the process at once.
pub fn catch_interrupts() -> Result<()> {
    let handler = || {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this mini-batch; press Ctrl-C again to stop at once");
    };
    ctrlc::set_handler(handler).map_err(|e| Error::usage(format!("cannot handle interrupts: {e}")))
}

/// Whether the user asked to stop.
pub fn stopping() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// A bar for the epoch or evaluation under way.
pub struct Bar {
    bar: ProgressBar,
    key: (usize, String),
    epochs: usize,
}

impl Bar {
    /// A bar on standard error, if that is a terminal.
    pub fn new(epochs: usize) -> Bar {
        let bar = ProgressBar::new(0);
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template(
            "{prefix:<22} {bar:28} {pos:>6}/{len} images  {per_sec:>11}  {eta:>4} left  {msg}",
        );
        bar.set_style(style.expect("a valid template").progress_chars("=> "));
        Bar { bar, key: (0, String::new()), epochs }
    }

    /// The same, not shown if `silent`.
    pub fn silent(self, silent: bool) -> Bar {
        if silent {
            self.bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        self
    }

    /// Shows how far a run is.
    pub fn show(&mut self, p: &Progress) {
        let key = (p.epoch, p.doing.clone());
        if key != self.key {
            // A bar of its own for each stretch of work: rate and ETA are those of what is under way.
            self.bar.reset();
            self.bar.set_length(p.total as u64);
            self.bar.set_prefix(match self.epochs {
                0 => p.doing.clone(),
                epochs => format!("{}/{epochs} {}", p.epoch, p.doing),
            });
            self.key = key;
            self.bar.reset_eta();
        }
        self.bar.set_message(p.kept_share.map_or(String::new(), |r| format!("live {:.0} %", 100.0 * r)));
        self.bar.set_position(p.done as u64);
    }

    /// Prints a line of output above the bar.
    pub fn line(&self, line: &str) {
        self.bar.suspend(|| super::say(line));
    }

    /// Removes the bar.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// A bar on standard error, if that is a terminal, for [`crate::data::Watch`]: reading, decoding and fetching data.
pub fn watch() -> impl Fn(&str, u64, u64) + Sync {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target).with_finish(ProgressFinish::AndClear);
    let style = |bytes: bool, known: bool| {
        let template = match (bytes, known) {
            (true, _) => "{msg}  {bar:28} {bytes:>10}/{total_bytes}  {bytes_per_sec:>12}  {eta:>4} left",
            (false, true) => "{msg}  {bar:28} {pos:>6}/{len}  {eta:>4} left",
            (false, false) => "{msg}  {pos:>6}",
        };
        ProgressStyle::with_template(template).expect("a valid template").progress_chars("=> ")
    };
    move |doing, done, total| {
        if bar.message() != doing {
            bar.reset();
            bar.set_style(style(doing.starts_with("fetching") || doing.starts_with("checking"), total > 0));
            bar.set_length(total);
            bar.set_message(doing.to_owned());
        }
        bar.set_position(done);
    }
}
