//! From a name or a path to a data set.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::known::MINI;
use super::pictures::Size;
use super::place::locate;
use super::safetensors::DECODED_FROM;
use super::{Dataset, Known, Watch, data_folder, folder, npz, safetensors};
use crate::fsio::hex;
use crate::{Error, Result};

/// See data/README.md for how it was drawn.
static EMBEDDED: &[u8] = include_bytes!("../../data/fashion-mnist-mini.safetensors.gz");

/// Counts up with every change of what is decoded from the same files, so that older caches are not used.
const DECODERS: u32 = 1;

/// A data set to open.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// A path that ends in `.safetensors` or `.npz`, or is a folder of images; a name that [`super::known`] lists; or any NAME
    /// for which the data folder holds NAME.safetensors.
    pub dataset: &'a str,
    /// See [`data_folder`].
    pub data_dir: Option<&'a Path>,
    /// How many classes there are, where a file does not say: it may hold examples of some of them only.
    pub classes: Option<usize>,
    /// The size that pictures are brought to.
    pub size: Option<Size>,
    /// Is told how far reading and decoding are.
    pub watch: Watch<'a>,
}

/// Opens a [`Source`] of which nothing but the name, or the path, and perhaps the data folder is given.
pub fn open(dataset: &str, data_dir: Option<&Path>) -> Result<Dataset> {
    Source { data_dir, ..Source::new(dataset) }.open()
}

impl<'a> Source<'a> {
    /// One of which nothing but the name, or the path, is given.
    pub fn new(dataset: &'a str) -> Source<'a> {
        Source { dataset, data_dir: None, classes: None, size: None, watch: &|_, _, _| () }
    }

    /// Reads the data set. What had to be decoded is kept in the data folder if that can be written to, and read from there
    /// the next time, unless its source has changed.
    ///
    /// # Errors
    /// Where there is no such data set, or it can't be read, or is not what it should be.
    pub fn open(&self) -> Result<Dataset> {
        self.open_and_keep().map(|(set, _)| set)
    }

    /// The same, and how keeping it went, where it had to be decoded.
    pub(super) fn open_and_keep(&self) -> Result<(Dataset, Result<()>)> {
        let (name, path) = (self.dataset, Path::new(self.dataset));
        let ending = path.extension().and_then(|e| e.to_str());
        if let Some(ending @ ("safetensors" | "npz")) = ending {
            self.without_size()?;
            let set = match ending {
                "npz" => npz::read(path, self.classes),
                _ => safetensors::read(path, self.classes).map(|(set, _)| set),
            };
            return Ok((set?, Ok(())));
        }
        if name == MINI {
            self.without_size()?;
            return Ok((mini()?, Ok(())));
        }
        if let Ok(known) = Known::by_name(name) {
            return self.open_known(known);
        }
        // A name is a file name: it must not lead out of the folder.
        let is_plain = !name.is_empty() && !name.contains(['/', '\\']) && name != "." && name != "..";
        if is_plain
            && let Ok(brought) = data_folder(self.data_dir).map(|dir| dir.join(format!("{name}.safetensors")))
            && brought.is_file()
        {
            self.without_size()?;
            return Ok((safetensors::read(&brought, self.classes)?.0, Ok(())));
        }
        if path.is_dir() { self.open_folder(path) } else { Err(Known::by_name(name).expect_err("checked above")) }
    }

    /// The same, where no size is given and it is pictures of any size brought to this one.
    pub fn or_size(mut self, size: Option<Size>) -> Source<'a> {
        if self.size.is_none() && self.is_resizable() {
            self.size = size;
        }
        self
    }

    /// Whether it is pictures that can be brought to a size.
    fn is_resizable(&self) -> bool {
        let ending = Path::new(self.dataset).extension().and_then(|e| e.to_str());
        match Known::by_name(self.dataset) {
            Ok(known) => known.size.is_some(),
            Err(_) => !matches!(ending, Some("safetensors" | "npz")) && Path::new(self.dataset).is_dir(),
        }
    }

    fn without_size(&self) -> Result<()> {
        match self.size {
            None => Ok(()),
            Some(size) => Err(Error::usage(format!(
                "--size {size}: {} has a size of its own; only image folders, imagenette and tiny-imagenet-200 are resized",
                self.dataset
            ))),
        }
    }

