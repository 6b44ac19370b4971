use super::device::{DeviceArgs, Job};
use super::model::normalisation;
use super::options::{All, Selected, named};
use super::say;
use super::terminal::{Bar, catch_interrupts, stopping, watch};
use crate::backend::Backend;
use crate::fsio::created_by;
use crate::net::state::Weights;
use crate::net::{Arch, Net};
use crate::report::run_figures::RunFigures;
use crate::report::table::{EpochTable, fairness_table};
use crate::results::{Epoch, Report};
use crate::train::checkpoint::Checkpoint;
use crate::train::config::Config;
use crate::train::options::{Number, Options, Preset};
use crate::train::run_dir::RunDir;
use crate::train::{Observer, Progress, Trainer};
use crate::{Error, Result, data};
use std::path::{Path, PathBuf};

/// Train a network; with no option, a small one on embedded images with HAM.
///
/// What is set nowhere comes from the preset, then the data set, then the
/// defaults below. Everything a run used is in its folder's config.toml, which
/// --config takes. Ctrl-C saves; --resume continues, to the same bits.
///
/// Examples:
///   ham-engine train
///   ham-engine train --method pgd-at --epochs 8
///   ham-engine train --preset cifar10 --dataset cifar10.safetensors --batch 64
///   ham-engine train --resume runs/fashion-mnist-mini-ham-001
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    #[command(flatten)]
    layers: Layers,
    /// Folder for the run [default: runs/DATASET-METHOD-NNN]
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    out: Option<PathBuf>,
    /// Continue the run in this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "config", "preset"], help_heading = "Run")]
    resume: Option<PathBuf>,
    /// Mini-batches FIRST..END, counted from 0, that a profiler records (nsys profile -c cudaProfilerApi)
    #[arg(long, value_name = "FIRST..END", value_parser = batches, help_heading = "Run")]
    profile_batches: Option<std::ops::Range<usize>>,
    /// Print JSON lines: one per epoch, then the report
    #[arg(long, help_heading = "Run")]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// The layers that options come from.
#[derive(clap::Args)]
pub(super) struct Layers {
    #[command(flatten)]
    pub(super) told: Selected<All>,
    /// The settings of the paper's experiments on a data set
    #[arg(long, value_parser = named::<Preset>(), help_heading = "Data")]
    preset: Option<Preset>,
    /// Options from a TOML file, by the same names; the command line wins
    #[arg(long, value_name = "FILE.toml", help_heading = "Run")]
    config: Option<PathBuf>,
}

/// A range such as 10..12.
fn batches(s: &str) -> std::result::Result<std::ops::Range<usize>, String> {
    let range = s.split_once("..").and_then(|(a, b)| Some(a.trim().parse().ok()?..b.trim().parse().ok()?));
    range
        .filter(|r: &std::ops::Range<usize>| !r.is_empty())
        .ok_or_else(|| format!("`{s}`: give FIRST..END, as in 10..12"))
}

/// Weights to start from, with their network.
pub(super) struct Init {
    pub(super) arch: Arch,
    pub(super) weights: Weights,
}

impl Init {
    fn new(checkpoint: &Checkpoint, path: &Path, data: &data::Dataset, options: &Options) -> Result<Init> {
        let norm = normalisation(options.mean.as_deref(), options.std.as_deref(), checkpoint, Some(data), path)?;
        let mut arch = checkpoint.arch((data.height, data.width), norm, path)?;
        (arch.image.h, arch.image.w) = (data.height, data.width);
        let weights = Weights::from_state_dict(&Net::new(arch.clone()), &checkpoint.dict, path)?;
        Ok(Init { arch, weights })
    }
}

impl Layers {
    /// Completes the options from the file and the preset, and opens the data and the weights that they name.
    pub(super) fn open(&self) -> Result<(Options, data::Dataset, Option<Init>)> {
        let mut options = self.told.options.clone();
        if let Some(file) = &self.config {
            options = options.or(&Options::read(file)?);
        }
        if let Some(preset) = self.preset {
            options = options.or(&Options::preset(preset));
        }
        let dataset = options.dataset.get_or_insert_with(|| Options::defaults().dataset.unwrap_or_default());
        let checkpoint = options.init.as_deref().map(|path| Ok((path, Checkpoint::read(path)?))).transpose()?;
        let classes = checkpoint.as_ref().map(|(path, c)| Ok(c.arch((1, 1), None, path)?.classes)).transpose()?;
        let watch = watch();
        let source =
            data::Source { dataset, data_dir: options.data_dir.as_deref(), classes, size: options.size, watch: &watch };
        let data = source.open()?;
        let init = checkpoint.map(|(path, c)| Init::new(&c, path, &data, &options)).transpose()?;
        Ok((options, data, init))
    }
}

pub(super) fn run(args: Args) -> Result<()> {
    let Args { mut layers, out, resume, profile_batches, json, device } = args;
    let resumed = match &resume {
        Some(folder) => {
            if let Some(name) = layers.told.options.names().first() {
                let what = format!("--{name} can't be changed when a run is resumed; start a new one with --init");
                return Err(Error::Usage(what));
            }
            let (run, of_run) = RunDir::open(folder)?;
            layers.told.options = of_run;
            Some(run)
        }
        None => None,
    };
    let (options, data, init) = layers.open()?;
    let (config, full) = Config::new(&options, &data, init.as_ref().map(|i| &i.arch))?;
    catch_interrupts()?;
    let precision = config.precision;
    device.run(precision, TrainJob { config, full, data, init, resumed, out, profile_batches, json })
}

