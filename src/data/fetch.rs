//! Fetching the files of data sets: over HTTP with resumption, from mirrors, or from a folder; always checked.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::StatusCode;

use super::place::fault;
use super::{Dataset, Known, RemoteFile, Source, Watch, data_folder};
use crate::fsio::one_line;
use crate::{Error, Result};

/// How often in a row a source may fail before the next one is asked.
const TRIES: u32 = 3;
/// What a try must bring for the count to start again.
const PROGRESS: u64 = 1 << 20;
/// Before the second try; doubled before each further one.
const PAUSE: Duration = Duration::from_millis(250);

/// How to fetch.
#[derive(Clone, Copy)]
pub struct Fetch<'a> {
    /// Folders on the web that hold the files under their names, asked before the files' own places.
    pub mirrors: &'a [String],
    /// A folder that holds the files: nothing is then asked of the network.
    pub offline: Option<&'a Path>,
    /// How long a server may be silent.
    pub patience: Duration,
    /// Is told how far it is.
    pub watch: Watch<'a>,
}

/// Where a file may come from.
enum FileSource {
    Url(String),
    Folder(PathBuf),
}

/// Why a transfer ended early.
enum Failure {
    /// The connection: another try may go on where it stopped.
    Cut(String),
    /// What is offered is not the file.
    Refused(String),
    /// This machine, such as a full disk.
    Here(Error),
}

/// Fetches the files of a known set that are not in the data folder's NAME, and decodes it: the next [`Source::open`] reads
/// what was decoded.
///
/// # Errors
/// Where a file can't be had, or is not what it should be, or can't be written, or not decoded. What arrived of it is kept.
pub fn fetch(known: &Known, data_dir: Option<&Path>, how: &Fetch) -> Result<Dataset> {
    let folder = data_folder(data_dir)?;
    for file in known.files {
        how.file(known.name, file, &folder.join(known.name))?;
    }
    let source = Source { data_dir: Some(&folder), watch: how.watch, ..Source::new(known.name) };
    let (set, kept) = source.open_and_keep()?;
    kept.map(|()| set)
}

