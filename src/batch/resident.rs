//! The data set in backend memory, and what the host tells the programs that walk it.

use crate::program::Buf;

/// Indices into the `control` buffer (u32).
pub mod control {
    /// Position in `order` of the next batch's first example.
    pub const CURSOR: usize = 0;
    /// Number of positions in the epoch.
    pub const END: usize = 1;
    /// Epoch, a counter of the random numbers; in an evaluation the run of the attack.
    pub const EPOCH: usize = 2;
    /// Iteration of an evaluation's attack with which the next program starts.
    pub const ITERATION: usize = 3;
    /// Length of the buffer.
    pub const LEN: usize = 4;
}

/// A data set in backend memory.
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    /// Pixels `[N, C, H, W]`: u8, or f32 in [0, 1].
    pub images: Buf,
    /// Labels `[N]`, u32.
    pub labels: Buf,
    /// Sample ids in the order of the epoch, u32.
    pub order: Buf,
    /// See [`control`].
    pub control: Buf,
}

/// Which iteration an op belongs to: the number, from 0, is `control[ITERATION] + offset`. The host sets the first before a
/// program of several iterations is replayed, the op knows the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iteration {
    /// See [`control`].
    pub control: Buf,
    /// Place in the program.
    pub offset: u32,
}

impl Iteration {
    /// Its number, from the content of `control`.
    pub fn number(&self, control: &[u32]) -> u32 {
        control[control::ITERATION] + self.offset
    }
}
