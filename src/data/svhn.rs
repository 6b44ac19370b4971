//! SVHN, cropped digits (Netzer et al., 2011): MATLAB files of version 5, one for training and one for tests.
//!
//! A MAT v5 file is a header of 128 bytes and a row of elements: a type, a number of bytes, the bytes. A matrix is an element
//! of elements: flags, dimensions, name, values; a compressed element is a matrix under zlib. SVHN has two: `X`, bytes of
//! HxWxCxN, and `y`, labels of N x 1 from 1 to 10, where 10 means the digit 0. MATLAB's first index runs fastest.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::ZlibDecoder;

use super::{Dataset, Pixels, Split, Watch};
use crate::{Error, Result, fsio};

/// Codes of the types of elements: MATLAB's documentation "MAT-File Format", table 1-1.
mod code {
    pub const INT8: u32 = 1;
    pub const UINT8: u32 = 2;
    pub const INT16: u32 = 3;
    pub const UINT16: u32 = 4;
    pub const INT32: u32 = 5;
    pub const UINT32: u32 = 6;
    pub const SINGLE: u32 = 7;
    pub const DOUBLE: u32 = 9;
    pub const MATRIX: u32 = 14;
    pub const COMPRESSED: u32 = 15;
}

/// Reads SVHN from its training and its test file. The extra file is not used.
pub(super) fn read(name: &str, files: &[PathBuf], watch: Watch) -> Result<Dataset> {
    let read = |i: usize| {
        let split = read_split(&files[i], &|done, total| watch(["reading", "reading the test images"][i], done, total));
        split.map_err(|what| Error::format(&files[i], fsio::one_line(&what)))
    };
    let ((train, shape), (test, test_shape)) = (read(0)?, read(1)?);
    if test_shape != shape {
        let what = format!("images of {test_shape:?} (C, H, W), but {} has {shape:?}", files[0].display());
        return Err(Error::format(&files[1], what));
    }
    Dataset::new(name, shape, 10, train, test).map_err(|e| Error::format(&files[0], fsio::one_line(&e.to_string())))
}

type Progress<'a> = &'a dyn Fn(u64, u64);

/// What of a file has been read.
#[derive(Default)]
struct Parts {
    images: Option<(Vec<u8>, [usize; 4])>,
    labels: Option<Vec<u32>>,
}

fn read_split(path: &Path, progress: Progress) -> std::result::Result<(Split, [usize; 3]), String> {
    let mut file = BufReader::new(File::open(path).map_err(|e| format!("cannot open: {e}"))?);
    let mut header = [0; 128];
    file.read_exact(&mut header).map_err(|_| "not a MAT file: shorter than its header".to_string())?;
    if header[124..] != [0, 1, b'I', b'M'] {
        return Err("not a little-endian MAT file of version 5".into());
    }
    let mut parts = Parts::default();
    while !std::io::BufRead::fill_buf(&mut file).map_err(damaged)?.is_empty() {
        let tag = Tag::read(&mut file)?;
        match tag.code {
            code::COMPRESSED => {
                let mut packed = file.by_ref().take(tag.bytes);
                // A buffered decoder takes no byte beyond the element.
                let mut inner = ZlibDecoder::new(&mut packed);
                let tag = Tag::read(&mut inner)?;
                if tag.code == code::MATRIX {
                    matrix(&mut inner, &mut parts, progress)?;
                }
                // To the end, where zlib compares its checksum.
                std::io::copy(&mut inner, &mut std::io::sink()).map_err(damaged)?;
                skip(&mut packed, u64::MAX)?;
            }
            code::MATRIX => {
                let mut inner = file.by_ref().take(tag.bytes);
                matrix(&mut inner, &mut parts, progress)?;
                skip(&mut inner, u64::MAX)?;
            }
            _ => skip(&mut file, tag.padded())?,
        }
    }
    let (images, [h, w, c, n]) = parts.images.ok_or("no matrix X in it")?;
    let labels = parts.labels.ok_or("no matrix y in it")?;
    if labels.len() != n {
        return Err(format!("{n} images in X but {} labels in y", labels.len()));
    }
    Ok((Split { images: Pixels::U8(images), labels }, [c, h, w]))
}

fn damaged(e: std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::UnexpectedEof => "truncated; fetch it again".into(),
        _ => format!("damaged, fetch it again: {e}"),
    }
}

fn skip(from: &mut impl Read, bytes: u64) -> std::result::Result<(), String> {
    std::io::copy(&mut from.take(bytes), &mut std::io::sink()).map(drop).map_err(damaged)
}

/// The head of an element.
struct Tag {
    code: u32,
    bytes: u64,
    /// The small form: up to four bytes, within the tag.
    small: Option<[u8; 4]>,
}

impl Tag {
    fn read(from: &mut impl Read) -> std::result::Result<Tag, String> {
        let mut word = [0; 8];
        from.read_exact(&mut word).map_err(damaged)?;
        let [first, second] = [0, 4].map(|i| u32::from_le_bytes([word[i], word[i + 1], word[i + 2], word[i + 3]]));
        match first >> 16 {
            0 => Ok(Tag { code: first, bytes: second.into(), small: None }),
            bytes @ 1..=4 => {
                Ok(Tag { code: first & 0xffff, bytes: bytes.into(), small: Some([word[4], word[5], word[6], word[7]]) })
            }
            bytes => Err(format!("damaged: a small element of {bytes} bytes")),
        }
    }

