use super::device::{DeviceArgs, Job, PrecisionAlone};
use super::options::Selected;
use super::say;
use super::terminal::{Bar, catch_interrupts, stopping};
use crate::backend::Backend;
use crate::engine::{Engine, Images};
use crate::eval::Threat;
use crate::net::Net;
use crate::net::state::Weights;
use crate::report::page::Page;
use crate::report::page::pictures::{Pair, Pictures, Verdict};
use crate::report::page::runs::{ReadRun, folders, group};
use crate::train::Progress;
use crate::train::checkpoint::Checkpoint;
use crate::{Error, Result, data};
use std::path::PathBuf;

/// Images of the worst class that are attacked at most.
const ATTACKED: usize = 256;

/// Write what runs were and what they found: one HTML page, one Markdown file.
///
/// A RUN is a run's folder, or one that holds several, as `bench` makes it.
/// Runs that differ in the seed alone are shown together, and with each what
/// `eval` has found of its checkpoints since (*.report.json in its folder).
/// The page needs no network: style, figures and images are in it.
///
/// Examples:
///   ham-engine report runs/fashion-mnist-mini-ham-001
///   ham-engine report runs/A runs/B --baseline runs/P --out compared
///   ham-engine report runs/bench-001 --baseline runs/bench-001/pgd-at-0
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Args {
    /// Folders of runs, or folders that hold some
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The run that the others are held against (rho, tests); with its other seeds, if they are among the RUNs
    #[arg(long, value_name = "RUN")]
    baseline: Option<PathBuf>,
    /// Folder for report.html and report.md [default: the first RUN]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Images of the worst class to show with what an attack makes of them; 0 needs neither data nor checkpoint
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(0..=100))]
    images: u16,
    /// The attack on these images: fgsm, pgd-STEPS or cw-STEPS
    #[arg(long, value_name = "ATTACK", default_value = "pgd-20")]
    attack: Threat,
    /// Folder that holds the data set's files [default: the run's]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    precision: Selected<PrecisionAlone>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// The attack of the pictures starts at random.
const RANDOM_START: bool = true;

pub(super) fn run(args: Args) -> Result<()> {
    if args.attack.pgd(0.0, RANDOM_START).is_none() {
        return Err(Error::usage(format!("--attack {}: give fgsm, pgd-STEPS or cw-STEPS, or --images 0", args.attack)));
    }
    // The baseline comes first, and no folder twice.
    let mut found: Vec<PathBuf> = Vec::new();
    for path in args.baseline.iter().chain(&args.runs) {
        for folder in folders(path)? {
            let folder_id = |f: &PathBuf| f.canonicalize().unwrap_or_else(|_| f.clone());
            if found.iter().all(|f| folder_id(f) != folder_id(&folder)) {
                found.push(folder);
            }
        }
    }
    let records = found.iter().map(|f| ReadRun::read(f)).collect::<Result<Vec<_>>>()?;
    let baseline = args.baseline.is_some().then_some(0);
    let mut page = Page { groups: group(records), baseline, pictures: Vec::new() };
    if args.images > 0 {
        catch_interrupts()?;
        args.device.run(args.precision.precision(), PicturesJob { args: &args, page: &mut page })?;
    }
    let out = args.out.as_ref().unwrap_or(&args.runs[0]);
    std::fs::create_dir_all(out).map_err(Error::io(out, "cannot create the folder"))?;
    let (html, markdown) = (out.join("report.html"), out.join("report.md"));
    page.write_html(&html)?;
    page.write_markdown(&markdown)?;
    say(format!("{} and {} written", html.display(), markdown.display()));
    Ok(())
}

/// Images under attack, of which only the device is missing.
struct PicturesJob<'a> {
    args: &'a Args,
    page: &'a mut Page,
}

impl Job for PicturesJob<'_> {
    fn run<B: Backend>(self, open: impl Fn() -> Result<B>) -> Result<()> {
        let PicturesJob { args, page } = self;
        let (mut bar, total) = (Bar::new(0), page.groups.len());
        for (done, group) in page.groups.iter().enumerate() {
            bar.show(&Progress { epoch: 0, doing: "images".into(), done, total, kept_share: None });
            if stopping() {
                return Err(Error::Stopped);
            }
            page.pictures.push(pictures(&open, group.first(), args)?);
        }
        bar.clear();
        Ok(())
    }
}

