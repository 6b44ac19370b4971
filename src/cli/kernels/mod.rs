mod check;
mod tiles;

use super::options::{Selected, Selection, Taken, take};
use super::say;
use crate::attack::Pgd;
use crate::backend::cpu::CpuBackend;
use crate::engine::{Engine, Images, TrainSpec};
use crate::gpu::Precision;
use crate::gpu::kernels::MODULES;
use crate::method::{Method, Settings, Weights};
use crate::net::Arch;
use crate::ops::head::Loss;
use crate::ops::start::Noise;
use crate::perf::listing::listing;
use crate::perf::profile::{PhaseSeconds, Profile, Profiled, Subject, profile};
use crate::perf::ptxas::{ARCHITECTURES, Assembled, assemble};
use crate::program::Shape;
use crate::train::options::{ArchName, Number};
use crate::{Error, Result};
use clap::Subcommand;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressStyle};
use ptx_sim::Counters;
use ptx_sim::gpu::{GPUS, Gpu};
use serde::Serialize;

/// The GPU's kernels on paper: registers and spills, counted work, predicted times.
///
/// Needs no GPU: ptxas assembles the kernels, and a simulator executes them.
/// ptxas comes with the CUDA 13.0 toolkit ($NVCC, $CUDA_HOME or the PATH).
///
/// Examples:
///   ham-engine kernels program --method ham --arch preact-resnet8
///   ham-engine kernels list
///   ham-engine kernels profile --gpu a100 --batch 64
///   ham-engine kernels check
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A training mini-batch op by op: shapes, live examples, and what shares a launch
    Program(Box<ProgramArgs>),
    /// Registers, shared memory and spills of every kernel by architecture
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// What a mini-batch's launches count, what limits them, and the least time they take
    Profile(SubjectArgs),
    /// The same, held against what good kernels reach; exit code 2 if an aim is missed
    Check(SubjectArgs),
    /// Tries every tile on the convolutions of the networks known here, and writes the table of the fastest
    Tiles(tiles::Args),
}

/// What of a run's options a profile has too.
struct Options;

impl Selection for Options {
    fn rows() -> Vec<Taken> {
        vec![
            take("arch").or_value(ArchName::PreactResnet18.name()),
            take("widths"),
            take("blocks"),
            take("batch").or_default_value(),
            take("precision").or_value(Precision::Bf16.name()),
            take("steps").or_default_value(),
            take("k-drop")
                .about("HAM: check after so many steps, one or several; its share of kept examples is --kept-share")
                .or_default_value(),
        ]
    }
}

/// The method of a program.
struct ItsMethod;

impl Selection for ItsMethod {
    fn rows() -> Vec<Taken> {
        vec![take("method").or_value(Method::Ham.name())]
    }
}

/// What a mini-batch is made by.
#[derive(clap::Args)]
struct MiniBatchArgs {
    #[command(flatten)]
    told: Selected<Options>,
    /// Images, channels x height x width
    #[arg(long, value_name = "CxHxW", default_value = "3x32x32", value_parser = image)]
    image: Shape,
    /// Classes
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
}

#[derive(clap::Args)]
struct ProgramArgs {
    #[command(flatten)]
    method: Selected<ItsMethod>,
    #[command(flatten)]
    mini_batch: MiniBatchArgs,
}

#[derive(clap::Args)]
struct SubjectArgs {
    /// The GPU: h100, a100, rtx-4090 or rtx-3060
    #[arg(long, value_name = "GPU", default_value = "h100", value_parser = gpu)]
    gpu: &'static Gpu,
    #[command(flatten)]
    mini_batch: MiniBatchArgs,
    /// HAM: share of the examples that stays
    #[arg(long, value_name = "SHARE", default_value = "0.4")]
    kept_share: Number,
    /// Images of an epoch
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    images: usize,
    /// CPU threads (0: one per core)
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn gpu(name: &str) -> std::result::Result<&'static Gpu, String> {
    let plain = |s: &str| s.to_lowercase().replace([' ', '-', '_'], "");
    let found = GPUS.into_iter().find(|g| !name.is_empty() && plain(g.name).contains(&plain(name)));
    found.ok_or_else(|| format!("known are {}", GPUS.map(|g| g.name).join(", ")))
}

