//! Data sets in their true formats, against what the libraries that wrote them say is in them.

use super::fixtures::{copy_tree, data_dir, expected};
use super::made;
use ham_engine::data::{Dataset, Pixels, Size, Source, open};
use std::path::Path;

fn open_sized(dataset: &str, data_dir: &Path, size: &str) -> Result<Dataset, String> {
    let size = Some(size.parse::<Size>().unwrap());
    let source = Source { data_dir: Some(data_dir), size, ..Source::new(dataset) };
    source.open().map_err(|e| e.to_string())
}

#[test]
fn archives_are_read_and_decoded_once() {
    for (set, name, exactly) in [
        ("cifar10", "cifar10", true),
        ("cifar100", "cifar100", true),
        ("svhn", "svhn", true),
        ("svhn-plain", "svhn", true),
        ("imagenette", "imagenette", false),
        ("tiny-imagenet-200", "tiny-imagenet-200", false),
    ] {
        let dir = data_dir(set, name);
        let first = open(name, Some(dir.path())).unwrap();
        expected(set).assert_matches(&first, exactly);
        assert_eq!(first.name, name);

        let kept = dir.path().join(format!("{name}.safetensors"));
        let bytes = std::fs::read(&kept).unwrap();
        assert_eq!(open(name, Some(dir.path())).unwrap(), first, "as it was kept");
        assert!(std::fs::read(&kept).unwrap() == bytes);

        // A changed pixel does not pass for data, and the archive makes it good.
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 1;
        std::fs::write(&kept, &damaged).unwrap();
        let message = open(name, Some(dir.path())).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: damaged: its examples' SHA-256 is ", kept.display())), "{message}");
        assert!(message.ends_with("; delete that file, and it is decoded again"), "{message}");
        std::fs::remove_file(&kept).unwrap();
        assert_eq!(open(name, Some(dir.path())).unwrap(), first);
        assert!(std::fs::read(&kept).unwrap() == bytes);

        // Without the archive, what was decoded is enough.
        std::fs::remove_dir_all(dir.path().join(name)).unwrap();
        assert_eq!(open(name, Some(dir.path())).unwrap(), first);
    }
}

#[test]
fn another_archive_is_decoded_anew() {
    let dir = data_dir("svhn", "svhn");
    open("svhn", Some(dir.path())).unwrap();
    copy_tree(&made().join("svhn-plain"), &dir.path().join("svhn"));
    expected("svhn-plain").assert_matches(&open("svhn", Some(dir.path())).unwrap(), true);
    // A file without a word of where it is from was brought by the user, and stays.
    let mine = open("fashion-mnist-mini", None).unwrap();
    mine.write_safetensors(&dir.path().join("svhn.safetensors")).unwrap();
    assert_eq!(open("svhn", Some(dir.path())).unwrap().hash, mine.hash);
}

#[test]
fn archives_beside_each_other() {
    // In the data folder itself, and nothing can be kept there: a folder has the name.
    let dir = tempfile::tempdir().unwrap();
    copy_tree(&made().join("cifar10"), dir.path());
    std::fs::create_dir(dir.path().join("cifar10.safetensors")).unwrap();
    expected("cifar10").assert_matches(&open("cifar10", Some(dir.path())).unwrap(), true);
}

#[test]
fn names_and_normalisations() {
    let read = |name: &str| open(name, Some(data_dir(name, name).path())).unwrap();
    let cifar10 = read("cifar10");
    assert_eq!((&cifar10.class_names[0][..], &cifar10.class_names[9][..]), ("airplane", "truck"));
    assert_eq!(cifar10.mean, Some(vec![0.4914, 0.4822, 0.4465]));
    assert_eq!(cifar10.std, Some(vec![0.2471, 0.2435, 0.2616]));
    let cifar100 = read("cifar100");
    assert_eq!((cifar100.classes, &cifar100.class_names[99][..]), (100, "class 99"));
    assert_eq!(cifar100.mean, Some(vec![0.50708, 0.48655, 0.44092]));
    assert_eq!(cifar100.std, Some(vec![0.26733, 0.25644, 0.27615]));
    let svhn = read("svhn");
    assert_eq!((&svhn.class_names[..2], svhn.mean, svhn.std), (&["0".to_string(), "1".into()][..], None, None));
    assert_eq!(read("imagenette").class_names[8], "golf ball");
    assert_eq!(read("tiny-imagenet-200").class_names, ["goldfish", "Egyptian cat", "reel"]);
}

