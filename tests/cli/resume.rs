//! A run that is stopped, at any moment and however often, ends with the same bits as one that is not.

use crate::common::{Folder, dataset, meta, metrics_without_seconds};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// HAM with everything random: start, order, augmentation; three epochs, validation, the second half mines; and a moving average of the weights.
const RUN: &str = "train --dataset data.safetensors --widths 4,8 --blocks 1 --batch 16 --epochs 3 --begin-epoch 2 \
                   --steps 4 --k-drop 1,2 --keep-easy 0.1 --lr 0.05 --validation 0.1 --seed 7 --ema 0.98";

fn folder() -> Folder {
    let folder = Folder::new();
    dataset(2000, 60, [1, 12, 12]).write_safetensors(&folder.path("data.safetensors")).unwrap();
    folder
}

/// The run without a stop, in `whole`, and how long it took.
fn whole(folder: &Folder, run: &str) -> Duration {
    let start = Instant::now();
    folder.ok(&format!("{run} --out whole --threads 2"));
    start.elapsed()
}

/// Pseudo-random shares in [0, 1), different in every run of the test: any moment must do. A failure prints the seed.
struct Moments(u64);

impl Moments {
    fn new() -> Moments {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = now.subsec_nanos() as u64;
        println!("moments from seed {seed}");
        Moments(seed)
    }

    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / (1u64 << 24) as f64
    }
}

