//! The files in a gzipped tar archive, one after the other.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::{Error, Result, fsio};

/// The error for an archive that is not whole.
pub(super) fn damaged(path: &Path) -> impl Fn(String) -> Error + '_ {
    move |what| Error::format(path, fsio::one_line(&format!("damaged, fetch it again: {what}")))
}

/// Hands the path in the archive and the content of every file that is `wanted` by its path to `each`.
///
/// # Errors
/// Where the archive can't be read or is not whole, or that of `each`.
pub(super) fn each_file(
    archive: &Path,
    wanted: impl Fn(&str) -> bool,
    mut each: impl FnMut(&str, Vec<u8>) -> Result<()>,
) -> Result<()> {
    let damaged = damaged(archive);
    let unreadable = |e: std::io::Error| damaged(e.to_string());
    let file = File::open(archive).map_err(Error::io(archive, "cannot open"))?;
    let mut tar = tar::Archive::new(MultiGzDecoder::new(BufReader::new(file)));
    for entry in tar.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let place = entry.path().map_err(unreadable)?.to_string_lossy().into_owned();
        if !entry.header().entry_type().is_file() || !wanted(&place) {
            continue;
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(unreadable)?;
        if content.len() as u64 != entry.size() {
            return Err(damaged("it ends early".into()));
        }
        each(&place, content)?;
    }
    // gzip has its checksum at the end, behind what tar reads.
    std::io::copy(&mut tar.into_inner(), &mut std::io::sink()).map(drop).map_err(unreadable)
}
