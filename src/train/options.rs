//! Options of a training run: layers of what may be set, and the checked whole.
//!
//! Command line, configuration file, preset and defaults are all [`Options`], where everything may be absent; the first layer
//! that sets a value wins. The complete set of a run is written to its `config.toml`, which `--config` takes again.

use crate::data::Size;
use crate::fsio::one_line;
use crate::gpu::Precision;
use crate::method::{Method, Weights};
use crate::net::Family;
use crate::{Error, Result};
use clap::ValueEnum;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A number that may be written as a fraction, such as `8/255`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(pub f64);

impl FromStr for Number {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Self, String> {
        let parse = |s: &str| s.trim().parse::<f64>().map_err(|_| format!("`{s}` is no number or fraction like 8/255"));
        let value = match s.split_once('/') {
            Some((a, b)) => parse(a)? / parse(b)?,
            None => parse(s)?,
        };
        if value.is_finite() { Ok(Number(value)) } else { Err(format!("`{s}` is not finite")) }
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_f64(self.0)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number, or a fraction such as \"8/255\"")]
        enum Raw {
            Integer(i64),
            Float(f64),
            Text(String),
        }
        match Raw::deserialize(d)? {
            Raw::Integer(i) => Ok(Number(i as f64)),
            Raw::Float(f) => Ok(Number(f)),
            Raw::Text(t) => t.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// How the learning rate changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// x1, x0.1 from half, x0.01 from three quarters, x0.005 from 11/12 of the epochs on.
    Piecewise,
    /// Half a cosine from the maximum to 0.
    Cosine,
    /// Up from 0 over the first 30 % of the mini-batches, down to 0 over the rest.
    Onecycle,
    /// The maximum throughout.
    Constant,
}

/// The networks with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ArchName {
    /// Widths 64,128,256,512, two blocks each: the paper's network.
    #[value(name = "preact-resnet18")]
    #[serde(rename = "preact-resnet18")]
    PreactResnet18,
    /// Widths 16,32,64, one block each: small enough for a CPU.
    #[value(name = "preact-resnet8")]
    #[serde(rename = "preact-resnet8")]
    PreactResnet8,
    /// WideResNet of depth 28, ten times as wide as a ResNet: widths 160,320,640, four blocks each.
    #[value(name = "wideresnet-28-10")]
    #[serde(rename = "wideresnet-28-10")]
    WideResnet28,
    /// WideResNet of depth 34: five blocks each.
    #[value(name = "wideresnet-34-10")]
    #[serde(rename = "wideresnet-34-10")]
    WideResnet34,
}

impl ArchName {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ArchName::PreactResnet18 => "preact-resnet18",
            ArchName::PreactResnet8 => "preact-resnet8",
            ArchName::WideResnet28 => "wideresnet-28-10",
            ArchName::WideResnet34 => "wideresnet-34-10",
        }
    }

    /// Widths and blocks.
    pub fn shape(self) -> (Vec<usize>, Vec<usize>) {
        match self {
            ArchName::PreactResnet18 => (vec![64, 128, 256, 512], vec![2; 4]),
            ArchName::PreactResnet8 => (vec![16, 32, 64], vec![1; 3]),
            ArchName::WideResnet28 => (vec![160, 320, 640], vec![4; 3]),
            ArchName::WideResnet34 => (vec![160, 320, 640], vec![5; 3]),
        }
    }

    /// Its family.
    pub fn family(self) -> Family {
        match self {
            ArchName::PreactResnet18 | ArchName::PreactResnet8 => Family::PreActResNet,
            ArchName::WideResnet28 | ArchName::WideResnet34 => Family::WideResNet { stem: 16 },
        }
    }
}

/// The settings of the paper's experiments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// CIFAR-10.
    Cifar10,
    /// SVHN.
    Svhn,
    /// CIFAR-100.
    Cifar100,
    /// Imagenette at 32x32.
    Imagenette,
}

/// A count that a configuration file can hold: TOML's integers are signed.
fn count(s: &str) -> std::result::Result<usize, String> {
    let value = s.trim().parse().ok().filter(|n: &i64| *n >= 0);
    value.map(|n| n as usize).ok_or_else(|| format!("`{s}` is not a whole number from 0 to {}", i64::MAX))
}

/// A path that a configuration file can hold: clap refuses what is not UTF-8 before it gets here.
fn utf8_path(s: &str) -> std::result::Result<PathBuf, String> {
    Ok(s.into())
}

