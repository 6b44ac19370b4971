use crate::ops::ball::Norm;

/// What the attacks of an evaluation may do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// The norm of the bound.
    pub norm: Norm,
    /// The bound, pixels in [0, 1].
    pub eps: f32,
    /// Whether to start at random within the bound; else at the image.
    pub random_start: bool,
    /// Runs of an attack, each from another start: 1 to [`Budget::MAX_RESTARTS`].
    pub restarts: usize,
    /// Seed of all random numbers.
    pub seed: u64,
}

impl Budget {
    /// Restarts at most; times the target classes they still count in 32 bits.
    pub const MAX_RESTARTS: usize = 10_000;

    /// The usual: L-inf, one run from a random start.
    pub fn new(eps: f32, seed: u64) -> Budget {
        Budget { norm: Norm::Linf, eps, random_start: true, restarts: 1, seed }
    }
}
