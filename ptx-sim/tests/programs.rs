//! The CUDA programs, compared with plain Rust.

mod cases;
mod reference;

use cases::{Arg, Machine, Shape};
use ptx_sim::{Device, DeviceOptions, Error, Module};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fs, iter};

/// The simulator as the cases see it: a device, and the modules it has loaded.
struct Simulator {
    device: Device,
    modules: HashMap<String, Module>,
}

impl Simulator {
    fn new(seed: u64) -> Self {
        let options = DeviceOptions { seed, ..DeviceOptions::default() };
        Simulator { device: Device::new(options), modules: HashMap::new() }
    }
}

impl Machine for Simulator {
    fn upload(&mut self, bytes: &[u8]) -> u64 {
        let address = self.reserve(bytes.len());
        self.device.write(address, bytes).expect("just allocated");
        address
    }

    fn upload_read_only(&mut self, bytes: &[u8]) -> u64 {
        let address = self.upload(bytes);
        self.device.protect(address, true).expect("just allocated");
        address
    }

    fn reserve(&mut self, bytes: usize) -> u64 {
        self.device.alloc(bytes)
    }

    fn download(&mut self, address: u64, bytes: usize) -> Vec<u8> {
        let mut out = vec![0; bytes];
        self.device.read(address, &mut out).expect("initialised memory");
        out
    }

    fn launch(&mut self, program: &str, kernel: &str, shape: Shape, args: &[Arg]) -> Result<(), String> {
        if !self.modules.contains_key(program) {
            let path = programs().join("ptx").join(format!("{program}.ptx"));
            let text = fs::read_to_string(path).expect("the program's PTX");
            let module = Module::load(&text).map_err(|e| format!("Load: {e}"))?;
            self.modules.insert(program.to_owned(), module);
        }
        let args: Vec<ptx_sim::Arg> = args
            .iter()
            .map(|arg| match *arg {
                Arg::Ptr(v) | Arg::U64(v) => v.into(),
                Arg::I32(v) => v.into(),
                Arg::F32(v) => v.into(),
            })
            .collect();
        let module = &self.modules[program];
        let shape = ptx_sim::Shape { grid: shape.grid, block: shape.block, shared: shape.shared as usize };
        match self.device.launch(module, kernel, shape, &args) {
            Ok(_) => Ok(()),
            Err(Error::Fault(fault)) => Err(format!("{:?}", fault.kind)),
            Err(Error::Launch(_)) => Err("Launch".into()),
            Err(other) => Err(other.to_string()),
        }
    }
}

#[test]
fn programs_equal_their_references() {
    for seed in [1, 2, 3] {
        cases::all(&mut Simulator::new(seed), seed);
    }
}

#[test]
fn violations_are_found_and_their_twins_are_not() {
    // Enough for every kernel that ends; the endless one takes all of it.
    let missed = cases::violations::all(|| {
        let mut simulator = Simulator::new(1);
        simulator.device.options_mut().step_budget = 100_000;
        simulator
    });
    assert_eq!(missed, [""; 0]);
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

/// Stem and text of every file of that extension.
fn files(folder: &Path, extension: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = fs::read_dir(folder)
        .expect("the programs' folder")
        .map(|entry| entry.expect("a folder entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .map(|path| {
            let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (stem, fs::read_to_string(&path).expect("text"))
        })
        .collect();
    files.sort();
    files
}

/// The word that follows each `marker` in `text`.
fn words_after<'a>(text: &'a str, marker: &'a str) -> impl Iterator<Item = &'a str> {
    let end = |s: &str| s.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(s.len());
    text.split(marker).skip(1).map(move |rest| &rest[..end(rest)])
}

#[test]
fn each_source_has_its_ptx_and_each_kernel_its_entry() {
    let ptx = files(&programs().join("ptx"), "ptx");
    let sources = files(&programs(), "cu");
    assert_eq!(ptx.iter().map(|f| &f.0).collect::<Vec<_>>(), sources.iter().map(|f| &f.0).collect::<Vec<_>>());
    for ((name, ptx), (_, source)) in ptx.iter().zip(&sources) {
        let entries: Vec<&str> = words_after(ptx, ".entry ").collect();
        let twins = words_after(source, "\nTWINS(").flat_map(|k| [format!("{k}_bad"), format!("{k}_ok")]);
        let plain = source.matches("extern \"C\" __global__ ").count() + source.matches("\nKERNEL ").count();
        let defines = source.matches("#define KERNEL ").count();
        let twins: Vec<String> = twins.collect();
        assert_eq!(entries.len(), plain + twins.len() - defines, "{name}");
        for twin in twins {
            assert!(entries.contains(&twin.as_str()), "{name}: {twin}");
        }
        for bad in entries.iter().filter_map(|e| e.strip_suffix("_bad")) {
            assert!(entries.contains(&format!("{bad}_ok").as_str()), "{name}: {bad} has no twin");
        }
        assert!(
            !ptx.lines().any(|l| l.trim_start().starts_with(".file") && l.contains('/')),
            "{name}: a path in .file"
        );
    }
}

#[test]
fn each_violation_has_a_case() {
    let mut entries: Vec<String> = files(&programs().join("ptx"), "ptx")
        .iter()
        .filter(|(name, _)| name.starts_with("violations"))
        .flat_map(|(_, ptx)| {
            words_after(ptx, ".entry ").filter_map(|e| e.strip_suffix("_bad")).map(String::from).collect::<Vec<_>>()
        })
        .collect();
    let mut names = cases::violations::names();
    entries.sort();
    names.sort_unstable();
    assert_eq!(entries, names);
}

/// Known answers of the Random123 library.
#[test]
fn philox_reference() {
    assert_eq!(reference::philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    assert_eq!(reference::philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    let pi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
    let key = [0xa4093822, 0x299f31d0];
    assert_eq!(reference::philox(pi, key), [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
}

#[test]
fn rounding_reference() {
    let mut random = cases::Random(1);
    for v in iter::repeat_with(|| random.float(-60_000.0, 60_000.0)).take(10_000) {
        for v in [v, v * 1e-6, v * 1e-9] {
            assert_eq!(reference::to_f16(f64::from(v)), half::f16::from_f32(v), "{v}");
            assert_eq!(reference::to_bf16(f64::from(v)), half::bf16::from_f32(v), "{v}");
        }
    }
    // Just above a tie, by less than f32 can tell: by way of f32 it would round down to even.
    assert_eq!(reference::to_f16(1.0 + 2f64.powi(-11) + 2f64.powi(-40)).to_f32(), 1.0 + 2f32.powi(-10));
}

#[test]
fn small_references() {
    let ones = vec![1.0; 1000];
    assert_eq!(reference::reduce_sum(&ones, 3, 96).iter().sum::<f32>(), 1000.0);
    assert_eq!(reference::scan(&[1, 2, u32::MAX]), [1, 3, 2]);
    assert_eq!([1, 2, 3, 27].map(reference::collatz), [0, 1, 7, 111]);
    assert_eq!(reference::call_twice(48), 24_003);
    assert_eq!(reference::local_array(7 * 7 * 2 + 7 * 5 + 6), 652);
    assert_eq!(reference::gemm_f32(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0], 2, 2, 2), [19.0, 22.0, 43.0, 50.0]);
    assert_eq!(reference::box_sum(&[1.0, 2.0, 4.0], 1), [3.0, 7.0, 6.0]);
    let sums: f64 = reference::softmax(&[0.5, 1.5, -2.0], 3).iter().sum();
    assert!((sums - 1.0).abs() < 1e-15);
}