/// What a training run can be told; absent means: ask the next layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Options {
    /// Data set: a name that `ham-engine data list` knows, a .safetensors or .npz file, or an image folder
    /// [default: fashion-mnist-mini]
    #[arg(long, value_name = "NAME|PATH", help_heading = "Data")]
    pub dataset: Option<String>,
    /// Folder of data sets [default: $HAM_ENGINE_DATA, else ham-engine in your cache folder]
    #[arg(long, value_name = "DIR", value_parser = utf8_path, help_heading = "Data")]
    pub data_dir: Option<PathBuf>,
    /// Rows and columns that pictures of an image folder, imagenette or tiny-imagenet-200 are brought to, such as 32x32
    #[arg(long, value_name = "HxW", help_heading = "Data")]
    pub size: Option<Size>,
    /// Share of the training examples, in [0, 1), held out to choose the best checkpoints [default: 0.1]
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    pub validation: Option<Number>,
    /// Leave images as they are (no crop and flip)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        hide_possible_values = true, help_heading = "Data")]
    pub no_augment: Option<bool>,
    /// Keep the order of the examples
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        hide_possible_values = true, help_heading = "Data")]
    pub no_shuffle: Option<bool>,
    /// At most this many mini-batches per epoch
    #[arg(long, value_parser = count, value_name = "N", help_heading = "Data")]
    pub max_batches: Option<usize>,

    /// A named network; --widths and --blocks change its sizes
    #[arg(long, help_heading = "Network")]
    pub arch: Option<ArchName>,
    /// Channels of each stage, such as 16,32,64
    #[arg(long, value_parser = count, value_delimiter = ',', value_name = "W,W,..", help_heading = "Network")]
    pub widths: Option<Vec<usize>>,
    /// Blocks of each stage: one number, or one per stage
    #[arg(long, value_parser = count, value_delimiter = ',', value_name = "B,B,..", help_heading = "Network")]
    pub blocks: Option<Vec<usize>>,
    /// Normalisation inside the model: mean per channel
    #[arg(long, value_delimiter = ',', value_name = "M,M,..", help_heading = "Network")]
    pub mean: Option<Vec<Number>>,
    /// Normalisation inside the model: standard deviation per channel
    #[arg(long, value_delimiter = ',', value_name = "S,S,..", help_heading = "Network")]
    pub std: Option<Vec<Number>>,
    /// Start from these weights (a checkpoint or a PyTorch state dict as safetensors)
    #[arg(long, value_name = "FILE", value_parser = utf8_path, help_heading = "Network")]
    pub init: Option<PathBuf>,

    /// Training method [default: ham]
    #[arg(long, help_heading = "Method")]
    pub method: Option<Method>,
    /// HAM: check after so many attack steps and drop what has not crossed; one or several [default: 3]
    #[arg(long, value_parser = count, value_delimiter = ',', value_name = "K,K,..", help_heading = "Method")]
    pub k_drop: Option<Vec<usize>>,
    /// HAM, GAIRAT: first epoch that drops or weighs; their baseline before [default: past half of the epochs, GAIRAT: from half]
    #[arg(long, value_parser = count, value_name = "EPOCH", help_heading = "Method")]
    pub begin_epoch: Option<usize>,
    /// HAM: share of the easy examples to keep, those of the highest confidence [default: 0]
    #[arg(long, value_name = "SHARE", help_heading = "Method")]
    pub keep_easy: Option<Number>,
    /// HAM: how the kept examples' losses are weighted [default: uniform]
    #[arg(long, help_heading = "Method")]
    pub weights: Option<Weights>,
    /// HAM: let those that pass the check wait until there is a full batch of them, which takes the rest of the attack and the
    /// training step. A change of method: fewer steps, of examples that crossed under slightly older weights
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        hide_possible_values = true, help_heading = "Method")]
    pub refill: Option<bool>,
    /// TRADES, MART: factor of the divergence [default: 6 and 5]
    #[arg(long, value_name = "BETA", help_heading = "Method")]
    pub beta: Option<Number>,
    /// Bound of the perturbation, pixels in [0, 1]; 8/255 is allowed [default: by data set, else 8/255]
    #[arg(long, value_name = "EPS", help_heading = "Method")]
    pub eps: Option<Number>,
    /// Step size of the attack [default: eps/4]
    #[arg(long, value_name = "ALPHA", help_heading = "Method")]
    pub alpha: Option<Number>,
    /// Steps of the attack [default: 10]
    #[arg(long, value_parser = count, value_name = "K", help_heading = "Method")]
    pub steps: Option<usize>,
    /// Start the attack at the image instead of at random (not with TRADES, whose gradient is zero there)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        hide_possible_values = true, help_heading = "Method")]
    pub no_random_start: Option<bool>,

    /// Epochs [default: 8, or the preset's]
    #[arg(long, value_parser = count, value_name = "N", help_heading = "Training")]
    pub epochs: Option<usize>,
    /// Examples in a mini-batch [default: 128]
    #[arg(long, value_parser = count, value_name = "N", help_heading = "Training")]
    pub batch: Option<usize>,
    /// Largest learning rate [default: by data set, else 0.1]
    #[arg(long, value_name = "LR", help_heading = "Training")]
    pub lr: Option<Number>,
    /// How the learning rate changes [default: by data set, else onecycle]
    #[arg(long, help_heading = "Training")]
    pub lr_schedule: Option<Schedule>,
    /// Momentum of SGD [default: 0.9]
    #[arg(long, value_name = "M", help_heading = "Training")]
    pub momentum: Option<Number>,
    /// Weight decay, on all parameters [default: 0.0002]
    #[arg(long, value_name = "D", help_heading = "Training")]
    pub weight_decay: Option<Number>,
    /// Keep a moving average of the weights, ema = DECAY*ema + (1 - DECAY)*w after each step, in ema.safetensors; DECAY in
    /// [0, 1). Batch norms' running statistics are not averaged [default: none]
    #[arg(long, value_name = "DECAY", help_heading = "Training")]
    pub ema: Option<Number>,
    /// Seed of everything random [default: 0]
    #[arg(long, value_name = "SEED", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64),
        help_heading = "Training")]
    pub seed: Option<u64>,
    /// Element type of activations on a GPU; sums and master weights are fp32 [default: fp32]
    #[arg(long, value_enum, help_heading = "Training")]
    pub precision: Option<Precision>,
    /// Evaluate every so many epochs, and after the last [default: 1]
    #[arg(long, value_parser = count, value_name = "N", help_heading = "Training")]
    pub eval_every: Option<usize>,
    /// Write a TensorBoard event file into the run's folder, a point an epoch [default: no]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL",
        hide_possible_values = true, help_heading = "Run")]
    pub tensorboard: Option<bool>,
}

