//! What the driver's errors mean, and what to do about them.

use cudarc::driver::result::DriverError;
use cudarc::driver::sys::CUresult;

/// Cause and remedy.
pub(crate) struct Reason {
    pub(crate) cause: String,
    pub(crate) remedy: &'static str,
    /// Whether a kernel failed while it ran, and took the context with it.
    pub(crate) kernel: bool,
}

/// The one line of it.
impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.cause, self.remedy)
    }
}

const UPDATE: &str = "update the NVIDIA driver";
const REINSTALL: &str = "install the NVIDIA driver again, all of its packages";
const RESTART: &str = "restart the machine";
const MEMORY: &str = "lower --batch, or end other programs on this GPU";
const BUG: &str = "use --device cpu, and report this line";
const NVIDIA_SMI: &str = "see what nvidia-smi says";

/// What an error means.
pub(crate) fn reason(e: DriverError) -> Reason {
    use CUresult::*;
    let (cause, remedy, kernel) = match e.0 {
        CUDA_ERROR_OUT_OF_MEMORY => ("out of device memory", MEMORY, false),
        CUDA_ERROR_ILLEGAL_ADDRESS => ("illegal memory access", BUG, true),
        CUDA_ERROR_MISALIGNED_ADDRESS => ("misaligned memory access", BUG, true),
        CUDA_ERROR_ILLEGAL_INSTRUCTION => ("illegal instruction", BUG, true),
        CUDA_ERROR_INVALID_ADDRESS_SPACE => ("access to another address space", BUG, true),
        CUDA_ERROR_INVALID_PC => ("invalid program counter", BUG, true),
        CUDA_ERROR_HARDWARE_STACK_ERROR => ("corrupt call stack", BUG, true),
        CUDA_ERROR_ASSERT => ("assertion failed", BUG, true),
        CUDA_ERROR_LAUNCH_FAILED => ("the kernel was aborted", BUG, true),
        CUDA_ERROR_LAUNCH_TIMEOUT => {
            ("the display's watchdog stopped it", "lower --batch, or use a GPU without a display", true)
        }
        CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES => {
            ("the block takes more registers or shared memory than this GPU has", BUG, false)
        }
        CUDA_ERROR_ECC_UNCORRECTABLE => ("an uncorrectable memory error of the hardware", RESTART, true),
        CUDA_ERROR_NO_DEVICE => ("no GPU is visible", "see what nvidia-smi and CUDA_VISIBLE_DEVICES say", false),
        CUDA_ERROR_INVALID_DEVICE => ("there is no such GPU", "see `ham-engine devices`", false),
        CUDA_ERROR_DEVICE_UNAVAILABLE => ("the GPU is taken by another program, or off limits", NVIDIA_SMI, false),
        CUDA_ERROR_STUB_LIBRARY => {
            ("libcuda is the stub to link with", "take the folder `stubs` out of LD_LIBRARY_PATH", false)
        }
        CUDA_ERROR_SYSTEM_DRIVER_MISMATCH => ("libcuda and the kernel's driver differ in version", RESTART, false),
        CUDA_ERROR_SYSTEM_NOT_READY => ("the driver's services are not running", NVIDIA_SMI, false),
        CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE => ("this GPU can't use CUDA's compatibility package", UPDATE, false),
        CUDA_ERROR_UNSUPPORTED_PTX_VERSION => ("the driver is too old for this PTX", UPDATE, false),
        CUDA_ERROR_INVALID_PTX => ("the driver refuses the PTX", UPDATE, false),
        CUDA_ERROR_NO_BINARY_FOR_GPU => ("the PTX is not for this GPU", "compute capability 8.0 is needed", false),
        CUDA_ERROR_JIT_COMPILER_NOT_FOUND => ("the driver's PTX compiler is missing", REINSTALL, false),
        CUDA_ERROR_JIT_COMPILATION_DISABLED => {
            ("the driver may not compile PTX", "unset CUDA_DISABLE_PTX_JIT and CUDA_DISABLE_JIT", false)
        }
        CUDA_ERROR_UNKNOWN => ("the driver gives no reason", RESTART, false),
        _ => return Reason { cause: text(e), remedy: BUG, kernel: false },
    };
    Reason { cause: format!("{cause} (CUDA error {})", e.0 as u32), remedy, kernel }
}

/// The driver's own words.
fn text(e: DriverError) -> String {
    let words = e.error_string().map_or_else(|_| "no words for it".into(), |s| s.to_string_lossy().into_owned());
    format!("{words} (CUDA error {})", e.0 as u32)
}
