//! The data sets that this program knows by name: what they are, and the files that they come in.

use std::path::PathBuf;

use serde::Serialize;

use super::pictures::Size;
use super::{Dataset, Watch, archives, cifar, idx, svhn};
use crate::{Error, Result};

/// A file to fetch.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RemoteFile {
    /// Its name, here as there.
    pub name: &'static str,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 in hex, small letters.
    pub sha256: &'static str,
    /// Where it is, the first to try first.
    pub urls: &'static [&'static str],
}

/// A data set that this program knows by name.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Known {
    /// What to pass to [`super::open`].
    pub name: &'static str,
    /// What it holds.
    pub description: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// The files that it is read from, in the order that its reader takes them.
    pub files: &'static [RemoteFile],
    /// The size that its pictures are brought to, where they have none in common.
    pub size: Option<Size>,
    /// A folder besides the data folder in which its files may be.
    #[serde(skip)]
    pub(super) elsewhere: Option<&'static str>,
    #[serde(skip)]
    format: Format,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    /// In the program.
    Embedded,
    Idx,
    Cifar10,
    Cifar100,
    Svhn,
    Imagenette,
    TinyImagenet,
}

/// The one that is in the program.
pub(super) const MINI: &str = "fashion-mnist-mini";

const FASHION_MNIST_CLASSES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

// Lengths and checksums are those of TensorFlow Datasets' url_checksums; Tiny ImageNet-200's, which is not there, are those that
// independent users of the archive publish with the MD5 90528d7ca1a48142e341f4ef8d21d0de, by which it is widely known.
static KNOWN: [Known; 7] = [
    Known {
        name: MINI,
        description: "8,000 + 2,000 images of clothing, 1x28x28, 10 balanced classes",
        source: "in the program",
        files: &[],
        size: None,
        elsewhere: None,
        format: Format::Embedded,
    },
    Known {
        name: "fashion-mnist",
        description: "60,000 + 10,000 images of clothing, 1x28x28, 10 balanced classes",
        source: "https://github.com/zalandoresearch/fashion-mnist, or Debian's package dataset-fashion-mnist",
        files: &[
            RemoteFile {
                name: "train-images-idx3-ubyte.gz",
                bytes: 26_421_880,
                sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                urls: &[
                    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/train-images-idx3-ubyte.gz",
                    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz",
                ],
            },
            RemoteFile {
                name: "train-labels-idx1-ubyte.gz",
                bytes: 29_515,
                sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                urls: &[
                    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/train-labels-idx1-ubyte.gz",
                    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
                ],
            },
            RemoteFile {
                name: "t10k-images-idx3-ubyte.gz",
                bytes: 4_422_102,
                sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                urls: &[
                    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/t10k-images-idx3-ubyte.gz",
                    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz",
                ],
            },
            RemoteFile {
                name: "t10k-labels-idx1-ubyte.gz",
                bytes: 5_148,
                sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                urls: &[
                    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/t10k-labels-idx1-ubyte.gz",
                    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz",
                ],
            },
        ],
        size: None,
        elsewhere: Some("/usr/share/datasets/fashion-mnist"),
        format: Format::Idx,
    },
    Known {
        name: "cifar10",
        description: "50,000 + 10,000 photographs, 3x32x32, 10 balanced classes",
        source: "https://www.cs.toronto.edu/~kriz/cifar.html",
        files: &[RemoteFile {
            name: "cifar-10-binary.tar.gz",
            bytes: 170_052_171,
            sha256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            urls: &["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"],
        }],
        size: None,
        elsewhere: None,
        format: Format::Cifar10,
    },
    Known {
        name: "cifar100",
        description: "50,000 + 10,000 photographs, 3x32x32, 100 balanced classes",
        source: "https://www.cs.toronto.edu/~kriz/cifar.html",
        files: &[RemoteFile {
            name: "cifar-100-binary.tar.gz",
            bytes: 168_513_733,
            sha256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            urls: &["https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"],
        }],
        size: None,
        elsewhere: None,
        format: Format::Cifar100,
    },
    Known {
        name: "svhn",
        description: "73,257 + 26,032 house-number digits, 3x32x32, 10 classes",
        source: "http://ufldl.stanford.edu/housenumbers",
        files: &[
            RemoteFile {
                name: "train_32x32.mat",
                bytes: 182_040_794,
                sha256: "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
                urls: &["http://ufldl.stanford.edu/housenumbers/train_32x32.mat"],
            },
            RemoteFile {
                name: "test_32x32.mat",
                bytes: 64_275_384,
                sha256: "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
                urls: &["http://ufldl.stanford.edu/housenumbers/test_32x32.mat"],
            },
        ],
        size: None,
        elsewhere: None,
        format: Format::Svhn,
    },
    Known {
        name: "imagenette",
        description: "9,469 + 3,925 photographs, 10 classes, from 160 pixels down to 3x32x32 or --size",
        source: "https://github.com/fastai/imagenette",
        files: &[RemoteFile {
            name: "imagenette2-160.tgz",
            bytes: 98_948_031,
            sha256: "88daccb09b6fce93f45e6c09ddeb269cce705549e6bff322092a2a5a11489863",
            urls: &["https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz"],
        }],
        size: Some(Size { height: 32, width: 32 }),
        elsewhere: None,
        format: Format::Imagenette,
    },
    Known {
        name: "tiny-imagenet-200",
        description: "100,000 + 10,000 photographs, 200 balanced classes, 3x64x64 or --size",
        source: "https://cs231n.stanford.edu",
        files: &[RemoteFile {
            name: "tiny-imagenet-200.zip",
            bytes: 248_100_043,
            sha256: "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
            urls: &[
                "https://cs231n.stanford.edu/tiny-imagenet-200.zip",
                "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            ],
        }],
        size: Some(Size { height: 64, width: 64 }),
        elsewhere: None,
        format: Format::TinyImagenet,
    },
];

/// The data sets known by name.
pub fn known() -> &'static [Known] {
    &KNOWN
}