/// Images of the worst class of a run, attacked; none for a run without results or checkpoint.
fn pictures<B: Backend>(open: impl Fn() -> Result<B>, run: &ReadRun, args: &Args) -> Result<Option<Pictures>> {
    let path = run.root.join("last.safetensors");
    let worst = run.report.as_ref().and_then(|r| r.attacks.last()).map(|a| a.fairness.worst_class);
    let (Some(class), true) = (worst, path.exists()) else { return Ok(None) };
    let checkpoint = Checkpoint::read(&path)?;
    let meta = checkpoint.meta.as_ref().ok_or_else(|| Error::format(&path, "not a checkpoint of ham-engine"))?;
    let folder = args.data_dir.as_deref().or(run.options.data_dir.as_deref());
    let arch = checkpoint.arch((1, 1), None, &path)?;
    let source = data::Source { data_dir: folder, classes: Some(arch.classes), ..data::Source::new(&meta.dataset) };
    let data = source.or_size(Some(meta.size())).open().map_err(|e| without_images(&e))?;
    if data.hash != meta.data_hash {
        let what = format!("was trained on other data ({}); give its --data-dir, or --images 0", meta.dataset);
        return Err(Error::format(&path, what));
    }
    let split = if data.test.is_empty() { &data.train } else { &data.test };
    let of_class = (0..split.len()).filter(|i| split.labels[*i] as usize == class);
    let split = split.subset(&of_class.take(ATTACKED).collect::<Vec<_>>())?;
    if split.is_empty() {
        return Ok(None);
    }
    let eps = meta.contract.eps;
    let mut engine = Engine::new(open()?, arch.clone())?;
    engine.set_weights(&Weights::from_state_dict(&Net::new(arch.clone()), &checkpoint.dict, &path)?)?;
    let pairs = attacked(&mut engine, &split, args.attack, eps, meta.seed)?;
    Ok(Some(Pictures::choose(args.attack.to_string(), eps, class, arch.image, pairs, args.images.into())))
}

fn without_images(e: &Error) -> Error {
    Error::usage(format!("{e} (the report's images need the data; --images 0 leaves them out)"))
}

/// Every image of `split` as it is and attacked, in order.
fn attacked<B: Backend>(
    engine: &mut Engine<B>,
    split: &data::Split,
    threat: Threat,
    eps: f32,
    seed: u64,
) -> Result<Vec<Pair>> {
    let n = split.len();
    let pgd = threat.pgd(eps, RANDOM_START).expect("an attack");
    let scene = engine.scene(Images::from(split), &split.labels, n, pgd.steps)?;
    let mut clean = engine.compile_clean(&scene, None)?;
    let mut attack = engine.compile_attack(&scene, &pgd, &[], seed)?;
    engine.begin(&scene, 0, &(0..n as u32).collect::<Vec<_>>())?;
    let b = scene.batch;
    engine.backend.replay(&mut clean)?;
    let before = engine.backend.read_all::<f32>(b.logits)?;
    engine.backend.replay(&mut attack)?;
    // The pass that measures the last step has left the attacked images' logits. Nobody left, so slots are positions.
    let (x, x_adv) = (engine.backend.read_all::<f32>(b.x)?, engine.backend.read_all::<f32>(b.x_adv)?);
    let after = engine.backend.read_all::<f32>(b.logits)?;
    if before.iter().chain(&after).any(|z| !z.is_finite()) {
        return Err(Error::NotFinite);
    }
    let (image, classes) = (scene.image.len(), b.classes);
    let pair = |i: usize| {
        let of = |images: &[f32], logits: &[f32]| {
            let verdict = Verdict::of(&logits[i * classes..(i + 1) * classes]);
            (images[i * image..(i + 1) * image].to_vec(), verdict)
        };
        Pair { clean: of(&x, &before), attacked: of(&x_adv, &after) }
    };
    Ok((0..n).map(pair).collect())
}
