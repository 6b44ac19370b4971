//! Errors: what is wrong with a module, a call, or a kernel that runs.

use std::fmt;

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Anything that goes wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The PTX text can't be loaded: a syntax error, or something that this simulator does not execute.
    #[error("{message} at PTX line {line}")]
    Load {
        /// Line of the PTX text, from 1.
        line: u32,
        /// What is wrong.
        message: String,
    },
    /// A launch that can't start: unknown kernel, wrong arguments, limits exceeded.
    #[error("launch: {0}")]
    Launch(String),
    /// A host-side access to device memory that is wrong.
    #[error("device memory: {0}")]
    Memory(String),
    /// A kernel did something wrong while it ran.
    #[error(transparent)]
    Fault(#[from] Box<Fault>),
}

/// Kinds of [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// Access outside of every allocation or of the thread's or block's memory.
    OutOfBounds,
    /// Address not a multiple of the access size.
    Misaligned,
    /// Memory read that nothing has written.
    Uninitialised,
    /// Write to constant memory or to a protected allocation.
    ReadOnly,
    /// Access to an allocation that was freed.
    UseAfterFree,
    /// Two threads of a block access a word of shared memory, one writes, nothing orders them.
    SharedRace,
    /// Two blocks access a word of global memory, one writes, nothing orders them.
    GlobalRace,
    /// Access to the destination of a cp.async that was not waited for.
    AsyncPending,
    /// A barrier, or another operation of the whole warp, that a part of the warp reached.
    Divergence,
    /// Shuffle, vote or match whose members are inactive or whose source lane is.
    InactiveLane,
    /// Warps wait for each other and none can go on.
    Deadlock,
    /// A warp took more steps than allowed.
    StepBudget,
    /// The kernel executed `trap`.
    Trap,
    /// Something that the PTX manual leaves undefined, or a branch index out of range.
    Undefined,
}

/// A fault of a running kernel, and where it happened.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// What exactly.
    pub detail: String,
    /// The kernel's entry name.
    pub kernel: String,
    /// Index of the block.
    pub block: [u32; 3],
    /// Index of the thread, where it is one thread's fault.
    pub thread: Option<[u32; 3]>,
    /// Line of the PTX text.
    pub line: u32,
    /// File and line of the CUDA source, where the PTX carries line info.
    pub source: Option<(String, u32)>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {} in kernel {} block {:?}", self.kind, self.detail, self.kernel, self.block)?;
        if let Some(thread) = self.thread {
            write!(f, " thread {thread:?}")?;
        }
        write!(f, " at PTX line {}", self.line)?;
        match &self.source {
            Some((file, line)) => write!(f, " ({file}:{line})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}
