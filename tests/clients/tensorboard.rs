//! `train --tensorboard`, loaded by TensorBoard itself.

use crate::common::Folder;
use crate::place;
use ham_engine::results::metrics;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// What TensorBoard finds in a folder: steps and values by tag.
type Scalars = BTreeMap<String, Vec<(u64, f64)>>;

const LOAD: &str = "
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0})
events.Reload()
tags = events.Tags()['scalars']
print(json.dumps({tag: [(s.step, s.value) for s in events.Scalars(tag)] for tag in tags}))
";

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    output.stdout
}

#[test]
fn tensorboard_loads_every_epoch_once() {
    let f = Folder::with_data();
    // Killed after its first epoch, and resumed.
    let line = f.train_line("--epochs 4 --begin-epoch 2 --lr 0.05 --out run --tensorboard --json");
    let mut killed = f.command(&line).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(killed.stdout.take().unwrap()).read_line(&mut first).unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();
    f.ok("train --resume run");

    let loaded = run(Command::new(place("PYTHON")).args(["-c", LOAD]).arg(f.path("run")));
    let loaded: Scalars = serde_json::from_slice(&loaded).unwrap();
    let epochs = metrics::read(&f.path("run/metrics.jsonl")).unwrap();
    assert_eq!(epochs.len(), 4);
    let same = |tag: &str, value: &dyn Fn(&metrics::Epoch) -> f64| {
        let expected: Vec<(u64, f64)> = epochs.iter().map(|e| (e.epoch, f64::from(value(e) as f32))).collect();
        assert_eq!(loaded.get(tag), Some(&expected), "{tag} in {:?}", loaded.keys());
    };
    same("train/loss", &|e| e.loss);
    same("train/lr", &|e| e.lr);
    same("train/kept_share", &|e| e.kept_share().unwrap());
    same("accuracy/clean", &|e| e.clean_accuracy.unwrap());
    same("accuracy/pgd", &|e| e.pgd_accuracy.unwrap());
    same("worst_class/pgd", &|e| e.pgd_worst.unwrap());
    same("class_pgd/2", &|e| e.pgd_per_class.as_ref().unwrap()[2].unwrap());
    same("class_kept_share/1", &|e| e.kept_per_class[1] as f64 / e.examples_per_class[1] as f64);
    assert!(loaded.values().all(|points| points.len() == 4));
    // Nobody who did not ask has one.
    f.ok(&f.train_line("--epochs 1 --out without"));
    assert!(!f.list("without").iter().any(|n| n.contains("tfevents")));
}
