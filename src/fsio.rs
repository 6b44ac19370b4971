//! Files that are written whole or not at all, and safetensors with the checks and the fixed byte order this crate
//! needs.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, TensorInfo, TensorView, View};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// What made a file, as files say it: the program's name and version.
pub fn created_by() -> String {
    format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
}

/// How the names of temporary files begin.
pub(crate) const TEMP_PREFIX: &str = ".ham-";

/// Writes a file so that `path` holds either its old content or all of the new one, also across a crash.
///
/// The content goes to a temporary file in the same folder, is flushed to the disk and then renamed over `path`. On an
/// error the old file stays and the temporary file is removed.
///
/// A pipe or a device such as /dev/stdout is written to as it is: a rename would put a file in its place.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    if path.metadata().is_ok_and(|m| !m.is_file() && !m.is_dir()) {
        let written = File::options().write(true).open(path).and_then(|file| {
            let mut out = BufWriter::new(file);
            write(&mut out)?;
            out.flush()
        });
        return written.map_err(Error::io(path, "cannot write"));
    }
    // The parent of a bare file name is "", which no system call takes.
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMP_PREFIX).suffix(".tmp");
    #[cfg(unix)]
    {
        // Temporary files are private by default; this one becomes an ordinary file, so the umask decides.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut temp = builder.tempfile_in(folder).map_err(Error::io(path, "cannot create a file in its folder"))?;
    let written = (|| {
        let mut out = BufWriter::with_capacity(1 << 16, temp.as_file_mut());
        write(&mut out)?;
        out.flush()?;
        drop(out);
        temp.as_file().sync_all()
    })();
    written.map_err(Error::io(path, "cannot write (the old file, if any, is unchanged)"))?;
    temp.persist(path).map_err(|e| e.error).map_err(Error::io(path, "cannot move the new file into place"))?;
    // The rename itself is durable once the folder is on the disk. Not every file system can do that: no error.
    if let Ok(dir) = File::open(folder) {
        let _ = dir.sync_all();
    }
    Ok(())
}

/// Writes a safetensors file with [`write_atomic`]. The same tensors and metadata always give the same bytes, which
/// the safetensors crate does not promise once there are two metadata entries.
pub fn write_safetensors(
    path: &Path,
    tensors: &[(&str, TensorView<'_>)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    // The widest types first, so that every tensor is aligned to its type; then by name.
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(name, t)| (std::cmp::Reverse(t.dtype().bitsize()), *name));

    let bug = |e: serde_json::Error| Error::format(path, format!("cannot encode the header: {e}"));
    let mut header = BTreeMap::new();
    if !metadata.is_empty() {
        header.insert("__metadata__", serde_json::to_value(metadata).map_err(bug)?);
    }
    let mut end = 0;
    for (name, tensor) in &order {
        let data_offsets = (end, end + tensor.data_len());
        end = data_offsets.1;
        let info = TensorInfo { dtype: tensor.dtype(), shape: tensor.shape().to_vec(), data_offsets };
        if header.insert(name, serde_json::to_value(info).map_err(bug)?).is_some() {
            return Err(Error::format(path, format!("cannot write two tensors named {name:?}")));
        }
    }
    let mut head = serde_json::to_vec(&header).map_err(bug)?;
    head.resize(head.len().next_multiple_of(8), b' ');

    write_atomic(path, |out| {
        out.write_all(&(head.len() as u64).to_le_bytes())?;
        out.write_all(&head)?;
        order.iter().try_for_each(|(_, tensor)| out.write_all(tensor.data()))
    })
}

/// Reads the header of a safetensors file of `length` bytes (`path` is for errors). The tensors' bytes follow, one after the
/// other in the order of [`Metadata::offset_keys`].
///
/// Checks what the safetensors crate leaves open: it adds declared sizes without an overflow check, so that a hostile
/// header panics.
pub(crate) fn read_safetensors_header(path: &Path, from: &mut impl Read, length: u64) -> Result<Metadata> {
    let bad = |what: String| Error::format(path, format!("not a valid safetensors file: {}", one_line(&what)));
    let rest = length.checked_sub(8).ok_or_else(|| bad("shorter than 8 bytes".into()))?;
    let mut word = [0; 8];
    from.read_exact(&mut word).map_err(Error::io(path, "cannot read"))?;
    let declared = u64::from_le_bytes(word);
    if declared > rest {
        return Err(bad(format!("it declares a header of {declared} bytes but {rest} bytes follow")));
    }
    let mut head = vec![0; declared as usize];
    from.read_exact(&mut head).map_err(Error::io(path, "cannot read"))?;
    let header: Metadata = serde_json::from_slice(&head).map_err(|e| bad(format!("header: {e}")))?;
    let (takes, holds) = (header.data_len(), rest - declared);
    if takes as u64 != holds {
        return Err(bad(format!("its tensors take {takes} bytes but the file holds {holds}")));
    }
    let tensors = header.offset_keys().into_iter().filter_map(|key| header.info(&key).cloned().map(|info| (key, info)));
    Metadata::new(header.metadata().clone(), tensors.collect()).map_err(|e| bad(e.to_string()))
}

/// Opens the bytes of a safetensors file read from `path` (named in errors): its tensors and its metadata.
pub fn parse_safetensors<'a>(path: &Path, bytes: &'a [u8]) -> Result<(SafeTensors<'a>, HashMap<String, String>)> {
    let header = read_safetensors_header(path, &mut &bytes[..], bytes.len() as u64)?;
    let bad = |e| Error::format(path, format!("not a valid safetensors file: {e}"));
    let tensors = SafeTensors::deserialize(bytes).map_err(bad)?;
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

/// Text that may quote a file's content, made fit for one line of an error message: no control characters, not long.
pub(crate) fn one_line(text: &str) -> String {
    const LIMIT: usize = 200;
    let mut out: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LIMIT).collect();
    if text.chars().nth(LIMIT).is_some() {
        out.push('…');
    }
    out
}

