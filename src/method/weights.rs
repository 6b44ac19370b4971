use crate::named::named;
use crate::ops::formula::{Formula, kappa, step, tanh};

named! {
    /// How a kept example's loss is weighted ("step size needed to cross the boundary").
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Weights {
        /// All the same: what the authors' public code runs.
        Uniform = "uniform",
        /// The largest move of the output probabilities during the attack.
        StepSize = "step-size",
        /// GAIRAT's `(1 + tanh(-1 + 5*(h - kappa)/h)) / 2`, h = floor(K/2).
        Kappa = "kappa",
    }
}

impl Weights {
    /// The formula, for an attack of `steps` steps.
    pub fn formula(self, steps: usize) -> Formula {
        match (self, steps / 2) {
            (Weights::StepSize, _) => step(),
            // With one step there is no half to measure against; all weigh the same.
            (Weights::Uniform, _) | (Weights::Kappa, 0) => 1.0.into(),
            (Weights::Kappa, half) => {
                let half = half as f32;
                (1.0 + tanh(-1.0 + 5.0 * (half - kappa()) / half)) / 2.0
            }
        }
    }
}
