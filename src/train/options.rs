//! Options of a training run: layers of what may be set, and the checked whole.
//!
//! Command line, configuration file, preset and defaults are all [`Options`], where everything may be absent; the first layer
//! that sets a value wins. The complete set of a run is written to its `config.toml`, which `--config` takes again.
//!
//! An option is one row of the table below: [`Options`]' field, its line in help, and what holds where nobody sets it.

use crate::data::Size;
use crate::fsio::one_line;
use crate::gpu::Precision;
use crate::method::{Method, Weights};
use crate::named::{Named, named};
use crate::net::Family;
use crate::{Error, Result};
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

named! {
    /// How the learning rate changes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Schedule {
        /// x1, x0.1 from half, x0.01 from three quarters, x0.005 from 11/12 of the epochs on.
        Piecewise = "piecewise",
        /// Half a cosine from the maximum to 0.
        Cosine = "cosine",
        /// Up from 0 over the first 30 % of the mini-batches, down to 0 over the rest.
        Onecycle = "onecycle",
        /// The maximum throughout.
        Constant = "constant",
    }
}

named! {
    /// The networks with a name.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum ArchName {
        /// Widths 64,128,256,512, two blocks each: the paper's network.
        PreactResnet18 = "preact-resnet18",
        /// Widths 16,32,64, one block each: small enough for a CPU.
        PreactResnet8 = "preact-resnet8",
        /// WideResNet of depth 28, ten times as wide as a ResNet: widths 160,320,640, four blocks each.
        WideResnet28 = "wideresnet-28-10",
        /// WideResNet of depth 34: five blocks each.
        WideResnet34 = "wideresnet-34-10",
    }
}

impl ArchName {
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

named! {
    /// The settings of the paper's experiments.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Preset {
        /// CIFAR-10.
        Cifar10 = "cifar10",
        /// SVHN.
        Svhn = "svhn",
        /// CIFAR-100.
        Cifar100 = "cifar100",
        /// Imagenette at 32x32.
        Imagenette = "imagenette",
    }
}

/// A value of an option, as text gives it.
trait Value: Sized {
    /// How many there may be.
    const FORM: Form = Form::One;
    /// The names of all values with a line on each, where there are few.
    const CHOICES: fn() -> Vec<Choice> = Vec::new;

    /// One of them, or one element of a list.
    fn read(text: &str) -> std::result::Result<Self, String>;

    /// More of a list; of others the last one counts.
    fn add(&mut self, next: Self) {
        *self = next;
    }
}

/// How many values an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One.
    One,
    /// Several, with commas.
    List,
    /// `true` or `false`; none is `true`.
    Switch,
}

/// A value with a name, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The name.
    pub name: &'static str,
    /// A line on it.
    pub about: &'static str,
}

impl<T: Named> Value for T {
    const CHOICES: fn() -> Vec<Choice> =
        || T::ALL.iter().map(|v| Choice { name: v.name(), about: v.about() }).collect();

    fn read(text: &str) -> std::result::Result<T, String> {
        T::by_name(text).ok_or_else(|| format!("`{text}` is none of {}", T::NAMES.join(", ")))
    }
}

impl Value for String {
    fn read(text: &str) -> std::result::Result<String, String> {
        Ok(text.to_owned())
    }
}

impl Value for PathBuf {
    fn read(text: &str) -> std::result::Result<PathBuf, String> {
        Ok(text.into())
    }
}

impl Value for Number {
    fn read(text: &str) -> std::result::Result<Number, String> {
        text.parse()
    }
}

impl Value for Size {
    fn read(text: &str) -> std::result::Result<Size, String> {
        text.parse()
    }
}

impl Value for bool {
    const FORM: Form = Form::Switch;

    fn read(text: &str) -> std::result::Result<bool, String> {
        text.parse().map_err(|_| format!("`{text}` is neither true nor false"))
    }
}

/// TOML's integers are signed: a configuration file holds no larger ones.
impl Value for u64 {
    fn read(text: &str) -> std::result::Result<u64, String> {
        let value = text.trim().parse().ok().filter(|n: &i64| *n >= 0);
        value.map(|n| n as u64).ok_or_else(|| format!("`{text}` is not a whole number from 0 to {}", i64::MAX))
    }
}

impl Value for usize {
    fn read(text: &str) -> std::result::Result<usize, String> {
        u64::read(text).map(|n| n as usize)
    }
}

