//! The norms that bound perturbations.

/// Norm that bounds a perturbation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// The largest change of a pixel.
    Linf,
    /// The Euclidean length over pixels and channels.
    L2,
}

impl Norm {
    /// What the names of its kernels end with.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Norm::Linf => "linf",
            Norm::L2 => "l2",
        }
    }
}
