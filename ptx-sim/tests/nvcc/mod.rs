//! The PTX of programs/*.cu: finds nvcc or installs it, compiles, and keeps what it compiled.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The release whose PTX the tests are written for: another one writes other instructions, and counts differ.
const RELEASE: &str = "13.0";
/// What of the toolkit a compilation to PTX takes, as PyPI names it.
const WHEELS: [&str; 5] =
    ["nvidia-cuda-nvcc", "nvidia-cuda-runtime", "nvidia-cuda-crt", "nvidia-nvvm", "nvidia-cuda-cccl"];
const FLAGS: [&str; 4] = ["-arch=compute_80", "-ptx", "-lineinfo", "-std=c++17"];

/// The folder of the CUDA sources.
pub fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

/// The PTX of programs/`name`.cu. A test that can't have it fails, and says why.
pub fn ptx(name: &str) -> String {
    static NVCC: OnceLock<Result<(PathBuf, String), String>> = OnceLock::new();
    let nvcc = NVCC.get_or_init(find).as_ref();
    nvcc.map_err(String::clone).and_then(|nvcc| compile(nvcc, name)).unwrap_or_else(|reason| panic!("{reason}"))
}

/// Path and version text of nvcc.
fn find() -> Result<(PathBuf, String), String> {
    if let Some(nvcc) = std::env::var_os("NVCC") {
        let version = version(&nvcc).map_err(|e| format!("NVCC={}: {e}", nvcc.display()))?;
        return Ok((nvcc.into(), version));
    }
    let home = std::env::var_os("CUDA_HOME").map(|home| Path::new(&home).join("bin/nvcc"));
    for nvcc in home.into_iter().chain([PathBuf::from("nvcc")]) {
        if let Ok(version) = version(&nvcc)
            && version.contains(&format!("release {RELEASE},"))
        {
            return Ok((nvcc, version));
        }
    }
    let nvcc = install().map_err(|e| {
        format!("no nvcc {RELEASE} (set NVCC to one, or CUDA_HOME to its toolkit), and it can't be installed: {e}")
    })?;
    let version = version(&nvcc)?;
    Ok((nvcc, version))
}

fn version(nvcc: impl AsRef<OsStr>) -> Result<String, String> {
    output(Command::new(nvcc).arg("--version"))
}

/// Installs nvcc into .nvcc of the workspace, which git ignores, unless it is there.
fn install() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the crate has no parent folder")?;
    let venv = root.join(".nvcc");
    fs::create_dir_all(&venv).map_err(|e| format!("{}: {e}", venv.display()))?;
    let _lock = lock(&venv.join("lock"))?;
    // Written last, so that an installation that was cut off starts again.
    let done = venv.join(format!("release-{RELEASE}"));
    if !done.exists() {
        eprintln!("installing nvcc {RELEASE} into {}", venv.display());
        output(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let wheels = WHEELS.map(|wheel| format!("{wheel}=={RELEASE}.*"));
        output(
            Command::new(venv.join("bin/pip"))
                .args(["install", "--disable-pip-version-check", "--retries=2"])
                .args(wheels),
        )?;
        fs::write(&done, "").map_err(|e| e.to_string())?;
    }
    let python = fs::read_dir(venv.join("lib")).ok().and_then(|mut entries| entries.next()?.ok());
    let python = python.ok_or_else(|| format!("{} holds no Python", venv.display()))?;
    Ok(python.path().join("site-packages/nvidia/cu13/bin/nvcc"))
}

/// Compiles programs/`name`.cu, unless the target folder has what this nvcc makes of it.
fn compile((nvcc, version): &(PathBuf, String), name: &str) -> Result<String, String> {
    let source = programs().join(name).with_extension("cu");
    let mut hash = DefaultHasher::new();
    // The PTX holds the path.
    (version, FLAGS, &source, read(&source)?, headers()?).hash(&mut hash);

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ptx");
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let ptx = folder.join(format!("{name}-{:016x}.ptx", hash.finish()));
    // Other tests may want the same one now.
    let _lock = lock(&folder.join(name).with_extension("lock"))?;
    if !ptx.exists() {
        let draft = ptx.with_extension("draft");
        output(Command::new(nvcc).args(FLAGS).arg("-o").arg(&draft).arg(&source))?;
        fs::rename(&draft, &ptx).map_err(|e| e.to_string())?;
    }
    read(&ptx)
}

/// The texts of programs/*.cuh, any of which a source may include.
fn headers() -> Result<Vec<String>, String> {
    let files = fs::read_dir(programs()).map_err(|e| e.to_string())?;
    let mut paths: Vec<PathBuf> = files.filter_map(|f| Some(f.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "cuh"));
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// Waits until no other process holds the lock of that file; it is held as long as the file is open.
fn lock(path: &Path) -> Result<File, String> {
    let file = File::create(path).map_err(|e| format!("{}: {e}", path.display()))?;
    file.lock().map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(file)
}

/// What a command prints; its failure is one line, the last that it wrote to stderr.
fn output(command: &mut Command) -> Result<String, String> {
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
