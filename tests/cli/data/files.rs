//! The embedded data set, and safetensors and IDX files.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use super::assert_one_line;
use ham_engine::data::{Dataset, Pixels, Split, info, known, open};
use proptest::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use sha2::{Digest, Sha256};

type Tensor<'a> = (&'a str, Dtype, Vec<usize>, Vec<u8>);
type Metadata<'a> = &'a [(&'a str, &'a str)];

fn encode(tensors: &[Tensor], metadata: Metadata) -> Vec<u8> {
    let views = tensors.iter().map(|(n, d, s, b)| (*n, TensorView::new(*d, s.clone(), b).unwrap()));
    let metadata: HashMap<_, _> = metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    safetensors::serialize(views, Some(metadata)).unwrap()
}

/// Two training images of 1x1x2 with labels 0 and 1.
fn small() -> Vec<Tensor<'static>> {
    vec![("images", Dtype::U8, vec![2, 1, 1, 2], vec![0, 51, 102, 255]), ("labels", Dtype::U8, vec![2], vec![0, 1])]
}

fn with_test(images: Tensor<'static>, labels: Tensor<'static>) -> Vec<Tensor<'static>> {
    let mut tensors = small();
    tensors.extend([images, labels]);
    tensors
}

fn open_bytes(bytes: &[u8]) -> Result<Dataset, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("set.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let result = open(path.to_str().unwrap(), None).map_err(|e| e.to_string());
    // Every error names the file; what follows is what tests compare.
    result.map_err(|e| e.strip_prefix(&format!("{}: ", path.display())).expect(&e).to_string())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
    bytes.extend(data);
    bytes
}

/// The four files of a small set of the MNIST family, gzipped and plain mixed, `change`d before they are written.
fn open_idx(change: impl FnOnce(&mut HashMap<&'static str, Vec<u8>>)) -> Result<Dataset, String> {
    let dir = tempfile::tempdir().unwrap();
    let mut files = HashMap::from([
        ("train-images-idx3-ubyte.gz", gzip(&idx(&[3, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]))),
        ("train-labels-idx1-ubyte", idx(&[3], &[0, 9, 4])),
        ("t10k-images-idx3-ubyte", idx(&[1, 2, 2], &[0, 255, 0, 255])),
        ("t10k-labels-idx1-ubyte.gz", gzip(&idx(&[1], &[7]))),
    ]);
    change(&mut files);
    files.iter().for_each(|(name, bytes)| std::fs::write(dir.path().join(name), bytes).unwrap());
    let at = dir.path().display().to_string();
    open("fashion-mnist", Some(dir.path())).map_err(|e| e.to_string().replace(&at, "DIR"))
}

#[test]
fn the_embedded_set_is_what_its_readme_says() {
    let set = open("fashion-mnist-mini", None).unwrap();
    assert_eq!((set.channels, set.height, set.width, set.classes), (1, 28, 28, 10));
    assert_eq!(set.train.class_counts(10), [800; 10]);
    assert_eq!(set.test.class_counts(10), [200; 10]);
    assert_eq!(set.class_names[9], "Ankle boot");
    assert_eq!(set.hash, "432a7c37d4058386c94d324f31988dec8d787badeb5d112c5e8c779fdb82e2f3");
    let summary = info(&set);
    assert!((summary.mean[0] - 0.286).abs() < 0.005 && (summary.std[0] - 0.353).abs() < 0.005, "{summary}");

    let file = include_bytes!("../../../data/fashion-mnist-mini.safetensors.gz");
    let sha: String = Sha256::digest(file).iter().map(|b| format!("{b:02x}")).collect();
    let readme = include_str!("../../../data/README.md");
    assert!(readme.contains(&sha) && readme.contains(&format!("| {} |", file.len())));
}

#[test]
fn safetensors_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    let split = |images| Split { images, labels: vec![2, 0] };
    let sets = [
        Dataset::new("u8", [3, 1, 1], 3, split(Pixels::U8(vec![0, 1, 2, 253, 254, 255])), Split::empty()),
        Dataset::new(
            "f32",
            [1, 1, 2],
            300,
            split(Pixels::F32(vec![0.0, 1.0, 1.0 / 3.0, f32::MIN_POSITIVE])),
            Split { images: Pixels::F32(vec![0.5, 0.25]), labels: vec![299] },
        ),
    ];
    for set in sets {
        let mut set = set.unwrap();
        let path = dir.path().join(format!("{}.safetensors", set.name));
        set.write_safetensors(&path).unwrap();
        assert_eq!(open(path.to_str().unwrap(), None).unwrap(), set);
        assert_eq!(open(&set.name, Some(dir.path())).unwrap(), set, "by name in the folder");

        set.class_names[0] = "Ankle boot".into();
        (set.mean, set.std) = (Some(vec![0.4914; set.channels]), Some(vec![0.1; set.channels]));
        set.write_safetensors(&path).unwrap();
        assert_eq!(open(path.to_str().unwrap(), None).unwrap(), set);

        let before = std::fs::read(&path).unwrap();
        set.std = Some(vec![0.0; set.channels]);
        assert!(set.write_safetensors(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), before, "the old file stays");
    }
}

