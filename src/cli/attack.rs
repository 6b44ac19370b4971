use super::device::{DeviceArgs, Job, PrecisionAlone};
use super::model::{NormalisationArgs, default_eps, of_checkpoint};
use super::options::{Selected, Selection, Taken, take};
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
use crate::train::options::{Number, Options as RunOptions};
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
    #[command(flatten)]
    told: Selected<Options>,
    #[command(flatten)]
    normalisation: NormalisationArgs,
    /// Write `input_grad` as well
    #[arg(long)]
    save_grad: bool,
    /// Direct convolutions only: slower, and the rounding of a plain sum
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    precision: Selected<PrecisionAlone>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// What of a run's options an attack has too.
struct Options;

impl Selection for Options {
    fn rows() -> Vec<Taken> {
        vec![
            take("eps").or(of_checkpoint("eps")),
            take("alpha").or(of_checkpoint("alpha")),
            take("steps").or(of_checkpoint("steps")),
            take("k-drop").about("Check after so many steps and drop what has not crossed; one or several"),
            take("keep-easy")
                .about("Share of the easy examples to keep, those of the highest confidence")
                .or_default_value(),
            take("no-random-start").about("Start at the image instead of at random within eps"),
            take("seed").about("Seed of the random start").or_default_value(),
            take("batch").about("Examples that are attacked together").or_value("256"),
        ]
    }
}

/// What an attack leaves, for all examples.
#[derive(Default)]
struct Attacked {
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
    let told = &args.told.options;
    let trained = checkpoint.meta.as_ref().map(|m| &m.contract);
    let eps = match told.eps {
        Some(eps) => ranged("eps", eps, 0.0..=1.0)?,
        None => trained.map_or(default_eps(), |c| c.eps),
    };
    let alpha = match told.alpha {
        Some(alpha) => ranged("alpha", alpha, 0.0..=1.0)?,
        None => trained.filter(|_| told.eps.is_none()).map_or(eps / 4.0, |c| c.alpha),
    };
    let steps = told.steps.or(trained.map(|c| c.steps)).or(RunOptions::defaults().steps).unwrap_or(0);
    let start = (!told.no_random_start.unwrap_or(false)).then_some(Noise::Uniform(eps));
    let pgd = Pgd { eps, alpha, steps, start, loss: Loss::CrossEntropy }.validate()?;
    let keep_easy = ranged("keep-easy", told.keep_easy.unwrap_or(Number(0.0)), 0.0..=1.0)?;
    let checks = drop_easy(told.k_drop.as_deref().unwrap_or_default(), keep_easy);
    let (batch, seed) = (told.batch.unwrap_or(0), told.seed.unwrap_or(0));
    if batch == 0 {
        return Err(Error::usage("--batch 0: at least one example is attacked at a time"));
    }
    // Image size and class count of the network are known only together with the input's.
    let classes = checkpoint.arch((1, 1), None, path)?.classes;
    let dataset = args.input.to_string_lossy();
    let input = data::Source { classes: Some(classes), ..data::Source::new(&dataset) }.open()?;
    let norm = args.normalisation.within(&checkpoint, Some(&input), path)?;
    let mut arch = checkpoint.arch((input.height, input.width), norm, path)?;
    if arch.image.c != input.channels {
        let what = format!("has {} channels, the checkpoint's network takes {}", input.channels, arch.image.c);
        return Err(Error::format(&args.input, what));
    }
    (arch.image.h, arch.image.w) = (input.height, input.width);
    let weights = Weights::from_state_dict(&Net::new(arch.clone()), &checkpoint.dict, path)?;
    catch_interrupts()?;
    let job = AttackJob { args: &args, split: &input.train, arch, weights, pgd, checks, batch, seed };
    args.device.run(args.precision.precision(), job)
}

/// An attack of which only the device is missing.
struct AttackJob<'a> {
    args: &'a Args,
    split: &'a data::Split,
    arch: Arch,
    weights: Weights,
    pgd: Pgd,
    checks: Vec<Check>,
    /// Examples that are attacked together.
    batch: usize,
    seed: u64,
}

impl Job for AttackJob<'_> {
    fn run<B: Backend>(self, open: impl Fn() -> Result<B>) -> Result<()> {
        let args = self.args;
        let mut engine = Engine::new(open()?, self.arch.clone())?.exact(args.exact);
        engine.set_weights(&self.weights)?;
        let outcome = self.attack(&mut engine)?;
        write(&outcome, &engine, args, self.split.len())?;
        say(format!("{} of {} examples kept; {} written", outcome.kept.len(), self.split.len(), args.output.display()));
        Ok(())
    }
}

impl AttackJob<'_> {
    fn attack<B: Backend>(&self, engine: &mut Engine<B>) -> Result<Attacked> {
        let AttackJob { args, split, ref pgd, ref checks, batch, seed, .. } = *self;
        let images = Images::from(split);
        let n = split.len();
        let scene = engine.scene(images, &split.labels, batch.min(n), pgd.steps)?;
        let image = scene.image.len();
        let gradient =
            if args.save_grad { Some(engine.backend.alloc(DType::F32, scene.batch.capacity * image)?) } else { None };
        let mut clean = engine.compile_clean(&scene, gradient)?;
        let mut attack = engine.compile_attack(&scene, pgd, checks, seed)?;
        engine.begin(&scene, 0, &(0..n as u32).collect::<Vec<_>>())?;
        let mut out = Attacked::default();
        let mut bar = Bar::new(0);
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
}

fn write<B: Backend>(out: &Attacked, engine: &Engine<B>, args: &Args, n: usize) -> Result<()> {
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
