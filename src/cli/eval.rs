use super::device::{DeviceArgs, Job, PrecisionArgs};
use super::terminal::{Bar, catch_interrupts, stopping, watch};
use super::{ranged, say};
use crate::backend::Backend;
use crate::data;
use crate::engine::{Engine, Images};
use crate::eval::{Examined, Threat};
use crate::net::state::Weights;
use crate::net::{Arch, Net};
use crate::ops::stem::Normalisation;
use crate::report::table::fairness_table;
use crate::report::{AttackResult, DataId, Report, created_by};
use crate::train::Progress;
use crate::train::checkpoint::{Checkpoint, Meta};
use crate::train::options::Number;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Evaluate a checkpoint: accuracy overall and per class, clean and under attack.
///
/// Examples:
///   ham-engine eval \
///     --checkpoint runs/fashion-mnist-mini-ham-001/last.safetensors
///   ham-engine eval --checkpoint net.safetensors --dataset test.safetensors \
///     --attack clean,fgsm,pgd-20,cw-30 --eps 8/255
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Checkpoint or PyTorch state dict (safetensors)
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Data set: its test images are used, or all of them if it has no test part [default: the checkpoint's]
    #[arg(long, value_name = "NAME|PATH")]
    dataset: Option<String>,
    /// Folder of data sets [default: $HAM_ENGINE_DATA, else ham-engine in your cache folder]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Rows and columns that pictures of an image folder, imagenette or tiny-imagenet-200 are brought to, such as 32x32
    /// [default: the checkpoint's]
    #[arg(long, value_name = "HxW")]
    size: Option<data::Size>,
    /// Attacks: clean, fgsm, pgd-STEPS, cw-STEPS
    #[arg(long, value_delimiter = ',', default_value = "clean,pgd-20", value_name = "A,A,..")]
    attack: Vec<Threat>,
    /// Bound of the perturbation [default: the checkpoint's, else 8/255]
    #[arg(long, value_name = "EPS")]
    eps: Option<Number>,
    /// Start attacks at the image instead of at random within eps
    #[arg(long)]
    no_random_start: bool,
    /// Seed of the random starts [default: the checkpoint's, else 0]
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Normalisation inside the model, for a plain state dict: mean per channel
    #[arg(long, value_delimiter = ',', value_name = "M,M,..", requires = "std")]
    mean: Option<Vec<Number>>,
    /// Normalisation inside the model, for a plain state dict: standard deviation per channel
    #[arg(long, value_delimiter = ',', value_name = "S,S,..", requires = "mean")]
    std: Option<Vec<Number>>,
    /// Where to write the report as JSON [default: CHECKPOINT's name with .report.json]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    precision: PrecisionArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// The normalisation inside the model where the checkpoint is a plain state dict: the command line's, else the data set's.
/// A checkpoint of ours brings its own, which the command line may not contradict.
pub(super) fn normalisation(
    mean: &Option<Vec<Number>>,
    std: &Option<Vec<Number>>,
    meta: Option<&Meta>,
    data: &data::Dataset,
    path: &Path,
) -> Result<Option<Normalisation>> {
    let f32s = |v: &[Number]| v.iter().map(|n| n.0 as f32).collect::<Vec<_>>();
    let given = mean.as_ref().zip(std.as_ref()).map(|(mean, std)| (f32s(mean), f32s(std)));
    if meta.is_some_and(|m| given.is_some() && m.normalisation != given) {
        return Err(Error::format(path, "brings another normalisation; leave out --mean and --std"));
    }
    let both = given.or_else(|| data.mean.clone().zip(data.std.clone()));
    Ok(both.map(|(mean, std)| Normalisation { mean, std }))
}

pub(super) fn run(args: Args) -> Result<()> {
    let path = &args.checkpoint;
    let checkpoint = Checkpoint::read(path)?;
    let meta = checkpoint.meta.as_ref();
    let name = match (&args.dataset, meta) {
        (Some(name), _) => name.clone(),
        (None, Some(meta)) => meta.dataset.clone(),
        (None, None) => return Err(Error::usage("--dataset is needed: a plain state dict does not name its data")),
    };
    let classes = checkpoint.arch((1, 1), None, path)?.classes;
    let watch = watch();
    let mut source = data::Source {
        dataset: &name,
        data_dir: args.data_dir.as_deref(),
        classes: Some(classes),
        size: args.size,
        watch: &watch,
    };
    if source.is_resizable() {
        source.size = args.size.or(meta.map(|m| data::Size { height: m.height, width: m.width }));
    }
    let data = source.open()?;
    let eps = match (args.eps, meta) {
        (Some(eps), _) => ranged("eps", eps, 0.0..=1.0)?,
        (None, Some(meta)) => meta.contract.eps,
        (None, None) => 8.0 / 255.0,
    };
    let seed = args.seed.or(meta.map(|m| m.seed)).unwrap_or(0);
    let norm = normalisation(&args.mean, &args.std, meta, &data, path)?;
    let arch = checkpoint.arch((data.height, data.width), norm, path)?;
    let (i, d) = (arch.image, &data);
    if (i.c, i.h, i.w, arch.classes) != (d.channels, d.height, d.width, d.classes) {
        let what = format!(
            "was made for {}x{}x{} images and {} classes, {} has {}x{}x{} and {}",
            i.c, i.h, i.w, arch.classes, d.name, d.channels, d.height, d.width, d.classes
        );
        return Err(Error::format(path, what));
    }
    let split = if data.test.is_empty() { &data.train } else { &data.test };
    catch_interrupts()?;
    let weights = Weights::from_state_dict(&Net::new(arch.clone()), &checkpoint.dict, path)?;
    let job = EvalJob { args: &args, data: &data, split, arch, weights, eps, seed };
    args.device.run(args.precision.precision, job)
}

/// An evaluation of which only the device is missing.
struct EvalJob<'a> {
    args: &'a Args,
    data: &'a data::Dataset,
    split: &'a data::Split,
    arch: Arch,
    weights: Weights,
    eps: f32,
    seed: u64,
}