fn image(s: &str) -> std::result::Result<Shape, String> {
    let parts: Vec<Option<usize>> = s.split('x').map(|p| p.parse().ok()).collect();
    match parts[..] {
        [Some(c), Some(h), Some(w)] => Ok(Shape { c, h, w }),
        _ => Err("give channels x height x width, as in 3x32x32".into()),
    }
}

pub(super) fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Program(args) => args.print(),
        Command::List { json } => list(json),
        Command::Profile(args) => {
            let [pgd_at, ham] = args.profiles()?;
            if args.json {
                say(serde_json::to_string(&args.report(&pgd_at, &ham)).expect("plain data"));
                return Ok(());
            }
            say(table(&pgd_at, "PGD-AT"));
            say(args.summary(&pgd_at, &ham));
            Ok(())
        }
        Command::Check(args) => args.check(),
        Command::Tiles(args) => tiles::run(&args),
    }
}

fn list(json: bool) -> Result<()> {
    let mut all: Vec<Assembled> = Vec::new();
    for arch in ARCHITECTURES {
        all.extend(assemble(arch)?);
    }
    if json {
        say(serde_json::to_string(&all).expect("plain data"));
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["module", "kernel", "shared B"].into_iter().chain(ARCHITECTURES));
    for module in MODULES {
        for entry in module.entries {
            let of = |arch: &str| all.iter().find(|a| a.arch == arch && a.kernel == entry.name);
            let cell = |arch: &str| match of(arch) {
                Some(a) if a.spills + a.stack > 0 => format!("{} ({} B local)", a.registers, a.stack + a.spills),
                Some(a) => a.registers.to_string(),
                None => "–".into(),
            };
            let shared = of(ARCHITECTURES[0]).map_or(0, |a| a.shared).to_string();
            let row = [module.name.to_owned(), entry.name.to_owned(), shared];
            table.add_row(row.into_iter().chain(ARCHITECTURES.map(cell)));
        }
    }
    say(table);
    say(
        "Columns sm_NN: registers of a thread, and local memory where there is any. Shared: static; convolutions add dynamic.",
    );
    Ok(())
}

/// A launch of a profile, for scripts.
#[derive(Serialize)]
struct LaunchRow<'a> {
    kernel: &'a str,
    shape: &'a str,
    after_compaction: bool,
    attack_launches: usize,
    update_launches: usize,
    microseconds: f64,
    limiter: Option<String>,
    waves: Option<f64>,
    registers: u32,
    local_bytes: u32,
    dram_bytes: u64,
    unique_bytes: u64,
    sectors: u64,
    shared_wavefronts: u64,
    ideal_wavefronts: u64,
    mma_flops: u64,
    warp_instructions: u64,
}

/// A method's predicted times.
#[derive(Serialize)]
struct MethodRow<'a> {
    name: &'a str,
    attack_seconds: f64,
    update_seconds: f64,
    epoch_seconds: f64,
    launches_per_step: usize,
    mma_flops: u64,
    needed_flops: f64,
    launches: Vec<LaunchRow<'a>>,
}

fn dram(c: &Counters) -> u64 {
    32 * (c.unique_load_sectors + c.unique_store_sectors)
}

fn wavefronts(c: &Counters) -> u64 {
    c.shared_load_wavefronts + c.shared_store_wavefronts
}

fn launch_row(l: &Profiled) -> LaunchRow<'_> {
    let c = &l.counters;
    LaunchRow {
        kernel: l.kernel,
        shape: &l.shape,
        after_compaction: l.compacted,
        attack_launches: l.attack,
        update_launches: l.update,
        microseconds: 1e6 * l.seconds(),
        limiter: l.roofline.as_ref().map(|r| format!("{:?}", r.limiter)),
        waves: l.roofline.as_ref().map(|r| r.waves),
        registers: l.assembled.registers,
        local_bytes: l.assembled.stack + l.assembled.spills,
        dram_bytes: dram(c),
        unique_bytes: c.unique_bytes,
        sectors: c.global_load_sectors + c.global_store_sectors + c.global_atomic_sectors,
        shared_wavefronts: wavefronts(c),
        ideal_wavefronts: c.shared_ideal_wavefronts,
        mma_flops: c.mma_flops,
        warp_instructions: c.total_warp_instructions(),
    }
}

