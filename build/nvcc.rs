// Finding nvcc and making PTX with it. Shared by build.rs and by the tests that compile CUDA (which install it first).

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release whose PTX is committed and tested: another one writes other instructions.
pub const RELEASE: &str = "13.0";
/// Flags of every compilation: the oldest architecture with cp.async and bf16 mma; later ones compile its PTX at load.
pub const FLAGS: [&str; 4] = ["-arch=compute_80", "-ptx", "-lineinfo", "-std=c++17"];
/// The oldest PTX version that has all that the kernels use, so that older drivers load it too.
pub const PTX_VERSION: &str = "7.0";

/// An nvcc and the text that it prints for `--version`.
#[derive(Clone, Debug)]
pub struct Nvcc {
    /// The program.
    pub path: PathBuf,
    /// What it says of itself.
    pub version: String,
}

impl Nvcc {
    fn at(path: impl AsRef<OsStr>) -> Result<Nvcc, String> {
        let version = output(Command::new(&path).arg("--version"))?;
        Ok(Nvcc { path: path.as_ref().into(), version })
    }

    /// Whether it is of [`RELEASE`].
    pub fn is_release(&self) -> bool {
        self.version.contains(&format!("release {RELEASE},"))
    }

    /// Compiles `folder/name` (a .cu file).
    pub fn compile(&self, folder: &Path, name: &str, draft: &Path) -> Result<String, String> {
        output(Command::new(&self.path).current_dir(folder).args(FLAGS).arg("-o").arg(draft).arg(name))?;
        fs::read_to_string(draft).map_err(|e| format!("{}: {e}", draft.display()))
    }

    /// The same PTX under [`PTX_VERSION`], if ptxas beside this nvcc accepts it.
    pub fn lowered(&self, ptx: &str, draft: &Path) -> Result<Option<String>, String> {
        // A hint of 8.3: which bytes of a vector load are used.
        let hint = |line: &&str| !line.trim_start().starts_with(".pragma \"used_bytes_mask");
        let lowered: String = ptx
            .split_inclusive('\n')
            .filter(hint)
            .map(|line| if line.starts_with(".version ") { format!(".version {PTX_VERSION}\n") } else { line.into() })
            .collect();
        fs::write(draft, &lowered).map_err(|e| format!("{}: {e}", draft.display()))?;
        let ptxas = self.path.with_file_name("ptxas");
        let cubin = draft.with_extension("cubin");
        let accepted = output(Command::new(ptxas).arg("-arch=sm_80").arg("-o").arg(&cubin).arg(draft));
        let _ = fs::remove_file(&cubin);
        Ok(accepted.is_ok().then_some(lowered))
    }
}

/// The nvcc of `$NVCC`, of `$CUDA_HOME`, of the `PATH`, or of `root/.nvcc` where [`install`] puts it.
pub fn find(root: &Path) -> Result<Nvcc, String> {
    if let Some(nvcc) = std::env::var_os("NVCC") {
        return Nvcc::at(&nvcc).map_err(|e| format!("NVCC={}: {e}", nvcc.display()));
    }
    let home = std::env::var_os("CUDA_HOME").map(|home| Path::new(&home).join("bin/nvcc"));
    let places = home.into_iter().chain([PathBuf::from("nvcc")]).chain(installed(root));
    places
        .into_iter()
        .find_map(|nvcc| Nvcc::at(nvcc).ok().filter(Nvcc::is_release))
        .ok_or_else(|| format!("no nvcc {RELEASE} (set NVCC to one, or CUDA_HOME to its toolkit)"))
}

/// The nvcc in `root/.nvcc`, if [`install`] finished there.
pub fn installed(root: &Path) -> Option<PathBuf> {
    let venv = root.join(".nvcc");
    if !venv.join(format!("release-{RELEASE}")).exists() {
        return None;
    }
    let python = fs::read_dir(venv.join("lib")).ok()?.next()?.ok()?;
    Some(python.path().join("site-packages/nvidia/cu13/bin/nvcc"))
}

/// What a command prints; its failure is one line, the last that it wrote to stderr.
pub fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command.output().map_err(|e| format!("{program}: {e}"))?;
    if !done.status.success() {
        let text = String::from_utf8_lossy(&done.stderr);
        // Errors of nvcc come before its summary, those of pip last: what names an error tells most.
        let line = text.lines().rfind(|l| l.to_lowercase().contains("error")).or(text.lines().last());
        return Err(format!("{program}: {} ({})", line.unwrap_or("failed").trim(), done.status));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
