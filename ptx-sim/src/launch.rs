//! What a launch is given: its shape and its arguments.

use crate::error::{Error, FaultKind, Result};

/// Grid, block and dynamic shared memory of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y and z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory of a block.
    pub shared: usize,
}

impl Shape {
    /// One dimension: so many blocks of so many threads, without dynamic shared memory.
    pub fn line(blocks: u32, threads: u32) -> Shape {
        Shape { grid: [blocks, 1, 1], block: [threads, 1, 1], shared: 0 }
    }

    /// The same with `bytes` of dynamic shared memory.
    pub fn with_shared(self, bytes: usize) -> Shape {
        Shape { shared: bytes, ..self }
    }
}

/// An argument of a kernel: its bytes, and what the caller said of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    pub(crate) bytes: Vec<u8>,
    /// Whether the value is a float, where the caller gave a number.
    pub(crate) float: Option<bool>,
    /// The address whose allocation this launch must not write.
    pub(crate) read_only: Option<u64>,
}

impl Arg {
    /// A pointer to an allocation that the kernel must only read: a write during this launch is a
    /// [`FaultKind::ReadOnly`].
    pub fn read_only(address: u64) -> Arg {
        Arg { read_only: Some(address), ..address.into() }
    }

    /// A structure, by its bytes as the device sees them.
    pub fn bytes(bytes: &[u8]) -> Arg {
        Arg { bytes: bytes.to_vec(), float: None, read_only: None }
    }
}

macro_rules! arg_from {
    ($float:literal: $($t:ty),+) => {$(
        impl From<$t> for Arg {
            fn from(v: $t) -> Arg {
                Arg { bytes: v.to_le_bytes().to_vec(), float: Some($float), read_only: None }
            }
        }
    )+};
}
arg_from!(false: u8, i8, u16, i16, u32, i32, u64, i64);
arg_from!(true: f32, f64);

/// Which checks run: all of them by default.
///
/// Those that can be left out are [`FaultKind::Uninitialised`], [`FaultKind::ReadOnly`], [`FaultKind::SharedRace`],
/// [`FaultKind::GlobalRace`], [`FaultKind::AsyncPending`] and [`FaultKind::InactiveLane`]: what they forbid still has a
/// result, if not a sensible one. The others are always on, for without them a launch could not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    off: u32,
}

impl Checks {
    /// Everything is checked.
    pub fn all() -> Checks {
        Checks { off: 0 }
    }

    /// The same checks less one; an error if that one is always on.
    pub fn without(self, kind: FaultKind) -> Result<Checks> {
        use FaultKind::*;
        match kind {
            Uninitialised | ReadOnly | SharedRace | GlobalRace | AsyncPending | InactiveLane => {
                Ok(Checks { off: self.off | 1 << kind as u32 })
            }
            _ => Err(Error::Launch(format!("the check {kind:?} can't be turned off"))),
        }
    }

    /// Whether a check runs.
    pub fn has(self, kind: FaultKind) -> bool {
        self.off >> kind as u32 & 1 == 0
    }
}

impl Default for Checks {
    fn default() -> Checks {
        Checks::all()
    }
}
