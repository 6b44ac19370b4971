//! What ptxas makes of the kernels for an architecture: registers, shared memory, spills.

use crate::fsio::TEMP_PREFIX;
use crate::gpu::kernels::MODULES;
use crate::{Error, Result};
use rayon::prelude::*;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "../../build/nvcc.rs"]
#[allow(dead_code)] // the build script uses the rest
mod nvcc;

/// The architectures that kernels are looked at for.
pub const ARCHITECTURES: [&str; 6] = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"];

/// A kernel on an architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Assembled {
    /// The kernel.
    pub kernel: String,
    /// The architecture.
    pub arch: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of static shared memory of a block.
    pub shared: u32,
    /// Bytes of a thread's stack frame.
    pub stack: u32,
    /// Bytes of registers stored to and loaded from local memory.
    pub spills: u32,
}

/// Assembles all kernels for one architecture.
///
/// # Errors
/// If there is no ptxas, or it refuses a kernel.
pub fn assemble(arch: &str) -> Result<Vec<Assembled>> {
    let ptxas = find()?;
    let folder = tempfile::Builder::new().prefix(TEMP_PREFIX).tempdir();
    let folder = folder.map_err(Error::io(std::env::temp_dir(), "cannot create a folder for ptxas"))?;
    let one = |module: &crate::gpu::kernels::Module| -> Result<Vec<Assembled>> {
        let path = folder.path().join(format!("{}.ptx", module.name));
        std::fs::write(&path, module.ptx).map_err(Error::io(&path, "cannot write"))?;
        let mut command = Command::new(&ptxas);
        command.args(["-v", "-arch", arch, "-o"]).arg(path.with_extension("cubin")).arg(&path);
        let done = command.output().map_err(Error::io(&ptxas, "cannot run"))?;
        let text = String::from_utf8_lossy(&done.stderr);
        if !done.status.success() {
            let line = text.lines().find(|l| l.contains("error")).or(text.lines().next()).unwrap_or("failed");
            return Err(Error::Device { what: format!("ptxas: {}.cu for {arch}: {}", module.name, line.trim()) });
        }
        Ok(parse(&text, arch))
    };
    let all: Vec<Vec<Assembled>> = MODULES.par_iter().map(one).collect::<Result<_>>()?;
    Ok(all.concat())
}

/// ptxas beside the nvcc that the build would take.
fn find() -> Result<PathBuf> {
    let nvcc = nvcc::find(Path::new(".")).map_err(|reason| Error::Device { what: format!("ptxas: {reason}") })?;
    Ok(nvcc.path.with_file_name(if cfg!(windows) { "ptxas.exe" } else { "ptxas" }))
}

/// The number before `unit` in a line, such as 32 before ` registers`.
fn number(line: &str, unit: &str) -> u32 {
    let Some(at) = line.find(unit) else { return 0 };
    line[..at].rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Reads what `ptxas -v` says.
fn parse(text: &str, arch: &str) -> Vec<Assembled> {
    let mut all: Vec<Assembled> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.split("Compiling entry function '").nth(1).and_then(|rest| rest.split('\'').next()) {
            all.push(Assembled { kernel: name.into(), arch: arch.into(), ..Assembled::default() });
        } else if let Some(last) = all.last_mut() {
            if line.contains("stack frame") {
                last.stack = number(line, " bytes stack frame");
                last.spills = number(line, " bytes spill stores") + number(line, " bytes spill loads");
            } else if line.contains(" registers") {
                last.registers = number(line, " registers");
                last.shared = number(line, " bytes smem");
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_ptxas_is_read() {
        let text = "ptxas info    : 0 bytes gmem\n\
            ptxas info    : Compiling entry function 'start' for 'sm_80'\n\
            ptxas info    : Function properties for start\n    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads\n\
            ptxas info    : Used 32 registers, used 1 barriers, 48 bytes smem, 400 bytes cmem[0]\n\
            ptxas info    : Compile time = 3.4 ms\n";
        let want =
            Assembled { kernel: "start".into(), arch: "sm_80".into(), registers: 32, shared: 48, stack: 8, spills: 16 };
        assert_eq!(parse(text, "sm_80"), [want]);
    }
}
