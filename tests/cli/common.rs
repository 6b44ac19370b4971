//! What the tests of the program share: folders with small data, running the binary, and what a failure must look like.

#![allow(dead_code)] // each test program uses its own part

use ham_engine::data::{Dataset, Pixels, Split};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub const BIN: &str = env!("CARGO_BIN_EXE_ham-engine");

/// The smallest network, and an attack that is over soon.
pub const TINY: [&str; 8] = ["--widths", "4,8", "--blocks", "1", "--steps", "3", "--k-drop", "1"];

/// A temporary folder that the program runs in.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    /// With `data.safetensors`: 60 + 30 images of 1x8x8 in 3 classes.
    pub fn with_data() -> Folder {
        let folder = Folder::new();
        dataset(60, 30, [1, 8, 8]).write_safetensors(&folder.path("data.safetensors")).unwrap();
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    pub fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.text(name)).unwrap()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// The program with the arguments of a line, split at spaces.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(BIN);
        command.args(line.split_whitespace());
        self.within(&mut command);
        command
    }

    /// Runs the program in a shell, after what is to be said before it.
    pub fn shell(&self, before: &str, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{before}; exec \"$0\" \"$@\"")).arg(BIN).args(line.split_whitespace());
        self.within(&mut command);
        command
    }

    /// In this folder, and with no other to keep data in: what lands in `cache` was not meant to.
    fn within(&self, command: &mut Command) {
        command.current_dir(self.0.path()).env("HAM_ENGINE_DATA", self.path("cache"));
    }

    /// Runs it and returns what it printed; it must succeed.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        succeeded(line, self.command(line).output().unwrap())
    }

    /// Runs it to failure; see [`failed`]. Nothing in the folder may have changed.
    #[track_caller]
    pub fn fails(&self, line: &str, expected: &str) {
        let before = self.tree();
        failed(line, self.command(line).output().unwrap(), expected);
        assert_same_tree(line, &before, &self.tree());
    }

    /// `train` with the tiny network on the small data.
    pub fn train_line(&self, more: &str) -> String {
        format!("train --dataset data.safetensors {} --batch 16 {more}", TINY.join(" "))
    }

    /// Names in a subfolder, sorted.
    pub fn list(&self, name: &str) -> Vec<String> {
        let files = std::fs::read_dir(self.path(name)).unwrap();
        let mut names: Vec<_> = files.map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// All files with their content; folders with none.
    pub fn tree(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let (mut tree, mut open) = (BTreeMap::new(), vec![self.0.path().to_owned()]);
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path.clone());
                }
                let content = path.is_file().then(|| std::fs::read(&path).unwrap());
                tree.insert(path, content);
            }
        }
        tree
    }
}

type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

#[track_caller]
fn assert_same_tree(line: &str, before: &Tree, after: &Tree) {
    let names = |t: &Tree| t.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before), names(after), "{line}: files came or went");
    for (path, content) in before {
        assert!(after[path] == *content, "{line}: {} was changed", path.display());
    }
}

#[track_caller]
pub fn succeeded(line: &str, output: Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {}: {stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code 2 and one line that begins with the program's name; what clap refuses may take more lines.
#[track_caller]
pub fn failed(line: &str, output: Output, expected: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{line}: {}: {stderr}", output.status);
    assert!(stderr.contains(expected), "{line}: expected {expected:?} in: {stderr}");
    if !stderr.starts_with("error: ") {
        let one_line = stderr.starts_with("ham-engine: ") && stderr.ends_with('\n') && stderr.lines().count() == 1;
        assert!(one_line, "{line}: not one line of ours: {stderr}");
    }
}

/// Noise with a brighter band per class: learnt in an epoch or two, and not perfectly.
pub fn dataset(train: usize, test: usize, shape: [usize; 3]) -> Dataset {
    let len: usize = shape.iter().product();
    let mut state = 1u32;
    let mut split = |n: usize| {
        let mut images = Vec::new();
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 3).collect();
        for y in &labels {
            for i in 0..len {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let bright = if i * 3 / len == *y as usize { 60 } else { 0 };
                images.push((state >> 24) as u8 / 2 + bright);
            }
        }
        Split { images: Pixels::U8(images), labels }
    };
    let (train, test) = (split(train), split(test));
    Dataset::new("small", shape, 3, train, test).unwrap()
}

/// Tensors of a file: type, shape and bytes by name.
pub type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

pub fn tensors(bytes: &[u8]) -> Tensors {
    let file = SafeTensors::deserialize(bytes).unwrap();
    file.iter().map(|(n, t)| (n.to_owned(), (t.dtype(), t.shape().to_vec(), t.data().to_vec()))).collect()
}

pub fn encode(tensors: &Tensors) -> Vec<u8> {
    let views = tensors.iter().map(|(n, (d, s, v))| (n.as_str(), TensorView::new(*d, s.clone(), v).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

pub fn f32s(tensors: &Tensors, name: &str) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(&tensors[name].2)
}

pub fn i64s(tensors: &Tensors, name: &str) -> Vec<i64> {
    bytemuck::pod_collect_to_vec(&tensors[name].2)
}

/// What a checkpoint says of itself.
pub fn meta(bytes: &[u8]) -> serde_json::Value {
    let (_, metadata) = ham_engine::fsio::parse_safetensors(Path::new("checkpoint"), bytes).unwrap();
    serde_json::from_str(&metadata["ham-engine"]).unwrap()
}

/// The epochs of a metrics.jsonl, without what a clock measured.
pub fn metrics_without_seconds(text: &str) -> Vec<serde_json::Value> {
    let parse = |line: &str| {
        let mut epoch: serde_json::Value = serde_json::from_str(line).unwrap();
        epoch.as_object_mut().unwrap().retain(|name, _| !name.ends_with("_seconds"));
        epoch
    };
    text.lines().map(parse).collect()
}
