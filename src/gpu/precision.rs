//! Element types on a GPU.

use serde::{Deserialize, Serialize};

/// Element type of activations, their gradients and the filters that meet them; sums are f32, master weights too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    #[default]
    Fp32,
    /// bfloat16, on tensor cores.
    Bf16,
}

impl Precision {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Precision::Fp32 => 4,
            Precision::Bf16 => 2,
        }
    }

    /// How the names of its kernels end.
    pub fn suffix(self) -> &'static str {
        match self {
            Precision::Fp32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }
}