impl Options {
    /// The options of a TOML file.
    ///
    /// # Errors
    /// Where it can't be read, or names something unknown.
    pub fn read(path: &Path) -> Result<Options> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path, "cannot read the configuration"))?;
        toml::from_str(&text).map_err(|e| {
            // A key's span begins right behind a line feed: lines() would not count the line it is on.
            let line = e.span().map_or(1, |s| 1 + text[..s.start.min(text.len())].matches('\n').count());
            Error::format(path, format!("line {line}: {}", one_line(e.message())))
        })
    }

    /// The same, where `self` is silent taken from `next`.
    pub fn or(&self, next: &Options) -> Options {
        let table = |o: &Options| toml::Table::try_from(o).expect("options are a table of plain values");
        let mut all = table(next);
        all.extend(table(self));
        all.try_into().expect("made of options")
    }

    /// As TOML, for `config.toml`.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("options are a table of plain values")
    }

    /// The options that are set, by name.
    pub fn names(&self) -> Vec<String> {
        toml::Table::try_from(self).expect("options are a table of plain values").keys().cloned().collect()
    }

    /// A preset: the table in docs/method.md, "Defaults of the paper's runs".
    pub fn preset(preset: Preset) -> Options {
        let text = match preset {
            Preset::Cifar10 => {
                "dataset = \"cifar10\"\nmean = [0.4914, 0.4822, 0.4465]\nstd = [0.2471, 0.2435, 0.2616]\n\
                 begin-epoch = 50\nk-drop = [3]\nlr = 0.1"
            }
            Preset::Svhn => "dataset = \"svhn\"\nbegin-epoch = 50\nk-drop = [5]\nlr = 0.01",
            Preset::Cifar100 => {
                "dataset = \"cifar100\"\nmean = [0.50708, 0.48655, 0.44092]\nstd = [0.26733, 0.25644, 0.27615]\n\
                 begin-epoch = 60\nk-drop = [3]\nkeep-easy = 0.3\nlr = 0.1"
            }
            Preset::Imagenette => "dataset = \"imagenette\"\nbegin-epoch = 50\nk-drop = [3]\nlr = 0.1",
        };
        let common = "arch = \"preact-resnet18\"\neps = 0.031\nalpha = 0.007\nsteps = 10\nepochs = 120\nbatch = 128\n\
                      lr-schedule = \"piecewise\"\nmomentum = 0.9\nweight-decay = 0.0002\n";
        toml::from_str(&format!("{common}{text}")).expect("presets are valid")
    }

    /// What a data set brings where nobody says otherwise.
    pub fn for_dataset(name: &str) -> Options {
        let text = match name {
            // Chosen so that eight epochs on two cores end with a network that is robust and unfair enough to look at.
            "fashion-mnist-mini" | "fashion-mnist" => {
                "eps = 0.05\nlr = 0.05\nlr-schedule = \"cosine\"\nno-augment = true"
            }
            _ => "",
        };
        toml::from_str(text).expect("defaults are valid")
    }
}
