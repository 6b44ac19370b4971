use super::device::{DeviceArgs, Job};
use super::options::named;
use super::terminal::{Bar, catch_interrupts, stopping};
use super::{ranged, say, train};
use crate::backend::Backend;
use crate::bench::better;
use crate::bench::fixed::{self, Subject};
use crate::bench::peer::{Peer, PeerJob};
use crate::bench::trained::{self, TrainedRun};
use crate::data::Dataset;
use crate::engine::Images;
use crate::eval::Threat;
use crate::fsio::{created_by, write_atomic};
use crate::method::{Method, Plan};
use crate::net::Net;
use crate::net::state::Weights;
use crate::report::comparison_csv::write_csv;
use crate::report::comparison_table::comparison_table;
use crate::report::plot;
use crate::report::run_figures::RunFigures;
use crate::results::comparison::{Comparison, Examples};
use crate::results::{Epoch, Report};
use crate::train::config::Config;
use crate::train::options::{Number, Options};
use crate::train::run_dir::{RunDir, free};
use crate::train::{Observer, Progress, Trainer};
use crate::{Error, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};

/// The attacks that trained networks are held against.
const THREATS: [Threat; 3] = [Threat::Clean, Threat::Pgd(20), Threat::Cw(30)];
/// Where the peer is, and its Python, from the project's folder.
const PEER: &str = "benches/peer";
const PEER_VENV: &str = ".peer";

/// Compare methods: what an epoch costs, and what it buys.
///
/// Trains each method from the same start, an epoch of each in turn, and
/// prints seconds, ratios to PGD-AT, passes, accuracy and fairness. With
/// --cost-only nothing is trained: mini-batches at fixed weights are timed,
/// in turn. All of `train`'s options apply. Results are in a folder, as
/// bench.json, bench.csv and figures.
///
/// Examples:
///   ham-engine bench
///   ham-engine bench --methods pgd-at,ham,trades,fat --seeds 3
///   ham-engine bench --cost-only --kept-share 0.3 --ledger
///   ham-engine bench --cost-only --kept-share 0.3 --peer --arch preact-resnet18
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Methods; PGD-AT comes along, as what they are compared to
    #[arg(long, value_parser = named::<Method>(), value_delimiter = ',', value_name = "M,M,..",
        default_value = "pgd-at,ham", help_heading = "Bench")]
    methods: Vec<Method>,
    /// Runs of each method, with seeds from --seed on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000),
        help_heading = "Bench")]
    seeds: u64,
    /// Time mini-batches at fixed weights instead of training
    #[arg(long, help_heading = "Bench")]
    cost_only: bool,
    /// With --cost-only: share of the examples that stays where a method drops some
    #[arg(long, value_name = "SHARE", requires = "cost_only", help_heading = "Bench")]
    kept_share: Option<Number>,
    /// With --cost-only: rounds that count
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..),
        help_heading = "Bench")]
    repeats: u16,
    /// With --cost-only: print where the time of a mini-batch goes, step by step
    #[arg(long, requires = "cost_only", help_heading = "Bench")]
    ledger: bool,
    /// With --cost-only: time PyTorch's PGD-AT and HAM in turn with ours (installs PyTorch into .peer, once)
    #[arg(long, requires = "cost_only", help_heading = "Bench")]
    peer: bool,
    /// With --cost-only: direct convolutions only
    #[arg(long, requires = "cost_only", help_heading = "Bench")]
    exact: bool,
    #[command(flatten)]
    layers: train::Layers,
    /// Folder for results and runs; one that holds some goes on [default: runs/bench-NNN]
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    out: Option<PathBuf>,
    /// Print bench.json
    #[arg(long, help_heading = "Run")]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