impl Fetch<'_> {
    /// Brings a file of the data set `set` into a folder, whole and checked, or not at all; until then it is FILE.part.
    ///
    /// # Errors
    /// See [`fetch`].
    pub fn file(&self, set: &str, file: &RemoteFile, folder: &Path) -> Result<()> {
        let target = folder.join(file.name);
        let is_there = || Ok::<_, Error>(target.is_file() && fault(&target, file, self.watch)?.is_none());
        if is_there()? {
            return Ok(());
        }
        let places = self.places(set, file)?;
        std::fs::create_dir_all(folder).map_err(Error::io(folder, "cannot create the folder"))?;
        let path = folder.join(format!("{}.part", file.name));
        let mut options = File::options();
        options.create(true).truncate(false).read(true).write(true);
        let mut part = options.open(&path).map_err(Error::io(&path, "cannot create the file"))?;
        // Not every file system has locks: then there is no telling.
        if let Err(TryLockError::WouldBlock) = part.try_lock() {
            return Err(Error::format(&path, "another process is fetching this file; wait until it is done"));
        }
        // That other process may have finished just before the lock was free.
        if is_there()? {
            return Ok(());
        }
        let mut failures = Vec::new();
        for place in &places {
            match self.complete(place, file, &path, &mut part) {
                Ok(()) => {
                    part.sync_all().map_err(Error::io(&path, "cannot write"))?;
                    std::fs::rename(&path, &target).map_err(Error::io(&target, "cannot move the file into place"))?;
                    return Ok(());
                }
                Err(Failure::Cut(why) | Failure::Refused(why)) => failures.push(format!("{place}: {}", one_line(&why))),
                Err(Failure::Here(error)) => return Err(error),
            }
        }
        let kept = match part.metadata().map_or(0, |m| m.len()) {
            0 => {
                let _ = std::fs::remove_file(&path);
                String::new()
            }
            bytes => format!("; the {bytes} bytes that arrived are kept: run it again to go on"),
        };
        Err(Error::format(&target, format!("cannot be fetched: {}{kept}", failures.join("; "))))
    }

    fn places(&self, set: &str, file: &RemoteFile) -> Result<Vec<FileSource>> {
        if let Some(folder) = self.offline {
            let places = [folder.join(set).join(file.name), folder.join(file.name)];
            return match places.into_iter().find(|p| p.is_file()) {
                Some(path) => Ok(vec![FileSource::Folder(path)]),
                None => Err(Error::format(folder, format!("there is no {} there", file.name))),
            };
        }
        let mirror = |base: &String| match base.starts_with("http://") || base.starts_with("https://") {
            true => Ok(FileSource::Url(format!("{}/{}", base.trim_end_matches('/'), file.name))),
            false => Err(Error::usage(format!("--mirror {base}: give a URL that begins with http:// or https://"))),
        };
        let own = file.urls.iter().map(|url| Ok(FileSource::Url(url.to_string())));
        self.mirrors.iter().map(mirror).chain(own).collect()
    }

    /// Completes the partial file from one place.
    fn complete(
        &self,
        place: &FileSource,
        file: &RemoteFile,
        path: &Path,
        part: &mut File,
    ) -> std::result::Result<(), Failure> {
        let here = |e| Failure::Here(Error::io(path, "cannot write (what arrived is kept)")(e));
        let length = |part: &File| part.metadata().map(|m| m.len()).map_err(here);
        let mut tries = 0;
        // Whether all that the partial file holds came from this place.
        let mut own = false;
        loop {
            let have = length(part)?;
            own |= have == 0;
            if have < file.bytes {
                match self.transfer(place, file, path, part, have) {
                    Err(Failure::Cut(why)) => {
                        tries = if length(part)?.saturating_sub(have) < PROGRESS { tries + 1 } else { 1 };
                        if tries == TRIES {
                            return Err(Failure::Cut(why));
                        }
                        std::thread::sleep(PAUSE * (1 << (tries - 1)));
                        continue;
                    }
                    other => other?,
                }
            }
            match fault(path, file, self.watch).map_err(Failure::Here)? {
                None => return Ok(()),
                Some(what) => {
                    part.set_len(0).map_err(here)?;
                    if own {
                        return Err(Failure::Refused(what));
                    }
                }
            }
        }
    }

    /// Appends to the partial file, which holds `have` bytes, what comes after them. A server that can't begin there sends
    /// all of it.
    fn transfer(
        &self,
        place: &FileSource,
        file: &RemoteFile,
        path: &Path,
        part: &mut File,
        have: u64,
    ) -> std::result::Result<(), Failure> {
        let (mut from, start): (Box<dyn Read>, u64) = match place {
            FileSource::Url(url) => self.request(url, file, have)?,
            FileSource::Folder(original) => {
                let open = || {
                    let original = File::open(original)?;
                    Ok((original.metadata()?.len(), original))
                };
                let (length, original) = open().map_err(|e: std::io::Error| Failure::Refused(e.to_string()))?;
                expect_length(length, file.bytes)?;
                (Box::new(original), 0)
            }
        };
        let here = |e| Failure::Here(Error::io(path, "cannot write (what arrived is kept)")(e));
        part.set_len(start).map_err(here)?;
        part.seek(SeekFrom::Start(start)).map_err(here)?;
        let (mut done, mut buffer) = (start, vec![0; 1 << 16]);
        let doing = format!("fetching {}", file.name);
        loop {
            let cut = |why: String| Failure::Cut(format!("cut off at {done} of {} bytes: {why}", file.bytes));
            match from.read(&mut buffer) {
                Ok(0) if done < file.bytes => return Err(cut("the connection was closed".into())),
                Ok(0) => return Ok(()),
                Ok(n) if done + n as u64 > file.bytes => {
                    part.set_len(0).map_err(here)?;
                    return Err(Failure::Refused(format!("more than {} bytes", file.bytes)));
                }
                Ok(n) => {
                    part.write_all(&buffer[..n]).map_err(here)?;
                    done += n as u64;
                    (self.watch)(&doing, done, file.bytes);
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => (),
                Err(e) => return Err(cut(e.to_string())),
            }
        }
    }

    /// Asks a server for the file from byte `have` on; returns its body, and the byte at which that begins: `have` or 0.
    fn request(&self, url: &str, file: &RemoteFile, have: u64) -> std::result::Result<(Box<dyn Read>, u64), Failure> {
        // The proxy is that of the environment, which ureq reads; it tunnels through it (CONNECT), http:// too.
        let config = ureq::Agent::config_builder()
            .timeout_resolve(Some(self.patience))
            .timeout_connect(Some(self.patience))
            .timeout_recv_response(Some(self.patience))
            .timeout_per_read(Some(self.patience))
            .user_agent(concat!("ham-engine/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .http_status_as_error(false);
        let agent = config.build().new_agent();
        let request = agent.get(url);
        let request = if have > 0 { request.header("range", format!("bytes={have}-")) } else { request };
        let response = request.call().map_err(|e| Failure::Cut(e.to_string()))?;
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let length = header("content-length").and_then(|l| l.trim().parse().ok());
        let start = match response.status() {
            StatusCode::OK => {
                length.map_or(Ok(()), |length| expect_length(length, file.bytes))?;
                0
            }
            StatusCode::PARTIAL_CONTENT if have > 0 => {
                let range = header("content-range").unwrap_or_default();
                let offered = range.strip_prefix("bytes ").and_then(|r| r.split_once('-')).map(|(start, _)| start);
                if offered != Some(&have.to_string()) {
                    return Err(Failure::Refused(format!("asked for the bytes from {have} on, it sent {range:?}")));
                }
                match range.rsplit_once('/').and_then(|(_, total)| total.parse().ok()) {
                    Some(total) => expect_length(total, file.bytes)?,
                    None => length.map_or(Ok(()), |length| expect_length(have + length, file.bytes))?,
                }
                have
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(Failure::Cut(format!("HTTP status {status}")));
            }
            status => return Err(Failure::Refused(format!("HTTP status {status}"))),
        };
        Ok((Box::new(response.into_body().into_reader()), start))
    }
}

fn expect_length(offered: u64, expected: u64) -> std::result::Result<(), Failure> {
    match offered == expected {
        true => Ok(()),
        false => Err(Failure::Refused(format!("it offers {offered} bytes instead of {expected}"))),
    }
}

impl std::fmt::Display for FileSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FileSource::Url(url) => f.write_str(url),
            FileSource::Folder(path) => path.display().fmt(f),
        }
    }
}