    /// Bytes to the next element.
    fn padded(&self) -> u64 {
        if self.small.is_some() { 0 } else { self.bytes.next_multiple_of(8) }
    }

    /// The content, which must take `expected` bytes.
    fn content(&self, from: &mut impl Read, expected: u64) -> std::result::Result<Vec<u8>, String> {
        if self.bytes != expected {
            return Err(format!("damaged: an element of {} bytes where {expected} were expected", self.bytes));
        }
        let mut content = Vec::new();
        match self.small {
            Some(bytes) => content.extend(&bytes[..self.bytes as usize]),
            // No allocation by the declared size: the buffer grows with what is really there.
            None => drop(from.take(self.padded()).read_to_end(&mut content).map_err(damaged)?),
        }
        if (content.len() as u64) < self.bytes {
            return Err("truncated; fetch it again".into());
        }
        content.truncate(self.bytes as usize);
        Ok(content)
    }
}

/// Reads a matrix, if it is one of those wanted.
fn matrix(from: &mut impl Read, parts: &mut Parts, progress: Progress) -> std::result::Result<(), String> {
    Tag::read(from)?.content(from, 8)?;
    let tag = Tag::read(from)?;
    if tag.code != code::INT32 || !matches!(tag.bytes, 8..=32) || !tag.bytes.is_multiple_of(4) {
        return Err("damaged: a matrix without 2 to 8 dimensions".into());
    }
    let dims = tag.content(from, tag.bytes)?;
    let dims: Vec<u64> = dims.as_chunks::<4>().0.iter().map(|&b| u32::from_le_bytes(b).into()).collect();
    let count = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d)).filter(|&n| n < u64::from(u32::MAX));
    let count = count.ok_or_else(|| format!("dimensions {dims:?} are too large"))?;
    let tag = Tag::read(from)?;
    if tag.bytes > 64 {
        return Err("damaged: a matrix with a name of more than 64 letters".into());
    }
    let name = tag.content(from, tag.bytes)?;
    match (name.as_slice(), dims.as_slice()) {
        (b"X" | b"y", _) if count == 0 => return Err(format!("{} is empty", String::from_utf8_lossy(&name))),
        (b"X", &[h, w, c, n]) => {
            let dims = [h, w, c, n].map(|d| d as usize);
            parts.images = Some((images(from, dims, progress).map_err(|what| format!("X: {what}"))?, dims));
        }
        (b"X", _) => return Err(format!("X has dimensions {dims:?}; it must be H x W x C x N")),
        (b"y", _) => parts.labels = Some(labels(from, count).map_err(|what| format!("y: {what}"))?),
        _ => (),
    }
    Ok(())
}

/// The pixels of X, image by image in CHW order.
fn images(from: &mut impl Read, [h, w, c, n]: [usize; 4], progress: Progress) -> std::result::Result<Vec<u8>, String> {
    let tag = Tag::read(from)?;
    let len = h * w * c;
    if tag.code != code::UINT8 || tag.bytes != (len * n) as u64 || tag.small.is_some() {
        return Err(format!("not {len} x {n} bytes"));
    }
    let (mut out, mut image) = (Vec::new(), vec![0; len]);
    for i in 0..n {
        from.read_exact(&mut image).map_err(damaged)?;
        for plane in image.chunks_exact(h * w) {
            (0..h).for_each(|y| out.extend((0..w).map(|x| plane[x * h + y])));
        }
        if i % 1024 == 0 {
            progress(i as u64, n as u64);
        }
    }
    Ok(out)
}

/// The values of y, which MATLAB stores in the smallest type that holds them.
fn labels(from: &mut impl Read, count: u64) -> std::result::Result<Vec<u32>, String> {
    let tag = Tag::read(from)?;
    let width = match tag.code {
        code::INT8 | code::UINT8 => 1,
        code::INT16 | code::UINT16 => 2,
        code::INT32 | code::UINT32 | code::SINGLE => 4,
        code::DOUBLE => 8,
        other => return Err(format!("values of type {other}; numbers were expected")),
    };
    let bytes = tag.content(from, count * width)?;
    let value = |b: &[u8]| match (tag.code, b) {
        (code::INT8, &[a]) => f64::from(a as i8),
        (code::INT16, &[a, b]) => f64::from(i16::from_le_bytes([a, b])),
        (code::UINT16, &[a, b]) => f64::from(u16::from_le_bytes([a, b])),
        (code::INT32, &[a, b, c, d]) => f64::from(i32::from_le_bytes([a, b, c, d])),
        (code::UINT32, &[a, b, c, d]) => f64::from(u32::from_le_bytes([a, b, c, d])),
        (code::SINGLE, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
        (code::DOUBLE, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
        (_, b) => f64::from(b[0]),
    };
    let values = bytes.chunks_exact(width as usize).map(value);
    let digit = |(i, y): (usize, f64)| match y {
        10.0 => Ok(0),
        _ if (1.0..10.0).contains(&y) && y.fract() == 0.0 => Ok(y as u32),
        _ => Err(format!("label {y} at {i}; they are 1 to 10, where 10 means the digit 0")),
    };
    values.enumerate().map(digit).collect()
}