#[test]
fn i64_labels_and_declared_classes() {
    let mut tensors = small();
    tensors[1] = ("labels", Dtype::I64, vec![2], [7i64.to_le_bytes(), 0i64.to_le_bytes()].concat());
    let set = open_bytes(&encode(&tensors, &[])).unwrap();
    assert_eq!((set.classes, &set.train.labels[..], &set.name[..]), (8, &[7, 0][..], "set"));
    assert_eq!(set.class_names[7], "7");
    assert_eq!(set.train.images.to_f32(1..4), [0.2, 0.4, 1.0]);
    let declared = open_bytes(&encode(&tensors, &[("classes", "10"), ("mean", " 0.5"), ("std", "0.25 ")])).unwrap();
    assert_eq!((declared.classes, declared.mean, declared.std), (10, Some(vec![0.5]), Some(vec![0.25])));
    assert_eq!(declared.hash, set.hash, "the hash is over the examples alone");
}

#[test]
fn bad_safetensors_are_refused_in_one_line() {
    let f32s = |v: &[f32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let set = |i: usize, tensor: Tensor<'static>| {
        let mut tensors = small();
        tensors[i] = tensor;
        tensors
    };
    let test_images = || ("test_images", Dtype::U8, vec![1, 1, 1, 2], vec![0; 2]);
    let test_labels = || ("test_labels", Dtype::U8, vec![1], vec![0]);
    let i64s = |v: [i64; 2]| v.map(i64::to_le_bytes).concat();
    let none: Metadata = &[];
    let cases: Vec<(Vec<Tensor>, Metadata, &str)> = vec![
        (
            set(0, ("images", Dtype::F16, vec![2, 1, 1, 2], vec![0; 8])),
            none,
            "images is F16; it must be U8, or F32 in [0, 1]",
        ),
        (
            set(0, ("images", Dtype::U8, vec![2, 1, 2], vec![0; 4])),
            none,
            "images has shape [2, 1, 2]; it must be [N, C, H, W]",
        ),
        (set(0, ("images", Dtype::U8, vec![0, 1, 1, 2], vec![])), none, "images holds 0 examples but labels holds 2"),
        (set(0, ("images", Dtype::U8, vec![2, 1, 0, 2], vec![])), none, "images is empty (shape [2, 1, 0, 2])"),
        (
            set(0, ("images", Dtype::F32, vec![2, 1, 1, 1], f32s(&[0.5, 1.5]))),
            none,
            "images: value 1.5 in example 1; f32 pixels must be in [0, 1]",
        ),
        (
            set(0, ("images", Dtype::F32, vec![2, 1, 1, 1], f32s(&[f32::NAN, 0.5]))),
            none,
            "images: value NaN in example 0; f32 pixels must be in [0, 1]",
        ),
        (set(1, ("labels", Dtype::U8, vec![3], vec![0; 3])), none, "images holds 2 examples but labels holds 3"),
        (set(1, ("labels", Dtype::U8, vec![2, 1], vec![0; 2])), none, "labels has shape [2, 1]; it must be [N]"),
        (set(1, ("labels", Dtype::F32, vec![2], vec![0; 8])), none, "labels is F32; it must be U8, I32 or I64"),
        (set(1, ("labels", Dtype::I64, vec![2], i64s([0, -1]))), none, "labels: -1 at 1; classes are counted from 0"),
        (
            set(1, ("labels", Dtype::I64, vec![2], i64s([i64::MAX, 0]))),
            none,
            "labels: 9223372036854775807 at 0; classes are counted from 0",
        ),
        (set(1, ("labels", Dtype::I64, vec![2], i64s([1000, 0]))), none, "1001 classes; 2 to 1000 are possible"),
        (set(1, ("labels", Dtype::U8, vec![2], vec![0; 2])), none, "1 classes; 2 to 1000 are possible"),
        (
            set(1, ("label", Dtype::U8, vec![2], vec![0; 2])),
            none,
            "unknown tensor \"label\"; a data set holds images, labels, test_images, test_labels",
        ),
        (vec![small().remove(0)], none, "tensor labels is missing"),
        (
            with_test(test_images(), ("x\n", Dtype::U8, vec![0], vec![])),
            none,
            "unknown tensor \"x\\n\"; a data set holds images, labels, test_images, test_labels",
        ),
        ([small(), vec![test_images()]].concat(), none, "tensor test_labels is missing"),
        ([small(), vec![test_labels()]].concat(), none, "tensor test_images is missing"),
        (
            with_test(("test_images", Dtype::U8, vec![1, 2, 1, 1], vec![0; 2]), test_labels()),
            none,
            "images are [1, 1, 2] (C, H, W) but test_images are [2, 1, 1]",
        ),
        (
            with_test(("test_images", Dtype::F32, vec![1, 1, 1, 2], vec![0; 8]), test_labels()),
            none,
            "images and test_images have different types; store both as u8 or both as f32",
        ),
        (
            with_test(
                ("test_images", Dtype::U8, vec![0, 1, 1, 2], vec![]),
                ("test_labels", Dtype::U8, vec![0], vec![]),
            ),
            none,
            "test_images is empty (shape [0, 1, 1, 2])",
        ),
        (
            with_test(test_images(), ("test_labels", Dtype::U8, vec![1], vec![2])),
            none,
            "test_labels: class 2 at 0; there are 2 classes, from 0",
        ),
        (small(), &[("classes", "ten")], "metadata classes is \"ten\", not a number"),
        (small(), &[("classes", "1")], "1 classes; 2 to 1000 are possible"),
        (small(), &[("classes", "18446744073709551615")], "18446744073709551615 classes; 2 to 1000 are possible"),
        (small(), &[("class_names", "a,b,c")], "3 class_names for 2 classes"),
        (small(), &[("class_names", "a,\u{1b}[2J")], "class name \"\\u{1b}[2J\" holds a comma or a control character"),
        (small(), &[("mean", "0.5")], "mean and std must be given together"),
        (small(), &[("mean", "0,0"), ("std", "1,1")], "mean and std need one value per channel (1)"),
        (small(), &[("mean", "0"), ("std", "0")], "mean must be finite, and std finite and above 0"),
        (small(), &[("mean", "NaN"), ("std", "1")], "mean must be finite, and std finite and above 0"),
        (
            small(),
            &[("mean", "a"), ("std", "1")],
            "metadata mean is \"a\"; give one number per channel, separated by commas",
        ),
    ];
    for (tensors, metadata, expected) in cases {
        assert_eq!(open_bytes(&encode(&tensors, metadata)).unwrap_err(), expected);
    }
    let hash = open_bytes(&encode(&small(), &[])).unwrap().hash;
    assert!(open_bytes(&encode(&small(), &[("sha256", &hash)])).is_ok());
    let message = open_bytes(&encode(&small(), &[("sha256", "0")])).unwrap_err();
    assert_eq!(message, format!("damaged: its examples' SHA-256 is {hash}, not 0"));
    let message = open_bytes(&u64::MAX.to_le_bytes()).unwrap_err();
    assert_eq!(
        message,
        "not a valid safetensors file: it declares a header of 18446744073709551615 bytes but 0 bytes follow"
    );
    let mut long = encode(&small(), &[]);
    long.push(0);
    assert_eq!(
        open_bytes(&long).unwrap_err(),
        "not a valid safetensors file: its tensors take 6 bytes but the file holds 7"
    );
    assert!(open("/no/such/set.safetensors", None).unwrap_err().to_string().contains("cannot read the data set"));
}

