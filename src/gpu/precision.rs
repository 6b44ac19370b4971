//! Element types on a GPU.

crate::named::named! {
    /// Element type of activations, their gradients and the filters that meet them; sums are f32, master weights too.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Precision {
        /// Single precision.
        Fp32 = "fp32",
        /// bfloat16, on tensor cores.
        Bf16 = "bf16",
    }
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
