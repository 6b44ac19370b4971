//! Damaged files: every reader refuses them in one line, or reads what can't be told from data. None panics.

use super::assert_one_line;
use super::fixtures::{copy_tree, data_dir};
use super::made;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use ham_engine::data::open;
use proptest::prelude::*;
use std::io::{Cursor, Read, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// A way to damage bytes.
#[derive(Clone, Debug)]
enum Damage {
    /// Some bytes get other values.
    Bytes(Vec<(prop::sample::Index, u8)>),
    /// A number of four bytes gets another value.
    Number(prop::sample::Index, u32),
    /// The end is missing.
    Cut(prop::sample::Index),
    /// A stretch is missing.
    Hole(prop::sample::Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = (any::<prop::sample::Index>(), any::<u8>());
    let number = prop_oneof![Just(0), Just(u32::MAX), Just(0x7fff_ffff), Just(1 << 16), any::<u32>()];
    prop_oneof![
        prop::collection::vec(byte, 1..5).prop_map(Damage::Bytes),
        (any::<prop::sample::Index>(), number).prop_map(|(at, to)| Damage::Number(at, to)),
        any::<prop::sample::Index>().prop_map(Damage::Cut),
        (any::<prop::sample::Index>(), 1..100usize).prop_map(|(at, n)| Damage::Hole(at, n)),
    ]
}

impl Damage {
    /// The damage to the first `within` bytes, where heads are.
    fn to(&self, bytes: &[u8], within: usize) -> Vec<u8> {
        let (mut bytes, within) = (bytes.to_vec(), within.min(bytes.len()));
        match self {
            Damage::Bytes(changes) => changes.iter().for_each(|(at, to)| bytes[at.index(within)] = *to),
            Damage::Number(at, to) => {
                let at = at.index(within).min(bytes.len().saturating_sub(4));
                bytes[at..at + 4].copy_from_slice(&to.to_le_bytes());
            }
            Damage::Cut(at) => bytes.truncate(at.index(within)),
            Damage::Hole(at, n) => {
                let at = at.index(within);
                bytes.drain(at..(at + n).min(bytes.len()));
            }
        }
        bytes
    }
}

/// Opens a data set that may be damaged.
fn try_open(dataset: &str, dir: &Path) {
    if let Err(e) = open(dataset, Some(dir)) {
        assert_one_line(&e.to_string());
    }
}

/// Opens a known set after a change of one of its files.
fn with_file(set: &str, as_name: &str, file: &str, change: impl FnOnce(&[u8]) -> Vec<u8>) {
    let dir = data_dir(set, as_name);
    let path = dir.path().join(as_name).join(file);
    std::fs::write(&path, change(&std::fs::read(&path).unwrap())).unwrap();
    try_open(as_name, dir.path());
}

/// The same for the content of a gzip file, which keeps a valid checksum.
fn within_gzip(bytes: &[u8], change: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut content = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut content).unwrap();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&change(&content)).unwrap();
    packed.finish().unwrap()
}

/// The same for a file in a zip file.
fn within_zip(bytes: &[u8], name: &str, change: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut zip = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let (mut out, mut change) = (ZipWriter::new(Cursor::new(Vec::new())), Some(change));
    let names: Vec<String> = zip.file_names().map(|n| n.unwrap().into_owned()).collect();
    for file in names {
        let mut content = Vec::new();
        zip.by_name(&file).unwrap().read_to_end(&mut content).unwrap();
        if file.ends_with(name) {
            content = change.take().expect("one file of that name")(&content);
        }
        out.start_file(file, SimpleFileOptions::default().compression_method(CompressionMethod::Stored)).unwrap();
        out.write_all(&content).unwrap();
    }
    assert!(change.is_none(), "no {name}");
    out.finish().unwrap().into_inner()
}

