//! The PyTorch peer: a process that runs mini-batches in turn with ours (`benches/peer`).

use crate::gpu::Precision;
use crate::net::{Arch, Family};
use crate::{Error, Result};
use serde::Deserialize;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// How the peer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As the authors' code does it.
    Official,
    /// As a good PyTorch user writes it.
    Tuned,
}

impl Style {
    /// Both.
    pub const ALL: [Style; 2] = [Style::Official, Style::Tuned];
}

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Style::Official => "official",
            Style::Tuned => "tuned",
        })
    }
}

/// What the peer is told of the job; images are its own.
#[derive(Clone, Debug)]
pub struct PeerJob<'a> {
    /// The network.
    pub arch: &'a Arch,
    /// Examples of a mini-batch.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
    /// What it computes in; of bfloat16 where autocast does.
    pub precision: Precision,
    /// Bound of the perturbation.
    pub eps: f32,
    /// Step size.
    pub alpha: f32,
    /// Steps of the attack.
    pub steps: usize,
    /// After how many of them HAM checks.
    pub k_drop: usize,
    /// Share of the examples that the check keeps.
    pub kept_share: f64,
}

/// Seconds of a peer's mini-batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeerSeconds {
    /// In all.
    pub all: f64,
    /// Of the attack.
    pub attack: f64,
    /// Of the update.
    pub update: f64,
}

/// A running peer.
pub struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// What it runs on, in words.
    pub name: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Ready { torch: String, threads: usize, cpu_capability: String },
    Ran { seconds: f64, attack_seconds: f64, update_seconds: f64 },
    Failed { error: String },
}

fn failed(what: impl fmt::Display) -> Error {
    Error::usage(format!("the PyTorch peer {what}"))
}

impl Peer {
    /// Starts `folder/peer.py` with the Python of `venv`, which `folder/setup.sh` makes first if it isn't there.
    ///
    /// # Errors
    /// Where it can't be set up or started.
    pub fn start(folder: &Path, venv: &Path, job: &PeerJob) -> Result<Peer> {
        let script = folder.join("peer.py");
        if !script.exists() {
            let what = format!("is not at {}: run this in the project's folder", script.display());
            return Err(failed(what));
        }
        let python = venv.join("bin/python");
        if !python.exists() {
            eprintln!("installing PyTorch into {} (once)", venv.display());
        }
        let setup = Command::new(folder.join("setup.sh")).stdout(Stdio::null()).status();
        match setup {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(failed(format!("could not be set up: setup.sh ended with {status}"))),
            Err(e) => return Err(failed(format!("could not be set up: {}: {e}", folder.join("setup.sh").display()))),
        }
        if job.arch.family != Family::PreActResNet {
            return Err(failed(format!("has no {}; compare without --peer", job.arch.family)));
        }
        let list = |v: &[usize]| v.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let PeerJob { arch, batch, threads, precision, eps, alpha, steps, k_drop, kept_share } = job;
        let options = [
            ("channels", arch.image.c.to_string()),
            ("height", arch.image.h.to_string()),
            ("width", arch.image.w.to_string()),
            ("classes", arch.classes.to_string()),
            ("widths", list(&arch.widths)),
            ("blocks", list(&arch.blocks)),
            ("batch", batch.to_string()),
            ("threads", threads.to_string()),
            ("precision", precision.name().to_owned()),
            ("steps", steps.to_string()),
            ("k-drop", k_drop.to_string()),
            ("eps", eps.to_string()),
            ("alpha", alpha.to_string()),
            ("kept-share", kept_share.to_string()),
        ];
        let args = options.iter().flat_map(|(name, value)| [format!("--{name}"), value.clone()]);
        let mut child = Command::new(&python)
            .arg(&script)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| failed(format!("did not start: {}: {e}", python.display())))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else { unreachable!("both piped") };
        let mut peer = Peer { child, input, output: BufReader::new(output), name: String::new() };
        match peer.answer()? {
            Answer::Ready { torch, threads, cpu_capability } => {
                peer.name = format!("PyTorch {torch}, {cpu_capability}, {threads} threads");
                Ok(peer)
            }
            _ => Err(failed("did not say that it is ready")),
        }
    }

    fn answer(&mut self) -> Result<Answer> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => Err(failed("ended; its message is above")),
            Ok(_) => serde_json::from_str(&line).map_err(|e| failed(format!("said something else: {e}"))),
            Err(e) => Err(failed(format!("can't be read: {e}"))),
        }
    }

    /// Runs a mini-batch.
    ///
    /// # Errors
    /// Where it fails.
    pub fn run(&mut self, method: &str, style: Style) -> Result<PeerSeconds> {
        writeln!(self.input, "{{\"method\": \"{method}\", \"style\": \"{style}\"}}")
            .and_then(|()| self.input.flush())
            .map_err(|e| failed(format!("does not listen: {e}")))?;
        match self.answer()? {
            Answer::Ran { seconds, attack_seconds, update_seconds } => {
                Ok(PeerSeconds { all: seconds, attack: attack_seconds, update: update_seconds })
            }
            Answer::Failed { error } => Err(failed(format!("failed: {error}"))),
            Answer::Ready { .. } => Err(failed("said that it is ready, twice")),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
