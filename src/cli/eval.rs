use super::device::{DeviceArgs, Job, PrecisionAlone};
use super::model::{NormalisationArgs, default_eps, default_seed, of_checkpoint};
use super::options::{Selected, Selection, Taken, named, take};
use super::terminal::{Bar, catch_interrupts, stopping, watch};
use super::{ranged, say};
use crate::attack::Budget;
use crate::backend::Backend;
use crate::engine::{Engine, Images};
use crate::eval::warnings::warnings;
use crate::eval::{Examined, Outcome, Threat};
use crate::fsio::{created_by, file_hash, write_safetensors};
use crate::net::state::Weights;
use crate::net::{Arch, Net};
use crate::ops::ball::Norm;
use crate::report::table::fairness_table;
use crate::results::{AttackResult, Contract, DataId, Report};
use crate::train::Progress;
use crate::train::checkpoint::{Checkpoint, Meta};
use crate::{Error, Result, data};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Evaluate a checkpoint: accuracy overall and per class, clean and under attack.
///
/// An image counts as robust if it is classified right as it is and at every
/// iterate of the attack. What an attack has broken leaves at once.
///   clean        nothing
///   fgsm         one step of eps
///   pgd-STEPS    gradient steps of eps/4 on the cross-entropy
///   cw-STEPS     the same on the margin between the two best classes
///   apgd-ce      Auto-PGD on the cross-entropy, 100 iterations
///   apgd-t       Auto-PGD on the targeted DLR loss, nine classes in turn
///   fab-t        FAB towards nine classes in turn, 100 iterations
///   square       Square Attack: 5000 queries, no gradients
///   autoattack   the last four in sequence, each on the survivors
/// (apgd-ce-STEPS, apgd-t-STEPS and square-QUERIES take other numbers.)
///
/// Examples:
///   ham-engine eval \
///     --checkpoint runs/fashion-mnist-mini-ham-001/last.safetensors
///   ham-engine eval --checkpoint net.safetensors --dataset test.safetensors \
///     --attack clean,fgsm,pgd-20,cw-30 --eps 8/255
///   ham-engine eval --checkpoint net.safetensors --attack autoattack \
///     --norm l2 --eps 0.5 --examples 1000
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Checkpoint or PyTorch state dict (safetensors)
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    #[command(flatten)]
    data: Selected<DataOptions>,
    /// Attacks: clean, fgsm, pgd-STEPS, cw-STEPS, apgd-ce, apgd-t, fab-t, square, autoattack
    #[arg(long, value_delimiter = ',', default_value = "clean,pgd-20", value_name = "A,A,..")]
    attack: Vec<Threat>,
    /// Norm of the bound
    #[arg(long, value_parser = named::<Norm>(), default_value = Norm::Linf.name())]
    norm: Norm,
    #[command(flatten)]
    attacks: Selected<AttackOptions>,
    /// Runs of each attack, from other random starts, on what has survived
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "no_random_start")]
    restarts: usize,
    /// Evaluate the first N images only
    #[arg(long, value_name = "N")]
    examples: Option<usize>,
    #[command(flatten)]
    normalisation: NormalisationArgs,
    /// Report (JSON) of another evaluation of the same data: rho, the relative change of the worst class plus that of the
    /// mean, is shown and written
    #[arg(long, value_name = "REPORT.json")]
    baseline: Option<PathBuf>,
    /// Where to write the report as JSON; `report` looks for NAME.report.json in a run's folder [default: CHECKPOINT's name with
    /// .report.json]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where to write the class of each image under each attack (safetensors): `labels`, and i64 by the attack's name
    #[arg(long, value_name = "FILE")]
    save_examples: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    precision: Selected<PrecisionAlone>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// What an evaluation takes of a run's options about data.
struct DataOptions;

impl Selection for DataOptions {
    fn rows() -> Vec<Taken> {
        vec![
            take("dataset")
                .about("Data set: its test images are used, or all of them if it has no test part")
                .or("the checkpoint's"),
            take("data-dir").or_default(),
            take("size").or("the checkpoint's"),
        ]
    }
}

