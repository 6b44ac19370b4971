//! The PTX of programs/*.cu: finds nvcc or installs it, compiles, and keeps what it compiled.

#[path = "../../../build/install.rs"]
mod install;
#[path = "../../../build/nvcc.rs"]
#[allow(dead_code, clippy::module_inception)]
// the build script uses the rest; install.rs wants its sibling by this name
mod nvcc;

use install::lock;
use nvcc::{FLAGS, Nvcc};
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The folder of the CUDA sources.
pub fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

/// The PTX of programs/`name`.cu. A test that can't have it fails, and says why.
pub fn ptx(name: &str) -> String {
    static NVCC: OnceLock<Result<Nvcc, String>> = OnceLock::new();
    let nvcc = NVCC.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the crate has no parent folder")?;
        install::find_or_install(root)
    });
    let nvcc = nvcc.as_ref().map_err(String::clone);
    nvcc.and_then(|nvcc| compile(nvcc, name)).unwrap_or_else(|reason| panic!("{reason}"))
}

/// Compiles programs/`name`.cu, unless the target folder has what this nvcc makes of it.
fn compile(nvcc: &Nvcc, name: &str) -> Result<String, String> {
    let source = programs().join(name).with_extension("cu");
    let mut hash = DefaultHasher::new();
    // The PTX holds the path.
    (&nvcc.version, FLAGS, &source, read(&source)?, headers()?).hash(&mut hash);

    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ptx");
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let ptx = folder.join(format!("{name}-{:016x}.ptx", hash.finish()));
    // Other tests may want the same one now.
    let _lock = lock(&folder.join(name).with_extension("lock"))?;
    if !ptx.exists() {
        let draft = ptx.with_extension("draft");
        let text = nvcc.compile(&programs(), &format!("{name}.cu"), &draft)?;
        fs::write(&draft, text).and_then(|()| fs::rename(&draft, &ptx)).map_err(|e| e.to_string())?;
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