    fn open_known(&self, known: &Known) -> Result<(Dataset, Result<()>)> {
        if known.size.is_none() {
            self.without_size()?;
        }
        let size = self.size.filter(|size| Some(*size) != known.size);
        let name = size.map_or(known.name.to_owned(), |size| format!("{}-{size}", known.name));
        let dir = data_folder(self.data_dir)?;
        let kept = dir.join(format!("{name}.safetensors"));
        match locate(known, &dir) {
            Ok(Some(files)) => {
                let from = origin(known.files.iter().map(|f| f.name).zip(files.iter().cloned()), size);
                // What lies in another place than the data folder is not this program's to copy there.
                let write = files[0].starts_with(&dir);
                self.through_cache(&name, &kept, write, &from, || known.read(&name, &files, size, self.watch))
            }
            _ if kept.is_file() => Ok((safetensors::read(&kept, self.classes)?.0, Ok(()))),
            Ok(None) => {
                let at = self.data_dir.map_or(String::new(), |dir| format!(" --data-dir {}", dir.display()));
                let what = format!("data set {name}: it is not in {}; run: ham-engine data fetch", dir.display());
                Err(Error::usage(format!("{what} {}{at}", known.name)))
            }
            Err(incomplete) => Err(incomplete),
        }
    }

    fn open_folder(&self, path: &Path) -> Result<(Dataset, Result<()>)> {
        let path = path.canonicalize().map_err(Error::io(path, "cannot open the folder"))?;
        let name = path.file_name().map_or("images".into(), |name| name.to_string_lossy().into_owned());
        let listing = folder::list(&path)?;
        let from = origin(listing.paths().map(|p| (p, path.join(p))), self.size);
        let place = hex(Sha256::new_with_prefix(format!("{}\n{:?}", path.display(), self.size)));
        let kept = data_folder(self.data_dir)?.join(format!("folders/{name}-{}.safetensors", &place[..16]));
        self.through_cache(&name, &kept, true, &from, || listing.read(&name, &path, self.size, self.watch))
    }

    /// What `kept` holds, if that was decoded from what `from` stands for or was brought by the user; else decoded anew, and
    /// then, with `write`, kept.
    fn through_cache(
        &self,
        name: &str,
        kept: &Path,
        write: bool,
        from: &str,
        decode: impl FnOnce() -> Result<Dataset>,
    ) -> Result<(Dataset, Result<()>)> {
        if kept.is_file() {
            let (mut set, metadata) = safetensors::read(kept, self.classes).map_err(|e| match e {
                Error::Format { path, what } => {
                    Error::Format { path, what: format!("{what}; delete that file, and it is decoded again") }
                }
                other => other,
            })?;
            if metadata.get(DECODED_FROM).is_none_or(|of| of == from) {
                set.name = name.to_owned();
                return Ok((set, Ok(())));
            }
        }
        let set = decode()?;
        if !write {
            return Ok((set, Ok(())));
        }
        let folder = kept.parent().unwrap_or(Path::new("."));
        let written = std::fs::create_dir_all(folder).map_err(Error::io(folder, "cannot create the folder"));
        let written = written.and_then(|()| set.write_with(kept, &[(DECODED_FROM, from)]));
        Ok((set, written))
    }
}

/// Stands for the state of files: their names, lengths and times of change, and what they are decoded to.
fn origin<'a>(files: impl Iterator<Item = (&'a str, PathBuf)>, size: Option<Size>) -> String {
    let mut sha = Sha256::new_with_prefix(format!("{DECODERS} {size:?}\n"));
    for (name, path) in files {
        let state = path.metadata().ok();
        let changed = state.as_ref().and_then(|s| s.modified().ok());
        let changed = changed.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok()).map(|d| d.as_nanos());
        sha.update(format!("{name:?} {:?} {changed:?}\n", state.map(|s| s.len())));
    }
    hex(sha)
}

/// The data set in the program.
pub(super) fn mini() -> Result<Dataset> {
    let path = Path::new("fashion-mnist-mini (in the program)");
    let mut bytes = Vec::new();
    MultiGzDecoder::new(EMBEDDED).read_to_end(&mut bytes).map_err(Error::io(path, "cannot decompress"))?;
    Ok(safetensors::read_from(MINI, path, bytes.as_slice(), bytes.len() as u64, None)?.0)
}