impl Job for EvalJob<'_> {
    fn run<B: Backend>(self, open: impl Fn() -> Result<B>) -> Result<()> {
        let EvalJob { args, data, split, arch, weights, eps, seed } = self;
        let images = Images::from(split);
        let mut engine = Engine::new(open()?, arch, false)?;
        engine.set_weights(&weights)?;
        let examined = Examined::new(&mut engine, images, &split.labels)?;
        let mut bar = Bar::new(0, !args.json);
        let mut attacks = Vec::new();
        for threat in &args.attack {
            let mut examination = examined.record(&mut engine, *threat, eps, !args.no_random_start, seed)?;
            let counts = examined.run(&mut engine, &mut examination, |done| {
                let (doing, total) = (threat.to_string(), split.len());
                bar.show(&Progress { epoch: 0, doing, done, total, kept_share: None });
                !stopping()
            })?;
            let Some(counts) = counts else { return Err(Error::Stopped) };
            attacks.push(AttackResult { name: threat.to_string(), fairness: counts.fairness()? });
        }
        bar.clear();
        let report = Report {
            created_by: created_by(),
            device: engine.backend.name(),
            kernels: engine.backend.kernels().map(String::from),
            seed,
            data: DataId { name: data.name.clone(), hash: data.hash.clone() },
            network: engine.net.arch.describe(),
            contract: serde_json::json!({ "eps": eps, "random_start": !args.no_random_start }),
            checkpoint: Some(args.checkpoint.display().to_string()),
            class_names: data.class_names.clone(),
            attacks,
            cost: None,
        };
        let out = args.out.clone().unwrap_or_else(|| args.checkpoint.with_extension("report.json"));
        report.write(&out)?;
        if args.json {
            say(serde_json::to_string(&report).expect("plain data"));
            return Ok(());
        }
        say(format!("{} images of {}, eps {eps:.4}, {}", split.len(), data.name, report.device));
        say(fairness_table(&report.class_names, &report.attacks, report.attacks.len() - 1));
        say(format!("\nreport: {}", out.display()));
        Ok(())
    }
}
