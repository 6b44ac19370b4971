//! Data sets as npz files, which NumPy's `savez` and `savez_compressed` write: a zip of one npy file per array.
//!
//! An npy file is the bytes `\x93NUMPY`, a version, the length of a header, the header (a Python dictionary of the element
//! type, the order and the shape), and the elements. Arrays are those of a safetensors file; there is no metadata.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use safetensors::Dtype;
use zip::ZipArchive;

use super::Dataset;
use super::arrays::{self, Array, Arrays, NAMES};
use crate::{Error, Result, fsio};

/// Reads a file; `classes` counts, or else the largest label. The data set gets the file's name without the extension.
pub(super) fn read(path: &Path, classes: Option<usize>) -> Result<Dataset> {
    let file = File::open(path).map_err(Error::io(path, "cannot read the data set"))?;
    let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let set = read_arrays(file).and_then(|arrays| arrays::dataset(&name, arrays, &HashMap::new(), classes));
    set.map_err(|what| Error::format(path, fsio::one_line(&what)))
}

fn read_arrays(file: File) -> std::result::Result<Arrays, String> {
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|e| format!("not a valid npz file: {e}"))?;
    let mut arrays = Arrays::new();
    for i in 0..zip.len() {
        let mut entry = zip.by_index(i).map_err(|e| format!("not a valid npz file: {e}"))?;
        let name = entry.name().map_err(|e| format!("not a valid npz file: {e}"))?;
        let name = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
        // An array of another name is refused later on; what it holds need not be read.
        let array = match NAMES.contains(&name.as_str()) {
            true => read_array(&mut entry).map_err(|what| format!("array {name}: {what}"))?,
            false => Array { dtype: Dtype::U8, shape: vec![0], data: Vec::new() },
        };
        arrays.insert(name, array);
    }
    Ok(arrays)
}

fn read_array(mut from: impl Read) -> std::result::Result<Array, String> {
    let unreadable = |e: std::io::Error| format!("damaged: {e}");
    let mut start = [0; 8];
    from.read_exact(&mut start).map_err(unreadable)?;
    let [magic @ .., major, _] = start;
    if magic != *b"\x93NUMPY" {
        return Err("not an npy file".into());
    }
    // Version 1 has a length of two bytes, later ones of four.
    let mut length = [0; 4];
    from.read_exact(&mut length[..if major == 1 { 2 } else { 4 }]).map_err(unreadable)?;
    let length = u32::from_le_bytes(length);
    let mut text = String::new();
    from.by_ref().take(length.into()).read_to_string(&mut text).map_err(unreadable)?;
    let (dtype, shape) = header(&text).map_err(|what| format!("{what} (its header is {:?})", text.trim_end()))?;

    let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let size = elements.and_then(|n| n.checked_mul(dtype.bitsize() / 8)).filter(|&n| n < isize::MAX as usize);
    let size = size.ok_or_else(|| format!("shape {shape:?} is too large"))?;
    // No allocation by the declared size. One byte more than expected reaches the end, where zip compares its checksum.
    let mut data = Vec::new();
    from.take(size as u64 + 1).read_to_end(&mut data).map_err(unreadable)?;
    match data.len() == size {
        true if looks_nhwc(&shape) => {
            Err(format!("shape {shape:?} looks like N, H, W, C; save x.transpose(0, 3, 1, 2)"))
        }
        true => Ok(Array { dtype, shape, data }),
        false => Err(format!("damaged: not the {size} bytes that shape {shape:?} takes")),
    }
}

/// Images as most Python code has them, which would pass for very narrow ones of many channels.
fn looks_nhwc(shape: &[usize]) -> bool {
    matches!(shape, &[_, second, _, last] if matches!(last, 1 | 3 | 4) && second > 4)
}

/// Element type and shape by the header's dictionary, such as `{'descr': '|u1', 'fortran_order': False, 'shape': (9, 3), }`.
fn header(text: &str) -> std::result::Result<(Dtype, Vec<usize>), String> {
    let after = |key: &str| text.split_once(key).map(|(_, rest)| rest.trim_start()).ok_or(format!("no {key}"));
    let kind = after("'descr':")?;
    let kind = kind.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).map_or(kind, |(kind, _)| kind);
    let dtype = match kind {
        "|u1" => Dtype::U8,
        "<f4" => Dtype::F32,
        "<i4" => Dtype::I32,
        "<i8" => Dtype::I64,
        _ => return Err("images must be uint8 or float32, and labels uint8, int32 or int64, little-endian".into()),
    };
    if !after("'fortran_order':")?.starts_with("False") {
        return Err("in Fortran's order; save numpy.ascontiguousarray(x)".into());
    }
    let shape = after("'shape':")?.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or("no shape")?.0;
    let dims = shape.split(',').map(str::trim).filter(|d| !d.is_empty());
    let dims: std::result::Result<Vec<usize>, _> = dims.map(str::parse).collect();
    Ok((dtype, dims.map_err(|_| "no shape".to_string())?))
}
