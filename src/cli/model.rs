//! What commands that take a checkpoint have in common.

use crate::data::Dataset;
use crate::ops::stem::Normalisation;
use crate::train::checkpoint::Checkpoint;
use crate::train::options::{Number, Options};
use crate::{Error, Result};
use std::path::Path;

/// The normalisation of a network whose file does not tell it.
#[derive(clap::Args)]
pub(super) struct NormalisationArgs {
    /// Normalisation inside the model, for a plain state dict that brings none: mean per channel
    #[arg(long, value_delimiter = ',', value_name = "M,M,..", requires = "std")]
    mean: Option<Vec<Number>>,
    /// Normalisation inside the model, for a plain state dict that brings none: standard deviation per channel
    #[arg(long, value_delimiter = ',', value_name = "S,S,..", requires = "mean")]
    std: Option<Vec<Number>>,
}

impl NormalisationArgs {
    /// The normalisation inside the model where the checkpoint does not say; see [`normalisation`].
    pub(super) fn within(
        &self,
        checkpoint: &Checkpoint,
        data: Option<&Dataset>,
        path: &Path,
    ) -> Result<Option<Normalisation>> {
        normalisation(self.mean.as_deref(), self.std.as_deref(), checkpoint, data, path)
    }
}

/// The normalisation inside the model where the checkpoint does not say: the command line's, else the data set's. One that the
/// checkpoint brings (one of ours without brings none) the command line may not contradict.
pub(super) fn normalisation(
    mean: Option<&[Number]>,
    std: Option<&[Number]>,
    checkpoint: &Checkpoint,
    data: Option<&Dataset>,
    path: &Path,
) -> Result<Option<Normalisation>> {
    let f32s = |v: &[Number]| v.iter().map(|n| n.0 as f32).collect::<Vec<_>>();
    let given = mean.zip(std).map(|(m, s)| Normalisation { mean: f32s(m), std: f32s(s) });
    let says = checkpoint.meta.is_some() || checkpoint.normalisation.is_some();
    if says && given.is_some() && checkpoint.normalisation != given {
        return Err(Error::format(path, "brings another normalisation; leave out --mean and --std"));
    }
    let of_data = || data.and_then(|d| Some(Normalisation { mean: d.mean.clone()?, std: d.std.clone()? }));
    Ok(given.or_else(of_data))
}

/// What holds where neither the command line nor a checkpoint says it, in words.
pub(super) fn of_checkpoint(option: &str) -> String {
    let fallback = Options::row(option).fallback;
    let words = fallback.value().map(str::to_owned).or(fallback.in_words());
    format!("the checkpoint's, else {}", words.unwrap_or_default())
}

/// The bound of a plain state dict's evaluation.
pub(super) fn default_eps() -> f32 {
    Options::defaults().eps.map_or(0.0, |eps| eps.0 as f32)
}

/// Its seed.
pub(super) fn default_seed() -> u64 {
    Options::defaults().seed.unwrap_or(0)
}
