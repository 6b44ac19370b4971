//! What a network looks like, before it is laid out.

use crate::ops::stem::{MAX_CHANNELS, Normalisation};
use crate::program::Shape;
use crate::{Error, Result};

/// A PreActResNet.
#[derive(Clone, Debug, PartialEq)]
pub struct Arch {
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

    /// A line such as `PreActResNet 16,32,64 x 1,1,1 blocks, 1x28x28 -> 10`.
    pub fn describe(&self) -> String {
        let list = |v: &[usize]| v.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let Shape { c, h, w } = self.image;
        format!("PreActResNet {} x {} blocks, {c}x{h}x{w} -> {}", list(&self.widths), list(&self.blocks), self.classes)
    }
}