impl<T: Value> Value for Vec<T> {
    const FORM: Form = Form::List;

    fn read(text: &str) -> std::result::Result<Vec<T>, String> {
        T::read(text).map(|v| vec![v])
    }

    fn add(&mut self, next: Vec<T>) {
        self.extend(next);
    }
}

/// What holds where nobody sets an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing, and help has no word on it.
    Absent,
    /// A switch is off, and help has no word on it.
    Off,
    /// A value.
    Value(&'static str),
    /// What the data set brings ([`Options::for_dataset`]), else a value.
    ByDataset(&'static str),
    /// What follows from other options, in words.
    Rule(&'static str),
}

impl Fallback {
    /// As help has it.
    pub fn in_words(self) -> Option<String> {
        match self {
            Fallback::Absent | Fallback::Off => None,
            Fallback::Value(text) | Fallback::Rule(text) => Some(text.to_owned()),
            Fallback::ByDataset(text) => Some(format!("by data set, else {text}")),
        }
    }

    /// The value, where it is one.
    pub fn value(self) -> Option<&'static str> {
        match self {
            Fallback::Absent | Fallback::Rule(_) => None,
            Fallback::Off => Some("false"),
            Fallback::Value(text) | Fallback::ByDataset(text) => Some(text),
        }
    }
}

/// An option, as command line and help know it.
pub struct Row {
    /// The field of [`Options`]; the option's name has `-` for `_`.
    pub field: &'static str,
    /// What it is.
    pub about: &'static str,
    /// The part of help that it is in.
    pub heading: &'static str,
    /// What help calls its value.
    pub value_name: &'static str,
    /// How many values it takes.
    pub form: Form,
    /// What holds where nobody sets it.
    pub fallback: Fallback,
    /// All values, where they have names.
    pub choices: fn() -> Vec<Choice>,
    /// Whether a text is a value of it.
    pub check: fn(&str) -> std::result::Result<(), String>,
    add: fn(&mut Options, &str) -> std::result::Result<(), String>,
}

impl Row {
    /// Its name on the command line and in files.
    pub fn name(&self) -> String {
        self.field.replace('_', "-")
    }
}

macro_rules! options {
    ($($heading:literal { $($(#[doc = $doc:literal])+ $field:ident: $Type:ty = $fallback:expr, $value_name:literal;)+ })+) => {
        /// What a training run can be told; absent means: ask the next layer.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct Options {
            $($($(#[doc = $doc])+ pub $field: Option<$Type>,)+)+
        }

        impl Options {
            /// All options, in the order in which help and files have them.
            pub const ROWS: &'static [Row] = &[$($(Row {
                field: stringify!($field),
                about: concat!($($doc),+),
                heading: $heading,
                value_name: $value_name,
                form: <$Type as Value>::FORM,
                fallback: $fallback,
                choices: <$Type as Value>::CHOICES,
                check: |text| <$Type as Value>::read(text).map(drop),
                add: |options, text| {
                    let value = <$Type as Value>::read(text)?;
                    match &mut options.$field {
                        Some(before) => before.add(value),
                        absent => *absent = Some(value),
                    }
                    Ok(())
                },
            },)+)+];
        }
    };
}

options! {
    "Data" {
        /// Data set: a name that `ham-engine data list` knows, a .safetensors or .npz file, or an image folder
        dataset: String = Fallback::Value("fashion-mnist-mini"), "NAME|PATH";
        /// Folder of data sets
        data_dir: PathBuf = Fallback::Rule("$HAM_ENGINE_DATA, else ham-engine in your cache folder"), "DIR";
        /// Rows and columns that pictures of an image folder, imagenette or tiny-imagenet-200 are brought to, such as 32x32
        size: Size = Fallback::Absent, "HxW";
        /// Share of the training examples, in [0, 1), held out to choose the best checkpoints
        validation: Number = Fallback::Value("0.1"), "SHARE";
        /// Leave images as they are (no crop and flip)
        no_augment: bool = Fallback::Off, "BOOL";
        /// Keep the order of the examples
        no_shuffle: bool = Fallback::Off, "BOOL";
        /// At most this many mini-batches per epoch
        max_batches: usize = Fallback::Absent, "N";
    }
    "Network" {
        /// A named network; --widths and --blocks change its sizes
        arch: ArchName = Fallback::Rule("preact-resnet8, or that of --init"), "ARCH";
        /// Channels of each stage, such as 16,32,64
        widths: Vec<usize> = Fallback::Absent, "W,W,..";
        /// Blocks of each stage: one number, or one per stage
        blocks: Vec<usize> = Fallback::Absent, "B,B,..";
        /// Normalisation inside the model: mean per channel
        mean: Vec<Number> = Fallback::Absent, "M,M,..";
        /// Normalisation inside the model: standard deviation per channel
        std: Vec<Number> = Fallback::Absent, "S,S,..";
        /// Start from these weights (a checkpoint or a PyTorch state dict as safetensors)
        init: PathBuf = Fallback::Absent, "FILE";
    }
    "Method" {
        /// Training method
        method: Method = Fallback::Value("ham"), "METHOD";
        /// HAM: check after so many attack steps and drop what has not crossed; one or several
        k_drop: Vec<usize> = Fallback::Value("3"), "K,K,..";
        /// HAM, GAIRAT: first epoch that drops or weighs; their baseline before
        begin_epoch: usize = Fallback::Rule("past half of the epochs, GAIRAT: from half"), "EPOCH";
        /// HAM: share of the easy examples to keep, those of the highest confidence
        keep_easy: Number = Fallback::Value("0"), "SHARE";
        /// HAM: how the kept examples' losses are weighted
        weights: Weights = Fallback::Value("uniform"), "WEIGHTS";
        /// HAM: let those that pass the check wait until there is a full batch of them, which takes the rest of the attack and the
        /// training step. A change of method: fewer steps, of examples that crossed under slightly older weights
        refill: bool = Fallback::Off, "BOOL";
        /// TRADES, MART: factor of the divergence
        beta: Number = Fallback::Rule("6 and 5"), "BETA";
        /// Bound of the perturbation, pixels in [0, 1]; 8/255 is allowed
        eps: Number = Fallback::ByDataset("8/255"), "EPS";
        /// Step size of the attack
        alpha: Number = Fallback::Rule("eps/4"), "ALPHA";
        /// Steps of the attack
        steps: usize = Fallback::Value("10"), "K";
        /// Start the attack at the image instead of at random (not with TRADES, whose gradient is zero there)
        no_random_start: bool = Fallback::Off, "BOOL";
    }
    "Training" {
        /// Epochs
        epochs: usize = Fallback::Value("8"), "N";
        /// Examples in a mini-batch
        batch: usize = Fallback::Value("128"), "N";
        /// Largest learning rate
        lr: Number = Fallback::ByDataset("0.1"), "LR";
        /// How the learning rate changes
        lr_schedule: Schedule = Fallback::ByDataset("onecycle"), "LR_SCHEDULE";
        /// Momentum of SGD
        momentum: Number = Fallback::Value("0.9"), "M";
        /// Weight decay, on all parameters
        weight_decay: Number = Fallback::Value("0.0002"), "D";
        /// Keep a moving average of the weights, ema = DECAY*ema + (1 - DECAY)*w after each step, in ema.safetensors; DECAY
        /// in [0, 1). Batch norms' running statistics are not averaged
        ema: Number = Fallback::Rule("none"), "DECAY";
        /// Seed of everything random
        seed: u64 = Fallback::Value("0"), "SEED";
        /// Element type of activations on a GPU; sums and master weights are fp32
        precision: Precision = Fallback::Value("fp32"), "PRECISION";
        /// Evaluate every so many epochs, and after the last
        eval_every: usize = Fallback::Value("1"), "N";
    }
    "Run" {
        /// Write a TensorBoard event file into the run's folder, a point an epoch
        tensorboard: bool = Fallback::Rule("no"), "BOOL";
    }
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

    /// The row of the option `name`.
    ///
    /// # Panics
    /// Where there is none.
    pub fn row(name: &str) -> &'static Row {
        Options::ROWS.iter().find(|row| row.name() == name).expect("an option of the table")
    }

    /// Sets the option of a row to a value, or adds one to its list.
    ///
    /// # Errors
    /// Where the text is no value of it.
    pub fn add(&mut self, row: &Row, text: &str) -> std::result::Result<(), String> {
        (row.add)(self, text)
    }

    /// The values that hold where nobody sets others.
    pub fn defaults() -> Options {
        let mut options = Options::default();
        for row in Options::ROWS {
            for text in row.fallback.value().into_iter().flat_map(|text| text.split(',')) {
                options.add(row, text).expect("defaults are valid");
            }
        }
        options
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
