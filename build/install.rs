// Installing nvcc, for the tests that compile CUDA, and Python packages for others. Included beside nvcc.rs.

use super::nvcc::{Nvcc, RELEASE, find, output};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

/// What of the toolkit a compilation to PTX takes, as PyPI names it.
const WHEELS: [&str; 5] =
    ["nvidia-cuda-nvcc", "nvidia-cuda-runtime", "nvidia-cuda-crt", "nvidia-nvvm", "nvidia-cuda-cccl"];

/// The nvcc that is there, or else one installed into `root/.nvcc`, which git ignores.
pub fn find_or_install(root: &Path) -> Result<Nvcc, String> {
    let Err(reason) = find(root) else { return find(root) };
    if std::env::var_os("NVCC").is_some() {
        return Err(reason);
    }
    install(root).map_err(|e| format!("{reason}, and it can't be installed: {e}"))?;
    find(root)
}

fn install(root: &Path) -> Result<(), String> {
    venv(&root.join(".nvcc"), &format!("release-{RELEASE}"), &WHEELS.map(|wheel| format!("{wheel}=={RELEASE}.*")))
}

/// Makes a virtual environment of Python with packages from PyPI, unless it is there: then the file `done` is in it.
fn venv(venv: &Path, done: &str, packages: &[String]) -> Result<(), String> {
    fs::create_dir_all(venv).map_err(|e| format!("{}: {e}", venv.display()))?;
    let _lock = lock(&venv.join("lock"))?;
    // Written last, so that an installation that was cut off starts again.
    let done = venv.join(done);
    if !done.exists() {
        eprintln!("installing {} into {}", packages.join(", "), venv.display());
        output(Command::new("python3").args(["-m", "venv"]).arg(venv))?;
        let mut pip = Command::new(venv.join("bin/pip"));
        output(pip.args(["install", "--no-cache-dir", "--disable-pip-version-check", "--retries=2"]).args(packages))?;
        fs::write(&done, "").map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// Waits until no other process holds the lock of that file; it is held as long as the file is open.
pub fn lock(path: &Path) -> Result<File, String> {
    let file = File::create(path).map_err(|e| format!("{}: {e}", path.display()))?;
    file.lock().map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(file)
}
