//! Image folders: a sub-folder per class, with JPEG and PNG files in it or below it.
//!
//! Either the classes are in the folder itself, all to train on; or it has `train`, and for evaluation the first of `test`,
//! `val` and `validation` that has sub-folders, each with the classes. Classes are numbered in the order of their names'
//! bytes.

use std::path::Path;

use walkdir::WalkDir;

use super::pictures::{Decoder, Picture, Size};
use super::{Dataset, Watch};
use crate::{Error, Result, fsio};

const TESTS: [&str; 3] = ["test", "val", "validation"];
/// Endings of pictures that can't be read: to leave them out without a word would be a silent loss.
const UNREADABLE: [&str; 9] = ["webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "avif", "heic"];

/// The pictures of a folder, undecoded.
pub(super) struct Listing {
    classes: Vec<String>,
    pictures: Vec<Picture>,
}

/// Finds the pictures of a folder.
pub(super) fn list(root: &Path) -> Result<Listing> {
    let has_train = root.join("train").is_dir();
    let train = if has_train { root.join("train") } else { root.to_owned() };
    let classes = sub_folders(&train)?;
    if classes.len() < 2 {
        let what = format!("{} sub-folders; an image folder has one per class, at least two", classes.len());
        return Err(Error::format(&train, what));
    }
    let mut pictures = Vec::new();
    collect(root, if has_train { "train/" } else { "" }, &classes, false, &mut pictures)?;
    let tests = TESTS.iter().filter(|_| has_train);
    for name in tests {
        let Ok(found) = sub_folders(&root.join(name)) else { continue };
        if let Some(other) = found.iter().find(|c| !classes.contains(c)) {
            return Err(Error::format(root.join(name), format!("{other:?} is no class of {}", train.display())));
        }
        if !found.is_empty() {
            collect(root, &format!("{name}/"), &found, true, &mut pictures)?;
            // The classes are those of the training pictures.
            let number = |c: &str| classes.iter().position(|k| k == c).expect("checked above") as u32;
            let renumber = |p: &mut Picture| p.class = number(&found[p.class as usize]);
            pictures.iter_mut().filter(|p| p.test).for_each(renumber);
            break;
        }
    }
    Ok(Listing { classes, pictures })
}

impl Listing {
    /// Paths below the folder.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.pictures.iter().map(|p| p.path.as_str())
    }

    /// Decodes the pictures of the folder listed.
    pub(super) fn read(self, name: &str, root: &Path, size: Option<Size>, watch: Watch) -> Result<Dataset> {
        let mut decoder = Decoder::new(root, size, self.pictures.len(), watch);
        for picture in self.pictures {
            decoder.push(picture)?;
        }
        let (train, test, shape) = decoder.finish()?;
        let dataset =
            Dataset::new(name, shape, self.classes.len(), train, test).and_then(|set| named(set, self.classes));
        dataset.map_err(|e| Error::format(root, fsio::one_line(&e.to_string())))
    }
}

/// The data set with names for its classes; a folder's name may hold what separates names in a file.
pub(super) fn named(mut set: Dataset, names: Vec<String>) -> Result<Dataset> {
    set.class_names = names.into_iter().map(|n| n.replace(|c: char| c == ',' || c.is_control(), " ")).collect();
    set.check().map_err(Error::usage)?;
    Ok(set)
}

fn sub_folders(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io(dir, "cannot list the folder"))? {
        let entry = entry.map_err(Error::io(dir, "cannot list the folder"))?;
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(b".") && entry.path().is_dir() {
            let name = name.into_string().map_err(|n| Error::format(dir, format!("{n:?} is not UTF-8; rename it")))?;
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn collect(root: &Path, prefix: &str, classes: &[String], test: bool, into: &mut Vec<Picture>) -> Result<()> {
    for (class, name) in classes.iter().enumerate() {
        let dir = root.join(format!("{prefix}{name}"));
        for entry in WalkDir::new(&dir).follow_links(true).sort_by_file_name() {
            let entry = entry.map_err(|e| Error::format(&dir, fsio::one_line(&format!("cannot list it: {e}"))))?;
            let ending = entry.path().extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
            if !entry.file_type().is_file() || entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if UNREADABLE.contains(&ending.as_str()) {
                return Err(Error::format(entry.path(), "only JPEG and PNG pictures are read; convert it"));
            }
            if is_picture(&ending) {
                let path = entry.path().strip_prefix(root).ok().and_then(Path::to_str).map(|p| p.replace('\\', "/"));
                let path = path.ok_or_else(|| Error::format(&dir, "a file name that is not UTF-8; rename it"))?;
                into.push(Picture { test, class: class as u32, path, content: None });
            }
        }
    }
    Ok(())
}

/// Whether a file with this ending, in small letters, is a picture that can be read.
pub(super) fn is_picture(ending: &str) -> bool {
    matches!(ending, "jpg" | "jpeg" | "png")
}
