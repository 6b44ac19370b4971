//! Data sets as named arrays, which is what safetensors and npz files hold.
//!
//! Arrays: `images` and `labels`, and for evaluation `test_images` and `test_labels`. Metadata, all optional: `classes`,
//! `class_names`, `mean`, `std`, the last three separated by commas, and `sha256`, which [`Dataset::hash`] must then equal.
//! data/README.md has the description.

use std::collections::{BTreeMap, HashMap};

use safetensors::Dtype;

use super::{Dataset, Pixels, Split};

/// The names of the arrays of a data set.
pub(super) const NAMES: [&str; 4] = ["images", "labels", "test_images", "test_labels"];

/// One array: little-endian, row-major.
pub(super) struct Array {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// As many bytes as type and shape take.
    pub(super) data: Vec<u8>,
}

/// Arrays by name.
pub(super) type Arrays = BTreeMap<String, Array>;

/// Puts a data set together; `classes` counts where the metadata does not.
pub(super) fn dataset(
    name: &str,
    mut arrays: Arrays,
    metadata: &HashMap<String, String>,
    classes: Option<usize>,
) -> Result<Dataset, String> {
    // A misspelt test_images must not pass for a data set without a test set.
    if let Some(other) = arrays.keys().find(|n| !NAMES.contains(&n.as_str())) {
        return Err(format!("unknown tensor {other:?}; a data set holds {}", NAMES.join(", ")));
    }
    let has_test = arrays.keys().any(|n| n.starts_with("test_"));
    let (train, shape) = split(&mut arrays, "images", "labels")?;
    let (test, test_shape) =
        if has_test { split(&mut arrays, "test_images", "test_labels")? } else { (Split::empty(), shape) };
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
    match metadata.get("sha256") {
        Some(hash) if *hash != set.hash => Err(format!("damaged: its examples' SHA-256 is {}, not {hash}", set.hash)),
        _ => Ok(set),
    }
}

fn split(arrays: &mut Arrays, images: &str, labels: &str) -> Result<(Split, [usize; 3]), String> {
    let mut take = |name: &str| arrays.remove(name).ok_or_else(|| format!("tensor {name} is missing"));
    let (image_array, label_array) = (take(images)?, take(labels)?);
    let &[n, channels, height, width] = &image_array.shape[..] else {
        return Err(format!("{images} has shape {:?}; it must be [N, C, H, W]", image_array.shape));
    };
    let &[label_n] = &label_array.shape[..] else {
        return Err(format!("{labels} has shape {:?}; it must be [N]", label_array.shape));
    };
    if n != label_n {
        return Err(format!("{images} holds {n} examples but {labels} holds {label_n}"));
    }
    if image_array.data.is_empty() {
        return Err(format!("{images} is empty (shape {:?})", image_array.shape));
    }
    let pixels = match image_array.dtype {
        Dtype::U8 => Pixels::U8(image_array.data),
        Dtype::F32 => Pixels::F32(image_array.data.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()),
        other => return Err(format!("{images} is {other}; it must be U8, or F32 in [0, 1]")),
    };
    let values: Vec<i64> = match label_array.dtype {
        Dtype::U8 => label_array.data.iter().map(|&y| i64::from(y)).collect(),
        Dtype::I32 => label_array.data.as_chunks::<4>().0.iter().map(|&b| i64::from(i32::from_le_bytes(b))).collect(),
        Dtype::I64 => label_array.data.as_chunks::<8>().0.iter().map(|&b| i64::from_le_bytes(b)).collect(),
        other => return Err(format!("{labels} is {other}; it must be U8, I32 or I64")),
    };
    // Beyond u32 no class count could be right either; what remains is checked with the class count.
    let checked = values
        .iter()
        .enumerate()
        .map(|(i, &y)| u32::try_from(y).map_err(|_| format!("{labels}: {y} at {i}; classes are counted from 0")));
    Ok((Split { images: pixels, labels: checked.collect::<Result<_, _>>()? }, [channels, height, width]))
}

fn floats(metadata: &HashMap<String, String>, key: &str) -> Result<Option<Vec<f32>>, String> {
    let parse = |text: &String| {
        let values: Result<_, _> = text.split(',').map(|v| v.trim().parse()).collect();
        values.map_err(|_| format!("metadata {key} is {text:?}; give one number per channel, separated by commas"))
    };
    metadata.get(key).map(parse).transpose()
}