#[test]
fn idx_files_are_read() {
    let set = open_idx(|_| ()).unwrap();
    assert_eq!((set.channels, set.height, set.width, set.classes), (1, 2, 2, 10));
    assert_eq!(set.train.images, Pixels::U8((1..=12).collect()));
    assert_eq!((&set.train.labels[..], &set.test.labels[..]), (&[0, 9, 4][..], &[7][..]));
    assert_eq!(set.class_names[0], "T-shirt/top");
}

#[test]
fn bad_idx_files_are_refused_in_one_line() {
    let huge = [u32::MAX; 3];
    let cut = gzip(&idx(&[3, 2, 2], &[0; 12]));
    let mut wrong_sum = cut.clone();
    let at = wrong_sum.len() - 8;
    wrong_sum[at] ^= 1;
    let trailing = [&cut[..], b"more bytes after it"].concat();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "train-labels-idx1-ubyte",
            idx(&[3, 1], &[0; 3]),
            "not an IDX file of bytes with 1 dimensions (it starts with [00, 00, 08, 02])",
        ),
        ("train-labels-idx1-ubyte", idx(&[3], &[0, 1]), "truncated: 2 of 3 bytes of data; fetch the file again"),
        ("train-labels-idx1-ubyte", idx(&[3], &[0; 4]), "more than the 3 bytes of data that dimensions [3] take"),
        ("train-labels-idx1-ubyte", idx(&[3], &[0, 10, 0]), "label 10 at 1: the classes are 0 to 9"),
        ("train-labels-idx1-ubyte", idx(&[2], &[0; 2]), "2 labels but DIR/train-images-idx3-ubyte.gz has 3 images"),
        (
            "train-labels-idx1-ubyte",
            idx(&[u32::MAX], &[0]),
            "truncated: 1 of 4294967295 bytes of data; fetch the file again",
        ),
        ("train-labels-idx1-ubyte", vec![], "truncated; fetch the file again"),
        ("t10k-images-idx3-ubyte", idx(&huge, &[]), "dimensions [4294967295, 4294967295, 4294967295] are too large"),
        ("t10k-images-idx3-ubyte", idx(&[1, 0, 2], &[]), "it holds 1 images of 0x2: nothing to read"),
        ("train-images-idx3-ubyte.gz", cut[..cut.len() - 20].to_vec(), "truncated; fetch the file again"),
        ("train-images-idx3-ubyte.gz", cut[..3].to_vec(), "truncated; fetch the file again"),
        (
            "train-images-idx3-ubyte.gz",
            wrong_sum,
            "cannot be decompressed, fetch the file again: corrupt gzip stream does not have a matching checksum",
        ),
        ("train-images-idx3-ubyte.gz", trailing, "cannot be decompressed, fetch the file again: invalid gzip header"),
    ];
    for (name, bytes, expected) in cases {
        let message = open_idx(|files| drop(files.insert(name, bytes))).unwrap_err();
        assert_eq!(message, format!("DIR/{name}: {expected}"));
    }
    let message = open_idx(|files| drop(files.insert("t10k-images-idx3-ubyte", idx(&[1, 1, 4], &[0; 4])))).unwrap_err();
    assert_eq!(message, "DIR/t10k-images-idx3-ubyte: train images are 2x2 but test images are 1x4");
    let message = open_idx(|files| drop(files.remove("t10k-labels-idx1-ubyte.gz"))).unwrap_err();
    assert_eq!(message, "DIR: t10k-labels-idx1-ubyte.gz is missing there");
}

