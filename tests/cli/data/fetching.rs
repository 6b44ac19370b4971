//! Fetching, from servers with faults: what is in place in the end is whole, or is not there.

use super::assert_one_line;
use super::server::{Reply, Server};
use ham_engine::data::{Fetch, RemoteFile};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::time::{Duration, Instant};

/// A file of 3 MB, which no transfer's pieces divide.
fn content() -> Vec<u8> {
    (0..3_000_003u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// What a table says of it.
fn remote(urls: &[&str]) -> RemoteFile {
    let content = content();
    let sha256: String = Sha256::digest(&content).iter().map(|b| format!("{b:02x}")).collect();
    let urls: Vec<&'static str> = urls.iter().map(|url| &*format!("{url}/file.bin").leak()).collect();
    RemoteFile { name: "file.bin", bytes: content.len() as u64, sha256: sha256.leak(), urls: urls.leak() }
}

const HOW: Fetch = Fetch { mirrors: &[], offline: None, patience: Duration::from_secs(20), watch: &|_, _, _| () };

fn fetch(urls: &[&str], folder: &Path) -> Result<(), String> {
    HOW.file("set", &remote(urls), folder).map_err(|e| {
        assert_one_line(&e.to_string());
        e.to_string()
    })
}

/// The file is there as it should be, and nothing else.
#[track_caller]
fn assert_whole(folder: &Path) {
    assert!(std::fs::read(folder.join("file.bin")).unwrap() == content());
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1);
}

/// Bytes of the partial file; `None`: nothing is there at all.
fn part(folder: &Path) -> Option<u64> {
    assert!(!folder.join("file.bin").exists());
    folder.join("file.bin.part").metadata().ok().map(|m| m.len())
}

#[test]
fn whole_files_are_fetched_once() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("made/on/the/way");
    let server = Server::of(content());
    let seen = std::sync::Mutex::new(Vec::new());
    let how = Fetch { watch: &|doing, done, total| seen.lock().unwrap().push((doing.to_owned(), done, total)), ..HOW };
    how.file("set", &remote(&[&server.url]), &folder).unwrap();
    assert_whole(&folder);
    let seen = seen.into_inner().unwrap();
    for doing in ["fetching file.bin", "checking"] {
        let steps: Vec<_> = seen.iter().filter(|s| s.0 == doing).collect();
        assert!(steps.is_sorted_by_key(|s| s.1) && steps.len() > 2, "{doing}");
        assert_eq!((steps[steps.len() - 1].1, steps[0].2), (3_000_003, 3_000_003));
    }
    fetch(&[&server.url], &folder).unwrap();
    assert_eq!(server.log(), ["/file.bin all"], "the second time it is there");

    // One that was damaged since is replaced.
    std::fs::write(folder.join("file.bin"), "short").unwrap();
    fetch(&[&server.url], &folder).unwrap();
    assert_whole(&folder);
}

#[test]
fn a_cut_connection_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(|request| match request.nth {
        0 => Reply::whole(&content()).cut(1_200_000),
        1 => Reply::file(&content(), request).cut(700_000),
        _ => Reply::file(&content(), request),
    });
    fetch(&[&server.url], dir.path()).unwrap();
    assert_whole(dir.path());
    assert_eq!(server.log(), ["/file.bin all", "/file.bin 1200000", "/file.bin 1900000"]);

    // A server that can't begin in the middle sends all of it again.
    std::fs::remove_file(dir.path().join("file.bin")).unwrap();
    let server = Server::start(|request| match request.nth {
        0 => Reply::whole(&content()).cut(1_200_000),
        _ => Reply::whole(&content()),
    });
    fetch(&[&server.url], dir.path()).unwrap();
    assert_whole(dir.path());
}

#[test]
fn a_later_run_goes_on_too_from_another_place() {
    let dir = tempfile::tempdir().unwrap();
    let bad = Server::start(|request| Reply::file(&content(), request).cut(1000));
    let message = fetch(&[&bad.url], dir.path()).unwrap_err();
    assert!(message.contains("/file.bin: cut off at 3000 of 3000003 bytes: "), "{message}");
    assert!(message.ends_with("; the 3000 bytes that arrived are kept: run it again to go on"), "{message}");
    assert_eq!((part(dir.path()), bad.log().len()), (Some(3000), 3));
    let good = Server::of(content());
    fetch(&[&good.url], dir.path()).unwrap();
    assert_whole(dir.path());
    assert_eq!(good.log(), ["/file.bin 3000"]);
}