pub(super) fn run(args: Args) -> Result<()> {
    if args.layers.told.options.method.is_some() {
        return Err(Error::usage("--method: bench compares several; name them with --methods"));
    }
    let (mut options, data, init) = args.layers.open()?;
    let refills = options.refill.take().unwrap_or(false);
    let last = options.seed.unwrap_or(0).saturating_add(args.seeds - 1);
    if last > i64::MAX as u64 {
        return Err(Error::usage(format!("--seeds {}: the last seed would be above {}", args.seeds, i64::MAX)));
    }
    catch_interrupts()?;
    let device = args.device.clone();
    let mut job = BenchJob { args, options, methods: vec![], data, init };
    job.methods = job.contenders(refills)?;
    let precision = job.config(Contender::BASELINE, job.seed())?.0.precision;
    device.run(precision, job)
}

/// What takes part in a comparison.
#[derive(Clone, Copy, PartialEq)]
struct Contender {
    method: Method,
    refill: bool,
}

impl Contender {
    const BASELINE: Contender = Contender { method: Method::PgdAt, refill: false };

    fn name(self) -> String {
        let refill = if self.refill { "-refill" } else { "" };
        format!("{}{refill}", self.method.name())
    }
}

/// A comparison of which only the device is missing.
struct BenchJob {
    args: Args,
    /// Of all layers.
    options: Options,
    methods: Vec<Contender>,
    data: Dataset,
    init: Option<train::Init>,
}

impl Job for BenchJob {
    fn run<B: Backend>(self, open: impl Fn() -> Result<B>) -> Result<()> {
        let folder = match &self.args.out {
            Some(out) => out.clone(),
            None => free(Path::new("runs"), "bench")?,
        };
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder, "cannot create the folder"))?;
        let found = if self.args.cost_only {
            self.fixed(open)
        } else {
            self.train(open, &folder).map(|comparison| (comparison, String::new()))
        };
        // A folder without a result is nobody's, unless runs in it may go on.
        let (comparison, more) = found.inspect_err(|_| drop(std::fs::remove_dir(&folder)))?;
        comparison.write(&folder.join("bench.json"))?;
        write_csv(&folder.join("bench.csv"), &comparison)?;
        plot::write_figures(&folder, &comparison)?;
        if !more.is_empty() {
            write_atomic(&folder.join("ledger.txt"), |w| w.write_all(more.as_bytes()))?;
        }
        if self.args.json {
            say(serde_json::to_string(&comparison).expect("plain data"));
        } else {
            say(format!(
                "{}\n{more}{} has it as JSON, CSV and figures",
                comparison_table(&comparison),
                folder.display()
            ));
        }
        Ok(())
    }
}

impl BenchJob {
    /// The baseline first, then the methods asked for, with and without a pool where they refill one; none twice. What one of them
    /// refuses is told before anything is written.
    fn contenders(&self, refills: bool) -> Result<Vec<Contender>> {
        let mut contenders: Vec<(Contender, Plan)> = Vec::new();
        let asked = std::iter::once(&Method::PgdAt).chain(&self.args.methods);
        for contender in asked.flat_map(|m| [false, true].map(|refill| Contender { method: *m, refill })) {
            let plan = self.config(contender, self.seed())?.0.own_plan();
            if contender.refill && !(refills && plan.refills()) {
                continue;
            }
            match contenders.iter().find(|(_, other)| *other == plan) {
                None => contenders.push((contender, plan)),
                Some((other, _)) if other.method != contender.method => {
                    eprintln!("note: {} is left out: with these options it is {}", contender.name(), other.name())
                }
                Some(_) => {}
            }
        }
        Ok(contenders.into_iter().map(|(contender, _)| contender).collect())
    }

    fn config(&self, contender: Contender, seed: u64) -> Result<(Config, Options)> {
        let Contender { method, refill } = contender;
        let options = Options { method: Some(method), refill: Some(refill), seed: Some(seed), ..self.options.clone() };
        Config::new(&options, &self.data, self.init.as_ref().map(|i| &i.arch))
    }

    fn seed(&self) -> u64 {
        self.options.seed.or(Options::defaults().seed).unwrap_or(0)
    }

