//! Small data sets in the true formats, made by make.py once for a version of it, and the real Fashion-MNIST.

use crate::common_cli::install::lock;
use crate::common_cli::nvcc::output;
use crate::common_cli::python;
use ham_engine::data::{Dataset, Pixels, Split};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder that make.py wrote.
pub fn fixtures() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let python = python("python", &["numpy==2.*", "scipy==1.*", "pillow"]);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/make.py");
        let version: String =
            Sha256::digest(std::fs::read(&script).unwrap()).iter().map(|b| format!("{b:02x}")).collect();
        let made = tmp.join(format!("data-{}", &version[..16]));
        let _lock = lock(&tmp.join("data.lock")).unwrap();
        if !made.join("done").exists() {
            output(Command::new(python).arg(&script).arg(&made)).unwrap_or_else(|e| panic!("{e}"));
            std::fs::write(made.join("done"), "").unwrap();
        }
        made
    })
}

/// A folder of data sets with the files of one of them, in its sub-folder `as_name`.
pub fn data_dir(set: &str, as_name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_tree(&fixtures().join(set), &dir.path().join(as_name));
    dir
}

/// Copies a folder.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// What make.py says is in a set.
pub struct Expected {
    pub shape: [usize; 3],
    pub train: Split,
    pub test: Split,
}

pub fn expected(set: &str) -> Expected {
    let read = |ending: &str| std::fs::read(fixtures().join(format!("{set}.{ending}"))).unwrap();
    let what: serde_json::Value = serde_json::from_slice(&read("json")).unwrap();
    let numbers = |key: &str| serde_json::from_value::<Vec<u32>>(what[key].clone()).unwrap();
    let shape: [usize; 3] = serde_json::from_value(what["shape"].clone()).unwrap();
    let (labels, test_labels) = (numbers("labels"), numbers("test_labels"));
    let mut images = read("bin");
    let test_images = images.split_off(labels.len() * shape.iter().product::<usize>());
    let train = Split { images: Pixels::U8(images), labels };
    Expected { shape, train, test: Split { images: Pixels::U8(test_images), labels: test_labels } }
}

impl Expected {
    /// The same examples: exactly, or for pictures up to what two decoders of JPEG may differ by.
    #[track_caller]
    pub fn assert_matches(&self, set: &Dataset, exactly: bool) {
        assert_eq!([set.channels, set.height, set.width], self.shape);
        for (of, expected) in [(&set.train, &self.train), (&set.test, &self.test)] {
            assert_eq!(of.labels, expected.labels);
            let (Pixels::U8(a), Pixels::U8(b)) = (&of.images, &expected.images) else { panic!("not bytes") };
            assert_eq!(a.len(), b.len());
            let differences: Vec<u8> = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).collect();
            let (most, sum) =
                (*differences.iter().max().unwrap(), differences.iter().map(|d| f64::from(*d)).sum::<f64>());
            let mean = sum / a.len() as f64;
            if exactly {
                assert_eq!(most, 0);
            } else {
                assert!(mean < 1.0 && most <= 16, "{}: {mean} on average, {most} at most", set.name);
            }
        }
    }
}

/// Debian's files of Fashion-MNIST: where the package puts them, or else from the package itself.
pub fn fashion_mnist() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let place = "usr/share/datasets/fashion-mnist";
        let installed = Path::new("/").join(place);
        if installed.is_dir() {
            return installed;
        }
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dataset-fashion-mnist");
        std::fs::create_dir_all(&tmp).unwrap();
        let _lock = lock(&tmp.join("lock")).unwrap();
        if !tmp.join("done").exists() {
            let download =
                || output(Command::new("apt-get").args(["download", "dataset-fashion-mnist"]).current_dir(&tmp));
            if download().is_err() {
                output(Command::new("apt-get").arg("update")).unwrap_or_else(|e| panic!("{e}"));
                download().unwrap_or_else(|e| panic!("{e}"));
            }
            let unpack = "dpkg -x dataset-fashion-mnist_*.deb . && touch done";
            output(Command::new("sh").args(["-c", unpack]).current_dir(&tmp)).unwrap_or_else(|e| panic!("{e}"));
        }
        tmp.join(place)
    })
}

/// The files of Fashion-MNIST as their authors publish them, by name. Debian's lack the names and the times of gzip's heads.
pub fn published_fashion_mnist() -> BTreeMap<&'static str, Vec<u8>> {
    let with_head = |(file, time): (&'static str, u32)| {
        let debian = std::fs::read(fashion_mnist().join(file)).unwrap();
        assert_eq!(debian[..4], [0x1f, 0x8b, 8, 0], "{file}: a head without a name");
        let name = file.strip_suffix(".gz").unwrap();
        let head = [&[0x1f, 0x8b, 8, 8][..], &time.to_le_bytes(), &[0, 3], name.as_bytes(), &[0]].concat();
        (file, [&head, &debian[10..]].concat())
    };
    let files = [
        ("train-images-idx3-ubyte.gz", 1_504_176_606),
        ("train-labels-idx1-ubyte.gz", 1_504_176_606),
        ("t10k-images-idx3-ubyte.gz", 1_504_176_627),
        ("t10k-labels-idx1-ubyte.gz", 1_504_176_627),
    ];
    files.into_iter().map(with_head).collect()
}