#[test]
fn what_is_not_the_file_is_refused_and_the_next_place_asked() {
    let mut other = content();
    other[1_000_000] ^= 1;
    let long = [content(), vec![0]].concat();
    let unsized_reply = |body: &[u8]| Reply { headers: String::new(), ..Reply::whole(body) };
    type Answer = Box<dyn Fn() -> Reply + Send + Sync>;
    let faults: Vec<(Answer, &str, usize)> = vec![
        (Box::new(|| Reply::status("404 Not Found")), "HTTP status 404 Not Found", 1),
        (Box::new(|| Reply::status("503 Service Unavailable")), "HTTP status 503 Service Unavailable", 3),
        (Box::new(|| Reply::whole(b"<html>please log in</html>")), "it offers 26 bytes instead of 3000003", 1),
        (Box::new(move || Reply::whole(&other)), "wrong checksum: SHA-256 ", 1),
        (Box::new(move || unsized_reply(&long)), "more than 3000003 bytes", 1),
        (Box::new(move || unsized_reply(b"")), "cut off at 0 of 3000003 bytes: ", 3),
    ];
    for (fault, expected, tries) in faults {
        let dir = tempfile::tempdir().unwrap();
        let bad = Server::start(move |_| fault());
        let message = fetch(&[&bad.url], dir.path()).unwrap_err();
        assert!(message.contains(&format!("cannot be fetched: {}/file.bin: {expected}", bad.url)), "{message}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{expected}: nothing is left");
        assert_eq!(bad.log().len(), tries, "{expected}");
        let good = Server::of(content());
        fetch(&[&bad.url, &good.url], dir.path()).unwrap();
        assert_whole(dir.path());
    }
}

#[test]
fn a_partial_file_of_something_else_is_not_trusted() {
    let good = Server::of(content());
    for (stale, requests) in [
        (vec![7; 1000], &["/file.bin 1000", "/file.bin all"][..]),
        (vec![7; 3_000_003], &["/file.bin all"]),
        (vec![7; 4_000_000], &["/file.bin all"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file.bin.part"), stale).unwrap();
        let before = good.log().len();
        fetch(&[&good.url], dir.path()).unwrap();
        assert_whole(dir.path());
        assert_eq!(&good.log()[before..], requests);
    }
    // A server that sends another range than asked for, or of a file of another length.
    for (header, expected) in [
        ("bytes 0-3000002/3000003", "asked for the bytes from 1000 on, it sent \"bytes 0-3000002/3000003\""),
        ("bytes 1000-3000002/4000000", "it offers 4000000 bytes instead of 3000003"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file.bin.part"), &content()[..1000]).unwrap();
        let lying = Server::start(move |_| Reply {
            headers: format!("Content-Range: {header}\r\n"),
            ..Reply::range(&content(), 1000)
        });
        let message = fetch(&[&lying.url], dir.path()).unwrap_err();
        assert!(message.contains(expected), "{message}");
        assert_eq!(part(dir.path()), Some(1000));
    }
}

#[test]
fn a_silent_server_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let silent = Server::start(|request| {
        let whole = Reply::file(&content(), request).cut(if request.nth == 0 { 1_500_000 } else { 0 });
        Reply { silence: Duration::from_secs(20), ..whole }
    });
    let begun = Instant::now();
    let how = Fetch { patience: Duration::from_millis(500), ..HOW };
    let message = how.file("set", &remote(&[&silent.url]), dir.path()).unwrap_err().to_string();
    assert!(message.contains("cut off at 1500000 of 3000003 bytes: ") && message.contains("timeout"), "{message}");
    assert!(begun.elapsed() < Duration::from_secs(15));
    // Nobody listens.
    let message = fetch(&["http://127.0.0.1:1"], dir.path()).unwrap_err();
    assert!(message.contains("http://127.0.0.1:1/file.bin: "), "{message}");
    assert_eq!(part(dir.path()), Some(1_500_000));
}

#[test]
fn mirrors_and_folders() {
    let (own, mirror) = (Server::of(content()), Server::of(content()));
    let dir = tempfile::tempdir().unwrap();
    let mirrors = [format!("{}/pub/", mirror.url)];
    Fetch { mirrors: &mirrors, ..HOW }.file("set", &remote(&[&own.url]), dir.path()).unwrap();
    assert_whole(dir.path());
    assert_eq!((mirror.log(), own.log()), (vec!["/pub/file.bin all".to_string()], vec![]));

    let usb = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let offline = Fetch { offline: Some(usb.path()), ..HOW };
    let copy = || offline.file("set", &remote(&[&own.url]), dir.path()).map_err(|e| e.to_string());
    assert!(copy().unwrap_err().ends_with(": there is no file.bin there"));
    std::fs::write(usb.path().join("file.bin"), "short").unwrap();
    assert!(copy().unwrap_err().ends_with("file.bin: it offers 5 bytes instead of 3000003"));
    std::fs::create_dir(usb.path().join("set")).unwrap();
    std::fs::write(usb.path().join("set/file.bin"), content()).unwrap();
    copy().unwrap();
    assert_whole(dir.path());
    assert_eq!(own.log(), [""; 0]);
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let slow = Server::start(|request| match request.nth {
        0 => Reply { silence: Duration::from_secs(1), ..Reply::whole(&content()).cut(9) },
        _ => Reply::status("404 Not Found"),
    });
    let fast = Server::of(content());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| fetch(&[&slow.url, &fast.url], dir.path()));
        while slow.log().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let message = fetch(&[&fast.url], dir.path()).unwrap_err();
        assert!(message.ends_with("file.bin.part: another process is fetching this file; wait until it is done"));
        first.join().unwrap().unwrap();
    });
    assert_whole(dir.path());
}
