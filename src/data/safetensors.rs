//! Data sets as safetensors files: the format to bring any other data set in.
//!
//! Tensors: `images` and `labels`, and for evaluation `test_images` and `test_labels`. Metadata, all optional:
//! `classes`, `class_names`, `mean`, `std`, the last three separated by commas. data/README.md has the description.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::{Dataset, Pixels, Split};
use crate::{Error, Result, fsio};

const TENSORS: [&str; 4] = ["images", "labels", "test_images", "test_labels"];

/// Reads a file; `classes` counts where its metadata does not. The data set gets the file's name without the extension.
pub(super) fn read(path: &Path, classes: Option<usize>) -> Result<Dataset> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "cannot read the data set"))?;
    let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    parse(&name, path, &bytes, classes)
}

/// A data set from the bytes of the file at `path`, which errors name.
pub(super) fn parse(name: &str, path: &Path, bytes: &[u8], classes: Option<usize>) -> Result<Dataset> {
    let (tensors, metadata) = fsio::parse_safetensors(path, bytes)?;
    dataset(name, &tensors, &metadata, classes).map_err(|what| Error::format(path, fsio::one_line(&what)))
}

fn dataset(
    name: &str,
    tensors: &SafeTensors<'_>,
    metadata: &HashMap<String, String>,
    classes: Option<usize>,
) -> std::result::Result<Dataset, String> {
    // A misspelt test_images must not pass for a data set without a test set.
    if let Some(other) = tensors.names().into_iter().filter(|n| !TENSORS.contains(n)).min() {
        return Err(format!("unknown tensor {other:?}; a data set holds {}", TENSORS.join(", ")));
    }
    let (train, shape) = split(tensors, "images", "labels")?;
    let has_test = tensors.names().into_iter().any(|n| n.starts_with("test_"));
    let (test, test_shape) =
        if has_test { split(tensors, "test_images", "test_labels")? } else { (Split::empty(), shape) };
    if test_shape != shape {
        return Err(format!("images are {shape:?} (C, H, W) but test_images are {test_shape:?}"));
    }
    let classes = match metadata.get("classes") {
        Some(text) => text.trim().parse().map_err(|_| format!("metadata classes is {text:?}, not a number"))?,
        None => classes.unwrap_or_else(|| train.labels.iter().max().map_or(0, |&y| y as usize + 1)),
    };

    let mut set = Dataset {
        name: name.to_string(),
        class_names: match metadata.get("class_names") {
            Some(text) => text.split(',').map(|n| n.trim().to_string()).collect(),
            None => Vec::new(),
        },
        mean: floats(metadata, "mean")?,
        std: floats(metadata, "std")?,
        hash: String::new(),
        channels: shape[0],
        height: shape[1],
        width: shape[2],
        classes,
        train,
        test,
    };
    set.finish(!metadata.contains_key("class_names"))?;
    Ok(set)
}

fn split(tensors: &SafeTensors<'_>, images: &str, labels: &str) -> std::result::Result<(Split, [usize; 3]), String> {
    let get = |name: &str| tensors.tensor(name).map_err(|_| format!("tensor {name} is missing"));
    let (image_tensor, label_tensor) = (get(images)?, get(labels)?);
    let &[n, channels, height, width] = image_tensor.shape() else {
        return Err(format!("{images} has shape {:?}; it must be [N, C, H, W]", image_tensor.shape()));
    };
    let &[label_n] = label_tensor.shape() else {
        return Err(format!("{labels} has shape {:?}; it must be [N]", label_tensor.shape()));
    };
    if n != label_n {
        return Err(format!("{images} holds {n} examples but {labels} holds {label_n}"));
    }
    if image_tensor.data().is_empty() {
        return Err(format!("{images} is empty (shape {:?})", image_tensor.shape()));
    }
    let pixels = match image_tensor.dtype() {
        Dtype::U8 => Pixels::U8(image_tensor.data().to_vec()),
        Dtype::F32 => {
            Pixels::F32(image_tensor.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect())
        }
        other => return Err(format!("{images} is {other}; it must be U8, or F32 in [0, 1]")),
    };
    let labels = match label_tensor.dtype() {
        Dtype::U8 => label_tensor.data().iter().map(|&y| u32::from(y)).collect(),
        Dtype::I64 => {
            let values = label_tensor.data().as_chunks::<8>().0.iter().map(|&b| i64::from_le_bytes(b));
            let checked = values.enumerate().map(|(i, y)| {
                // Beyond u32 no class count could be right either; what remains is checked with the class count.
                u32::try_from(y).map_err(|_| format!("{labels}: {y} at {i}; classes are counted from 0"))
            });
            checked.collect::<std::result::Result<_, _>>()?
        }
        other => return Err(format!("{labels} is {other}; it must be U8 or I64")),
    };
    Ok((Split { images: pixels, labels }, [channels, height, width]))
}

fn floats(metadata: &HashMap<String, String>, key: &str) -> std::result::Result<Option<Vec<f32>>, String> {
    let parse = |text: &String| {
        let values: std::result::Result<_, _> = text.split(',').map(|v| v.trim().parse()).collect();
        values.map_err(|_| format!("metadata {key} is {text:?}; give one number per channel, separated by commas"))
    };
    metadata.get(key).map(parse).transpose()
}

impl Dataset {
    /// Writes the data set as a safetensors file that [`super::open`] reads back, atomically. The file carries
    /// everything but the name; the same data set always gives the same bytes.
    pub fn write_safetensors(&self, path: &Path) -> Result<()> {
        self.check().map_err(|what| Error::usage(format!("data set {}: {what}", self.name)))?;
        let mut metadata = BTreeMap::from([
            ("classes".to_string(), self.classes.to_string()),
            ("class_names".to_string(), self.class_names.join(",")),
        ]);
        for (key, values) in [("mean", &self.mean), ("std", &self.std)] {
            if let Some(values) = values {
                let text: Vec<_> = values.iter().map(f32::to_string).collect();
                metadata.insert(key.to_string(), text.join(","));
            }
        }
        let dims = [self.channels, self.height, self.width];
        let train = [encode_images(&self.train, dims), encode_labels(&self.train, self.classes)];
        let test = [encode_images(&self.test, dims), encode_labels(&self.test, self.classes)];
        let parts = if self.test.is_empty() { train.iter().chain(&[]) } else { train.iter().chain(&test) };
        let mut tensors = Vec::new();
        for (name, (dtype, shape, data)) in TENSORS.iter().zip(parts) {
            let view = TensorView::new(*dtype, shape.clone(), data).map_err(|e| Error::format(path, e.to_string()))?;
            tensors.push((*name, view));
        }
        fsio::write_safetensors(path, &tensors, &metadata)
    }
}

type Encoded<'a> = (Dtype, Vec<usize>, std::borrow::Cow<'a, [u8]>);

fn encode_images(split: &Split, [c, h, w]: [usize; 3]) -> Encoded<'_> {
    let shape = vec![split.len(), c, h, w];
    match &split.images {
        Pixels::U8(v) => (Dtype::U8, shape, v.into()),
        Pixels::F32(v) => (Dtype::F32, shape, v.iter().flat_map(|p| p.to_le_bytes()).collect()),
    }
}

fn encode_labels(split: &Split, classes: usize) -> Encoded<'_> {
    let shape = vec![split.len()];
    if classes <= 256 {
        (Dtype::U8, shape, split.labels.iter().map(|&y| y as u8).collect())
    } else {
        (Dtype::I64, shape, split.labels.iter().flat_map(|&y| i64::from(y).to_le_bytes()).collect())
    }
}
