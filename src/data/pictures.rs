//! Decoding JPEG and PNG pictures, many at a time, into examples of one size.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::raster::Raster;
use super::{Pixels, Split, Watch};
use crate::{Error, Result, fsio};

/// Pictures that are decoded at a time: enough to keep the threads busy, and little to hold undecoded.
const CHUNK: usize = 512;

/// Rows and columns that pictures are brought to: scaled until the shorter side fits, with a triangle filter as wide as the
/// scale asks for (Pillow's and torchvision's "bilinear"), then cut out of the centre.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Size {
    /// Rows, 1 to 4096.
    pub height: usize,
    /// Columns, 1 to 4096.
    pub width: usize,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Size, String> {
        let side = |s: &str| s.trim().parse().ok().filter(|side| (1..=4096).contains(side));
        let sides = s.split_once('x').map(|(height, width)| (side(height), side(width)));
        match sides {
            Some((Some(height), Some(width))) => Ok(Size { height, width }),
            _ => Err(format!("`{s}`: give HEIGHTxWIDTH, each 1 to 4096, as in 32x32")),
        }
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Size, String> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> String {
        size.to_string()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

/// A picture to decode.
pub(super) struct Picture {
    /// Whether it is one to evaluate on.
    pub(super) test: bool,
    pub(super) class: u32,
    /// Its place within the archive or the folder, by which the examples are sorted.
    pub(super) path: String,
    /// The file's content; `None`: it lies in the folder.
    pub(super) content: Option<Vec<u8>>,
}

/// A decoded picture: planes of bytes.
struct Decoded {
    test: bool,
    class: u32,
    path: String,
    size: Size,
    grey: bool,
    planes: Vec<u8>,
}

/// Decodes the pictures pushed into it, of an archive or a folder.
pub(super) struct Decoder<'a> {
    /// The archive or the folder.
    root: &'a Path,
    size: Option<Size>,
    watch: Watch<'a>,
    /// How many there will be; 0: unknown.
    total: usize,
    pending: Vec<Picture>,
    decoded: Vec<Decoded>,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(root: &'a Path, size: Option<Size>, total: usize, watch: Watch<'a>) -> Decoder<'a> {
        Decoder { root, size, watch, total, pending: Vec::new(), decoded: Vec::new() }
    }

    /// Takes a picture; the error may be that of an earlier one.
    pub(super) fn push(&mut self, picture: Picture) -> Result<()> {
        self.pending.push(picture);
        if self.pending.len() < CHUNK { Ok(()) } else { self.decode() }
    }

    fn decode(&mut self) -> Result<()> {
        let (root, size) = (self.root, self.size);
        let pending = std::mem::take(&mut self.pending);
        let decoded: Vec<Result<Decoded>> = pending.into_par_iter().map(|p| decode(p, root, size)).collect();
        // Of several errors the first in order, whichever thread was faster.
        for one in decoded {
            self.decoded.push(one?);
        }
        (self.watch)("decoding pictures", self.decoded.len() as u64, self.total as u64);
        Ok(())
    }

    /// The training and the test examples, each sorted by class and path, and channels, rows and columns of each. One channel
    /// if all are grey, else three.
    pub(super) fn finish(mut self) -> Result<(Split, Split, [usize; 3])> {
        self.decode()?;
        let mut decoded = self.decoded;
        decoded.sort_by(|a, b| (a.test, a.class, &a.path).cmp(&(b.test, b.class, &b.path)));
        let Some(first) = decoded.first() else {
            return Err(Error::format(self.root, "it holds no .jpg, .jpeg or .png pictures"));
        };
        let (size, path) = (first.size, first.path.clone());
        if let Some(other) = decoded.iter().find(|d| d.size != size) {
            let what = format!("{path} is {size} but {} is {}; give --size HxW, as in 32x32", other.path, other.size);
            return Err(Error::format(self.root, what));
        }
        let grey = decoded.iter().all(|d| d.grey);
        let channels = if grey { 1 } else { 3 };
        let (mut train, mut test) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        let tests = decoded.iter().filter(|d| d.test).count();
        train.0.reserve_exact((decoded.len() - tests) * channels * size.height * size.width);
        test.0.reserve_exact(tests * channels * size.height * size.width);
        for one in decoded {
            let (pixels, labels): &mut (Vec<u8>, Vec<u32>) = if one.test { &mut test } else { &mut train };
            (0..if one.grey { channels } else { 1 }).for_each(|_| pixels.extend_from_slice(&one.planes));
            labels.push(one.class);
        }
        let split = |(pixels, labels)| Split { images: Pixels::U8(pixels), labels };
        Ok((split(train), split(test), [channels, size.height, size.width]))
    }
}

fn decode(picture: Picture, root: &Path, size: Option<Size>) -> Result<Decoded> {
    let Picture { test, class, path, content } = picture;
    let in_archive = content.is_some();
    let content = match content {
        Some(content) => content,
        None => std::fs::read(root.join(&path)).map_err(Error::io(root.join(&path), "cannot read the picture"))?,
    };
    let raster = Raster::decode(&content).map_err(|what| match in_archive {
        true => Error::format(root, fsio::one_line(&format!("{path}: {what}"))),
        false => Error::format(root.join(&path), fsio::one_line(&what)),
    })?;
    let (planes, size) = planes(&raster, size);
    let grey = raster.channels == 1;
    Ok(Decoded { test, class, path, size, grey, planes })
}

/// Brings a picture to a size, and its channels one after the other.
fn planes(raster: &Raster, size: Option<Size>) -> (Vec<u8>, Size) {
    let (w, h) = (raster.width, raster.height);
    let size = size.unwrap_or(Size { height: h, width: w });
    // The side that is relatively shorter gets its size, the other keeps the proportion, rounded down.
    let (height, width) = match h * size.width <= w * size.height {
        true => (size.height, w * size.height / h),
        false => (h * size.width / w, size.width),
    };
    (raster.scaled(width, height).centre_planes(size.width, size.height), size)
}
