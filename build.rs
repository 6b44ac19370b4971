//! Compiles `kernels/*.cu` to PTX and writes the table of modules that `src/gpu/kernels.rs` includes.
//!
//! With nvcc 13.0 the kernels are compiled; without one the PTX committed in `kernels/ptx` serves, as long as it was made
//! from the sources as they are.

#[path = "build/nvcc.rs"]
mod nvcc;
#[path = "build/sources.rs"]
mod sources;

use sources::Sources;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, thread};

fn main() {
    for path in ["build.rs", "build", "kernels"] {
        println!("cargo::rerun-if-changed={path}");
    }
    for variable in ["NVCC", "CUDA_HOME"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    if let Err(e) = run() {
        println!("cargo::error={e}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), String> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let sources = Sources::read(&root)?;
    let texts = match nvcc::find(&root) {
        Ok(nvcc) => compile(&sources, &nvcc, &out)?,
        Err(reason) => sources.committed().map_err(|e| format!("{reason}, and {e}"))?,
    };
    let mut table = format!("/// Hash of the sources of the kernels.\npub const SOURCES: &str = {:?};\n", sources.hash);
    table += "/// All modules.\npub static MODULES: &[Module] = &[\n";
    for (name, ptx) in sources.names.iter().zip(&texts) {
        let path = out.join(name).with_extension("ptx");
        write(&path, ptx)?;
        let entries = sources::entries(ptx).map_err(|e| format!("kernels/{name}.cu: {e}"))?;
        let entry = |(name, params)| format!("Entry {{ name: {name:?}, params: &{params:?} }}");
        let entries = entries.into_iter().map(entry).collect::<Vec<_>>().join(", ");
        writeln!(table, "    Module {{ name: {name:?}, ptx: include_str!({path:?}), entries: &[{entries}] }},")
            .map_err(|e| e.to_string())?;
    }
    write(&out.join("kernels.rs"), &(table + "];\n"))
}

/// Compiles all modules, as many at a time as there are processors.
fn compile(sources: &Sources, nvcc: &nvcc::Nvcc, out: &Path) -> Result<Vec<String>, String> {
    let workers = thread::available_parallelism().map_or(1, |n| n.get());
    let mut texts = Vec::new();
    for names in sources.names.chunks(workers) {
        thread::scope(|scope| {
            let jobs: Vec<_> = names.iter().map(|name| scope.spawn(|| sources.compile(nvcc, name, out))).collect();
            jobs.into_iter().try_for_each(|job| {
                texts.push(job.join().map_err(|_| "a compilation panicked")??);
                Ok::<(), String>(())
            })
        })?;
    }
    Ok(texts)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}