const ALL: usize = usize::MAX;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn archives(damage in damage()) {
        let all = |bytes: &[u8]| damage.to(bytes, ALL);
        for (set, file) in [
            ("cifar10", "cifar-10-binary.tar.gz"),
            ("cifar100", "cifar-100-binary.tar.gz"),
            ("svhn", "train_32x32.mat"),
            ("imagenette", "imagenette2-160.tgz"),
            ("tiny-imagenet-200", "tiny-imagenet-200.zip"),
        ] {
            with_file(set, set, file, all);
        }
    }

    #[test]
    fn what_is_in_archives(damage in damage()) {
        // A whole tar file is mostly pixels: its first blocks are the head and the first records of a file.
        for (set, file, within) in [
            ("cifar10", "cifar-10-binary.tar.gz", 1024),
            ("cifar100", "cifar-100-binary.tar.gz", 1024),
            ("imagenette", "imagenette2-160.tgz", 2048),
        ] {
            with_file(set, set, file, |gz| within_gzip(gz, |tar| damage.to(tar, within)));
        }
        for name in ["/wnids.txt", "/words.txt", "/val_annotations.txt"] {
            let change = |zip: &[u8]| within_zip(zip, name, |text| damage.to(text, ALL));
            with_file("tiny-imagenet-200", "tiny-imagenet-200", "tiny-imagenet-200.zip", change);
        }
        for (file, within) in [("train_32x32.mat", 1000), ("test_32x32.mat", ALL)] {
            with_file("svhn-plain", "svhn", file, |mat| damage.to(mat, within));
        }
    }

    #[test]
    fn npz(damage in damage()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set.npz");
        let plain = std::fs::read(made().join("plain.npz")).unwrap();
        let mut files = vec![damage.to(&plain, ALL)];
        for (name, within) in [("test_images.npy", 128), ("test_labels.npy", ALL)] {
            files.push(within_zip(&plain, name, |npy| damage.to(npy, within)));
        }
        for file in files {
            std::fs::write(&path, file).unwrap();
            try_open(path.to_str().unwrap(), dir.path());
        }
    }

    #[test]
    fn pictures(damage in damage(), within in prop_oneof![Just(200), Just(ALL)]) {
        let dir = tempfile::tempdir().unwrap();
        let pictures = dir.path().join("pictures");
        copy_tree(&made().join("pictures"), &pictures);
        for picture in ["train/ant/b.jpg", "train/Bee/c.png", "test/zebra/deep/a.PNG"] {
            let path = pictures.join(picture);
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(&path, damage.to(&whole, within)).unwrap();
            try_open(pictures.to_str().unwrap(), dir.path());
            std::fs::write(&path, whole).unwrap();
        }
    }
}

/// What a reader says of a fault; the place is left out.
fn message(set: &str, as_name: &str, change: impl FnOnce(&Path)) -> String {
    let dir = data_dir(set, as_name);
    change(&dir.path().join(as_name));
    let message = open(as_name, Some(dir.path())).unwrap_err().to_string();
    assert_one_line(&message);
    assert!(!dir.path().join(format!("{as_name}.safetensors")).exists(), "nothing is kept of it");
    message.replace(&format!("{}/", dir.path().join(as_name).display()), "")
}

fn rewrite(path: &Path, change: impl FnOnce(&[u8]) -> Vec<u8>) {
    std::fs::write(path, change(&std::fs::read(path).unwrap())).unwrap();
}

#[test]
fn faults_are_named() {
    let (cifar, tar) = ("cifar10", "cifar-10-binary.tar.gz");
    let m = message(cifar, cifar, |at| rewrite(&at.join(tar), |gz| gz[..gz.len() / 2].to_vec()));
    assert!(m.starts_with("cifar-10-binary.tar.gz: damaged, fetch it again: "), "{m}");
    let m = message(cifar, cifar, |at| rewrite(&at.join(tar), |_| b"<html>".to_vec()));
    assert!(m.starts_with("cifar-10-binary.tar.gz: damaged, fetch it again: "), "{m}");
    // The checksum at the end of gzip, behind all that tar reads.
    let wrong_sum = |gz: &[u8]| [&gz[..gz.len() - 8], &[0; 8]].concat();
    let m = message(cifar, cifar, |at| rewrite(&at.join(tar), wrong_sum));
    assert!(m.ends_with("fetch it again: corrupt gzip stream does not have a matching checksum"), "{m}");
    let m = message(cifar, cifar, |at| rewrite(&at.join(tar), |gz| within_gzip(gz, |t| without(t, "data_batch_3"))));
    assert_eq!(m, "cifar-10-binary.tar.gz: it holds no data_batch_3.bin");
    let label = |tar: &[u8]| {
        // The first file in the archive; its first record begins behind the head of 512 bytes.
        let mut tar = tar.to_vec();
        tar[512] = 77;
        tar
    };
    let m = message(cifar, cifar, |at| rewrite(&at.join(tar), |gz| within_gzip(gz, label)));
    assert_eq!(m, "cifar-10-binary.tar.gz: data_batch_5.bin: label 77 in record 0: the classes are 0 to 9");

    let svhn = |change: &dyn Fn(&[u8]) -> Vec<u8>| {
        message("svhn-plain", "svhn", |at| rewrite(&at.join("test_32x32.mat"), change))
    };
    assert_eq!(svhn(&|mat| mat[..100].to_vec()), "test_32x32.mat: not a MAT file: shorter than its header");
    assert_eq!(svhn(&|_| vec![0; 200]), "test_32x32.mat: not a little-endian MAT file of version 5");
    assert_eq!(svhn(&|mat| mat[..mat.len() - 20].to_vec()), "test_32x32.mat: truncated; fetch it again");
    assert_eq!(svhn(&|mat| mat[..1000].to_vec()), "test_32x32.mat: X: truncated; fetch it again");
    assert_eq!(
        svhn(&|mat| replaced(mat, &[10, 1, 5, 10], &[10, 1, 11, 10])),
        "test_32x32.mat: y: label 11 at 2; they are 1 to 10, where 10 means the digit 0"
    );
    assert_eq!(
        svhn(&|mat| replaced(mat, &[1, 0, 1, 0, b'y'], &[1, 0, 1, 0, b'z'])),
        "test_32x32.mat: no matrix y in it"
    );
    let m = message("svhn", "svhn", |at| std::fs::remove_file(at.join("test_32x32.mat")).unwrap());
    assert!(m.ends_with("svhn: test_32x32.mat is missing there"), "{m}");

    let tiny = "tiny-imagenet-200";
    let in_zip = |name: &str, change: &dyn Fn(&[u8]) -> Vec<u8>| {
        message(tiny, tiny, |at| rewrite(&at.join("tiny-imagenet-200.zip"), |zip| within_zip(zip, name, change)))
    };
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let m = in_zip("n04067472_1.JPEG", &half);
    let place = "tiny-imagenet-200.zip: tiny-imagenet-200/";
    assert_eq!(m, format!("{place}train/n04067472/images/n04067472_1.JPEG: a JPEG that ends early"));
    let m = in_zip("/val_annotations.txt", &|text| replaced(text, b"val_7", b"val_0"));
    let unknown = "its class is unknown: val_annotations.txt gives it none of wnids.txt";
    assert_eq!(m, format!("{place}val/images/val_7.JPEG: {unknown}"));
    let m = in_zip("/wnids.txt", &|text| replaced(text, b"n0144", b"n9999"));
    assert_eq!(m, format!("{place}train/n01443537/images/n01443537_0.JPEG: its class is unknown: not in wnids.txt"));
}

