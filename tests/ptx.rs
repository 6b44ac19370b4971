//! The PTX in `kernels/ptx` is what nvcc makes of `kernels/*.cu`, every kernel has a launcher that a parity test reaches, and
//! what is built in is the same text.
//!
//! After a change of a kernel: `UPDATE_PTX=1 cargo test --test ptx`.

#[path = "../build/install.rs"]
mod install;
#[path = "../build/nvcc.rs"]
#[allow(dead_code)] // each includer uses a part of it
mod nvcc;
#[path = "../build/sources.rs"]
mod sources;

use ham_engine::gpu::kernels::{MODULES, SOURCES};
use sources::Sources;
use std::fs;
use std::path::Path;

#[test]
fn the_committed_ptx_is_that_of_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = Sources::read(root).unwrap();
    let nvcc = install::find_or_install(root).unwrap_or_else(|reason| panic!("{reason}"));
    assert!(nvcc.is_release(), "{} is not of release {}", nvcc.path.display(), nvcc::RELEASE);
    let out = tempfile::tempdir().unwrap();
    let texts: Vec<String> = sources.names.iter().map(|n| sources.compile(&nvcc, n, out.path()).unwrap()).collect();
    let folder = sources.committed_folder();
    if std::env::var_os("UPDATE_PTX").is_some() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in sources.names.iter().zip(&texts) {
            fs::write(folder.join(name).with_extension("ptx"), text).unwrap();
        }
        fs::write(folder.join("SOURCES"), format!("{}\n", sources.hash)).unwrap();
    }
    let committed = sources.committed().unwrap_or_else(|e| panic!("{e}; run UPDATE_PTX=1 cargo test --test ptx"));
    for ((name, text), committed) in sources.names.iter().zip(&texts).zip(&committed) {
        assert!(text == committed, "{name}: the committed PTX differs; run UPDATE_PTX=1 cargo test --test ptx");
    }
    let files = fs::read_dir(&folder).unwrap().count();
    assert_eq!(files, sources.names.len() + 1, "{} holds PTX of no source", folder.display());

    assert_eq!(SOURCES, sources.hash, "the hash built in");
    let names: Vec<&str> = MODULES.iter().map(|m| m.name).collect();
    assert_eq!(names, sources.names, "modules built in");
    for (module, text) in MODULES.iter().zip(&texts) {
        assert!(module.ptx == text, "{}: the PTX built in differs", module.name);
        assert_eq!(module.entries, sources::entries(text).collect::<Vec<_>>());
        assert!(text.contains("\n.version 7.0\n"), "{}: its PTX version could not be lowered", module.name);
        let paths = text.lines().filter(|l| l.starts_with("\t.file") && l.contains('/')).count();
        assert_eq!(paths, 0, "{}: the PTX names folders", module.name);
    }
}
