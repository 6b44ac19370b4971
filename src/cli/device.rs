//! Where to compute: the options, and the backend that they choose.

use super::options::{Selected, Selection, Taken, take};
use crate::backend::Backend;
use crate::backend::cpu::CpuBackend;
use crate::backend::gpu::GpuBackend;
use crate::gpu::Precision;
use crate::gpu::cuda::CudaDriver;
use crate::gpu::devices::Cuda;
use crate::gpu::sim::{SimDriver, SimOptions};
use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// Where to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Device {
    /// The first GPU that can be used, else the cores.
    #[default]
    Auto,
    /// This machine's cores.
    Cpu,
    /// An NVIDIA GPU, by its number.
    Cuda(u32),
    /// A simulated GPU.
    Sim,
}

impl FromStr for Device {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Self, String> {
        let unknown = || format!("unknown device `{s}`: known are auto, cpu, cuda, cuda:NUMBER and sim");
        match s.split_once(':') {
            None if s == "auto" => Ok(Device::Auto),
            None if s == "cpu" => Ok(Device::Cpu),
            None if s == "cuda" => Ok(Device::Cuda(0)),
            None if s == "sim" => Ok(Device::Sim),
            Some(("cuda", n)) => n.parse().map(Device::Cuda).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(n) => write!(f, "cuda:{n}"),
            Device::Sim => f.write_str("sim"),
        }
    }
}

/// Options of every command that computes.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DeviceArgs {
    /// Where to compute: auto, cpu, cuda, cuda:NUMBER, or sim, which executes the GPU's kernels on the CPU, slowly
    #[arg(long, value_name = "DEVICE", default_value_t, help_heading = "Run")]
    device: Device,
    /// CPU threads; results don't depend on it (0: one per core)
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1024),
        help_heading = "Run")]
    threads: u16,
}

/// What a command does with whatever backend its options choose.
pub(super) trait Job {
    /// Runs it; `open` makes a backend, each time a new one.
    fn run<B: Backend>(self, open: impl Fn() -> Result<B>) -> Result<()>;
}

impl DeviceArgs {
    /// CPU threads, at least one.
    pub(super) fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n.into(),
        }
    }

    /// Runs a job on the chosen device.
    pub(super) fn run(&self, precision: Precision, job: impl Job) -> Result<()> {
        let threads = self.threads.into();
        match self.device {
            Device::Sim => {
                let sim = || SimDriver::new(SimOptions { threads, ..SimOptions::default() });
                job.run(|| GpuBackend::new(sim(), precision))
            }
            Device::Cuda(number) => job.run(|| GpuBackend::new(CudaDriver::open(number)?, precision)),
            Device::Auto if let Some(number) = Cuda::detect().first_usable() => {
                job.run(|| GpuBackend::new(CudaDriver::open(number)?, precision))
            }
            Device::Auto | Device::Cpu if precision == Precision::Fp32 => job.run(|| CpuBackend::new(threads)),
            Device::Auto => Err(Error::usage("--precision bf16 needs a GPU, and none can be used here")),
            Device::Cpu => Err(Error::usage("--precision bf16 needs --device cuda (or sim); a CPU computes in fp32")),
        }
    }
}

/// The option of commands whose precision no run decides.
pub(super) struct PrecisionAlone;

impl Selection for PrecisionAlone {
    fn rows() -> Vec<Taken> {
        vec![
            take("precision")
                .about("Element type of activations on a GPU")
                .heading("Run")
                .or_value(Precision::Fp32.name()),
        ]
    }
}

impl Selected<PrecisionAlone> {
    pub(super) fn precision(&self) -> Precision {
        self.options.precision.expect("there is a default")
    }
}