/// SHA-256 of a file, in hexadecimal; `progress` is told how many bytes are done.
pub(crate) fn file_hash(path: &Path, progress: &dyn Fn(u64)) -> std::io::Result<String> {
    let (mut file, mut sha) = (File::open(path)?, Sha256::new());
    let (mut buffer, mut done) = (vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(sha)),
            n => {
                sha.update(&buffer[..n]);
                done += n as u64;
                progress(done);
            }
        }
    }
}

/// A hash in hexadecimal.
pub(crate) fn hex(sha: Sha256) -> String {
    sha.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::Dtype;

    fn listing(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn write_atomic_replaces_the_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write_atomic(&path, |w| w.write_all(b"a longer first version")).unwrap();
        write_atomic(&path, |w| w.write_all(b"second")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(listing(dir.path()), ["a.txt"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, b"old").unwrap();
        let fail = |w: &mut dyn Write| {
            w.write_all(&[1; 100_000])?;
            Err(std::io::Error::other("disk on fire"))
        };
        let message = write_atomic(&path, fail).unwrap_err().to_string();
        assert!(message.starts_with(&path.display().to_string()) && message.contains("disk on fire"), "{message}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(listing(dir.path()), ["a.txt"]);

        // A folder in the way: the rename fails after the write succeeded.
        std::fs::create_dir(dir.path().join("taken")).unwrap();
        assert!(write_atomic(&dir.path().join("taken"), |w| w.write_all(b"x")).is_err());
        assert_eq!(listing(dir.path()), ["a.txt", "taken"]);

        let message = write_atomic(&dir.path().join("no/such/b"), |_| Ok(())).unwrap_err().to_string();
        assert!(message.contains("no/such/b: cannot create"), "{message}");
    }

    #[test]
    fn safetensors_bytes_are_fixed_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let metadata: BTreeMap<_, _> = (0..20).map(|i| (format!("key{i}"), i.to_string())).collect();
        let tensors = [
            ("b", TensorView::new(Dtype::U8, vec![3], &[1, 2, 3]).unwrap()),
            ("a", TensorView::new(Dtype::F32, vec![1, 1], &[0, 0, 128, 63]).unwrap()),
        ];
        let write = |name: &str| {
            let path = dir.path().join(name);
            write_safetensors(&path, &tensors, &metadata).unwrap();
            std::fs::read(path).unwrap()
        };
        let bytes = write("x");
        assert_eq!(bytes, write("y"));
        let (read, meta) = parse_safetensors(Path::new("x"), &bytes).unwrap();
        assert_eq!(meta.into_iter().collect::<BTreeMap<_, _>>(), metadata);
        assert_eq!(read.tensor("a").unwrap().data(), [0, 0, 128, 63]);
        assert_eq!(read.tensor("b").unwrap().shape(), [3]);
        let twice = [tensors[0].clone(), tensors[0].clone()];
        assert!(write_safetensors(&dir.path().join("z"), &twice, &metadata).is_err());
    }

    #[test]
    fn declared_sizes_that_overflow_are_an_error() {
        // Eight tensors of 2^61 - 1 bytes and one of 7: they end at 2^64 - 1, so adding the header's length overflows.
        let size = (1u64 << 61) - 1;
        let mut entries: Vec<String> = (0..8)
            .map(|i| {
                format!(r#""t{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{},{}]}}"#, i * size, (i + 1) * size)
            })
            .collect();
        entries.push(format!(r#""t8":{{"dtype":"U8","shape":[7],"data_offsets":[{},{}]}}"#, 8 * size, 8 * size + 7));
        let head = format!("{{{}}}", entries.join(","));
        let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
        bytes.extend(head.as_bytes());
        let message = parse_safetensors(Path::new("x"), &bytes).unwrap_err().to_string();
        assert_eq!(
            message,
            "x: not a valid safetensors file: its tensors take 18446744073709551615 bytes but the file holds 0"
        );
    }
}
