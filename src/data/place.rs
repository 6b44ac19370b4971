//! Where files of data sets are, and whether they are whole.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Known, RemoteFile, Watch};
use crate::fsio::file_hash;
use crate::{Error, Result};

/// The folder of data sets: the one given, else `$HAM_ENGINE_DATA`, else `ham-engine` in the user's folder for caches.
pub fn data_folder(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(folder) = given {
        return Ok(folder.to_owned());
    }
    let set = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from);
    let cache = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache"))).or_else(|| set("LOCALAPPDATA"));
    set("HAM_ENGINE_DATA")
        .or_else(|| Some(cache()?.join("ham-engine")))
        .ok_or_else(|| Error::usage("no folder for data sets: give --data-dir, or set HAM_ENGINE_DATA"))
}

/// The files of a known set, in the order of the table: all in `folder/NAME`, in `folder` itself, or where else they may be.
/// An IDX file may be unpacked. `None`: there are none.
pub(super) fn locate(known: &Known, folder: &Path) -> Result<Option<Vec<PathBuf>>> {
    let places = [folder.join(known.name), folder.to_owned()];
    for place in places.into_iter().chain(known.elsewhere.map(PathBuf::from)) {
        let find = |file: &RemoteFile| {
            let unpacked = file.name.strip_suffix("ubyte.gz").map(|stem| format!("{stem}ubyte"));
            [Some(file.name.to_owned()), unpacked].into_iter().flatten().map(|n| place.join(n)).find(|p| p.is_file())
        };
        let found: Vec<Option<PathBuf>> = known.files.iter().map(find).collect();
        match found.iter().position(Option::is_none) {
            None => return Ok(found.into_iter().collect()),
            Some(missing) if found.iter().any(Option::is_some) => {
                return Err(Error::format(&place, format!("{} is missing there", known.files[missing].name)));
            }
            Some(_) => (),
        }
    }
    Ok(None)
}

impl Known {
    /// Whether it is ready to be opened, with that data folder, or has to be fetched.
    pub fn is_here(&self, folder: &Path) -> bool {
        let decoded = || folder.join(format!("{}.safetensors", self.name)).is_file();
        self.files.is_empty() || decoded() || matches!(locate(self, folder), Ok(Some(_)))
    }
}

/// What [`verify`] found of a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileCheck {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it; `None`: nothing.
    pub fault: Option<String>,
}

/// Compares the files of a known set in the data folder with their lengths and checksums. There are none to compare where it
/// can be opened without them.
///
/// # Errors
/// Where a file that is there can't be read.
pub fn verify(known: &Known, folder: &Path, watch: Watch) -> Result<Vec<FileCheck>> {
    let own = folder.join(known.name);
    let check = |file: &RemoteFile| {
        let path = [own.join(file.name), folder.join(file.name)].into_iter().find(|p| p.is_file());
        match path {
            Some(path) => Ok(FileCheck { fault: fault(&path, file, watch)?, path }),
            None => Ok(FileCheck { path: own.join(file.name), fault: Some("missing".into()) }),
        }
    };
    let checks: Vec<FileCheck> = known.files.iter().map(check).collect::<Result<_>>()?;
    let some = checks.iter().any(|c| c.path.is_file());
    Ok(if some || !known.is_here(folder) { checks } else { Vec::new() })
}

/// What is wrong with a file that is there.
pub(super) fn fault(path: &Path, file: &RemoteFile, watch: Watch) -> Result<Option<String>> {
    let length = path.metadata().map_err(Error::io(path, "cannot read"))?.len();
    if length != file.bytes {
        return Ok(Some(format!("{length} bytes instead of {}", file.bytes)));
    }
    let hash = file_hash(path, &|done| watch("checking", done, length)).map_err(Error::io(path, "cannot read"))?;
    Ok((hash != file.sha256).then(|| format!("wrong checksum: SHA-256 {hash} instead of {}", file.sha256)))
}