impl Known {
    /// The one of that name.
    ///
    /// # Errors
    /// If there is none: with the names, and the one that was probably meant.
    pub fn by_name(name: &str) -> Result<&'static Known> {
        if let Some(known) = KNOWN.iter().find(|k| k.name == name) {
            return Ok(known);
        }
        let hint = match nearest(name) {
            Some(near) => format!("did you mean {near}? Known"),
            None => "known".to_string(),
        };
        let names: Vec<_> = KNOWN.iter().map(|k| k.name).collect();
        let shown = crate::fsio::one_line(name);
        let names = names.join(", ");
        Err(Error::usage(format!(
            "no data set {shown:?}; {hint}: {names}, or a path to a .safetensors or .npz file or an image folder"
        )))
    }

    /// Reads the data set `name` from its files, which are there in the order of the table.
    pub(super) fn read(&self, name: &str, files: &[PathBuf], size: Option<Size>, watch: Watch) -> Result<Dataset> {
        let size = size.or(self.size).unwrap_or(Size { height: 32, width: 32 });
        match self.format {
            Format::Embedded => super::open::mini(),
            Format::Idx => idx::read(name, files, &FASHION_MNIST_CLASSES),
            Format::Cifar10 => cifar::read_10(name, files, watch),
            Format::Cifar100 => cifar::read_100(name, files, watch),
            Format::Svhn => svhn::read(name, files, watch),
            Format::Imagenette => archives::imagenette(name, files, size, watch),
            Format::TinyImagenet => archives::tiny_imagenet(name, files, size, watch),
        }
    }
}

/// The known name that `typed` was probably meant to be: within two typing errors, or the shortest it begins.
fn nearest(typed: &str) -> Option<&'static str> {
    let plain = |s: &str| s.to_lowercase().replace(['-', '_', ' '], "");
    let typed = plain(typed);
    let names = || KNOWN.iter().map(|k| k.name);
    let close = names().map(|name| (distance(&typed, &plain(name)), name)).min().filter(|(d, _)| *d <= 2);
    let begun = || names().filter(|n| typed.len() >= 3 && plain(n).starts_with(&typed)).min_by_key(|n| n.len());
    close.map(|(_, name)| name).or_else(begun)
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        for (typed, name) in [
            ("CIFAR-10", Some("cifar10")),
            ("cifar_100", Some("cifar100")),
            ("fashion_mnist", Some("fashion-mnist")),
            ("fashion-mnist-mimi", Some("fashion-mnist-mini")),
            ("fash", Some("fashion-mnist")),
            ("imagenete", Some("imagenette")),
            ("tiny-imagenet", Some("tiny-imagenet-200")),
            ("shvn", Some("svhn")),
            ("nothing-like-it", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed), name, "{typed}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn the_table_is_well_formed() {
        for known in known() {
            assert!(known.source.starts_with("http") != known.files.is_empty(), "{}", known.name);
            for file in known.files {
                let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
                assert!(file.sha256.len() == 64 && file.sha256.chars().all(hex), "{}", file.name);
                assert!(file.bytes > 0 && !file.urls.is_empty(), "{}", file.name);
                assert!(file.urls.iter().all(|url| url.ends_with(&format!("/{}", file.name))), "{}", file.name);
            }
        }
    }
}
