use super::say;
use crate::Result;
use crate::cpu::simd::Level;
use crate::gpu::devices::Cuda;
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use ptx_sim::gpu::H100_SXM;
use serde_json::{Value, json};

/// List what this machine can compute on.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<()> {
    let cuda = Cuda::detect();
    let (level, threads) = (Level::detect().name(), std::thread::available_parallelism().map_or(1, |n| n.get()));
    if args.json {
        say(in_json(&cuda, level, threads));
    } else {
        say(in_words(&cuda, level, threads));
    }
    Ok(())
}

fn in_json(cuda: &Cuda, level: &str, threads: usize) -> Value {
    let gpus = cuda.gpus.iter().map(|g| {
        let mut gpu = json!(g);
        gpu["device"] = format!("cuda:{}", g.ordinal).into();
        gpu["unusable"] = g.unusable().into();
        gpu
    });
    json!({
        "cuda": { "driver": cuda.driver, "missing": cuda.missing, "gpus": gpus.collect::<Vec<_>>() },
        "cpu": { "simd": level, "threads": threads },
        "sim": { "gpu": H100_SXM.name },
    })
}

fn in_words(cuda: &Cuda, level: &str, threads: usize) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["device", "what", "note"]);
    for g in &cuda.gpus {
        let what = format!(
            "{}, compute capability {}, {:.1} GiB, {} SMs",
            g.name,
            g.compute_capability,
            g.memory as f64 / (1u64 << 30) as f64,
            g.multiprocessors
        );
        table.add_row([format!("cuda:{}", g.ordinal), what, g.unusable().unwrap_or_default()]);
    }
    let plural = if threads == 1 { "" } else { "s" };
    table.add_row(["cpu".into(), format!("{level}, {threads} core{plural}"), String::new()]);
    table.add_row([
        "sim".into(),
        format!("the kernels for a GPU, on the CPU, as on an {}", H100_SXM.name),
        "slow".into(),
    ]);
    let driver = match (&cuda.missing, cuda.driver) {
        (Some(missing), _) => missing.clone(),
        (None, Some(version)) => format!("The NVIDIA driver supports CUDA {version}."),
        (None, None) => String::new(),
    };
    format!("{table}\n{driver}")
}
