//! Archives of pictures: Imagenette (fast.ai) and Tiny ImageNet-200 (Stanford's CS231n).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::folder::{is_picture, named};
use super::pictures::{Decoder, Picture, Size};
use super::tarball::{damaged, each_file};
use super::{Dataset, Watch};
use crate::{Error, Result, fsio};

/// Imagenette's classes by their WordNet numbers, in order.
const IMAGENETTE: [(&str, &str); 10] = [
    ("n01440764", "tench"),
    ("n02102040", "English springer"),
    ("n02979186", "cassette player"),
    ("n03000684", "chain saw"),
    ("n03028079", "church"),
    ("n03394916", "French horn"),
    ("n03417042", "garbage truck"),
    ("n03425413", "gas pump"),
    ("n03445777", "golf ball"),
    ("n03888257", "parachute"),
];

fn finish(decoder: Decoder, name: &str, path: &Path, names: Vec<String>) -> Result<Dataset> {
    let (train, test, shape) = decoder.finish()?;
    let set = Dataset::new(name, shape, names.len(), train, test).and_then(|set| named(set, names));
    set.map_err(|e| Error::format(path, fsio::one_line(&e.to_string())))
}

/// Reads Imagenette: a gzipped tar of ROOT/train/CLASS/FILE.JPEG, and val for evaluation.
pub(super) fn imagenette(name: &str, files: &[PathBuf], size: Size, watch: Watch) -> Result<Dataset> {
    let path = files[0].as_path();
    let mut decoder = Decoder::new(path, Some(size), 0, watch);
    let parts = |place: &str| {
        let parts: Vec<&str> = place.split('/').collect();
        match parts[..] {
            [.., split @ ("train" | "val"), class, file] if is_picture(&ending(file)) => {
                Some((split == "val", class.to_owned()))
            }
            _ => None,
        }
    };
    each_file(
        path,
        |place| parts(place).is_some(),
        |place, content| {
            let (test, class) = parts(place).expect("wanted");
            let class = IMAGENETTE.iter().position(|(number, _)| *number == class);
            let class = class.ok_or_else(|| Error::format(path, format!("{place:?} is of no class of Imagenette")))?;
            decoder.push(Picture { test, class: class as u32, path: place.to_owned(), content: Some(content) })
        },
    )?;
    finish(decoder, name, path, IMAGENETTE.iter().map(|(_, name)| name.to_string()).collect())
}

/// Reads Tiny ImageNet-200: a zip of ROOT/train/CLASS/images/FILE.JPEG; the classes of ROOT/val/images/FILE.JPEG are in
/// val/val_annotations.txt. The classes are numbered in the order of wnids.txt, sorted. Its test pictures have no labels.
pub(super) fn tiny_imagenet(name: &str, files: &[PathBuf], size: Size, watch: Watch) -> Result<Dataset> {
    let path = files[0].as_path();
    let damaged = damaged(path);
    let file = File::open(path).map_err(Error::io(path, "cannot open"))?;
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|e| damaged(e.to_string()))?;
    let places: std::result::Result<Vec<String>, _> = zip.file_names().map(|n| n.map(|n| n.into_owned())).collect();
    let mut places = places.map_err(|e| damaged(e.to_string()))?;
    places.sort();

    let mut read = |place: &str| -> Result<Vec<u8>> {
        let mut entry = zip.by_name(place).map_err(|e| damaged(format!("{place}: {e}")))?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(|e| damaged(format!("{place}: {e}")))?;
        Ok(content)
    };
    let mut lines = |end: &str| -> Result<Vec<Vec<String>>> {
        let place = places.iter().find(|p| p.ends_with(end));
        let content = read(place.ok_or_else(|| Error::format(path, format!("it holds no {end}")))?)?;
        let text = String::from_utf8(content).map_err(|_| Error::format(path, format!("{end} is not text")))?;
        Ok(text.lines().map(|line| line.trim_end().split('\t').map(str::to_owned).collect()).collect())
    };
    let mut classes: Vec<String> = lines("/wnids.txt")?.into_iter().map(|mut line| line.remove(0)).collect();
    classes.retain(|class| !class.is_empty());
    classes.sort();
    let words: BTreeMap<String, String> = lines("/words.txt")?.into_iter().filter_map(pair).collect();
    let annotations: BTreeMap<String, String> =
        lines("/val/val_annotations.txt")?.into_iter().filter_map(pair).collect();

    let number = |class: &str| classes.binary_search_by(|c| c.as_str().cmp(class)).map(|i| i as u32);
    let mut pictures = Vec::new();
    for place in places.iter().filter(|p| is_picture(&ending(p))) {
        let parts: Vec<&str> = place.split('/').collect();
        let (test, class) = match parts[..] {
            [.., "train", class, "images", _] => (false, class),
            [.., "val", "images", file] => (true, annotations.get(file).map_or("", |c| c)),
            _ => continue,
        };
        let class = number(class).map_err(|_| {
            let from = if test { "val_annotations.txt gives it none of wnids.txt" } else { "not in wnids.txt" };
            Error::format(path, fsio::one_line(&format!("{place}: its class is unknown: {from}")))
        })?;
        pictures.push((place, test, class));
    }
    let mut decoder = Decoder::new(path, Some(size), pictures.len(), watch);
    for (place, test, class) in pictures {
        decoder.push(Picture { test, class, path: place.clone(), content: Some(read(place)?) })?;
    }
    // "goldfish, Carassius auratus": the first name is enough, and commas separate names in a file.
    let first = |class: &String| words.get(class).and_then(|w| w.split(',').next()).unwrap_or(class).to_owned();
    finish(decoder, name, path, classes.iter().map(first).collect())
}

fn pair(line: Vec<String>) -> Option<(String, String)> {
    let mut fields = line.into_iter();
    Some((fields.next()?, fields.next()?))
}

/// The ending of a file's name, in small letters.
fn ending(name: &str) -> String {
    name.rsplit_once('.').map_or(String::new(), |(_, ending)| ending.to_lowercase())
}
