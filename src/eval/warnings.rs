//! Signs that an evaluation overestimates robustness: masked gradients, and attacks that are weaker than they should be.
//!
//! After the lists of Carlini et al. ("On evaluating adversarial robustness", 2019) and the checks of AutoAttack's code.

use super::{Examined, Outcome, Threat};
use crate::Result;
use crate::backend::Backend;
use crate::engine::Engine;
use crate::program::DType;

/// How much better, as a share of the examples, an attack must be that should be the weaker one: what random starts may do.
const SLACK: f64 = 0.005;
/// How much an attack without gradients may be better than those with them: AutoAttack's own limit.
const BLACK_BOX_SLACK: f64 = 0.002;

/// What the first batch of clean images tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Images that are classified right.
    pub right: usize,
    /// Of them, those whose gradient of the cross-entropy is zero in every pixel.
    pub flat: usize,
    /// Whether two passes over the same images gave different logits.
    pub random: bool,
}

impl Examined {
    /// Looks at the first batch.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn diagnose<B: Backend>(&self, engine: &mut Engine<B>) -> Result<Diagnosis> {
        let (b, len) = (self.scene.batch, self.scene.image.len());
        let gradient = engine.backend.alloc(DType::F32, b.capacity * len)?;
        let mut pass = engine.compile_clean(&self.scene, Some(gradient))?;
        engine.begin(&self.scene, 0, &(0..self.len() as u32).collect::<Vec<_>>())?;
        let loaded = self.len().min(b.capacity);
        let mut logits = Vec::new();
        for _ in 0..2 {
            engine.backend.replay(&mut pass)?;
            let bits: Vec<u32> = engine.backend.read_all(b.logits)?;
            logits.push(bits[..loaded * b.classes].to_vec());
        }
        let crossed: Vec<u32> = engine.backend.read_all(b.crossed)?;
        let gradient: Vec<f32> = engine.backend.read_all(gradient)?;
        // Nobody has left, so slots are positions.
        let right = (0..loaded).filter(|i| crossed[*i] == 0);
        let flat = right.clone().filter(|i| gradient[i * len..(i + 1) * len].iter().all(|g| *g == 0.0)).count();
        Ok(Diagnosis { right: right.count(), flat, random: logits[0] != logits[1] })
    }
}

/// What the results warn of, a line each.
pub fn warnings(diagnosis: Option<&Diagnosis>, results: &[(Threat, Outcome)]) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(Diagnosis { right, flat: flat @ 1.., .. }) = diagnosis {
        lines.push(format!(
            "zero gradients: {flat} of {right} images that are classified right have no gradient of the cross-entropy; attacks along it \
             do nothing there: compare cw and apgd-t"
        ));
    }
    if diagnosis.is_some_and(|d| d.random) {
        lines
            .push("random logits: two passes over the same images differ; one run of an attack says little".to_owned());
    }
    for (weak, left) in results {
        for (strong, more) in results.iter().filter(|(strong, _)| weak.weaker_than(*strong)) {
            let [left, more] = [left, more].map(Outcome::accuracy);
            if more > left + SLACK {
                let [left, more] = [left, more].map(|share| format!("{:.1} %", 100.0 * share));
                lines.push(format!(
                    "{strong} leaves {more}, {weak} only {left}: the attack that should be the stronger is the weaker, as where \
                     gradients are masked"
                ));
            }
        }
    }
    let white = results.iter().filter(|(threat, _)| threat.has_gradients());
    let white = white.map(|(threat, outcome)| (threat.to_string(), outcome.accuracy()));
    let white = white.min_by(|a, b| a.1.total_cmp(&b.1));
    for (threat, outcome) in results {
        let all = outcome.robust.len().max(1) as f64;
        let inside = outcome.parts.windows(2).filter(|p| p[1].name.starts_with("square"));
        let inside = inside.map(|p| (p[0].name.clone(), p[0].survivors as f64 / all, p[1].survivors as f64 / all));
        let alone = white.clone().filter(|_| matches!(threat, Threat::Square(_)));
        let alone = alone.map(|(name, share)| (name, share, outcome.accuracy()));
        for (name, before, after) in inside.chain(alone).filter(|(_, before, after)| *after < before - BLACK_BOX_SLACK)
        {
            let [before, after] = [before, after].map(|share| format!("{:.1} %", 100.0 * share));
            lines.push(format!(
                "square leaves {after} where {name} leaves {before}: an attack without gradients breaks what those with them do not"
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::AttackPart;

    /// An evaluation that `left` of ten examples survive.
    fn left(survivors: usize) -> Outcome {
        let mut outcome = Outcome::new(&[0; 10]);
        outcome.robust[survivors..].fill(false);
        outcome
    }

    #[test]
    fn nothing_is_wrong_with_attacks_that_get_stronger() {
        let good = Diagnosis { right: 10, flat: 0, random: false };
        let results = [(Threat::Fgsm, left(6)), (Threat::Pgd(10), left(5)), (Threat::Pgd(40), left(5))];
        assert_eq!(warnings(Some(&good), &results), [""; 0]);
        assert_eq!(warnings(None, &results), [""; 0]);
    }

    #[test]
    fn what_hints_at_masked_gradients_is_told() {
        let bad = Diagnosis { right: 10, flat: 3, random: true };
        let results = [(Threat::Pgd(40), left(6)), (Threat::Pgd(10), left(5)), (Threat::Cw(10), left(1))];
        let lines = warnings(Some(&bad), &results);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].contains("3 of 10 images"), "{lines:?}");
        assert!(lines[1].starts_with("random logits"), "{lines:?}");
        assert!(lines[2].starts_with("pgd-40 leaves 60.0 %, pgd-10 only 50.0 %"), "{lines:?}");
    }

    #[test]
    fn a_single_step_that_beats_many_and_a_part_that_beats_its_sequence_are_told() {
        let lines = warnings(None, &[(Threat::Fgsm, left(3)), (Threat::Pgd(20), left(7))]);
        assert!(lines.len() == 1 && lines[0].starts_with("pgd-20"), "{lines:?}");
        let lines = warnings(None, &[(Threat::AutoAttack, left(5)), (Threat::Cw(20), left(3))]);
        assert!(lines.len() == 1 && lines[0].starts_with("autoattack"), "{lines:?}");
    }

    #[test]
    fn an_attack_without_gradients_that_beats_those_with_them_is_told() {
        let square = Threat::Square(5000);
        let results = [(Threat::Pgd(10), left(6)), (Threat::Cw(10), left(5)), (square, left(5))];
        assert_eq!(warnings(None, &results), [""; 0]);
        let lines = warnings(None, &[(Threat::Clean, left(1)), (Threat::Pgd(10), left(6)), (square, left(5))]);
        assert!(
            lines.len() == 1 && lines[0].starts_with("square leaves 50.0 % where pgd-10 leaves 60.0 %"),
            "{lines:?}"
        );
        let mut sequence = left(4);
        let part = |name: &str, survivors| AttackPart { name: name.to_owned(), survivors, units: 1 };
        sequence.parts = vec![part("fab-t", 7), part("square", 4)];
        let lines = warnings(None, &[(Threat::AutoAttack, sequence)]);
        assert!(
            lines.len() == 1 && lines[0].starts_with("square leaves 40.0 % where fab-t leaves 70.0 %"),
            "{lines:?}"
        );
    }
}