#[test]
fn faults_in_folders_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("pictures");
    let message = |change: &dyn Fn()| {
        let _ = std::fs::remove_dir_all(&at);
        copy_tree(&made().join("pictures"), &at);
        change();
        let message = open(at.to_str().unwrap(), Some(dir.path())).unwrap_err().to_string();
        assert_one_line(&message);
        assert!(!dir.path().join("folders").exists(), "nothing is kept of it");
        message.replace(&at.display().to_string(), "AT")
    };
    let write = |name: &str, content: &[u8]| {
        std::fs::create_dir_all(at.join(name).parent().unwrap()).unwrap();
        std::fs::write(at.join(name), content).unwrap();
    };
    let b = std::fs::read(made().join("pictures/train/ant/b.jpg")).unwrap();
    let m = message(&|| write("train/ant/b.jpg", &b[..b.len() / 2]));
    assert_eq!(m, "AT/train/ant/b.jpg: a JPEG that ends early");
    let m = message(&|| write("train/ant/b.jpg", b""));
    assert!(m.starts_with("AT/train/ant/b.jpg: not a readable JPEG or PNG: "), "{m}");
    let png = std::fs::read(made().join("pictures/train/ant/c.png")).unwrap();
    let m = message(&|| write("train/ant/c.png", &png[..png.len() - 40]));
    assert!(m.starts_with("AT/train/ant/c.png: not a readable JPEG or PNG: "), "{m}");
    // Declares 65,535 x 65,535 pixels.
    let m = message(&|| write("train/ant/b.jpg", &huge(&b)));
    assert!(m.starts_with("AT/train/ant/b.jpg: not a readable JPEG or PNG: "), "{m}");
    let m = message(&|| write("train/ant/d.webp", b""));
    assert_eq!(m, "AT/train/ant/d.webp: only JPEG and PNG pictures are read; convert it");
    let m = message(&|| write("test/wasp/b.jpg", &b));
    assert_eq!(m, "AT/test: \"wasp\" is no class of AT/train");
    let m = message(&|| std::fs::remove_dir_all(at.join("train")).unwrap());
    assert_eq!(m, "AT: 1 sub-folders; an image folder has one per class, at least two");
    let m = message(&|| {
        std::fs::remove_dir_all(&at).unwrap();
        write("a/x.txt", b"");
        write("b/x.txt", b"");
    });
    assert_eq!(m, "AT: it holds no .jpg, .jpeg or .png pictures");
    let m = message(&|| {
        write("test/ant/z.png", &png_of(3, 5));
    });
    assert_eq!(m, "AT: train/Bee/b.jpg is 24x20 but test/ant/z.png is 5x3; give --size HxW, as in 32x32");
}

/// A PNG of one colour.
fn png_of(width: u32, height: u32) -> Vec<u8> {
    let mut content = Vec::new();
    let mut encoder = png::Encoder::new(&mut content, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&vec![0; (3 * width * height) as usize]).unwrap();
    content
}

/// A JPEG whose frame declares the largest size that there is.
fn huge(jpeg: &[u8]) -> Vec<u8> {
    let mut jpeg = jpeg.to_vec();
    let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    jpeg
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

/// A tar file in which the name of a file is another one, with the checksum of its head put right.
fn without(tar: &[u8], name: &str) -> Vec<u8> {
    let mut tar = tar.to_vec();
    let at = tar.windows(name.len()).position(|w| w == name.as_bytes()).unwrap();
    let head = at / 512 * 512;
    tar[at] = b'D';
    tar[head + 148..head + 156].fill(b' ');
    let sum: u32 = tar[head..head + 512].iter().map(|b| u32::from(*b)).sum();
    tar[head + 148..head + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar
}
