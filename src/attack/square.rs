//! Square Attack: random search, for which a forward pass is a query. No gradient can mislead it.

use super::stage::{Attack, Stage};
use super::{Budget, Scene};
use crate::Result;
use crate::backend::Backend;
use crate::batch::Iteration;
use crate::ops::Program;
use crate::ops::square::schedule::Schedule;
use crate::ops::square::{Square as Query, SquareState};
use crate::program::DType;
use crate::rng::Philox;

/// Square Attack with the margin loss.
pub struct Square {
    query: Query,
    queries: usize,
    restarts: usize,
}

impl Square {
    /// The attack of `queries` queries behind the start, and its memory. It always starts at random.
    ///
    /// # Errors
    /// Where memory does not suffice.
    pub fn new<B: Backend>(backend: &mut B, scene: &Scene, queries: usize, budget: &Budget) -> Result<Square> {
        let (Scene { image, batch, data, .. }, Budget { norm, eps, restarts, seed, .. }) = (*scene, *budget);
        let schedule = Schedule::new(image, norm);
        let state = SquareState {
            best: backend.alloc(DType::F32, batch.capacity * image.len())?,
            margin: backend.alloc(DType::F32, batch.capacity)?,
            eta: backend.alloc(DType::F32, schedule.tables.len())?,
        };
        backend.write(state.eta, 0, &schedule.tables)?;
        let query = Query { image, batch, data, state, norm, eps, schedule, rng: Philox::new(seed), query: None };
        Ok(Square { query, queries, restarts })
    }

    fn ask(&self, p: &mut Program, stage: &Stage, at: Option<Iteration>) {
        p.push(Query { query: at, ..self.query.clone() });
        stage.forward(p, self.query.batch.x_adv);
        stage.leave_crossed(p);
    }
}

impl Attack for Square {
    fn runs(&self) -> usize {
        self.restarts
    }

    fn iterations(&self) -> usize {
        self.queries
    }

    fn begin(&self, p: &mut Program, stage: &Stage) {
        self.ask(p, stage, None);
    }

    fn iterate(&self, p: &mut Program, stage: &Stage, at: Iteration) {
        self.ask(p, stage, Some(at));
    }

    fn finish(&self, _: &mut Program, _: &Stage) {}
}
