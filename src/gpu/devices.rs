//! What there is to compute on: the CUDA driver and its GPUs.

use super::cuda::errors::reason;
use super::kernels::MODULES;
use crate::{Error, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute};
use serde::Serialize;

/// The least compute capability: the kernels copy asynchronously and multiply bf16 on tensor cores.
pub const CAPABILITY: Version = Version(8, 0);
/// The least CUDA version of a driver: it has all entry points that are called.
const DRIVER: Version = Version(11, 4);

/// Every entry point of libcuda that is called; one that is missing would be a panic.
pub const ENTRY_POINTS: [&str; 35] = [
    "cuCtxSetCurrent",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuFuncGetAttribute",
    "cuFuncSetAttribute",
    "cuGetErrorString",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphUpload",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadDataEx",
    "cuModuleUnload",
    "cuProfilerStart",
    "cuProfilerStop",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamSynchronize",
];

/// A major and a minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A GPU.
#[derive(Clone, Debug, Serialize)]
pub struct GpuInfo {
    /// Its number, as CUDA counts.
    pub ordinal: u32,
    /// NVIDIA's name of it.
    pub name: String,
    /// What its instruction set is.
    pub compute_capability: Version,
    /// Bytes of memory, free or not.
    pub memory: usize,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Most bytes of shared memory of a block.
    pub shared_memory: usize,
}

impl GpuInfo {
    /// As messages name it.
    pub fn label(&self) -> String {
        format!("cuda:{} ({})", self.ordinal, self.name)
    }

    /// Why the kernels can't run on it, if so.
    pub fn unusable(&self) -> Option<String> {
        (self.compute_capability < CAPABILITY)
            .then(|| format!("has compute capability {}, {CAPABILITY} or later is needed", self.compute_capability))
    }
}

/// What CUDA offers.
#[derive(Clone, Debug, Serialize)]
pub struct Cuda {
    /// The newest CUDA that the driver supports.
    pub driver: Option<Version>,
    /// Why nothing runs on CUDA here, if so.
    pub missing: Option<String>,
    /// All GPUs, usable or not.
    pub gpus: Vec<GpuInfo>,
}

impl Cuda {
    /// Asks the driver.
    pub fn detect() -> Cuda {
        let mut cuda = Cuda { driver: None, missing: None, gpus: Vec::new() };
        let found = init(&mut cuda.driver).and_then(|()| (0..count()?).map(info).collect::<Result<Vec<_>>>());
        match found {
            Ok(gpus) => cuda.gpus = gpus,
            Err(e) => cuda.missing = Some(e.to_string()),
        }
        cuda
    }

    /// Number of the first GPU that the kernels can run on.
    pub fn first_usable(&self) -> Option<u32> {
        self.gpus.iter().find(|g| g.unusable().is_none()).map(|g| g.ordinal)
    }
}

fn error(what: impl Into<String>) -> Error {
    Error::Device { what: what.into() }
}

fn failed(e: DriverError) -> Error {
    error(format!("CUDA: {}", reason(e)))
}

/// The GPU of that number.
///
/// # Errors
/// If CUDA can't be used, or there is no such GPU.
pub fn gpu(ordinal: u32) -> Result<GpuInfo> {
    init(&mut None)?;
    let n = count()?;
    if ordinal >= n {
        let range = if n == 1 { "the only GPU is cuda:0".into() } else { format!("GPUs are cuda:0 to cuda:{}", n - 1) };
        return Err(error(format!("cuda:{ordinal}: no such GPU; {range}")));
    }
    info(ordinal)
}

/// Loads libcuda and starts it, unless that is done, and sets its version.
fn init(version: &mut Option<Version>) -> Result<()> {
    // SAFETY: runs the initialisers of NVIDIA's library, which are made to be run at any time.
    if !unsafe { sys::is_culib_present() } {
        let what = "no CUDA driver: libcuda was not found; install the NVIDIA driver, or use --device cpu";
        return Err(error(what));
    }
    // SAFETY: as above; it is present, so that this does not panic.
    let library = unsafe { sys::culib() };
    for name in ENTRY_POINTS {
        // SAFETY: only asked for, never called.
        if unsafe { library.get::<unsafe extern "C" fn()>(name) }.is_err() {
            return Err(error(format!(
                "CUDA: libcuda has no {name}; update the NVIDIA driver to CUDA {DRIVER} or later"
            )));
        }
    }
    let mut raw = 0;
    // SAFETY: writes the version to where it is told.
    unsafe { sys::cuDriverGetVersion(&mut raw) }.result().map_err(failed)?;
    let found = Version(raw as u32 / 1000, raw as u32 % 1000 / 10);
    *version = Some(found);
    let needed = MODULES.iter().filter_map(|m| driver_of(m.ptx)).fold(DRIVER, Version::max);
    if found < needed {
        let what = format!("CUDA: the NVIDIA driver supports CUDA {found}, {needed} or later is needed; update it");
        return Err(error(what));
    }
    result::init().map_err(failed)
}

/// The CUDA version whose driver compiles that PTX.
fn driver_of(ptx: &str) -> Option<Version> {
    let version = ptx.lines().find_map(|line| line.strip_prefix(".version "))?;
    let (major, minor) = version.trim().split_once('.')?;
    let minor = minor.parse().ok()?;
    Some(match major.parse().ok()? {
        // PTX 8.5 came with CUDA 12.5 and 12.6.
        8 if minor > 5 => Version(12, minor + 1),
        major => Version(major + 4, minor),
    })
}

/// How many GPUs there are: one at least.
fn count() -> Result<u32> {
    match result::device::get_count().map_err(failed)? {
        n if n > 0 => Ok(n as u32),
        _ => Err(failed(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE))),
    }
}

fn info(ordinal: u32) -> Result<GpuInfo> {
    let ask = || -> std::result::Result<GpuInfo, DriverError> {
        use CUdevice_attribute::*;
        let device = result::device::get(ordinal as i32)?;
        // SAFETY: the driver has just given this device.
        let attribute = |a| unsafe { result::device::get_attribute(device, a) }.map(|v| v as u32);
        Ok(GpuInfo {
            ordinal,
            name: result::device::get_name(device)?,
            compute_capability: Version(
                attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            ),
            // SAFETY: as above.
            memory: unsafe { result::device::total_mem(device) }?,
            multiprocessors: attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_memory: attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)? as usize,
        })
    };
    ask().map_err(|e| error(format!("cuda:{ordinal}: {}", reason(e))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ptx_versions_came_with_these_drivers() {
        for (ptx, cuda) in [
            ("7.0", Version(11, 0)),
            ("7.8", Version(11, 8)),
            ("8.0", Version(12, 0)),
            ("8.5", Version(12, 5)),
            ("8.7", Version(12, 8)),
            ("9.0", Version(13, 0)),
        ] {
            assert_eq!(driver_of(&format!("//\n.version {ptx}\n.target sm_80\n")), Some(cuda));
        }
        assert_eq!(driver_of("no PTX"), None);
    }
}
