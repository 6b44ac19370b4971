//! What a network looks like, before it is laid out.

use crate::ops::stem::{MAX_CHANNELS, Normalisation};
use crate::program::Shape;
use crate::{Error, Result};

/// A family of networks of pre-activation blocks: how wide the stem is, and what tensors are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// PreActResNet: the stem is as wide as the first stage.
    PreActResNet,
    /// WideResNet (Zagoruyko and Komodakis, arXiv 1605.07146), with the names of RobustBench's models.
    WideResNet {
        /// Channels of the stem; 16 in the paper.
        stem: usize,
    },
}

/// What the tensors of a [`Family`] are called.
pub(super) struct Names {
    /// Before the number of a stage, from 1, and between it and that of a block, from 0.
    pub stage: [&'static str; 2],
    /// The 1x1 shortcut.
    pub shortcut: &'static str,
    /// The final batch norm.
    pub norm: &'static str,
    /// The classifier.
    pub linear: &'static str,
}

impl Family {
    /// All families; the stem's channels are to be filled in.
    pub(super) const ALL: [Family; 2] = [Family::PreActResNet, Family::WideResNet { stem: 0 }];

    pub(super) fn names(self) -> Names {
        match self {
            Family::PreActResNet => {
                Names { stage: ["layer", "."], shortcut: "shortcut.0", norm: "bn", linear: "linear" }
            }
            Family::WideResNet { .. } => {
                Names { stage: ["block", ".layer."], shortcut: "convShortcut", norm: "bn1", linear: "fc" }
            }
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Family::PreActResNet => "PreActResNet",
            Family::WideResNet { .. } => "WideResNet",
        })
    }
}

/// A network of pre-activation blocks.
#[derive(Clone, Debug, PartialEq)]
pub struct Arch {
    /// Its family.
    pub family: Family,
    /// The images it takes.
    pub image: Shape,
    /// Classes, 2 to 1000.
    pub classes: usize,
    /// Channels of each stage.
    pub widths: Vec<usize>,
    /// Blocks of each stage.
    pub blocks: Vec<usize>,
    /// Normalisation inside the model.
    pub normalisation: Option<Normalisation>,
}

impl Arch {
    /// Checks every range, so that what is built from it can rely on them.
    ///
    /// # Errors
    /// One line naming the value that is out of range.
    pub fn validate(self) -> Result<Arch> {
        let err = |what: String| Err(Error::Usage(what));
        let Shape { c, h, w } = self.image;
        if c == 0 || h == 0 || w == 0 || c > MAX_CHANNELS || h > 4096 || w > 4096 {
            return err(format!(
                "images of {c}x{h}x{w}: channels must be 1 to {MAX_CHANNELS}, height and width 1 to 4096"
            ));
        }
        if !(2..=1000).contains(&self.classes) {
            return err(format!("{} classes: a network takes 2 to 1000", self.classes));
        }
        if self.widths.is_empty() || self.widths.len() > 8 || self.widths.iter().any(|w| !(1..=4096).contains(w)) {
            return err(format!("widths {:?}: give 1 to 8 stages of 1 to 4096 channels", self.widths));
        }
        if !(1..=4096).contains(&self.stem()) {
            return err(format!("a stem of {} channels: give 1 to 4096", self.stem()));
        }
        if self.blocks.len() != self.widths.len() || self.blocks.iter().any(|b| !(1..=64).contains(b)) {
            return err(format!(
                "blocks {:?}: give one number from 1 to 64, or one per stage ({})",
                self.blocks,
                self.widths.len()
            ));
        }
        if let Some(n) = &self.normalisation {
            if n.mean.len() != c || n.std.len() != c {
                return err(format!(
                    "normalisation has {} means and {} stds, the images have {c} channels: give one of each per channel",
                    n.mean.len(),
                    n.std.len()
                ));
            }
            if n.mean.iter().any(|m| !m.is_finite()) || n.std.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
                return err("normalisation: means must be finite and stds positive".into());
            }
        }
        Ok(self)
    }

    /// Channels of the stem.
    pub fn stem(&self) -> usize {
        match self.family {
            Family::PreActResNet => self.widths[0],
            Family::WideResNet { stem } => stem,
        }
    }

    /// A line such as `PreActResNet 16,32,64 x 1,1,1 blocks, 1x28x28 -> 10`.
    pub fn describe(&self) -> String {
        let list = |v: &[usize]| v.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let Shape { c, h, w } = self.image;
        let (family, widths, blocks) = (self.family, list(&self.widths), list(&self.blocks));
        format!("{family} {widths} x {blocks} blocks, {c}x{h}x{w} -> {}", self.classes)
    }
}