/// Launches of a kernel on a shape, which may differ in what else they read or write.
struct Row<'a> {
    first: &'a Profiled,
    launches: usize,
    seconds: f64,
    counters: Counters,
}

/// A line per kernel and shape, the longest in a mini-batch first; those of less than a thousandth of it together.
fn table(p: &Profile, title: &str) -> Table {
    let mut rows: Vec<Row> = Vec::new();
    for l in &p.launches {
        let (launches, seconds) = (l.launches(), l.launches() as f64 * l.seconds());
        match rows.iter_mut().find(|r| (r.first.kernel, &r.first.shape) == (l.kernel, &l.shape)) {
            Some(row) => {
                row.launches += launches;
                row.seconds += seconds;
            }
            None => rows.push(Row { first: l, launches, seconds, counters: l.counters.clone() }),
        }
    }
    rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let whole: f64 = rows.iter().map(|r| r.seconds).sum();
    let small = rows.split_off(rows.partition_point(|r| r.seconds >= 1e-3 * whole));

    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header([title, "shape", "launches", "us each", "share", "limiter", "waves", "DRAM MB", "L2 MB", "GFLOP"]);
    [2, 3, 4, 6, 7, 8, 9].into_iter().for_each(|i| {
        table.column_mut(i).expect("a column").set_cell_alignment(CellAlignment::Right);
    });
    for Row { first, launches, seconds, counters } in rows {
        let l = launch_row(first);
        table.add_row([
            l.kernel.to_owned(),
            l.shape.to_owned(),
            launches.to_string(),
            format!("{:.1}", 1e6 * seconds / launches as f64),
            format!("{:.1} %", 100.0 * seconds / whole),
            l.limiter.unwrap_or("does not fit".into()),
            l.waves.map_or("–".into(), |w| format!("{w:.2}")),
            format!("{:.1}", dram(&counters) as f64 / 1e6),
            format!("{:.1}", 32.0 * l.sectors as f64 / 1e6),
            format!("{:.2}", l.mma_flops as f64 / 1e9),
        ]);
    }
    if !small.is_empty() {
        let (launches, seconds) = small.iter().fold((0, 0.0), |(n, s), r| (n + r.launches, s + r.seconds));
        let mut row = vec![format!("{} others", small.len()), String::new(), launches.to_string()];
        row.extend([format!("{:.1}", 1e6 * seconds / launches as f64), format!("{:.1} %", 100.0 * seconds / whole)]);
        table.add_row(row);
    }
    table
}

/// How a mini-batch of a method is trained.
fn spec(method: Method, settings: &Settings) -> TrainSpec {
    let plan = method.plan(settings, 1);
    TrainSpec { plan, momentum: 0.9, weight_decay: 2e-4, ema: None, augment: true, seed: 1 }
}

impl MiniBatchArgs {
    fn arch(&self) -> Result<Arch> {
        let told = &self.told.options;
        let named = told.arch.expect("there is a default");
        let (mut widths, mut blocks) = named.shape();
        if let Some(w) = &told.widths {
            (widths, blocks) = (w.clone(), vec![1; w.len()]);
        }
        if let Some(b) = &told.blocks {
            blocks = if b.len() == 1 { vec![b[0]; widths.len()] } else { b.clone() };
        }
        let family = named.family();
        Arch { family, image: self.image, classes: self.classes, widths, blocks, normalisation: None }.validate()
    }

    /// Every method from its first epoch on.
    fn settings(&self) -> Result<Settings> {
        let told = &self.told.options;
        let batch = told.batch.expect("there is a default");
        if batch == 0 || batch > 65_536 {
            return Err(Error::usage(format!("--batch {batch}: must be between 1 and 65536")));
        }
        let (eps, alpha, steps) = (8.0 / 255.0, 2.0 / 255.0, told.steps.unwrap_or(0));
        let start = Some(Noise::Uniform(eps));
        Ok(Settings {
            attack: Pgd { eps, alpha, steps, start, loss: Loss::CrossEntropy }.validate()?,
            k_drop: told.k_drop.clone().unwrap_or_default(),
            keep_easy: 0.0,
            weights: Weights::Uniform,
            begin_epoch: 1,
            epochs: 1,
            refill: false,
            beta: None,
        })
    }
}