#[test]
fn unknown_names_say_what_is_known() {
    let message = |name: &str, dir: Option<&str>| open(name, dir.map(Path::new)).unwrap_err().to_string();
    let list = "fashion-mnist-mini, fashion-mnist, cifar10, cifar100, svhn, imagenette, tiny-imagenet-200, or a path to a \
                .safetensors or .npz file or an image folder";
    assert_eq!(message("nothing", None), format!("no data set \"nothing\"; known: {list}"));
    assert_eq!(message("", Some("/")), format!("no data set \"\"; known: {list}"));
    assert_eq!(message("CIFAR-10", None), format!("no data set \"CIFAR-10\"; did you mean cifar10? Known: {list}"));
    assert_eq!(
        message("cifar10", Some("/no")),
        "data set cifar10: it is not in /no; run: ham-engine data fetch cifar10 --data-dir /no"
    );
    assert_one_line(&message("a\nb\u{1b}", None));
    assert_eq!(known().len(), 7);
}

#[test]
fn info_counts_and_measures() {
    let images = Pixels::F32(vec![0.0, 1.0, 0.5, 0.5, 1.0, 0.0, 0.5, 0.5]);
    let train = Split { images, labels: vec![1, 1] };
    let summary = info(&Dataset::new("two", [2, 1, 2], 2, train, Split::empty()).unwrap());
    assert_eq!((&summary.mean[..], &summary.std[..]), (&[0.5, 0.5][..], &[0.5, 0.0][..]));
    assert_eq!((&summary.train.per_class[..], &summary.test.per_class[..]), (&[0, 2][..], &[0, 0][..]));
    let text = summary.to_string();
    assert!(text.contains("2 train, 0 test") && text.contains("mean 0.5000, 0.5000; std 0.5000, 0.0000"), "{text}");
    assert_eq!(serde_json::to_value(&summary).unwrap()["train"]["examples"], 2);
}

