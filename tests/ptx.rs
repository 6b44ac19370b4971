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

use ham_engine::backend::gpu::GpuBackend;
use ham_engine::gpu::Precision;
use ham_engine::gpu::kernels::{MODULES, SOURCES};
use ham_engine::gpu::sim::{SimDriver, SimOptions};
use ham_engine::perf::ptxas::{ARCHITECTURES, assemble};
use ham_engine::perf::tiles::{Predictor, Subject, TileSize};
use ham_engine::program::{Conv, Pass};
use ptx_sim::gpu::H100_SXM;
use sources::Sources;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

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
        assert!(text.contains("\n.version 7.0\n"), "{}: its PTX version could not be lowered", module.name);
        let paths = text.lines().filter(|l| l.starts_with("\t.file") && l.contains('/')).count();
        assert_eq!(paths, 0, "{}: the PTX names folders", module.name);
    }
}

#[test]
fn parameters_are_those_that_a_decoder_sees() {
    let mut count = 0;
    for module in MODULES {
        let decoded = ptx_sim::Module::load(module.ptx).unwrap().entries();
        let names = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
        let listed = names(module.entries.iter().map(|e| e.name).collect());
        assert_eq!(listed, names(decoded.iter().map(|e| &*e.name).collect()), "{}", module.name);
        for entry in module.entries {
            let params = &decoded.iter().find(|e| e.name == entry.name).unwrap().params;
            assert_eq!(entry.params, params.iter().map(|p| p.size).collect::<Vec<_>>(), "{}", entry.name);
            count += params.len();
        }
    }
    let listed = MODULES.iter().flat_map(|m| m.entries).map(|e| e.params.len()).sum::<usize>();
    assert_eq!(count, listed);
    assert!(count > 500, "{count} parameters");
    for odd in
        [".entry f(.param .u64 a, .param .v2 .u32 b)", ".entry f(.param .align 4 b)", ".entry f(u64 a)", ".entry f("]
    {
        assert!(sources::entries(odd).is_err(), "{odd}");
    }
}

#[test]
fn no_kernel_spills_on_any_architecture() {
    install::find_or_install(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_or_else(|reason| panic!("{reason}"));
    for arch in ARCHITECTURES {
        let kernels = assemble(arch).unwrap();
        let entries = MODULES.iter().map(|m| m.entries.len()).sum::<usize>();
        assert_eq!(kernels.len(), entries, "{arch}");
        for a in kernels {
            assert!(a.registers > 0, "{a:?}");
            assert_eq!((a.stack, a.spills), (0, 0), "{} on {arch}", a.kernel);
        }
    }
}

#[test]
fn tiles_are_told_apart_by_what_they_do() {
    install::find_or_install(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_or_else(|reason| panic!("{reason}"));
    let predictor = Predictor::new(&H100_SXM).unwrap();
    let mut backend = GpuBackend::new(SimDriver::new(SimOptions::default()), Precision::Bf16).unwrap();
    let conv = Conv { c: 16, k: 64, h: 6, w: 5, filter: 3, stride: 1 };
    for (pass, shortcut) in [(Pass::Fprop, Some(Conv { filter: 1, ..conv })), (Pass::Dgrad, None)] {
        let subject = Subject { pass, conv, shortcut };
        let mut times = |channels| {
            let predicted = predictor.predict(&mut backend, &subject, TileSize { pixels: 128, channels }).unwrap();
            // BATCHES is descending.
            assert!(predicted.iter().flatten().is_sorted_by(|a, b| a >= b && **b > 0.0), "{predicted:?}");
            predicted.map(|seconds| seconds[0])
        };
        assert_eq!(times(128), None, "the filter has rows for 64 channels");
        match pass {
            // 64 channels at once: a quarter of the patches.
            Pass::Fprop => assert!(times(64).unwrap() < times(16).unwrap()),
            Pass::Dgrad => assert!(times(16).is_some() && times(64).is_none(), "16 channels need no more"),
        }
    }
}

#[test]
fn a_small_network_is_profiled() {
    install::find_or_install(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_or_else(|reason| panic!("{reason}"));
    let run = |args: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ham-engine"));
        command.args(args.split_whitespace()).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
    };
    let network = "--widths 64,128 --image 3x8x8 --batch 16 --steps 3 --k-drop 1 --kept-share 0.5 --gpu a100";
    let output = run(&format!("kernels profile {network} --json"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let methods: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let [pgd_at, ham] = [&methods[0], &methods[1]];
    assert_eq!((&pgd_at["name"], &ham["name"]), (&"pgd-at".into(), &"ham".into()));
    // Stem, two blocks of two convolutions, head, and the same back: the shortcut rides along.
    assert_eq!(pgd_at["launches_per_step"], 2 * (1 + 4) + 1);
    for method in [pgd_at, ham] {
        // Tiles fit these shapes, so that nothing is multiplied but what the layers need.
        assert_eq!(method["mma_flops"].as_f64(), method["needed_flops"].as_f64(), "{}", method["name"]);
    }
    let seconds = |m: &serde_json::Value| m["epoch_seconds"].as_f64().unwrap();
    assert!(seconds(ham) < seconds(pgd_at));
    let launches = |m: &serde_json::Value| m["launches"].as_array().unwrap().clone();
    assert!(launches(ham).iter().any(|l| l["kernel"] == "compact" && l["attack_launches"] == 1));
    assert!(!launches(pgd_at).iter().any(|l| l["after_compaction"] == true));
    let shown = run(&format!("kernels profile {network}"));
    assert!(String::from_utf8_lossy(&shown.stdout).contains("A100, batch 16, bf16"));
    let unknown = run("kernels profile --gpu gtx-1080");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("known are H100 SXM, A100, RTX 4090, RTX 3060"));
    let cpu = run("kernels tiles --device cpu");
    assert_eq!(cpu.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&cpu.stderr).contains("a CPU has no tiles"));
}
