//! The binary archives of CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): gzipped tar files.
//!
//! Each file of images is a row of records: the label bytes (CIFAR-10: one; CIFAR-100: the coarse one, then the fine one),
//! then 3x32x32 pixels, channel by channel. A text file names the classes, one a line.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::tarball::each_file;
use super::{Dataset, Pixels, Split, Watch};
use crate::{Error, Result, fsio};

const SHAPE: [usize; 3] = [3, 32, 32];

struct Layout {
    /// The last one is the label.
    label_bytes: usize,
    train: &'static [&'static str],
    test: &'static str,
    class_names: &'static str,
    classes: usize,
    /// What the networks of published work normalise with.
    mean: [f32; 3],
    std: [f32; 3],
}

const CIFAR10: Layout = Layout {
    label_bytes: 1,
    train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    test: "test_batch.bin",
    class_names: "batches.meta.txt",
    classes: 10,
    mean: [0.4914, 0.4822, 0.4465],
    std: [0.2471, 0.2435, 0.2616],
};

const CIFAR100: Layout = Layout {
    label_bytes: 2,
    train: &["train.bin"],
    test: "test.bin",
    class_names: "fine_label_names.txt",
    classes: 100,
    mean: [0.50708, 0.48655, 0.44092],
    std: [0.26733, 0.25644, 0.27615],
};

/// Reads CIFAR-10 from its archive.
pub(super) fn read_10(name: &str, archive: &[PathBuf], watch: Watch) -> Result<Dataset> {
    read(name, &archive[0], &CIFAR10, watch)
}

/// Reads CIFAR-100 from its archive, with the fine labels.
pub(super) fn read_100(name: &str, archive: &[PathBuf], watch: Watch) -> Result<Dataset> {
    read(name, &archive[0], &CIFAR100, watch)
}

fn read(name: &str, path: &Path, layout: &Layout, watch: Watch) -> Result<Dataset> {
    let file_name = |place: &str| place.rsplit('/').next().unwrap_or_default().to_owned();
    let wanted = |name: &str| layout.train.contains(&name) || name == layout.test || name == layout.class_names;
    let total = layout.train.len() as u64 + 2;
    let mut files = HashMap::new();
    each_file(
        path,
        |place| wanted(&file_name(place)),
        |place, content| {
            files.insert(file_name(place), content);
            watch("reading", files.len() as u64, total);
            Ok(())
        },
    )?;
    dataset(name, layout, files).map_err(|what| Error::format(path, fsio::one_line(&what)))
}

fn dataset(name: &str, layout: &Layout, mut files: HashMap<String, Vec<u8>>) -> std::result::Result<Dataset, String> {
    let mut take = |name: &str| files.remove(name).ok_or_else(|| format!("it holds no {name}"));
    let mut read = |names: &[&str]| {
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for name in names {
            records(&take(name)?, layout, &mut images, &mut labels).map_err(|what| format!("{name}: {what}"))?;
        }
        Ok::<_, String>(Split { images: Pixels::U8(images), labels })
    };
    let (train, test) = (read(layout.train)?, read(&[layout.test])?);
    let text = take(layout.class_names)?;
    let text = str::from_utf8(&text).map_err(|_| format!("{} is not text", layout.class_names))?;
    let mut set = Dataset::new(name, SHAPE, layout.classes, train, test).map_err(|e| e.to_string())?;
    set.class_names = text.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect();
    (set.mean, set.std) = (Some(layout.mean.into()), Some(layout.std.into()));
    set.check().map_err(|what| format!("{}: {what}", layout.class_names))?;
    Ok(set)
}

fn records(
    bytes: &[u8],
    layout: &Layout,
    images: &mut Vec<u8>,
    labels: &mut Vec<u32>,
) -> std::result::Result<(), String> {
    let record = layout.label_bytes + SHAPE.iter().product::<usize>();
    if !bytes.len().is_multiple_of(record) {
        return Err(format!("{} bytes are no whole number of records of {record} bytes", bytes.len()));
    }
    images.reserve(bytes.len());
    for (i, record) in bytes.chunks_exact(record).enumerate() {
        let (label, pixels) = record.split_at(layout.label_bytes);
        let label = label[layout.label_bytes - 1];
        if usize::from(label) >= layout.classes {
            return Err(format!("label {label} in record {i}: the classes are 0 to {}", layout.classes - 1));
        }
        labels.push(label.into());
        images.extend_from_slice(pixels);
    }
    Ok(())
}
