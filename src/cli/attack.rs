use super::device::{DeviceArgs, Job, PrecisionArgs};
use super::eval::normalisation;
use super::terminal::{Bar, catch_interrupts, stopping};
use super::{ranged, say};
use crate::attack::{Check, Pgd};
use crate::backend::Backend;
use crate::engine::{Engine, Images};
use crate::fsio::write_safetensors;
use crate::method::drop_easy;
use crate::net::state::Weights;
use crate::net::{Arch, Net};
use crate::ops::head::Loss;
use crate::ops::start::Noise;
use crate::program::DType;
use crate::train::Progress;
use crate::train::checkpoint::Checkpoint;
use crate::train::options::Number;
use crate::{Error, Result, data};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Attack the images of a file, dropping easy ones as HAM does if --k-drop is given.
///
/// The input is a safetensors file with `images` (u8, or f32 in [0, 1], NCHW)
/// and `labels`. The output is one too, with
///   x_adv       f32, the attacked images of the kept examples
///   kept        i64, their indices in the input
///   kappa       i64 [N], at how many iterates an example was classified right
///   step_size   f32 [N], the largest move of its output probabilities
///   logits      f32 [N, classes] of the clean images
///   input_grad  f32 (--save-grad), the gradient of the summed cross-entropy
///               with respect to the clean images
///
/// Example:
///   ham-engine attack --checkpoint last.safetensors --input batch.safetensors \
///     --output adv.safetensors --k-drop 3
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Checkpoint or PyTorch state dict (safetensors)
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// Images and labels (a .safetensors file)
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where to write the result (safetensors)
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Bound of the perturbation; 8/255 is allowed [default: the checkpoint's, else 8/255]
    #[arg(long, value_name = "EPS")]
    eps: Option<Number>,
    /// Step size [default: the checkpoint's, else eps/4]
    #[arg(long, value_name = "ALPHA")]
    alpha: Option<Number>,
    /// Steps [default: the checkpoint's, else 10]
    #[arg(long, value_name = "K")]
    steps: Option<usize>,
    /// Check after so many steps and drop what has not crossed; one or several
    #[arg(long, value_delimiter = ',', value_name = "K,K,..")]
    k_drop: Vec<usize>,
    /// Share of the easy examples to keep, those of the highest confidence
    #[arg(long, value_name = "SHARE", default_value = "0")]
    keep_easy: Number,
    /// Start at the image instead of at random within eps
    #[arg(long)]
    no_random_start: bool,
    /// Seed of the random start
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Examples that are attacked together
    #[arg(long, value_name = "N", default_value_t = 256)]
    batch: usize,
    /// Normalisation inside the model, for a plain state dict: mean per channel
    #[arg(long, value_delimiter = ',', value_name = "M,M,..", requires = "std")]
    mean: Option<Vec<Number>>,
    /// Normalisation inside the model, for a plain state dict: standard deviation per channel
    #[arg(long, value_delimiter = ',', value_name = "S,S,..", requires = "mean")]
    std: Option<Vec<Number>>,
    /// Write `input_grad` as well
    #[arg(long)]
    save_grad: bool,
    /// Direct convolutions only: slower, and the rounding of a plain sum
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    precision: PrecisionArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// What an attack leaves, for all examples.
#[derive(Default)]
struct Outcome {
    x_adv: Vec<f32>,
    kept: Vec<i64>,
    kappa: Vec<i64>,
    step_size: Vec<f32>,
    logits: Vec<f32>,
    input_grad: Vec<f32>,
}

pub(super) fn run(args: Args) -> Result<()> {
    let path = &args.checkpoint;
    let checkpoint = Checkpoint::read(path)?;
    let contract = checkpoint.meta.as_ref().map(|m| &m.contract);
    let eps = match args.eps {
        Some(eps) => ranged("eps", eps, 0.0..=1.0)?,
        None => contract.map_or(8.0 / 255.0, |c| c.eps),
    };
    let alpha = match args.alpha {
        Some(alpha) => ranged("alpha", alpha, 0.0..=1.0)?,
        None => contract.filter(|_| args.eps.is_none()).map_or(eps / 4.0, |c| c.alpha),
    };
    let steps = args.steps.unwrap_or(contract.map_or(10, |c| c.steps));
    let start = (!args.no_random_start).then_some(Noise::Uniform(eps));
    let pgd = Pgd { eps, alpha, steps, start, loss: Loss::CrossEntropy }.validate()?;
    let checks = drop_easy(&args.k_drop, ranged("keep-easy", args.keep_easy, 0.0..=1.0)?);
    if args.batch == 0 {
        return Err(Error::usage("--batch 0: at least one example is attacked at a time"));
    }
    // Image size and class count of the network are known only together with the input's.
    let classes = checkpoint.arch((1, 1), None, path)?.classes;
    let dataset = args.input.to_string_lossy();
    let input = data::Source { classes: Some(classes), ..data::Source::new(&dataset) }.open()?;
    let norm = normalisation(&args.mean, &args.std, &checkpoint, Some(&input), path)?;
    let mut arch = checkpoint.arch((input.height, input.width), norm, path)?;
    if arch.image.c != input.channels {
        let what = format!("has {} channels, the checkpoint's network takes {}", input.channels, arch.image.c);
        return Err(Error::format(&args.input, what));
    }
    (arch.image.h, arch.image.w) = (input.height, input.width);
    let weights = Weights::from_state_dict(&Net::new(arch.clone()), &checkpoint.dict, path)?;
    catch_interrupts()?;
    let job = AttackJob { args: &args, split: &input.train, arch, weights, pgd, checks };
    args.device.run(args.precision.precision, job)
}

/// An attack of which only the device is missing.
struct AttackJob<'a> {
    args: &'a Args,
    split: &'a data::Split,
    arch: Arch,
    weights: Weights,
    pgd: Pgd,
    checks: Vec<Check>,
}

