//! Data sets as safetensors files: the format to bring any other data set in, and that of decoded ones.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::arrays::{self, Array, Arrays, NAMES};
use super::{Dataset, Pixels, Split};
use crate::{Error, Result, fsio};

/// Metadata of a file that was decoded from others: which ones.
pub(super) const DECODED_FROM: &str = "decoded-from";

/// A file's text metadata.
pub(super) type Metadata = HashMap<String, String>;

/// Reads a file; `classes` counts where its metadata does not. The data set gets the file's name without the extension.
pub(super) fn read(path: &Path, classes: Option<usize>) -> Result<(Dataset, Metadata)> {
    let file = File::open(path).map_err(Error::io(path, "cannot read the data set"))?;
    let length = file.metadata().map_err(Error::io(path, "cannot read the data set"))?.len();
    let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    read_from(&name, path, BufReader::new(file), length, classes)
}

/// Reads a data set `name` from a file's `length` bytes; errors name `path`.
pub(super) fn read_from(
    name: &str,
    path: &Path,
    mut from: impl Read,
    length: u64,
    classes: Option<usize>,
) -> Result<(Dataset, Metadata)> {
    let header = fsio::read_safetensors_header(path, &mut from, length)?;
    let mut arrays = Arrays::new();
    for key in header.offset_keys() {
        let info = header.info(&key).expect("a key of this header").clone();
        // The header's check bounds the sum of these sizes by the file's length.
        let mut data = vec![0; info.data_offsets.1 - info.data_offsets.0];
        from.read_exact(&mut data).map_err(Error::io(path, "cannot read the data set"))?;
        arrays.insert(key, Array { dtype: info.dtype, shape: info.shape, data });
    }
    let metadata = header.metadata().clone().unwrap_or_default();
    let set = arrays::dataset(name, arrays, &metadata, classes);
    Ok((set.map_err(|what| Error::format(path, fsio::one_line(&what)))?, metadata))
}

impl Dataset {
    /// Writes the data set as a safetensors file that [`super::open`] reads back, atomically. The file carries
    /// everything but the name, and the hash, which a reader checks; the same data set always gives the same bytes.
    pub fn write_safetensors(&self, path: &Path) -> Result<()> {
        self.write_with(path, &[])
    }

    /// The same with more metadata.
    pub(super) fn write_with(&self, path: &Path, more: &[(&str, &str)]) -> Result<()> {
        self.check().map_err(|what| Error::usage(format!("data set {}: {what}", self.name)))?;
        let mut metadata = BTreeMap::from([
            ("classes".to_string(), self.classes.to_string()),
            ("class_names".to_string(), self.class_names.join(",")),
            ("sha256".to_string(), self.digest()),
        ]);
        metadata.extend(more.iter().map(|(key, value)| (key.to_string(), value.to_string())));
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
        for (name, (dtype, shape, data)) in NAMES.iter().zip(parts) {
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