/// What it takes of those about attacks.
struct AttackOptions;

impl Selection for AttackOptions {
    fn rows() -> Vec<Taken> {
        vec![
            take("eps").or(format!("{}; with --norm l2 none", of_checkpoint("eps"))),
            take("no-random-start").about("Start attacks at the image instead of at random within eps"),
            take("seed").about("Seed of the random starts").or(of_checkpoint("seed")),
        ]
    }
}

pub(super) fn run(args: Args) -> Result<()> {
    let path = &args.checkpoint;
    let checkpoint = Checkpoint::read(path)?;
    let hash = file_hash(path, &|_| {}).map_err(Error::io(path, "cannot read the checkpoint"))?;
    let meta = checkpoint.meta.as_ref();
    let (told, attacks) = (&args.data.options, &args.attacks.options);
    let name = match (&told.dataset, meta) {
        (Some(name), _) => name.clone(),
        (None, Some(meta)) => meta.dataset.clone(),
        (None, None) => return Err(Error::usage("--dataset is needed: a plain state dict does not name its data")),
    };
    let classes = checkpoint.arch((1, 1), None, path)?.classes;
    let watch = watch();
    let source = data::Source {
        dataset: &name,
        data_dir: told.data_dir.as_deref(),
        classes: Some(classes),
        size: told.size,
        watch: &watch,
    };
    let data = source.or_size(meta.map(Meta::size)).open()?;
    let most = if args.norm == Norm::Linf { 1.0 } else { 1000.0 };
    let eps = match (attacks.eps, meta) {
        (Some(eps), _) => ranged("eps", eps, 0.0..=most)?,
        (None, _) if args.norm == Norm::L2 => {
            return Err(Error::usage("--norm l2: give --eps, such as 0.5; the checkpoint's bound is L-inf"));
        }
        (None, Some(meta)) => meta.contract.eps,
        (None, None) => default_eps(),
    };
    let seed = attacks.seed.or(meta.map(|m| m.seed)).unwrap_or(default_seed());
    let norm = args.normalisation.within(&checkpoint, Some(&data), path)?;
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
    let few;
    let split = match args.examples {
        Some(0) => return Err(Error::usage("--examples 0: at least one image is evaluated")),
        Some(n) if n < split.len() => {
            few = split.subset(&(0..n).collect::<Vec<_>>())?;
            &few
        }
        _ => split,
    };
    match args.restarts {
        0 => return Err(Error::usage("--restarts 0: at least one run is needed")),
        1..=Budget::MAX_RESTARTS => {}
        n => return Err(Error::usage(format!("--restarts {n}: at most {}", Budget::MAX_RESTARTS))),
    }
    let id = DataId { name: data.name.clone(), hash: data.hash.clone() };
    let baseline = args.baseline.as_deref().map(|path| Ok((Report::read(path)?, path))).transpose()?;
    // What it refuses, before anything is computed.
    baseline.as_ref().map(|(b, path)| b.rho_of(&[], &id, path)).transpose()?;
    catch_interrupts()?;
    let weights = Weights::from_state_dict(&Net::new(arch.clone()), &checkpoint.dict, path)?;
    let job = EvalJob { args: &args, data: &data, id, split, baseline, arch, weights, hash, eps, seed };
    args.device.run(args.precision.precision(), job)
}

/// An evaluation of which only the device is missing.
struct EvalJob<'a> {
    args: &'a Args,
    data: &'a data::Dataset,
    id: DataId,
    split: &'a data::Split,
    baseline: Option<(Report, &'a Path)>,
    arch: Arch,
    weights: Weights,
    /// SHA-256 of the checkpoint.
    hash: String,
    eps: f32,
    seed: u64,
}

