//! The real Fashion-MNIST, as Debian packs it.

use crate::common::{Folder, TINY, failed, succeeded};
use crate::data::fixtures::copy_tree;
use crate::data::server::{Reply, Server};
use crate::place;
use ham_engine::data::{Split, info, open};
use std::collections::BTreeMap;
use std::process::Command;

/// The files of Fashion-MNIST as their authors publish them, by name. Debian's lack the names and the times of gzip's heads.
fn published_fashion_mnist() -> BTreeMap<&'static str, Vec<u8>> {
    let with_head = |(file, time): (&'static str, u32)| {
        let debian = std::fs::read(place("FASHION_MNIST").join(file)).unwrap();
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

#[test]
fn the_real_fashion_mnist() {
    let dir = tempfile::tempdir().unwrap();
    copy_tree(&place("FASHION_MNIST"), &dir.path().join("fashion-mnist"));
    let set = open("fashion-mnist", Some(dir.path())).unwrap();
    assert_eq!(set.train.class_counts(10), [6000; 10]);
    assert_eq!(set.test.class_counts(10), [1000; 10]);
    let summary = info(&set);
    assert!((summary.mean[0] - 0.2860).abs() < 1e-4 && (summary.std[0] - 0.3530).abs() < 1e-4, "{summary}");

    // The embedded set is its first 800 and 200 of each class.
    let mini = open("fashion-mnist-mini", None).unwrap();
    let draw = |split: &Split, of_each: usize| {
        let mut taken = [0; 10];
        let mut first = |i: &usize| {
            let count = &mut taken[split.labels[*i] as usize];
            *count += 1;
            *count <= of_each
        };
        let indices: Vec<usize> = (0..split.len()).filter(&mut first).collect();
        split.subset(&indices).unwrap()
    };
    assert!(draw(&set.train, 800) == mini.train && draw(&set.test, 200) == mini.test);
    assert_eq!(mini.class_names, set.class_names);
}

#[test]
fn the_embedded_set_is_drawn_again() {
    let mut draw = Command::new(place("PYTHON"));
    draw.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tools/fashion_mnist_mini.py")).arg("--check");
    let said = succeeded("--check", draw.arg("--source").arg(place("FASHION_MNIST")).output().unwrap());
    assert!(said.contains(": identical"), "{said}");
}

#[test]
fn debian_s_fashion_mnist() {
    // The package's files are those of the authors, packed without names and times: other checksums, and so not fetched.
    let f = Folder::new();
    copy_tree(&place("FASHION_MNIST"), &f.path("data/fashion-mnist"));
    f.ok("data info fashion-mnist --data-dir data");
    let line = "data verify fashion-mnist --data-dir data";
    failed(line, f.command(line).output().unwrap(), "faults found: 4");
    f.ok(&format!(
        "train {} --dataset fashion-mnist --data-dir data --max-batches 2 --epochs 1 --out run",
        TINY.join(" ")
    ));
}

#[test]
fn fashion_mnist_from_a_mirror_to_training() {
    let f = Folder::new();
    let files = published_fashion_mnist();
    let mirror = Server::start(move |request| {
        let reply = Reply::file(&files[request.target.trim_start_matches('/')], request);
        if request.nth == 0 { reply.cut(20_000_000) } else { reply }
    });
    let fetch = format!("data fetch fashion-mnist --data-dir data --mirror {}", mirror.url);
    assert_eq!(f.ok(&fetch), "fashion-mnist: 60000 training and 10000 test examples\n");
    assert_eq!(mirror.log()[..2], ["/train-images-idx3-ubyte.gz all", "/train-images-idx3-ubyte.gz 20000000"]);
    assert_eq!(f.list("data"), ["fashion-mnist", "fashion-mnist.safetensors"]);
    let verified = f.ok("data verify fashion-mnist --data-dir data");
    assert!(verified.lines().count() == 5 && verified.lines().all(|l| l.ends_with(": whole")), "{verified}");
    f.ok(&format!(
        "train {} --dataset fashion-mnist --data-dir data --max-batches 2 --epochs 1 --out run",
        TINY.join(" ")
    ));

    copy_tree(&f.path("data"), &f.path("decoded"));
    std::fs::remove_dir_all(f.path("decoded/fashion-mnist")).unwrap();
    assert_eq!(f.ok("data verify fashion-mnist --data-dir decoded"), "fashion-mnist: whole\n");
    let asked = mirror.log().len();
    f.ok(&fetch);
    assert_eq!(mirror.log().len(), asked, "all of it is there");
    f.ok("data fetch fashion-mnist --data-dir copy --offline data");
    assert!(
        f.read("copy/fashion-mnist/t10k-images-idx3-ubyte.gz")
            == f.read("data/fashion-mnist/t10k-images-idx3-ubyte.gz")
    );
}
