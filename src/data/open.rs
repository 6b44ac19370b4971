//! From a name or a path to a data set.

use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::{Dataset, idx, safetensors};
use crate::{Error, Result};

/// See data/README.md for how it was drawn.
static MINI: &[u8] = include_bytes!("../../data/fashion-mnist-mini.safetensors.gz");

/// Where the Debian package dataset-fashion-mnist puts its files.
const FASHION_MNIST_DIR: &str = "/usr/share/datasets/fashion-mnist";

const FASHION_MNIST_CLASSES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

/// A data set that this program knows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Known {
    /// What to pass to [`open`].
    pub name: &'static str,
    /// What it holds.
    pub description: &'static str,
    /// Where its examples come from.
    pub source: &'static str,
}

const CONVERT: &str = "yours: convert it to NAME.safetensors (data/README.md), then --data-dir or its path";

static KNOWN: [Known; 6] = [
    Known {
        name: "fashion-mnist-mini",
        description: "8,000 + 2,000 images of clothing, 1x28x28, 10 balanced classes",
        source: "in the program",
    },
    Known {
        name: "fashion-mnist",
        description: "60,000 + 10,000 images of clothing, 1x28x28, 10 balanced classes",
        source: "Debian package dataset-fashion-mnist, or its IDX files in --data-dir",
    },
    Known {
        name: "cifar10",
        description: "50,000 + 10,000 photographs, 3x32x32, 10 balanced classes",
        source: CONVERT,
    },
    Known {
        name: "cifar100",
        description: "50,000 + 10,000 photographs, 3x32x32, 100 balanced classes",
        source: CONVERT,
    },
    Known { name: "svhn", description: "73,257 + 26,032 house-number digits, 3x32x32, 10 classes", source: CONVERT },
    Known {
        name: "imagenette",
        description: "9,469 + 3,925 photographs, 10 classes; resize to 3x32x32",
        source: CONVERT,
    },
];

/// The data sets known by name.
pub fn known() -> &'static [Known] {
    &KNOWN
}

/// Reads a data set: a path that ends in `.safetensors`, a name that [`known`] lists, or any NAME for which `data_dir`
/// holds NAME.safetensors.
pub fn open(name_or_path: &str, data_dir: Option<&Path>) -> Result<Dataset> {
    open_for(name_or_path, data_dir, None)
}

/// The same for a network of `classes` classes: a file that does not say how many there are may hold examples of some
/// of them only.
pub fn open_for(name_or_path: &str, data_dir: Option<&Path>, classes: Option<usize>) -> Result<Dataset> {
    let name = name_or_path;
    if name.ends_with(".safetensors") {
        return safetensors::read(Path::new(name), classes);
    }
    if name == "fashion-mnist-mini" {
        return mini();
    }
    // A name is a file name: it must not lead out of the folder.
    let is_plain = !name.is_empty() && !name.contains(['/', '\\']) && name != "." && name != "..";
    if let Some(path) = data_dir.filter(|_| is_plain).map(|dir| dir.join(format!("{name}.safetensors")))
        && path.is_file()
    {
        return safetensors::read(&path, classes);
    }
    if name == "fashion-mnist" {
        return idx::read(name, data_dir.unwrap_or(Path::new(FASHION_MNIST_DIR)), &FASHION_MNIST_CLASSES);
    }
    if KNOWN.iter().any(|k| k.name == name) {
        let place = match data_dir {
            Some(dir) => format!("there is no {name}.safetensors in {}", dir.display()),
            None => "it does not come with this program".to_string(),
        };
        return Err(Error::usage(format!(
            "data set {name}: {place}; convert it to {name}.safetensors as data/README.md shows, then pass that file's \
             path, or its folder with --data-dir"
        )));
    }
    let hint = match nearest(name) {
        Some(near) => format!("did you mean {near}? Known"),
        None => "known".to_string(),
    };
    let names: Vec<_> = KNOWN.iter().map(|k| k.name).collect();
    let shown = crate::fsio::one_line(name);
    Err(Error::usage(format!("no data set {shown:?}; {hint}: {}, or a path to a .safetensors file", names.join(", "))))
}

fn mini() -> Result<Dataset> {
    let path = Path::new("fashion-mnist-mini (in the program)");
    let mut bytes = Vec::new();
    MultiGzDecoder::new(MINI).read_to_end(&mut bytes).map_err(Error::io(path, "cannot decompress"))?;
    safetensors::parse("fashion-mnist-mini", path, &bytes, None)
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
            ("shvn", Some("svhn")),
            ("nothing-like-it", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed), name, "{typed}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
