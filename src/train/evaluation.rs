//! What a run measures: its validation split after an epoch, the test set at the end.

use super::{Observer, Progress, Scores, Trainer};
use crate::attack::Budget;
use crate::backend::Backend;
use crate::engine::Images;
use crate::eval::Examined;
use crate::fsio::created_by;
use crate::results::{Contract, Cost, DataId, Report, Training};
use crate::{Error, Result};

impl<B: Backend> Trainer<'_, B> {
    /// Clean and adversarial accuracy on the validation split; none if there is no such split.
    pub(super) fn validate(&mut self, epoch: usize, observer: &mut dyn Observer) -> Result<Option<Scores>> {
        let Some(mut v) = self.validation.take() else { return Ok(None) };
        let mut go = |examination| {
            let mut outcome = v.examined.outcome();
            let done = v.examined.run(&mut self.engine, examination, &mut outcome, |at| {
                let (doing, done, total) = (format!("eval {}", at.name), at.done, at.total);
                observer.progress(&Progress { epoch, doing, done, total, kept_share: None })
            })?;
            done.then(|| outcome.counts(self.config.arch.classes).fairness()).transpose()
        };
        let scores = match go(&mut v.clean)? {
            Some(clean) => go(&mut v.attack)?.map(|pgd| Scores { clean, pgd }),
            None => None,
        };
        self.validation = Some(v);
        match scores {
            // The epoch is trained but not closed: a resumed run begins with its evaluation.
            None => Err(self.interrupt()),
            scores => Ok(scores),
        }
    }

    /// Evaluates the final weights on the test set (the validation split where there is none) and writes the report.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn report(&mut self, observer: &mut dyn Observer) -> Result<Report> {
        let held_out;
        let split = if self.data.test.is_empty() {
            held_out =
                self.data.train.subset(&self.data.split_validation(self.config.validation, self.config.seed)?.1)?;
            &held_out
        } else {
            &self.data.test
        };
        let mut attacks = Vec::new();
        let budget = Budget::new(self.config.settings.attack.eps, self.config.seed);
        if !split.is_empty() {
            let examined = Examined::new(&mut self.engine, Images::from(split), &split.labels)?;
            for threat in self.threats.clone() {
                let epoch = self.config.epochs();
                let outcome = examined.evaluate(&mut self.engine, threat, &budget, |at| {
                    let (doing, done, total) = (format!("test {}", at.name), at.done, at.total);
                    observer.progress(&Progress { epoch, doing, done, total, kept_share: None })
                })?;
                // All epochs are saved, so there is nothing to do but to say how to go on.
                let outcome = outcome.ok_or_else(|| Error::Interrupted { run: self.run.root().to_owned() })?;
                attacks.push(outcome.result(threat, self.config.arch.classes)?);
            }
        }
        let c = self.config;
        let m = &c.settings;
        let training = Training {
            method: c.in_effect(),
            alpha: m.attack.alpha,
            steps: m.attack.steps,
            k_drop: m.k_drop.clone(),
            keep_easy: m.keep_easy,
            weights: m.weights,
            begin_epoch: m.begin_epoch,
            beta: m.beta,
            epochs: m.epochs,
            batch: c.batch,
        };
        let report = Report {
            created_by: created_by(),
            device: self.device(),
            kernels: self.engine.backend.kernels().map(String::from),
            seed: c.seed,
            data: DataId { name: self.data.name.clone(), hash: self.data.hash.clone() },
            network: c.arch.describe(),
            contract: Contract::of_run(&budget, training),
            checkpoint: Some("last.safetensors".into()),
            checkpoint_hash: None,
            class_names: self.data.class_names.clone(),
            attacks,
            warnings: vec![],
            rho: Default::default(),
            cost: Some(Cost::of(&self.epochs)),
        };
        self.run.write_report(&report)?;
        observer.report(self.run, &report)?;
        Ok(report)
    }
}