impl ProgramArgs {
    fn print(&self) -> Result<()> {
        let (arch, settings) = (self.mini_batch.arch()?, self.mini_batch.settings()?);
        let method = self.method.options.method.expect("there is a default");
        let batch = self.mini_batch.told.options.batch.expect("there is a default");
        let spec = spec(method, &settings);
        let image = vec![0u8; arch.image.len()];
        let steps = spec.plan.attack.map_or(0, |attack| attack.steps);
        // Nothing runs: any backend has handles for what the program names.
        let mut engine = Engine::new(CpuBackend::new(1)?, arch)?;
        let scene = engine.scene(Images::U8(&image), &[0], batch, steps)?;
        say(format!("A mini-batch of {batch} examples, {} on {}:\n", spec.plan.name, engine.net.arch.describe()));
        say(listing(&engine.train_program(&scene, &spec)?).trim_end());
        Ok(())
    }
}

impl SubjectArgs {
    /// Profiles of PGD-AT and of HAM.
    fn profiles(&self) -> Result<[Profile; 2]> {
        let arch = self.mini_batch.arch()?;
        let settings = self.mini_batch.settings()?;
        let kept_share = super::ranged("kept-share", self.kept_share, 0.0..=1.0)? as f64;
        let subject = |method: Method| Subject {
            arch: arch.clone(),
            batch: self.batch(),
            spec: spec(method, &settings),
            kept_share,
            precision: self.precision(),
            gpu: self.gpu,
            threads: self.threads.into(),
        };
        let bar = ProgressBar::new(0);
        bar.set_style(ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} launches").expect("a valid template"));
        let run = |method: Method| {
            bar.set_message(method.name());
            profile(&subject(method), |done, total| {
                bar.set_length(total as u64);
                bar.set_position(done as u64);
            })
        };
        let both = [run(Method::PgdAt)?, run(Method::Ham)?];
        bar.finish_and_clear();
        Ok(both)
    }

    fn batch(&self) -> usize {
        self.mini_batch.told.options.batch.expect("there is a default")
    }

    fn precision(&self) -> Precision {
        self.mini_batch.told.options.precision.expect("there is a default")
    }

    fn batches(&self) -> f64 {
        self.images as f64 / self.batch() as f64
    }

    fn epoch(&self, p: &Profile) -> f64 {
        p.seconds().sum() * self.batches()
    }

    fn report<'a>(&self, pgd_at: &'a Profile, ham: &'a Profile) -> Vec<MethodRow<'a>> {
        let method = |name, p: &'a Profile| {
            let PhaseSeconds { attack: attack_seconds, update: update_seconds } = p.seconds();
            MethodRow {
                name,
                attack_seconds,
                update_seconds,
                epoch_seconds: self.epoch(p),
                launches_per_step: p.step_launches,
                mma_flops: p.total(|c| c.mma_flops),
                needed_flops: p.flops,
                launches: p.launches.iter().map(launch_row).collect(),
            }
        };
        vec![method(Method::PgdAt.name(), pgd_at), method(Method::Ham.name(), ham)]
    }

    fn summary(&self, pgd_at: &Profile, ham: &Profile) -> String {
        let line = |name: &str, p: &Profile| {
            let PhaseSeconds { attack, update } = p.seconds();
            format!(
                "{name:<7} attack {:.2} ms, update {:.2} ms a mini-batch; {:.2} s an epoch of {} images; {} launches a step",
                1e3 * attack,
                1e3 * update,
                self.epoch(p),
                self.images,
                p.step_launches,
            )
        };
        format!(
            "{}, batch {}, {}: least times by the roofline; launches, latency and caches' hits not counted\n{}\n{}",
            self.gpu.name,
            self.batch(),
            self.precision().suffix(),
            line("PGD-AT", pgd_at),
            line("HAM", ham),
        )
    }
}
