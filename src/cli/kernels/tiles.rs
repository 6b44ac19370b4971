use crate::backend::gpu::GpuBackend;
use crate::cli::device::Device;
use crate::cli::say;
use crate::gpu::Precision;
use crate::gpu::cuda::CudaDriver;
use crate::gpu::devices::Cuda;
use crate::gpu::driver::Driver;
use crate::gpu::sim::{SimDriver, SimOptions};
use crate::perf::tiles::{BATCHES, Predictor, Row, Subject, TileSize, measure, sizes, subjects, write};
use crate::{Error, Result, fsio};
use indicatif::{ProgressBar, ProgressStyle};
use ptx_sim::gpu::Gpu;
use ptx_sim::{Checks, FaultKind};
use std::path::PathBuf;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Where to try them: cuda or cuda:NUMBER measures, sim predicts for --gpu
    #[arg(long, value_name = "DEVICE", default_value = "sim")]
    device: Device,
    /// The GPU that is predicted for: h100, a100, rtx-4090 or rtx-3060
    #[arg(long, value_name = "GPU", default_value = "h100", value_parser = super::gpu)]
    gpu: &'static Gpu,
    /// The file to write; the program goes by it once it is built again
    #[arg(long, value_name = "FILE", default_value = "src/gpu/tiles.txt")]
    out: PathBuf,
    /// CPU threads (0: one per core)
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: u16,
}

/// Seconds of a tile for each size of the batch.
type Times = [f64; BATCHES.len()];

pub(super) fn run(args: &Args) -> Result<()> {
    let mut lines = Vec::new();
    let mut made = String::new();
    for precision in [Precision::Bf16, Precision::Fp32] {
        let number = match args.device {
            Device::Cuda(number) => Some(number),
            Device::Auto => Cuda::detect().first_usable(),
            Device::Sim => None,
            Device::Cpu => return Err(Error::usage("--device cpu: a CPU has no tiles; give cuda or sim")),
        };
        let by = match number {
            Some(number) => {
                let mut backend = GpuBackend::new(CudaDriver::open(number)?, precision)?;
                made = format!("measured on {}", backend.driver.name());
                tried(precision, |subject, tile| {
                    let mut times = [f64::INFINITY; BATCHES.len()];
                    for (batch, time) in BATCHES.into_iter().zip(&mut times) {
                        let Some(seconds) = measure(&mut backend, subject, batch, tile)? else { return Ok(None) };
                        *time = seconds;
                    }
                    Ok(Some(times))
                })?
            }
            None => {
                let predictor = Predictor::new(args.gpu)?;
                // These are the tests' matter; without their checks this is faster.
                let checks = [FaultKind::SharedRace, FaultKind::Uninitialised]
                    .into_iter()
                    .try_fold(Checks::all(), Checks::without)
                    .expect("these can be left out");
                let (gpu, threads) = (args.gpu, args.threads.into());
                let sim = SimDriver::new(SimOptions { gpu, checks, threads, ..SimOptions::default() });
                let mut backend = GpuBackend::new(sim, precision)?;
                made = format!("predicted for {}", gpu.name);
                tried(precision, |subject, tile| predictor.predict(&mut backend, subject, tile))?
            }
        };
        lines.extend(by);
    }
    let text = write(&format!("Made by `ham-engine kernels tiles` {}: {made}.", env!("CARGO_PKG_VERSION")), &lines);
    fsio::write_atomic(&args.out, |file| file.write_all(text.as_bytes()))?;
    say(format!("{}: {} convolutions, {made}", args.out.display(), lines.len()));
    Ok(())
}

/// The lines of a precision, for the tiles that are fastest by `times`.
fn tried(precision: Precision, mut times: impl FnMut(&Subject, TileSize) -> Result<Option<Times>>) -> Result<Vec<Row>> {
    let (subjects, tiles) = (subjects(), sizes(precision));
    let bar = ProgressBar::new((subjects.len() * tiles.len()) as u64);
    bar.set_style(ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} tiles").expect("a valid template"));
    bar.set_message(precision.suffix());
    let mut lines = Vec::new();
    for subject in &subjects {
        let mut tried = Vec::new();
        for tile in &tiles {
            tried.extend(times(subject, *tile)?.map(|times| (*tile, times)));
            bar.inc(1);
        }
        let best = |i: usize| tried.iter().min_by(|a, b| a.1[i].total_cmp(&b.1[i])).map(|(tile, _)| *tile);
        let line = BATCHES.iter().enumerate().map(|(i, batch)| Some((subject.problem(precision, *batch), best(i)?)));
        lines.extend(line.collect::<Option<Row>>());
    }
    bar.finish_and_clear();
    Ok(lines)
}