/// A run of which only the device is missing.
struct TrainJob {
    config: Config,
    full: Options,
    data: data::Dataset,
    init: Option<Init>,
    resumed: Option<RunDir>,
    out: Option<PathBuf>,
    profile_batches: Option<std::ops::Range<usize>>,
    json: bool,
}

impl Job for TrainJob {
    fn run<B: Backend>(self, open: impl Fn() -> Result<B>) -> Result<()> {
        let TrainJob { config, full, data, init, resumed, out, profile_batches, json } = self;
        let is_new = resumed.is_none();
        let run = match resumed {
            Some(run) => run,
            None => {
                let name = format!("{}-{}", file_stem(&data.name), config.in_effect().name());
                RunDir::create(out.as_deref(), &name, &full)?
            }
        };
        let trainer = open().and_then(|b| Trainer::new(b, &config, &data, &run, init.as_ref().map(|i| &i.weights)));
        let mut trainer = trainer.inspect_err(|_| {
            if is_new {
                run.abandon();
            }
        })?;
        trainer.profile(profile_batches.unwrap_or_default());
        let figures = RunFigures { class_names: data.class_names.clone(), tensorboard: config.tensorboard };
        let bar = Bar::new(config.epochs()).silent(json);
        let mut screen = Screen { bar, table: None, output: if json { Output::Json } else { Output::Text }, figures };
        notes(&config);
        if !json {
            introduce(&config, &data, &trainer.device(), trainer.examples(), &full, &run);
            let table = EpochTable::new(config.epochs() as u64, &data.class_names);
            say(table.header());
            trainer.epochs().iter().for_each(|e| say(table.row(e)));
            screen.table = Some(table);
        }
        let report = trainer.run(&mut screen);
        screen.bar.clear();
        conclude(&report?, &run, json)
    }
}

/// A name fit for a folder.
fn file_stem(name: &str) -> String {
    let stem = Path::new(name).file_stem().map_or(name.into(), |s| s.to_string_lossy());
    stem.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect()
}

/// Says on standard error where a method never does what its name says.
fn notes(config: &Config) {
    let Config { method, settings, .. } = config;
    let (ran, own) = (config.in_effect(), config.own_plan());
    if ran != *method {
        let (steps, k_drop) = (settings.attack.steps, Options::row("k-drop").name());
        eprintln!(
            "note: an attack of {steps} steps reaches no check of --{k_drop}: {} drops nobody, and is {}",
            method.name(),
            ran.name()
        );
    } else if config.plan(1).name != own.name && settings.begin_epoch > settings.epochs {
        eprintln!("note: --begin-epoch {} is beyond the last epoch: {} never begins", settings.begin_epoch, own.name);
    }
}

fn introduce(config: &Config, data: &data::Dataset, device: &str, examples: usize, full: &Options, run: &RunDir) {
    let settings = &config.settings;
    let net = Net::new(config.arch.clone());
    let eps = full.eps.unwrap_or(Number(0.0)).0;
    say(format!("{} on {device}", created_by()));
    say(format!("data     {}: {examples} examples an epoch, {} classes", data.name, data.classes));
    say(format!(
        "network  {}; {:.2} M parameters, {:.1} MMAC forward",
        config.arch.describe(),
        net.params as f64 / 1e6,
        net.macs() as f64 / 1e6
    ));
    let mut line = format!("method   {}", config.in_effect().name());
    if let Some(attack) = config.plan(1).attack {
        line += &format!(", eps {eps:.4}, alpha {:.4}, {} steps", attack.alpha, attack.steps);
    }
    let (first, own) = (config.plan(1).name, config.own_plan());
    if first != own.name {
        line += &format!("; from epoch {} on, {first} before", settings.begin_epoch);
    }
    if own.drops() {
        let k: Vec<_> = settings.k_drop.iter().map(usize::to_string).collect();
        line += &format!("; drops easy examples after step {}", k.join(", "));
    }
    say(line);
    say(format!("run      {}\n", run.root().display()));
}

fn conclude(report: &Report, run: &RunDir, json: bool) -> Result<()> {
    if json {
        say(serde_json::to_string(report).expect("plain data"));
        return Ok(());
    }
    if let Some(last) = report.attacks.len().checked_sub(1) {
        say(format!("\nTest set, last checkpoint:\n{}", fairness_table(&report.class_names, &report.attacks, last)));
    }
    let root = run.root().display();
    say(format!("\n{root}/ holds checkpoints, metrics (jsonl, csv), report.json, curves.svg and classes.svg"));
    Ok(())
}

/// What a run prints.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Text,
    Json,
}

/// Shows a run on the terminal, or as JSON lines, and draws its figures.
struct Screen {
    bar: Bar,
    table: Option<EpochTable>,
    output: Output,
    figures: RunFigures,
}

impl Observer for Screen {
    fn progress(&mut self, progress: &Progress) -> bool {
        self.bar.show(progress);
        !stopping()
    }

    fn metrics(&mut self, run: &RunDir, epochs: &[Epoch]) -> Result<()> {
        self.figures.of_epochs(run, epochs)
    }

    fn report(&mut self, run: &RunDir, report: &Report) -> Result<()> {
        self.figures.of_results(run, report)
    }

    fn epoch(&mut self, epoch: &Epoch) {
        if self.output == Output::Json {
            self.bar.line(&serde_json::to_string(epoch).expect("plain data"));
        } else if let Some(table) = &self.table {
            self.bar.line(&table.row(epoch));
        }
    }
}
