//! Saving a run and picking it up again.

use super::Trainer;
use super::checkpoint::{self, Expected, Meta, State, TrainedFor};
use crate::backend::Backend;
use crate::fsio::created_by;
use crate::net::state::Weights;
use crate::{Error, Result};
use std::path::Path;

impl<B: Backend> Trainer<'_, B> {
    /// Loads the run's last checkpoint; false if there is none.
    pub(super) fn load(&mut self) -> Result<bool> {
        let path = self.run.last();
        if !path.exists() {
            return Ok(false);
        }
        let checkpoint = checkpoint::Checkpoint::read(&path)?;
        let meta = checkpoint.meta.ok_or_else(|| Error::format(&path, "not a checkpoint of ham-engine"))?;
        if meta.data_hash != self.data.hash {
            let what = format!("was trained on other data ({}); resume with the same", meta.dataset);
            return Err(Error::format(&path, what));
        }
        let (trained, told) = (&meta.contract, self.trained_for());
        // A method that never does its own work may have been called by either name.
        let same = trained.method == self.config.method.name();
        let differs = [
            ("method", trained.method.clone(), if same { trained.method.clone() } else { told.method }),
            ("eps", trained.eps.to_string(), told.eps.to_string()),
            ("alpha", trained.alpha.to_string(), told.alpha.to_string()),
            ("steps", trained.steps.to_string(), told.steps.to_string()),
            ("seed", meta.seed.to_string(), self.config.seed.to_string()),
        ];
        if let Some((name, trained, told)) = differs.into_iter().find(|(_, trained, told)| trained != told) {
            let what = format!(
                "was trained with {name} {trained}, the run's config.toml says {told}; change that back, or start a new run with --init"
            );
            return Err(Error::format(&path, what));
        }
        let Some(state) = meta.state else {
            return Err(Error::format(&path, "names no state file, so it can't be resumed; use it with --init"));
        };
        let state_path = self.run.path(&state);
        let expected = Expected {
            counters: self.scene.stats.counters.len,
            ema: self.config.ema.is_some(),
            pool: self.scene.pool.map(|p| p.words()),
        };
        let state = checkpoint::read_state(&state_path, &self.engine.net, expected)?;
        self.engine.set_weights(&Weights::from_state_dict(&self.engine.net, &checkpoint.dict, &path)?)?;
        self.engine.set_momenta(&state.momenta)?;
        if let Some(ema) = &state.ema {
            self.engine.set_ema(ema)?;
        }
        self.epochs = self.run.read_metrics()?;
        // A run killed between the two files has an epoch more in its metrics than in its checkpoint.
        self.epochs.retain(|e| e.epoch <= meta.epoch as u64);
        if !self.epochs.iter().map(|e| e.epoch).eq(1..=meta.epoch as u64) {
            let what = format!("must have the {} epochs that last.safetensors has completed", meta.epoch);
            return Err(Error::format(self.run.path("metrics.jsonl"), what));
        }
        if state.counts.batches != meta.batch {
            let what = format!("was written after mini-batch {}, not {}", state.counts.batches, meta.batch);
            return Err(Error::format(state_path, what));
        }
        (self.counts, self.seconds, self.best) = (state.counts, state.seconds, state.best);
        self.pool = state.pool;
        Ok(true)
    }

    /// What it trains for.
    fn trained_for(&self) -> TrainedFor {
        let attack = &self.config.settings.attack;
        let method = self.config.in_effect().name().to_owned();
        TrainedFor { method, eps: attack.eps, alpha: attack.alpha, steps: attack.steps }
    }

    pub(super) fn write_checkpoint(&self, path: &Path, weights: &Weights, state: Option<String>) -> Result<()> {
        let (arch, c) = (&self.config.arch, self.config);
        let meta = Meta {
            created_by: created_by(),
            height: arch.image.h,
            width: arch.image.w,
            normalisation: arch.normalisation.as_ref().map(|n| (n.mean.clone(), n.std.clone())),
            class_names: self.data.class_names.clone(),
            contract: self.trained_for(),
            dataset: c.dataset.clone(),
            data_hash: self.data.hash.clone(),
            seed: c.seed,
            epoch: self.epochs.len(),
            batch: self.counts.batches,
            state,
        };
        checkpoint::write(path, &self.engine.net, weights, &meta)
    }

    /// Writes the last checkpoint with its state, and the moving average of the weights if one is kept.
    pub(super) fn save(&mut self) -> Result<()> {
        if self.program.is_some() {
            self.gather()?;
        }
        self.check_weights(self.epochs.len() + 1)?;
        let state = State {
            momenta: self.engine.momenta()?,
            ema: self.engine.ema()?,
            pool: self.engine.pool(&self.scene)?,
            counts: self.counts.clone(),
            seconds: self.seconds,
            best: self.best,
        };
        let name = format!("state-{:04}-{:06}.safetensors", self.epochs.len(), state.counts.batches);
        checkpoint::write_state(&self.run.path(&name), &self.engine.net, &state)?;
        let weights = self.engine.weights()?;
        if let Some(params) = state.ema {
            // Before the last checkpoint: a run killed in between goes on and writes both again.
            let averaged = Weights { params, running: weights.running.clone() };
            self.write_checkpoint(&self.run.ema(), &averaged, None)?;
        }
        self.write_checkpoint(&self.run.last(), &weights, Some(name.clone()))?;
        self.run.remove_states_but(&name);
        Ok(())
    }
}
