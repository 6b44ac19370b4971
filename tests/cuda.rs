//! The driver of real GPUs, from `dlopen` on, against a libcuda that `ptx-sim` is behind (see `fake-cuda`).
//!
//! What uses CUDA runs in a child process, whose loader finds that library: `ham-engine` itself, or this test program again
//! with one of the roles of [`child`].
#![cfg(target_os = "linux")]

#[path = "cli/common.rs"]
mod common;

use common::{BIN, TINY, dataset, failed, succeeded, tensors};
use ham_engine::Result;
use ham_engine::backend::Backend;
use ham_engine::backend::gpu::{Compiled, GpuBackend};
use ham_engine::batch::{Batch, Resident, control};
use ham_engine::gpu::Precision;
use ham_engine::gpu::cuda::CudaDriver;
use ham_engine::gpu::devices::ENTRY_POINTS;
use ham_engine::gpu::driver::{Command as Step, Driver, Launch};
use ham_engine::gpu::sim::{SimDriver, SimOptions};
use ham_engine::ops::Program;
use ham_engine::ops::start::{Draw, Noise, Start};
use ham_engine::program::{Buf, Buffers, DType, Phase, Shape};
use ham_engine::results::{AttackResult, Report};
use ham_engine::rng::{Philox, Stream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROLE: &str = "HAM_ENGINE_TEST_ROLE";
const CAPACITY: usize = 5;
const IMAGE: Shape = Shape { c: 3, h: 5, w: 33 };
/// A context that leaves nothing behind says so.
const CLEAN: &str = "left: 0 streams, 0 allocations, 0 modules, 0 graphs, 0 executable graphs";

/// A folder whose libcuda.so hides every other.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(library: &Path) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(library, folder.path("libcuda.so")).unwrap();
        folder
    }

    /// With the fake; what it is asked for goes to `log` there.
    fn fake() -> Folder {
        // Cargo builds it beside this program, as a dependency.
        let program = std::env::current_exe().unwrap();
        Folder::new(&program.with_file_name("libfake_cuda.so"))
    }

    /// Files under all names that libcuda is looked for, none of which can be loaded.
    fn empty() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        for name in ["cuda", "nvcuda"].into_iter().flat_map(cudarc::get_lib_name_candidates) {
            std::fs::write(folder.path(&name), "").unwrap();
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, program: impl AsRef<std::ffi::OsStr>, args: &[&str], settings: &[(&str, &str)]) -> Output {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.0.path())
            .env("LD_LIBRARY_PATH", self.0.path())
            .env("FAKE_CUDA_LOG", self.path("log"));
        command.env_remove("CUDA_LAUNCH_BLOCKING").env_remove("NVTX_INJECTION64_PATH");
        command.envs(settings.iter().copied()).output().unwrap()
    }

    /// `ham-engine`.
    fn program(&self, args: &[&str], settings: &[(&str, &str)]) -> Output {
        self.run(BIN, args, settings)
    }

    /// This program in a role.
    fn child(&self, role: &str, settings: &[(&str, &str)]) -> Output {
        let settings: Vec<_> = settings.iter().copied().chain([(ROLE, role)]).collect();
        self.run(std::env::current_exe().unwrap(), &["child", "--exact", "--nocapture"], &settings)
    }

    fn log(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

/// Does what its role says; as a test of its own, nothing.
#[test]
fn child() {
    let result = match std::env::var(ROLE).as_deref() {
        Err(_) => return,
        Ok("equal") => equal(),
        Ok("profiled") => profiled(),
        Ok("start") => CudaDriver::open(0).and_then(|cuda| starts(cuda, 2).map(|_| ())),
        Ok("second") => CudaDriver::open(1).map(|_| ()),
        Ok("large") => large(),
        Ok("pair") => changed(|launches| launches.push(launches[0].clone())),
        Ok("shared") => changed(|launches| with_launch(launches, |l| l.shared = 60_000)),
        Ok("block") => changed(|launches| with_launch(launches, |l| l.block = [2048, 1, 1])),
        Ok("arguments") => changed(|launches| with_launch(launches, |l| l.args.truncate(3))),
        Ok(role) => panic!("no role {role}"),
    };
    if let Err(e) = result {
        eprintln!("ham-engine: {e}");
        std::process::exit(2);
    }
}

/// The kernel `start` over a batch, as often as wanted, each time for another epoch: the bits after each.
fn starts<D: Driver>(driver: D, times: u32) -> Result<Vec<Vec<u32>>> {
    let (mut b, control, mut compiled, x_adv) = compiled(driver)?;
    (0..times)
        .map(|epoch| {
            b.write(control, 0, &[0u32, 0, epoch])?;
            b.replay(&mut compiled)?;
            b.read_all::<u32>(x_adv)
        })
        .collect()
}

/// A backend, where the epoch is, the compiled kernel, and its output as bits.
type Recorded<D> = (GpuBackend<D>, Buf, Compiled<D>, Buf);

fn compiled<D: Driver>(driver: D) -> Result<Recorded<D>> {
    let mut b = GpuBackend::new(driver, Precision::Fp32)?;
    let mut batch = Batch::alloc(&mut b, CAPACITY, IMAGE, 2, 1)?;
    let data = Resident {
        images: b.alloc(DType::F32, IMAGE.len())?,
        labels: b.alloc(DType::U32, 1)?,
        order: b.alloc(DType::U32, 1)?,
        control: b.alloc(DType::U32, control::LEN)?,
    };
    b.write(batch.live, 0, &[4u32, 5])?;
    b.write(batch.position, 0, &[4u32, 0, 3, 1])?;
    b.write(batch.sample, 0, &[70_000u32, 3, 5, 0, u32::MAX])?;
    let x: Vec<f32> = (0..CAPACITY * IMAGE.len()).map(|i| (i % 101) as f32 / 100.0).collect();
    b.write(batch.x, 0, &x)?;
    let noise = Some(Draw { noise: Noise::Uniform(0.1), rng: Philox::new(7), stream: Stream::Attack });
    let mut program = Program::new(CAPACITY, batch.live);
    program.push(Start { image: IMAGE, batch, data, noise });
    let compiled = b.compile(program)?;
    batch.x_adv.dtype = DType::U32;
    Ok((b, data.control, compiled, batch.x_adv))
}

fn equal() -> Result<()> {
    let cuda = CudaDriver::open(0)?;
    assert_eq!(cuda.name(), "cuda:0 (Fake H100)");
    let got = starts(cuda, 2)?;
    let want = starts(SimDriver::new(SimOptions::default()), 2)?;
    assert!(got == want, "CUDA differs from the simulator");
    assert_ne!(got[0], got[1], "both epochs start alike");
    assert!(got[0].iter().any(|v| *v != 0));
    Ok(())
}

/// Two drivers on one GPU; ranges, a traced replay between two others, and the profiler told of it.
fn profiled() -> Result<()> {
    let other = CudaDriver::open(0)?;
    let (mut b, control, mut compiled, x_adv) = compiled(CudaDriver::open(0)?)?;
    assert_eq!(b.take_time(Phase::Attack)?.as_nanos(), 0);
    let mut commands = vec![Step::Push("mini-batch".into()), Step::Push("at\0tack".into())];
    commands.extend(compiled.commands.iter().cloned());
    commands.extend([Step::Pop, Step::Pop]);
    let mut graph = b.driver.prepare(commands)?;
    let mut results = Vec::new();
    for traced in [false, true] {
        b.write(control, 0, &[0u32, 0, 5])?;
        b.write(x_adv, 0, &vec![0u32; x_adv.len])?;
        b.driver.profile(traced)?;
        b.driver.replay(&mut graph, traced)?;
        results.push(b.read_all::<u32>(x_adv)?);
    }
    b.driver.profile(false)?;
    drop(other);
    b.replay(&mut compiled)?;
    results.push(b.read_all::<u32>(x_adv)?);
    assert!(results[0].iter().any(|v| *v != 0));
    assert!(results.iter().all(|r| *r == results[0]));
    Ok(())
}

fn large() -> Result<()> {
    let mut cuda = CudaDriver::open(0)?;
    let free = cuda.free_memory()?;
    let memory = cuda.alloc(3 << 20)?;
    assert_eq!(free - cuda.free_memory()?, 3 << 20);
    assert_eq!(CudaDriver::address(&memory) % 256, 0);
    let mut end = [1; 2];
    cuda.read(CudaDriver::address(&memory) + (3 << 20) - 2, &mut end)?;
    assert_eq!(end, [0; 2], "memory is zero at first");
    // Freed while the stream still has to clear it.
    drop(cuda.alloc(1 << 20)?);
    cuda.alloc(64 << 20).map(|_| ())
}

fn with_launch(steps: &mut [Step], change: impl Fn(&mut Launch)) {
    steps.iter_mut().for_each(|step| {
        if let Step::Launch(launch) = step {
            change(launch);
        }
    });
}

/// Runs the commands of `start` with something changed.
fn changed(change: impl Fn(&mut Vec<Step>)) -> Result<()> {
    let (mut b, _, compiled, x_adv) = compiled(CudaDriver::open(0)?)?;
    let mut commands = compiled.commands.clone();
    change(&mut commands);
    let mut graph = b.driver.prepare(commands)?;
    b.driver.replay(&mut graph, false)?;
    b.read_all::<u32>(x_adv).map(|_| ())
}

fn count(log: &[String], line: &str) -> usize {
    log.iter().filter(|l| *l == line).count()
}

#[track_caller]
fn clean(log: &[String]) {
    let refused = log.iter().find(|line| line.starts_with("refused"));
    assert_eq!(refused, None, "the driver did what it should not");
    assert_eq!(log.last().map(String::as_str), Some(CLEAN));
}

#[test]
fn start_is_the_same_on_cuda_and_in_the_simulator() {
    let folder = Folder::fake();
    succeeded("equal", folder.child("equal", &[]));
    let log = folder.log();
    clean(&log);
    let calls =
        ["cuModuleLoadDataEx", "cuLaunchKernel", "cuGraphInstantiateWithFlags", "cuGraphUpload", "cuGraphLaunch"];
    assert_eq!(calls.map(|c| count(&log, c)), [1, 1, 1, 1, 2], "one launch is captured and replayed");
    let unknown = log.iter().find(|l| l.starts_with("cu") && !ENTRY_POINTS.contains(&l.as_str()));
    assert_eq!(unknown, None, "an entry point that is not checked for at the start");
    let last = |call: &str| log.iter().rposition(|l| l == call).unwrap_or_else(|| panic!("no {call}"));
    let order = ["cuModuleUnload", "cuStreamDestroy_v2", "cuDevicePrimaryCtxRelease_v2"].map(last);
    assert!(order.is_sorted() && last("cuGraphExecDestroy").max(last("cuMemFree_v2")) < order[0], "order of the end");
}

#[test]
fn a_traced_replay_shows_ranges_to_a_profiler() {
    let folder = Folder::fake();
    let library = folder.path("libcuda.so");
    succeeded("profiled", folder.child("profiled", &[("NVTX_INJECTION64_PATH", library.to_str().unwrap())]));
    let log = folder.log();
    clean(&log);
    let shown = ["push", "pop", "cuProfiler", "cuLaunchKernel", "cuGraphLaunch"];
    let shown: Vec<&str> = log.iter().map(String::as_str).filter(|l| shown.iter().any(|s| l.starts_with(s))).collect();
    let expected = "cuLaunchKernel cuLaunchKernel cuProfilerStop cuGraphLaunch cuProfilerStart \
        push_mini-batch push_at cuLaunchKernel pop pop cuProfilerStop cuGraphLaunch";
    assert_eq!(shown.join(",").replace(' ', "_").replace(',', " "), expected);

    let alone = Folder::fake();
    succeeded("profiled", alone.child("profiled", &[]));
    assert!(!alone.log().iter().any(|l| l.starts_with("push") || l.starts_with("pop")));
    // A profiler that can't be loaded, or is none.
    for path in ["/nowhere.so", "/dev/null", &a_library()] {
        succeeded(path, alone.child("profiled", &[("NVTX_INJECTION64_PATH", path)]));
    }
}

#[test]
fn devices_lists_gpus_and_says_what_is_missing() {
    let fake = Folder::fake();
    let table = succeeded("devices", fake.program(&["devices"], &[]));
    let gpu = "cuda:0 ┆ Fake H100, compute capability 9.0, 16.0 GiB, 132 SMs";
    for part in [gpu, "cpu ", "sim ", "The NVIDIA driver supports CUDA 13.0."] {
        assert!(table.contains(part), "{part} in {table}");
    }
    let json = succeeded("devices --json", fake.program(&["devices", "--json"], &[("FAKE_CUDA_DEVICES", "2")]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["cuda"]["driver"], "13.0");
    assert_eq!(json["cuda"]["missing"], serde_json::Value::Null);
    let gpu = &json["cuda"]["gpus"][1];
    assert_eq!((&gpu["device"], &gpu["name"]), (&"cuda:1".into(), &"Fake H100".into()));
    assert_eq!((&gpu["memory"], &gpu["multiprocessors"]), (&(16u64 << 30).into(), &132.into()));
    assert_eq!((&gpu["compute_capability"], &gpu["unusable"]), (&"9.0".into(), &serde_json::Value::Null));
    assert!(json["cpu"]["threads"].as_u64() > Some(0) && json["cpu"]["simd"].is_string());

    for (setting, text) in [
        (("FAKE_CUDA_CAPABILITY", "7.5"), "has compute capability 7.5, 8.0 or later is needed"),
        (("FAKE_CUDA_DRIVER", "11020"), "the NVIDIA driver supports CUDA 11.2, 11.4 or later is needed; update it"),
        (("FAKE_CUDA_DEVICES", "0"), "CUDA: no GPU is visible (CUDA error 100); see what nvidia-smi"),
    ] {
        let table = succeeded(text, fake.program(&["devices"], &[setting]));
        assert!(table.contains(text) && table.contains("cpu "), "{text} in {table}");
    }
    let table = succeeded("devices", Folder::empty().program(&["devices"], &[]));
    assert!(table.contains("no CUDA driver: libcuda was not found; install the NVIDIA driver"), "{table}");
}

/// A library that every program has and that is neither CUDA nor a profiler.
fn a_library() -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    paths.filter(|path| path.contains(".so")).find(|path| path.contains("libc.")).unwrap().to_owned()
}

#[test]
fn no_libcuda_is_one_line() {
    let line = "no CUDA driver: libcuda was not found; install the NVIDIA driver, or use --device cpu";
    failed("none", Folder::empty().child("start", &[]), line);
    let other = Folder::new(Path::new(&a_library()));
    failed(
        "another",
        other.child("start", &[]),
        "libcuda has no cuCtxSetCurrent; update the NVIDIA driver to CUDA 11.4",
    );
}

#[test]
fn every_fault_is_one_line_and_leaves_nothing_behind() {
    let log = "ptxas fatal   : Unsupported .version 7.0; current version is '6.5'";
    let (blocking, load) = (("CUDA_LAUNCH_BLOCKING", "1"), format!("222:\n{log}\nand more"));
    let start = "cuda:0 (Fake H100): start (3x5x33)";
    type Settings<'a> = &'a [(&'a str, &'a str)];
    #[rustfmt::skip]
    let faults: &[(&str, Settings, &str)] = &[
        ("start", &[("FAKE_CUDA_DEVICES", "0")], "CUDA: no GPU is visible"),
        ("start", &[("FAKE_CUDA_INIT", "34")], "CUDA: libcuda is the stub to link with (CUDA error 34); take"),
        ("start", &[("FAKE_CUDA_INIT", "803")], "differ in version (CUDA error 803); restart the machine"),
        ("start", &[("FAKE_CUDA_INIT", "304")], "CUDA: an error (CUDA error 304); use --device cpu"),
        ("second", &[], "cuda:1: no such GPU; the only GPU is cuda:0"),
        ("start", &[("FAKE_CUDA_CAPABILITY", "7.5")], "cuda:0 (Fake H100) has compute capability 7.5, 8.0 or later is needed"),
        ("start", &[("FAKE_CUDA_DRIVER", "11020")], "supports CUDA 11.2, 11.4 or later is needed"),
        ("start", &[("FAKE_CUDA_CONTEXT", "2")], "cuda:0 (Fake H100): can't be opened: out of device memory"),
        ("large", &[("FAKE_CUDA_MEMORY", "8388608")], "64 MiB asked for, 5 free: out of device memory (CUDA error 2); lower --batch"),
        ("start", &[("FAKE_CUDA_LOAD", &load)], "kernels/start.cu can't be loaded: the driver is too old for this PTX (CUDA error 222): ptxas fatal   : Unsupported .version 7.0; current version is '6.5'; update the NVIDIA driver"),
        ("start", &[("FAKE_CUDA_FAULT", "1:700")], &format!("{start} or earlier: illegal memory access (CUDA error 700); use --device cpu, and report this line; CUDA_LAUNCH_BLOCKING=1 tells")),
        ("start", &[("FAKE_CUDA_FAULT", "2:702"), blocking], &format!("{start}: the display's watchdog stopped it (CUDA error 702); lower --batch")),
        ("pair", &[("FAKE_CUDA_FAULT", "2:719")], "one of 2 kernels from start (3x5x33) to start"),
        ("shared", &[("FAKE_CUDA_SHARED", "50000")], &format!("{start}: takes 59 KiB of shared memory, a block of this GPU has 48")),
        ("block", &[], &format!("{start}: blocks of 2048 threads,")),
        ("arguments", &[], &format!("{start}: arguments of [8, 8, 8] bytes don't fit the kernel")),
    ];
    for (role, settings, expected) in faults {
        let folder = Folder::fake();
        let output = folder.child(role, settings);
        failed(&format!("{role} {settings:?}"), output, expected);
        let log = folder.log();
        if log.iter().any(|l| l == "cuMemAlloc_v2") {
            clean(&log);
        }
    }
}

#[test]
fn shared_memory_beyond_48_kib_is_asked_for() {
    let folder = Folder::fake();
    succeeded("shared", folder.child("shared", &[]));
    let log = folder.log();
    clean(&log);
    assert_eq!(count(&log, "cuFuncSetAttribute"), 1);
}

/// A tiny run in `folder`: two epochs of three mini-batches, the second of which mines.
fn train(folder: &Folder, out: &str, more: &str, settings: &[(&str, &str)]) -> Output {
    let data = folder.path("data.safetensors");
    if !data.exists() {
        dataset(24, 9, [1, 8, 8]).write_safetensors(&data).unwrap();
    }
    let line = format!("train --dataset data.safetensors {} --batch 8 --epochs 2 --out {out} {more}", TINY.join(" "));
    folder.program(&line.split_whitespace().collect::<Vec<_>>(), settings)
}

#[test]
fn a_run_on_cuda_is_the_run_in_the_simulator() {
    for precision in ["fp32", "bf16"] {
        let folder = Folder::fake();
        let more = format!("--validation 0 --precision {precision} --device");
        // With a GPU, auto takes it.
        for (out, device) in [("cuda", "auto"), ("sim", "sim")] {
            let shown = succeeded(device, train(&folder, out, &format!("{more} {device}"), &[]));
            let name = if device == "auto" { "cuda:0 (Fake H100), " } else { "sim (H100 SXM), " };
            assert!(shown.contains(name), "{name} in {shown}");
        }
        let weights = |run: &str| tensors(&std::fs::read(folder.path(&format!("{run}/last.safetensors"))).unwrap());
        assert!(weights("cuda") == weights("sim"), "{precision}: CUDA differs from the simulator");
        clean(&folder.log());
    }
}

/// The verdicts on every image are those of the CPU, and the reports say what it cost.
#[test]
fn an_evaluation_on_cuda_is_that_in_the_simulator_and_on_the_cpu() {
    let folder = Folder::fake();
    succeeded("train", train(&folder, "run", "--validation 0 --device cpu", &[]));
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/autoattack.net.safetensors");
    let trained = format!("--checkpoint {golden} --dataset fashion-mnist-mini --examples 8");
    let steps = "--attack clean,fgsm,pgd-3,cw-3,apgd-ce-6,apgd-t-3,square-20";
    for (case, line) in [
        ("linf", format!("{trained} {steps} --eps 0.04")),
        ("l2", format!("{trained} {steps} --norm l2 --eps 0.7")),
        ("fab", "--checkpoint run/last.safetensors --attack fab-t --eps 0.02".to_owned()),
    ] {
        let [cuda, sim, cpu] = ["cuda", "sim", "cpu"].map(|device| {
            let line = format!("eval {line} --device {device} --save-examples found --out report.json");
            succeeded(device, folder.program(&line.split_whitespace().collect::<Vec<_>>(), &[]));
            let report = Report::read(&folder.path("report.json")).unwrap();
            (tensors(&std::fs::read(folder.path("found")).unwrap()), report.attacks)
        });
        assert!(cuda == sim, "{case}: CUDA differs from the simulator");
        assert!(cuda.0 == cpu.0, "{case}: a verdict differs from the CPU's");
        let costs = |attacks: &[AttackResult]| attacks.iter().map(|a| a.parts.clone()).collect::<Vec<_>>();
        assert_eq!(costs(&cuda.1), costs(&cpu.1), "{case}");
        let left = cuda.1.last().unwrap().parts[0].survivors;
        assert!(left > 0 && left < 8, "{case}: {left} are left");
    }
    clean(&folder.log());
}

#[test]
fn a_kernel_that_fails_leaves_a_run_that_goes_on() {
    let folder = Folder::fake();
    let more = "--validation 0 --device cuda";
    succeeded("whole", train(&folder, "whole", more, &[]));
    let launches = count(&folder.log(), "cuGraphLaunch");
    // After the first epoch, whose kernels are about half of all.
    let kernels = launches * 60;
    let fault = format!("{kernels}:700");
    let failing = train(&folder, "run", more, &[("FAKE_CUDA_FAULT", &fault)]);
    failed("fault", failing, "illegal");
    let resume = ["train", "--resume", "run", "--device", "cuda"];
    succeeded("resume", folder.program(&resume, &[]));
    let weights = |run: &str| tensors(&std::fs::read(folder.path(&format!("{run}/last.safetensors"))).unwrap());
    assert!(weights("run") == weights("whole"), "the resumed run differs");
}

#[test]
fn a_profiler_sees_the_algorithm() {
    let folder = Folder::fake();
    let library = folder.path("libcuda.so");
    let settings = [("NVTX_INJECTION64_PATH", library.to_str().unwrap())];
    succeeded("profile", train(&folder, "run", "--validation 0 --device cuda --profile-batches 4..5", &settings));
    let log = folder.log();
    let from = log.iter().position(|l| l == "cuProfilerStart").unwrap();
    let to = log.iter().position(|l| l == "cuProfilerStop").unwrap();
    let ranges: Vec<&str> = log[from..to].iter().filter_map(|l| l.strip_prefix("push ")).collect();
    let steps = ["load", "attack step 0", "attack step 1", "check and compact", "attack step 2"];
    let update = ["train forward", "train backward", "update"];
    assert_eq!(ranges, [&["mini-batch 1"][..], &steps, &update].concat());
    assert!(log.iter().any(|l| l == "push epoch 2") && log.iter().any(|l| l == "push eval"));
}
