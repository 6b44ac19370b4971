//! The stretches of a mini-batch whose time is told apart.

/// The phases whose time is kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Batch loading and augmentation.
    Data,
    /// Folding, PGD, check and compaction.
    Attack,
    /// Forward and backward passes with weight gradients, and the parameter update.
    Update,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Phase; 3] = [Phase::Data, Phase::Attack, Phase::Update];
}

/// A stretch of a mini-batch that profilers show by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Range {
    /// Loading the batch.
    Load,
    /// A step of the attack, from 0.
    Step(usize),
    /// Boundary check and compaction.
    Check,
    /// The training step's forward pass.
    Forward,
    /// The training step's backward pass.
    Backward,
    /// The parameter update.
    Update,
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Range::Load => f.write_str("load"),
            Range::Step(k) => write!(f, "attack step {k}"),
            Range::Check => f.write_str("check and compact"),
            Range::Forward => f.write_str("train forward"),
            Range::Backward => f.write_str("train backward"),
            Range::Update => f.write_str("update"),
        }
    }
}
