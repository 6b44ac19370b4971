//! Files that are either old or new, never half written.

use crate::{Error, Result};
use std::io::{BufWriter, Write};
use std::path::Path;

/// Replaces the file at `path` by what `write` writes, in one step.
///
/// The bytes go to a temporary file in the same folder, reach the disk, and then take the name `path`: a killed
/// run leaves the old file or the new one. On an error the old file stays as it was.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let io = || -> std::io::Result<()> {
        let mut temporary = tempfile::Builder::new();
        // Temporary files are private by default; these are results, readable as the user's umask says.
        #[cfg(unix)]
        temporary.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut out = BufWriter::new(temporary.tempfile_in(folder)?);
        write(&mut out)?;
        let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    io().map_err(Error::io(path, "cannot write the file"))
}