impl Job for EvalJob<'_> {
    fn run<B: Backend>(self, open: impl Fn() -> Result<B>) -> Result<()> {
        let EvalJob { args, data, id, split, baseline, arch, weights, hash, eps, seed } = self;
        let images = Images::from(split);
        let mut engine = Engine::new(open()?, arch)?;
        engine.set_weights(&weights)?;
        let examined = Examined::new(&mut engine, images, &split.labels)?;
        let random_start = !args.attacks.options.no_random_start.unwrap_or(false);
        let budget = Budget { norm: args.norm, eps, random_start, restarts: args.restarts, seed };
        let classes = engine.net.arch.classes;
        let attacked = args.attack.iter().any(|threat| *threat != Threat::Clean);
        let diagnosis = if attacked { Some(examined.diagnose(&mut engine)?) } else { None };
        let mut bar = Bar::new(0).silent(args.json);
        let mut outcomes = Vec::new();
        for threat in &args.attack {
            let outcome = examined.evaluate(&mut engine, *threat, &budget, |at| {
                let (doing, done, total) = (at.name.clone(), at.done, at.total);
                bar.show(&Progress { epoch: 0, doing, done, total, kept_share: None });
                !stopping()
            })?;
            outcomes.push((*threat, outcome.ok_or(Error::Stopped)?));
        }
        bar.clear();
        let attacks: Vec<AttackResult> =
            outcomes.iter().map(|(threat, outcome)| outcome.result(*threat, classes)).collect::<Result<_>>()?;
        let rho = baseline.map(|(b, path)| b.rho_of(&attacks, &id, path)).transpose()?.unwrap_or_default();
        let warnings = warnings(diagnosis.as_ref(), &outcomes);
        let report = Report {
            created_by: created_by(),
            device: engine.backend.name(),
            kernels: engine.backend.kernels().map(String::from),
            seed,
            data: id,
            network: engine.net.arch.describe(),
            contract: Contract::of_evaluation(&budget, split.len()),
            checkpoint: Some(args.checkpoint.display().to_string()),
            checkpoint_hash: Some(hash),
            class_names: data.class_names.clone(),
            attacks,
            warnings,
            rho,
            cost: None,
        };
        let out = args.out.clone().unwrap_or_else(|| args.checkpoint.with_extension("report.json"));
        report.write(&out)?;
        if let Some(path) = &args.save_examples {
            save_examples(path, &outcomes)?;
        }
        if args.json {
            say(serde_json::to_string(&report).expect("plain data"));
            return Ok(());
        }
        say(format!("{} images of {}, eps {eps:.4}, {}", split.len(), data.name, report.device));
        say(fairness_table(&report.class_names, &report.attacks, report.attacks.len() - 1));
        report.rho.iter().for_each(|(attack, rho)| say(format!("rho under {attack}: {rho:+.3}")));
        say(cost_lines(&report.attacks, split.len()));
        report.warnings.iter().for_each(|warning| say(format!("warning: {warning}")));
        say(format!("\nreport: {}", out.display()));
        Ok(())
    }
}

/// What each attack, and each part of a sequence, left and cost.
fn cost_lines(attacks: &[AttackResult], examples: usize) -> String {
    let mut lines =
        String::from("\nCost in units an image (a forward pass is one, its gradient another), and who is left:\n");
    for attack in attacks {
        for part in &attack.parts {
            let name =
                if attack.parts.len() > 1 { format!("{}: {}", attack.name, part.name) } else { part.name.clone() };
            let (cost, left) = (part.units as f64 / examples as f64, 100.0 * part.survivors as f64 / examples as f64);
            lines += &format!("  {name:<24} {cost:>9.1} {left:>7.2} %\n");
        }
    }
    lines
}

fn save_examples(path: &Path, outcomes: &[(Threat, Outcome)]) -> Result<()> {
    let wide = |v: &[u32]| v.iter().map(|v| *v as i64).collect::<Vec<_>>();
    let labels = outcomes.iter().take(1).map(|(_, o)| ("labels".to_owned(), wide(&o.labels)));
    let all: BTreeMap<_, _> = labels.chain(outcomes.iter().map(|(t, o)| (t.to_string(), wide(&o.predicted)))).collect();
    let tensors = all.iter().map(|(name, v)| {
        let view = TensorView::new(Dtype::I64, vec![v.len()], bytemuck::cast_slice(v)).expect("as many values");
        (name.as_str(), view)
    });
    let tensors: Vec<_> = tensors.collect();
    write_safetensors(path, &tensors, &BTreeMap::new())
}
