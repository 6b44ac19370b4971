use super::model::NormalisationArgs;
use super::say;
use crate::fsio::write_atomic;
use crate::net::state::Weights;
use crate::net::{Net, onnx};
use crate::train::checkpoint::{Checkpoint, write_weights};
use crate::{Error, Result};
use clap::ValueEnum;
use std::path::{Path, PathBuf};

/// What a file of weights is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A PyTorch state dict, with the normalisation as its tensors `mean` and `std`
    Safetensors,
    /// A model that onnxruntime and others run: images in [0, 1] to logits, the normalisation inside
    Onnx,
}

/// Write a checkpoint's network for other programs.
///
/// Examples:
///   ham-engine export --checkpoint runs/A/last.safetensors net.onnx
///   ham-engine export --checkpoint runs/A/last.safetensors net.safetensors
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ExportArgs {
    /// Checkpoint or PyTorch state dict (safetensors)
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// What to write [default: as the output's name ends]
    #[arg(long)]
    format: Option<Format>,
    #[command(flatten)]
    normalisation: NormalisationArgs,
    /// The file to write
    #[arg(value_name = "FILE.onnx|FILE.safetensors")]
    output: PathBuf,
}

/// Take a PyTorch state dict: check it, and write it as weights that `train --init`, `eval` and `attack` know all about.
///
/// PreActResNet and WideResNet under the names of RobustBench's models are
/// known. PyTorch's .pt files become safetensors in one line:
///
///   python -c "import sys, torch; from safetensors.torch import save_file; \
///     s = torch.load(sys.argv[1], 'cpu'); s = s.get('state_dict', s); \
///     save_file({k: v.contiguous() for k, v in s.items()}, sys.argv[2])" \
///     net.pt net.safetensors
///
/// Example:
///   ham-engine import net.safetensors known.safetensors \
///     --mean 0.4914,0.4822,0.4465 --std 0.2471,0.2435,0.2616
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ImportArgs {
    /// The state dict
    #[arg(value_name = "FILE.safetensors")]
    input: PathBuf,
    /// The file to write
    #[arg(value_name = "FILE.safetensors")]
    output: PathBuf,
    #[command(flatten)]
    normalisation: NormalisationArgs,
}

/// The network of a file, and its weights.
fn read(path: &Path, normalisation: &NormalisationArgs) -> Result<(Net, Weights)> {
    let checkpoint = Checkpoint::read(path)?;
    let norm = normalisation.within(&checkpoint, None, path)?;
    // Networks take images of any size; a plain state dict names none.
    let net = Net::new(checkpoint.arch((32, 32), norm, path)?);
    let weights = Weights::from_state_dict(&net, &checkpoint.dict, path)?;
    Ok((net, weights))
}

fn describe(net: &Net) -> String {
    let normalised = if net.arch.normalisation.is_some() { "normalised" } else { "not normalised" };
    format!("{}, {normalised}, {:.2} million parameters", net.arch.describe(), net.params as f64 / 1e6)
}

pub(super) fn export(args: ExportArgs) -> Result<()> {
    let by_name = || match args.output.extension().and_then(|e| e.to_str()) {
        Some("onnx") => Ok(Format::Onnx),
        Some("safetensors") => Ok(Format::Safetensors),
        _ => Err(Error::usage(format!("{}: end it in .onnx or .safetensors, or give --format", args.output.display()))),
    };
    let format = args.format.map_or_else(by_name, Ok)?;
    let (net, weights) = read(&args.checkpoint, &args.normalisation)?;
    match format {
        Format::Safetensors => write_weights(&args.output, &net, &weights)?,
        Format::Onnx => {
            let model = onnx::model(&net, &weights);
            write_atomic(&args.output, |out| out.write_all(&model))?;
        }
    }
    say(format!("{} written: {}", args.output.display(), describe(&net)));
    Ok(())
}

pub(super) fn import(args: ImportArgs) -> Result<()> {
    let (net, weights) = read(&args.input, &args.normalisation)?;
    write_weights(&args.output, &net, &weights)?;
    say(format!("{} written: {}", args.output.display(), describe(&net)));
    Ok(())
}