    fn comparison(&self, config: &Config, examples: usize, device: String) -> Comparison {
        Comparison {
            created_by: created_by(),
            device,
            data: self.data.name.clone(),
            network: config.arch.describe(),
            examples: Examples { epoch: examples, batch: config.batch },
            steps: config.settings.attack.steps,
            epochs: None,
            baseline: Method::PgdAt.name().into(),
            peak_gflops: None,
            class_names: self.data.class_names.clone(),
            methods: vec![],
        }
    }

    /// Mini-batches at fixed weights.
    fn fixed<B: Backend>(&self, open: impl Fn() -> Result<B>) -> Result<(Comparison, String)> {
        let args = &self.args;
        let seed = self.seed();
        let configs = self.methods.iter().map(|m| Ok(self.config(*m, seed)?.0)).collect::<Result<Vec<_>>>()?;
        let config = &configs[0];
        let kept_share = args.kept_share.map(|s| ranged("kept-share", s, 0.0..=1.0)).transpose()?.map(f64::from);
        let (train, _) = self.data.split_validation(config.validation, config.seed)?;
        let batch = config.batch.min(train.len());
        let split = self.data.train.subset(&train[..batch])?;
        let net = Net::new(config.arch.clone());
        let weights = self.init.as_ref().map_or_else(|| Weights::init(&net, seed), |i| i.weights.clone());
        let peer = args.peer.then(|| self.peer(config, batch, kept_share)).transpose()?;
        let subject = Subject {
            arch: config.arch.clone(),
            weights: &weights,
            exact: args.exact,
            images: Images::from(&split),
            labels: &split.labels,
            augment: config.augment,
            examples: train.len(),
            seed,
            kept_share,
        };
        // What methods do once they have begun.
        let plans = configs.iter().map(|c| c.plan(c.epochs().max(c.settings.begin_epoch))).collect();
        let bar = ProgressBar::new(0);
        bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} mini-batches").expect("a valid template"));
        if args.json {
            bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        let found = fixed::run(open, &subject, plans, 0, args.repeats.into(), peer, args.ledger, |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            !stopping()
        });
        bar.finish_and_clear();
        let found = found?;
        let mut ledgers = String::new();
        for (method, ledger) in &found.ledgers {
            ledgers += &format!("{method}: where the time of a mini-batch goes\n{}\n\n", ledger.table());
        }
        if args.ledger && found.ledgers.is_empty() {
            ledgers =
                "--ledger: a GPU's steps are seen by a profiler only (train --profile-batches; kernels profile)\n"
                    .into();
        }
        let comparison = Comparison {
            methods: found.methods,
            peak_gflops: found.peak_gflops,
            ..self.comparison(config, train.len(), found.device)
        };
        Ok((comparison, ledgers))
    }

    fn peer(&self, config: &Config, batch: usize, kept_share: Option<f64>) -> Result<Peer> {
        let s = &config.settings;
        let Some(kept_share) = kept_share else {
            return Err(Error::usage("--peer needs --kept-share: costs compare at the same share only"));
        };
        let k_drop = match s.k_drop[..] {
            [k] if k < s.attack.steps => k,
            _ => return Err(Error::usage("--peer: PyTorch's HAM has one check; give one --k-drop below --steps")),
        };
        let job = PeerJob {
            arch: &config.arch,
            batch,
            threads: self.args.device.threads(),
            precision: config.precision,
            eps: s.attack.eps,
            alpha: s.attack.alpha,
            steps: s.attack.steps,
            k_drop,
            kept_share,
        };
        let peer = Peer::start(Path::new(PEER), Path::new(PEER_VENV), &job)?;
        if !self.args.json {
            say(format!("peer: {}", peer.name));
        }
        Ok(peer)
    }

    /// Runs of every method, an epoch of each in turn.
    fn train<B: Backend>(&self, open: impl Fn() -> Result<B>, root: &Path) -> Result<Comparison> {
        let mut runs: Vec<Vec<TrainedRun>> = vec![Vec::new(); self.methods.len()];
        let figures = RunFigures {
            class_names: self.data.class_names.clone(),
            tensorboard: self.options.tensorboard.unwrap_or(false),
        };
        let mut screen = Screen { bar: Bar::new(1).silent(self.args.json), method: String::new(), seed: 0, figures };
        let (mut device, mut examples, mut peak) = (String::new(), 0, None);
        for seed in self.seed()..self.seed() + self.args.seeds {
            let mut setups = Vec::new();
            for method in &self.methods {
                let (config, full) = self.config(*method, seed)?;
                setups.push((config, run_dir(&root.join(format!("{}-{seed}", method.name())), &full)?));
            }
            let mut trainers = Vec::new();
            for (config, run) in &setups {
                let weights = self.init.as_ref().map(|i| &i.weights);
                let mut trainer = Trainer::new(open()?, config, &self.data, run, weights)?;
                trainer.threats(&THREATS);
                trainers.push(trainer);
            }
            (device, examples) = (trainers[0].device(), trainers[0].examples());
            peak = better(peak, trainers[0].peak_gflops());
            for epoch in 1..=setups[0].0.epochs() {
                for (trainer, method) in trainers.iter_mut().zip(&self.methods) {
                    (screen.method, screen.seed) = (method.name(), seed);
                    if trainer.epochs().len() < epoch {
                        trainer.run_epoch(&mut screen)?;
                    }
                }
            }
            for ((trainer, method), runs) in trainers.iter_mut().zip(&self.methods).zip(&mut runs) {
                (screen.method, screen.seed) = (method.name(), seed);
                let attacks = trainer.report(&mut screen)?.attacks;
                let name = self.config(*method, seed)?.0.own_plan().name;
                let (epochs, memory) = (trainer.epochs().to_vec(), trainer.memory());
                runs.push(TrainedRun { seed, name, epochs, attacks, memory });
            }
        }
        screen.bar.clear();
        let (config, _) = self.config(Contender::BASELINE, self.seed())?;
        let macs = Net::new(config.arch.clone()).macs();
        let row = |(method, of): (&Contender, &Vec<TrainedRun>)| {
            let row = trained::row(&method.name(), of, &runs[0], examples, macs, peak);
            if row.is_none() && !self.args.json {
                eprintln!("note: {} never did its own work in so few epochs; lower --begin-epoch", method.name());
            }
            row
        };
        Ok(Comparison {
            epochs: Some(config.epochs()),
            peak_gflops: peak,
            methods: self.methods.iter().zip(&runs).filter_map(row).collect(),
            ..self.comparison(&config, examples, device)
        })
    }
}

/// The folder of a run, new or one that goes on with the same options.
fn run_dir(root: &Path, options: &Options) -> Result<RunDir> {
    if !root.join("config.toml").exists() {
        return RunDir::create(Some(root), "", options);
    }
    let (run, of_run) = RunDir::open(root)?;
    if of_run != *options {
        let what = format!("{}: holds a run with other options; choose another --out", root.display());
        return Err(Error::usage(what));
    }
    Ok(run)
}

/// Shows which run is under way.
struct Screen {
    bar: Bar,
    method: String,
    seed: u64,
    figures: RunFigures,
}

impl Observer for Screen {
    fn progress(&mut self, p: &Progress) -> bool {
        let doing = format!("{} seed {}: {}", self.method, self.seed, p.doing);
        self.bar.show(&Progress { doing, ..p.clone() });
        !stopping()
    }

    fn metrics(&mut self, run: &RunDir, epochs: &[Epoch]) -> Result<()> {
        self.figures.of_epochs(run, epochs)
    }

    fn report(&mut self, run: &RunDir, report: &Report) -> Result<()> {
        self.figures.of_results(run, report)
    }

    fn epoch(&mut self, _: &Epoch) {}
}