#[test]
fn wrong_use_is_an_error() {
    let set = open_bytes(&encode(&small(), &[])).unwrap();
    for share in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
        assert_one_line(&set.split_validation(share, 0).unwrap_err().to_string());
    }
    assert_eq!(set.train.subset(&[2]).unwrap_err().to_string(), "example 2 is beyond the end of a split of 2");
    let twice = set.train.subset(&[1, 0, 1]).unwrap();
    assert_eq!(twice, Split { images: Pixels::U8(vec![102, 255, 0, 51, 102, 255]), labels: vec![1, 0, 1] });
    assert!(Split::empty().subset(&[]).unwrap().is_empty());
    let new = |shape, classes| Dataset::new("x", shape, classes, set.train.clone(), Split::empty());
    assert!(new([1, 1, 3], 2).is_err() && new([usize::MAX, 2, 1], 2).is_err() && new([1, 1, 2], 1).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        assert_one_line(&open_bytes(&bytes).unwrap_err());
        let mut framed = (bytes.len() as u64).to_le_bytes().to_vec();
        framed.extend(&bytes);
        assert_one_line(&open_bytes(&framed).unwrap_err());
        for start in [&[][..], &[0, 0, 8, 3], &[0, 0, 8, 1], &[0x1f, 0x8b, 8, 0]] {
            let bytes = [start, &bytes].concat();
            for name in ["train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"] {
                assert_one_line(&open_idx(|files| drop(files.insert(name, bytes.clone()))).unwrap_err());
            }
        }
    }

    #[test]
    fn truncated_files_are_errors(share in 0.0..1.0f64) {
        let cut = |bytes: &[u8]| bytes[..(share * bytes.len() as f64) as usize].to_vec();
        assert_one_line(&open_bytes(&cut(&encode(&small(), &[("classes", "2")]))).unwrap_err());
        for name in ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte.gz"] {
            let message = open_idx(|files| {
                let short = cut(&files[name]);
                files.insert(name, short);
            });
            assert_one_line(&message.unwrap_err());
        }
    }

    #[test]
    fn changed_bytes_never_panic(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = encode(&small(), &[("classes", "2"), ("mean", "0"), ("std", "1")]);
        let i = at.index(bytes.len());
        bytes[i] = to;
        if let Err(message) = open_bytes(&bytes) {
            assert_one_line(&message);
        }
        let _ = open_idx(|files| {
            let gz = files.get_mut("train-images-idx3-ubyte.gz").unwrap();
            let i = at.index(gz.len());
            gz[i] = to;
        });
    }
}
