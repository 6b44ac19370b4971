//! What an evaluation held a network to: the `contract` of a report.

use crate::attack::Budget;
use crate::method::{Method, Weights};
use crate::ops::ball::Norm;
use serde::{Deserialize, Serialize};

/// What the attacks of a report were allowed and, where a run says it of itself, how the network was trained.
///
/// The seed, the data, the device and the attacks are the report's own entries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Entries", into = "Entries")]
pub struct Contract {
    /// Bound of the perturbation, pixels in [0, 1].
    pub eps: f32,
    /// The norm of the bound.
    pub norm: Norm,
    /// Whether attacks started at random within the bound; else at the image.
    pub random_start: bool,
    /// Runs of each attack, from other starts.
    pub restarts: usize,
    /// Images that were evaluated; a run does not say, it takes all.
    pub examples: Option<usize>,
    /// How the network was trained; none in an evaluation of a checkpoint.
    pub training: Option<Training>,
}

/// How a network was trained, as far as it bears on what is asked of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// What ran.
    pub method: Method,
    /// Step size of the attack.
    pub alpha: f32,
    /// Its steps.
    pub steps: usize,
    /// HAM: checks after so many steps.
    pub k_drop: Vec<usize>,
    /// HAM: share of the easy examples that stayed.
    pub keep_easy: f32,
    /// HAM: weighting.
    pub weights: Weights,
    /// First epoch of what HAM and GAIRAT do.
    pub begin_epoch: usize,
    /// TRADES and MART: factor of the divergence; none for the method's own.
    pub beta: Option<f32>,
    /// Epochs.
    pub epochs: usize,
    /// Examples of a mini-batch.
    pub batch: usize,
}

impl Contract {
    /// Of an evaluation of so many images.
    pub fn of_evaluation(budget: &Budget, examples: usize) -> Contract {
        Contract { examples: Some(examples), ..Contract::of(budget) }
    }

    /// Of a run that evaluates itself.
    pub fn of_run(budget: &Budget, training: Training) -> Contract {
        Contract { training: Some(training), ..Contract::of(budget) }
    }

    fn of(budget: &Budget) -> Contract {
        let Budget { norm, eps, random_start, restarts, .. } = *budget;
        Contract { eps, norm, random_start, restarts, examples: None, training: None }
    }

    /// Its entries as people read them, by name.
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        let mut entries = vec![("eps", self.eps.to_string())];
        if let Some(t) = &self.training {
            let k_drop = t.k_drop.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
            entries.extend([
                ("alpha", t.alpha.to_string()),
                ("batch", t.batch.to_string()),
                ("begin epoch", t.begin_epoch.to_string()),
                ("epochs", t.epochs.to_string()),
                ("k drop", format!("[{k_drop}]")),
                ("keep easy", t.keep_easy.to_string()),
                ("method", t.method.name().to_owned()),
                ("steps", t.steps.to_string()),
                ("weights", t.weights.name().to_owned()),
            ]);
            entries.extend(t.beta.map(|beta| ("beta", beta.to_string())));
        } else {
            entries.extend([
                ("norm", self.norm.name().to_owned()),
                ("random start", self.random_start.to_string()),
                ("restarts", self.restarts.to_string()),
            ]);
            entries.extend(self.examples.map(|n| ("examples", n.to_string())));
        }
        entries.sort_by_key(|(name, _)| *name);
        entries
    }
}

/// The entries of the file, in its order: those of a run, or those of an evaluation. f32 numbers are written with the digits that
/// they have in f64.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Entries {
    #[serde(skip_serializing_if = "Option::is_none")]
    alpha: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    begin_epoch: Option<usize>,
    /// Of a run: a number or null.
    #[serde(skip_serializing_if = "Option::is_none")]
    beta: Option<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epochs: Option<usize>,
    eps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    examples: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    k_drop: Option<Vec<usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_easy: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Method>,
    #[serde(skip_serializing_if = "Option::is_none")]
    norm: Option<Norm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    random_start: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restarts: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weights: Option<Weights>,
}

impl From<Contract> for Entries {
    fn from(c: Contract) -> Entries {
        let eps = Some(c.eps.into());
        match c.training {
            // A run's evaluation is always the same: L-inf, one run from a random start, all images.
            Some(t) => Entries {
                alpha: Some(t.alpha.into()),
                batch: Some(t.batch),
                begin_epoch: Some(t.begin_epoch),
                beta: Some(t.beta.map(f64::from)),
                epochs: Some(t.epochs),
                eps,
                k_drop: Some(t.k_drop),
                keep_easy: Some(t.keep_easy.into()),
                method: Some(t.method),
                steps: Some(t.steps),
                weights: Some(t.weights),
                ..Entries::default()
            },
            None => Entries {
                eps,
                examples: c.examples,
                norm: Some(c.norm),
                random_start: Some(c.random_start),
                restarts: Some(c.restarts),
                ..Entries::default()
            },
        }
    }
}

impl TryFrom<Entries> for Contract {
    type Error = String;

    fn try_from(e: Entries) -> Result<Contract, String> {
        fn set<T>(name: &str, value: Option<T>) -> Result<T, String> {
            value.ok_or_else(|| format!("the contract has no `{name}`"))
        }
        let training = |method| {
            Ok::<_, String>(Training {
                method,
                alpha: set("alpha", e.alpha)? as f32,
                steps: set("steps", e.steps)?,
                k_drop: set("k_drop", e.k_drop)?,
                keep_easy: set("keep_easy", e.keep_easy)? as f32,
                weights: set("weights", e.weights)?,
                begin_epoch: set("begin_epoch", e.begin_epoch)?,
                beta: e.beta.flatten().map(|b| b as f32),
                epochs: set("epochs", e.epochs)?,
                batch: set("batch", e.batch)?,
            })
        };
        Ok(Contract {
            eps: set("eps", e.eps)? as f32,
            norm: e.norm.unwrap_or(Norm::Linf),
            random_start: e.random_start.unwrap_or(true),
            restarts: e.restarts.unwrap_or(1),
            examples: e.examples,
            training: e.method.map(training).transpose()?,
        })
    }
}
