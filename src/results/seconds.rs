use crate::Result;
use crate::backend::Backend;
use crate::program::Phase;
use std::ops::AddAssign;

/// Seconds of training, by what they went into.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seconds {
    /// Loading (and augmenting) mini-batches.
    pub data: f64,
    /// Attacks, with checks and compaction.
    pub attack: f64,
    /// Training steps.
    pub update: f64,
}

impl Seconds {
    /// Takes what a backend has measured since it was asked last.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn take<B: Backend>(backend: &mut B) -> Result<Seconds> {
        let mut seconds = |phase| backend.take_time(phase).map(|t| t.as_secs_f64());
        Ok(Seconds { data: seconds(Phase::Data)?, attack: seconds(Phase::Attack)?, update: seconds(Phase::Update)? })
    }

    /// All of them.
    pub fn sum(self) -> f64 {
        self.data + self.attack + self.update
    }
}

impl AddAssign for Seconds {
    fn add_assign(&mut self, more: Seconds) {
        self.data += more.data;
        self.attack += more.attack;
        self.update += more.update;
    }
}