impl Job for AttackJob<'_> {
    fn run<B: Backend>(self, open: impl Fn() -> Result<B>) -> Result<()> {
        let AttackJob { args, split, arch, weights, pgd, checks } = self;
        let mut engine = Engine::new(open()?, arch, args.exact)?;
        engine.set_weights(&weights)?;
        let outcome = attack(&mut engine, split, &pgd, &checks, args)?;
        write(&outcome, &engine, args, split.len())?;
        say(format!("{} of {} examples kept; {} written", outcome.kept.len(), split.len(), args.output.display()));
        Ok(())
    }
}

fn attack<B: Backend>(
    engine: &mut Engine<B>,
    split: &data::Split,
    pgd: &Pgd,
    checks: &[Check],
    args: &Args,
) -> Result<Outcome> {
    let images = Images::from(split);
    let n = split.len();
    let scene = engine.scene(images, &split.labels, args.batch.min(n), pgd.steps)?;
    let image = scene.image.len();
    let gradient =
        if args.save_grad { Some(engine.backend.alloc(DType::F32, scene.batch.capacity * image)?) } else { None };
    let mut clean = engine.compile_clean(&scene, gradient)?;
    let mut attack = engine.compile_attack(&scene, pgd, checks, args.seed)?;
    engine.begin(&scene, 0, &(0..n as u32).collect::<Vec<_>>())?;
    let mut out = Outcome::default();
    let mut bar = Bar::new(0, true);
    let b = scene.batch;
    for first in (0..n).step_by(b.capacity) {
        bar.show(&Progress { epoch: 0, doing: "attack".into(), done: first, total: n, kept_share: None });
        if stopping() {
            return Err(Error::Stopped);
        }
        let loaded = b.capacity.min(n - first);
        engine.backend.replay(&mut clean)?;
        let backend = &engine.backend;
        out.logits.extend(&backend.read_all::<f32>(b.logits)?[..loaded * b.classes]);
        if let Some(gradient) = gradient {
            out.input_grad.extend(&backend.read_all::<f32>(gradient)?[..loaded * image]);
        }
        engine.backend.replay(&mut attack)?;
        let backend = &engine.backend;
        let live = backend.read_all::<u32>(b.live)?[0] as usize;
        out.kept.extend(backend.read_all::<u32>(b.position)?[..live].iter().map(|p| first as i64 + *p as i64));
        out.x_adv.extend(&backend.read_all::<f32>(b.x_adv)?[..live * image]);
        out.kappa.extend(backend.read_all::<u32>(b.kappa)?[..loaded].iter().map(|k| *k as i64));
        out.step_size.extend(&backend.read_all::<f32>(b.step)?[..loaded]);
    }
    bar.clear();
    Ok(out)
}

fn write<B: Backend>(out: &Outcome, engine: &Engine<B>, args: &Args, n: usize) -> Result<()> {
    let i = engine.net.arch.image;
    let images = |n: usize| vec![n, i.c, i.h, i.w];
    fn view<'a, T: bytemuck::Pod>(dtype: Dtype, shape: Vec<usize>, values: &'a [T]) -> TensorView<'a> {
        TensorView::new(dtype, shape, bytemuck::cast_slice(values)).expect("the shape is the values'")
    }
    let mut tensors = vec![
        ("x_adv", view(Dtype::F32, images(out.kept.len()), &out.x_adv)),
        ("kept", view(Dtype::I64, vec![out.kept.len()], &out.kept)),
        ("kappa", view(Dtype::I64, vec![n], &out.kappa)),
        ("step_size", view(Dtype::F32, vec![n], &out.step_size)),
        ("logits", view(Dtype::F32, vec![n, engine.net.arch.classes], &out.logits)),
    ];
    if args.save_grad {
        tensors.push(("input_grad", view(Dtype::F32, images(n), &out.input_grad)));
    }
    write_safetensors(&args.output, &tensors, &BTreeMap::new())
}
