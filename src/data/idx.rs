//! The IDX files of the MNIST family, plain or gzipped.
//!
//! An IDX file is big-endian: two zero bytes, a type (8: bytes), the rank, one u32 per dimension, then the data.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::{Dataset, Pixels, Split};
use crate::{Error, Result};

/// Reads a data set of the MNIST family: training images and labels, test images and labels.
pub(super) fn read(name: &str, files: &[PathBuf], class_names: &[&str]) -> Result<Dataset> {
    let (train, shape) = read_split(&files[0], &files[1], class_names.len())?;
    let (test, test_shape) = read_split(&files[2], &files[3], class_names.len())?;
    if shape != test_shape {
        let ([_, h, w], [_, th, tw]) = (shape, test_shape);
        return Err(Error::format(&files[2], format!("train images are {h}x{w} but test images are {th}x{tw}")));
    }
    let mut set = Dataset::new(name, shape, class_names.len(), train, test)
        .map_err(|e| Error::format(&files[0], crate::fsio::one_line(&e.to_string())))?;
    set.class_names = class_names.iter().map(|n| n.to_string()).collect();
    Ok(set)
}

fn read_split(path: &Path, labels_path: &Path, classes: usize) -> Result<(Split, [usize; 3])> {
    let ([n, height, width], images) = read_file::<3>(path)?;
    let ([labels_n], labels) = read_file::<1>(labels_path)?;
    if n != labels_n {
        return Err(Error::format(labels_path, format!("{labels_n} labels but {} has {n} images", path.display())));
    }
    if n == 0 || height == 0 || width == 0 {
        return Err(Error::format(path, format!("it holds {n} images of {height}x{width}: nothing to read")));
    }
    if let Some(i) = labels.iter().position(|&y| usize::from(y) >= classes) {
        return Err(Error::format(
            labels_path,
            format!("label {} at {i}: the classes are 0 to {}", labels[i], classes - 1),
        ));
    }
    let labels = labels.into_iter().map(u32::from).collect();
    Ok((Split { images: Pixels::U8(images), labels }, [1, height, width]))
}

/// One IDX file of bytes with `RANK` dimensions. Gzip is recognised by its first bytes, not by the name.
fn read_file<const RANK: usize>(path: &Path) -> Result<([usize; RANK], Vec<u8>)> {
    let mut file = BufReader::new(File::open(path).map_err(Error::io(path, "cannot open"))?);
    let is_gzip =
        std::io::BufRead::fill_buf(&mut file).map_err(Error::io(path, "cannot read"))?.starts_with(&[0x1f, 0x8b]);
    let parsed = if is_gzip { parse(MultiGzDecoder::new(file)) } else { parse(file) };
    parsed.map_err(|what| Error::format(path, crate::fsio::one_line(&what)))
}

fn parse<const RANK: usize>(mut from: impl Read) -> std::result::Result<([usize; RANK], Vec<u8>), String> {
    let unreadable = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => "truncated; fetch the file again".to_string(),
        _ => format!("cannot be decompressed, fetch the file again: {e}"),
    };
    let mut word = [0; 4];
    from.read_exact(&mut word).map_err(unreadable)?;
    if word != [0, 0, 8, RANK as u8] {
        return Err(format!("not an IDX file of bytes with {RANK} dimensions (it starts with {word:02x?})"));
    }
    let mut dims = [0; RANK];
    for dim in &mut dims {
        from.read_exact(&mut word).map_err(unreadable)?;
        *dim = u32::from_be_bytes(word) as usize;
    }
    let size = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n < isize::MAX as usize);
    let size = size.ok_or_else(|| format!("dimensions {dims:?} are too large"))?;
    // No allocation by the declared size: the buffer grows with what is really there, to one byte more than expected.
    let mut data = Vec::new();
    from.take(size as u64 + 1).read_to_end(&mut data).map_err(unreadable)?;
    match data.len() {
        n if n < size => Err(format!("truncated: {n} of {size} bytes of data; fetch the file again")),
        n if n > size => Err(format!("more than the {size} bytes of data that dimensions {dims:?} take")),
        _ => Ok((dims, data)),
    }
}