#[test]
fn image_folders() {
    let data = tempfile::tempdir().unwrap();
    let all = tempfile::tempdir().unwrap();
    copy_tree(&made().join("pictures"), &all.path().join("pictures"));
    let pictures = all.path().join("pictures");
    let at = pictures.to_str().unwrap();
    let set = open(at, Some(data.path())).unwrap();
    expected("pictures").assert_matches(&set, false);
    assert_eq!(
        (&set.name[..], &set.class_names[..]),
        ("pictures", &["Bee".to_string(), "ant".into(), "zebra".into()][..])
    );
    let kept: Vec<_> = std::fs::read_dir(data.path().join("folders")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(open(at, Some(data.path())).unwrap(), set, "as it was kept");

    // Without train and test the sub-folders are the classes. One channel where all are grey.
    let flat = open(pictures.join("test").to_str().unwrap(), Some(data.path())).unwrap();
    assert_eq!((flat.train, flat.test.len()), (set.test.clone(), 0));
    let grey = all.path().join("grey");
    for class in ["a", "b"] {
        copy_tree(&pictures.join("train/ant/deep"), &grey.join(class));
    }
    let grey = open(grey.to_str().unwrap(), Some(data.path())).unwrap();
    assert_eq!((grey.channels, grey.train.labels), (1, vec![0, 1]));

    // A new picture is seen, and another size is another set.
    std::fs::copy(pictures.join("test/ant/b.jpg"), pictures.join("train/ant/z.jpeg")).unwrap();
    assert_eq!(open(at, Some(data.path())).unwrap().train.len(), set.train.len() + 1);
    std::fs::rename(pictures.join("train/ant/z.jpeg"), pictures.join("train/zebra/z.jpeg")).unwrap();
    assert_eq!(open(at, Some(data.path())).unwrap().train.class_counts(3), [3, 3, 4], "moved to another class");
    let small = open_sized(at, data.path(), "10x8").unwrap();
    assert_eq!((small.height, small.width, small.train.len()), (10, 8, set.train.len() + 1));
    assert_eq!(std::fs::read_dir(data.path().join("folders")).unwrap().count(), 4);
}

#[test]
fn sizes() {
    let dir = data_dir("imagenette", "imagenette");
    let set = open_sized("imagenette", dir.path(), "48x64").unwrap();
    assert_eq!((set.height, set.width, &set.name[..], set.train.len()), (48, 64, "imagenette-48x64", 14));
    assert!(dir.path().join("imagenette-48x64.safetensors").is_file());
    assert_eq!(open_sized("imagenette", dir.path(), "32x32").unwrap(), open("imagenette", Some(dir.path())).unwrap());
    let message = open_sized("cifar10", dir.path(), "16x16").unwrap_err();
    assert!(message.starts_with("--size 16x16: cifar10 has a size of its own; only image folders"), "{message}");
    for text in ["", "32", "x", "0x3", "32x", "5000x1", "3x-1", "1x2x3"] {
        let message = text.parse::<Size>().unwrap_err();
        assert_eq!(message, format!("`{text}`: give HEIGHTxWIDTH, each 1 to 4096, as in 32x32"));
    }
}

#[test]
fn npz_files() {
    let read = |name: &str| open(made().join(name).to_str().unwrap(), None);
    for name in ["plain", "packed"] {
        let set = read(&format!("{name}.npz")).unwrap();
        expected("npz").assert_matches(&set, true);
        assert_eq!((set.classes, &set.name[..]), (3, name));
    }
    let (floats, bytes) = (read("floats.npz").unwrap(), expected("npz").train.images);
    assert!(floats.test.is_empty());
    assert_eq!(floats.train.images, Pixels::F32(bytes.to_f32(0..bytes.len())));
    for (name, expected) in [
        (
            "doubles.npz",
            "array images: images must be uint8 or float32, and labels uint8, int32 or int64, little-endian",
        ),
        ("nhwc.npz", "array images: shape [6, 8, 9, 3] looks like N, H, W, C; save x.transpose(0, 3, 1, 2)"),
        ("fortran.npz", "array images: in Fortran's order; save numpy.ascontiguousarray(x)"),
        ("objects.npz", "array labels: images must be uint8 or float32, and labels"),
    ] {
        let message = read(name).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        super::assert_one_line(&message);
    }
}