/// Starts the run in `name`, or resumes it once there is one.
fn go_on(folder: &Folder, run: &str, name: &str, threads: usize) -> Child {
    let begun = folder.path(name).join("config.toml").exists();
    let line = if begun { format!("train --resume {name}") } else { format!("{run} --out {name}") };
    let mut command = folder.command(&format!("{line} --threads {threads}"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[track_caller]
fn assert_same_run(folder: &Folder, a: &str, b: &str) {
    let checkpoints = ["last.safetensors", "ema.safetensors", "best-mean.safetensors", "best-worst.safetensors"];
    for file in ["config.toml"].into_iter().chain(checkpoints) {
        assert!(folder.read(&format!("{a}/{file}")) == folder.read(&format!("{b}/{file}")), "{file} differs");
    }
    let metrics = |run: &str| metrics_without_seconds(&folder.text(&format!("{run}/metrics.jsonl")));
    assert_eq!(metrics(a), metrics(b));
    let attacks = |run: &str| folder.json(&format!("{run}/report.json"))["attacks"].clone();
    assert_eq!(attacks(a), attacks(b));
    // Nothing of the stops is left over: no temporary file, and one state.
    assert_eq!(folder.list(a), folder.list(b));
}

#[test]
fn killed_at_any_moment() {
    let f = folder();
    let time = whole(&f, RUN);
    let mut moments = Moments::new();
    for attempt in 0..8 {
        let mut child = go_on(&f, RUN, "killed", 1 + attempt % 2);
        std::thread::sleep(time.mul_f64(0.6 * moments.next()));
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
    }
    let output = go_on(&f, RUN, "killed", 1).wait_with_output().unwrap();
    crate::common::succeeded("the last attempt", output);
    assert_same_run(&f, "whole", "killed");
}

#[test]
fn interrupted_and_resumed() {
    interrupt_and_resume(RUN);
}

/// Who waits in the pool is part of the state.
#[test]
fn interrupted_and_resumed_with_a_pool() {
    interrupt_and_resume(&format!("{RUN} --refill"));
}

fn interrupt_and_resume(run: &str) {
    let f = folder();
    let time = whole(&f, run);
    let mut moments = Moments::new();
    let (mut interrupted, mut mid_epoch) = (0, 0);
    let finished = (0..40).any(|attempt| {
        let mut child = go_on(&f, run, "stopped", 1 + attempt % 2);
        // From this line on an interrupt is a wish to stop; before it ends the process.
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("run ") {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the run ended before it began");
        }
        std::thread::sleep(time.mul_f64(0.3 * moments.next()));
        let signal = if attempt % 3 == 2 { "TERM" } else { "INT" };
        let kill = format!("kill -{signal} {}", child.id());
        Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status().unwrap();
        stdout.read_to_string(&mut line).unwrap(); // else the pipe breaks, which ends a filter quietly
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            Some(0) => return true,
            Some(130) => {}
            code => panic!("{code:?} {stderr}"),
        }
        let last = stderr.lines().last().unwrap_or_default();
        assert_eq!(last, "ham-engine: interrupted; resume with: ham-engine train --resume stopped");
        interrupted += 1;
        mid_epoch += usize::from(meta(&f.read("stopped/last.safetensors"))["batch"].as_u64().unwrap() > 0);
        false
    });
    if !finished {
        crate::common::succeeded("the last attempt", go_on(&f, run, "stopped", 2).wait_with_output().unwrap());
    }
    assert!(interrupted > 0 && mid_epoch > 0, "{interrupted} interrupts, {mid_epoch} of them within an epoch");
    assert_same_run(&f, "whole", "stopped");
}

/// A run of two epochs, resumable and finished, in `run`.
fn small_run() -> (Folder, String) {
    let f = Folder::with_data();
    f.ok(&f.train_line("--epochs 2 --out run"));
    let state = f.list("run").into_iter().find(|n| n.starts_with("state-")).unwrap();
    (f, format!("run/{state}"))
}

#[test]
fn what_can_not_be_resumed() {
    let (f, state) = small_run();
    let resume = |expected: &str| f.fails("train --resume run", expected);
    let damaged = |file: &str, bytes: Option<&[u8]>, expected: &str| {
        let good = f.read(file);
        match bytes {
            Some(bytes) => f.write(file, bytes),
            None => std::fs::remove_file(f.path(file)).unwrap(),
        }
        resume(expected);
        f.write(file, good);
    };
    let whole = f.read(&state);
    for cut in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        damaged(&state, Some(&whole[..cut]), "not a valid safetensors file");
    }
    damaged(&state, None, "cannot read the run's state");
    damaged(&state, Some(&f.read("data.safetensors")), "no tensor `momentum.");
    let last = f.read("run/last.safetensors");
    damaged("run/last.safetensors", Some(&last[..last.len() - 1]), "not a valid safetensors file");
    damaged("run/last.safetensors", Some(&f.read("data.safetensors")), "save the state dict as float32");
    damaged("run/last.safetensors", Some(&f.read("run/best-mean.safetensors")), "names no state file");
    damaged("run/metrics.jsonl", None, "must have the 2 epochs that last.safetensors has completed");
    damaged("run/metrics.jsonl", Some(b"{}\n"), "metrics.jsonl");
    damaged("run/config.toml", None, "no run here (no config.toml)");
    damaged("run/config.toml", Some(b"epochs = \"x\"\n"), "config.toml: line 1: ");
    damaged("data.safetensors", None, "cannot read the data set");
    let config = f.text("run/config.toml");
    for (option, value) in [("eps", "0.2"), ("alpha", "0.001"), ("steps", "4"), ("seed", "9"), ("method", "\"pgd-at\"")]
    {
        let line = config.lines().find(|l| l.starts_with(&format!("{option} = "))).unwrap();
        let changed = config.replace(line, &format!("{option} = {value}"));
        let (old, new) = (line.split(" = ").nth(1).unwrap().replace('"', ""), value.replace('"', ""));
        // Numbers are kept in single precision.
        let old = old.parse::<f32>().map_or(old, |v| v.to_string());
        let expected =
            format!("run/last.safetensors: was trained with {option} {old}, the run's config.toml says {new}");
        damaged("run/config.toml", Some(changed.as_bytes()), &expected);
    }

    let other = dataset(61, 30, [1, 8, 8]);
    let good = f.read("data.safetensors");
    other.write_safetensors(&f.path("data.safetensors")).unwrap();
    resume("was trained on other data (data.safetensors); resume with the same");
    f.write("data.safetensors", good);

    for option in ["--lr 0.2", "--epochs 3", "--widths 4,8", "--seed 1", "--no-augment"] {
        f.fails(&format!("train --resume run {option}"), "can't be changed when a run is resumed");
    }
    for option in ["--preset svhn", "--config run/config.toml", "--out other"] {
        f.fails(&format!("train --resume run {option}"), "cannot be used with");
    }
    // Whole again, it ends as it did, and what a killed process left behind goes.
    f.write("run/.ham-AbCdEf.tmp", "half a file");
    let before = f.list("run");
    f.ok("train --resume run");
    let mut after = f.list("run");
    after.insert(0, ".ham-AbCdEf.tmp".into());
    assert_eq!(before, after);
    assert!(f.read("run/last.safetensors") == last);
}
