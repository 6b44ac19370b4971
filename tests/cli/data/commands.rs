//! `ham-engine data`, and data sets on the command lines of other commands.

use super::fixtures::copy_tree;
use super::made;
use super::server::{Reply, Server};
use crate::common::{Folder, TINY, failed, succeeded};
use std::process::Output;

/// A folder with `data/`, which holds the archives of some sets.
fn with_archives(sets: &[&str]) -> Folder {
    let f = Folder::new();
    sets.iter().for_each(|set| copy_tree(&made().join(set), &f.path("data").join(set)));
    f
}

/// Runs the program with a data folder from the environment, through a proxy.
fn with_proxy(f: &Folder, line: &str, proxy: &str) -> Output {
    let variables = ["HTTP_PROXY", "HTTPS_PROXY"].map(|name| (name, proxy));
    f.command(line)
        .env("HAM_ENGINE_DATA", f.path("data"))
        .env("NO_PROXY", "127.0.0.1")
        .envs(variables)
        .output()
        .unwrap()
}

#[test]
fn presets_find_their_data() {
    let f = with_archives(&["cifar10", "imagenette"]);
    let train = |more: &str| {
        let line = format!("train {} --epochs 1 --batch 8 --eval-every 1 {more}", TINY.join(" "));
        succeeded(&line, f.command(&line).env("HAM_ENGINE_DATA", f.path("data")).output().unwrap())
    };
    train("--preset cifar10 --out a");
    let config = f.text("a/config.toml");
    assert!(config.contains("dataset = \"cifar10\"") && config.contains("mean = [0.4914"), "{config}");
    train("--preset imagenette --out b");
    assert!(f.list("data").contains(&"imagenette.safetensors".to_string()));

    // A folder of pictures at a size; the checkpoint knows the size, and the run's options are complete.
    copy_tree(&made().join("pictures"), &f.path("pictures"));
    train("--dataset pictures --size 16x12 --out c");
    assert!(f.text("c/config.toml").contains("size = \"16x12\""));
    f.ok("train --config c/config.toml --data-dir data --out d");
    assert!(f.read("c/last.safetensors") == f.read("d/last.safetensors"));
    let eval = "eval --checkpoint c/last.safetensors --attack clean --json --data-dir data";
    let report: serde_json::Value = serde_json::from_str(&f.ok(eval)).unwrap();
    assert_eq!(report["contract"]["examples"], 9, "{report}");
    // What had to be decoded is kept, whatever comes of it.
    let line = format!("{eval} --size 8x8");
    let output = f.command(&line).output().unwrap();
    failed(&line, output, "was made for 3x16x12 images and 3 classes, pictures has 3x8x8");
}

#[test]
fn listed_verified_described_and_exported() {
    let f = with_archives(&["svhn"]);
    let list: serde_json::Value = serde_json::from_str(&f.ok("data list --json --data-dir data")).unwrap();
    let here = |name: &str| list.as_array().unwrap().iter().find(|k| k["name"] == name).unwrap()["here"].clone();
    assert_eq!((here("svhn"), here("cifar10"), here("fashion-mnist-mini")), (true.into(), false.into(), true.into()));
    assert_eq!(list[4]["files"][0]["bytes"], 182_040_794);
    let text = f.ok("data list --data-dir data");
    assert!(text.lines().any(|l| l == "              here   http://ufldl.stanford.edu/housenumbers"), "{text}");

    let info = f.ok("data info svhn --data-dir data");
    assert!(info.contains("9 train, 4 test") && info.contains("3x32x32"), "{info}");
    f.ok("data export svhn out.safetensors --data-dir data");
    assert_eq!(f.ok("data info out.safetensors").lines().nth(4), info.lines().nth(4));
    copy_tree(&made(), &f.path("all"));
    f.ok("data export all/plain.npz small.safetensors");
    f.ok("data export all/pictures small.safetensors --size 8x8 --data-dir data");
    assert!(f.ok("data info small.safetensors").contains("3x8x8"));

    // Whole: what comes as one file with its hash in it. Not whole: archives that are not the published ones.
    assert_eq!(f.ok("data verify out.safetensors"), "out.safetensors: whole\n");
    let line = "data verify svhn out.safetensors cifar10 --data-dir data";
    let output = f.command(line).output().unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    let train = f.path("data/svhn/train_32x32.mat").metadata().unwrap().len();
    let expected = format!("data/svhn/train_32x32.mat: {train} bytes instead of 182040794");
    assert_eq!(said.lines().next(), Some(&*expected));
    assert!(said.contains("out.safetensors: whole") && said.contains("cifar-10-binary.tar.gz: missing"), "{said}");
    failed(line, output, "faults found: 3; ham-engine data fetch replaces files that are missing or wrong");
    let mut damaged = f.read("out.safetensors");
    *damaged.last_mut().unwrap() ^= 1;
    f.write("out.safetensors", damaged);
    f.fails("data verify out.safetensors --json", "faults found: 1");
    f.fails("data info out.safetensors", "out.safetensors: damaged: its examples' SHA-256 is ");
}

#[test]
fn bad_files_and_wrong_use() {
    let f = with_archives(&["cifar10", "cifar100", "svhn", "imagenette", "tiny-imagenet-200"]);
    copy_tree(&made(), &f.path("all"));
    let halve = |name: &str| f.write(name, &f.read(name)[..f.read(name).len() / 2]);
    for (file, set) in [
        ("data/cifar10/cifar-10-binary.tar.gz", "cifar10"),
        ("data/cifar100/cifar-100-binary.tar.gz", "cifar100"),
        ("data/svhn/test_32x32.mat", "svhn"),
        ("data/imagenette/imagenette2-160.tgz", "imagenette"),
        ("data/tiny-imagenet-200/tiny-imagenet-200.zip", "tiny-imagenet-200"),
        ("all/plain.npz", "all/plain.npz"),
        ("all/pictures/train/ant/b.jpg", "all/pictures"),
    ] {
        halve(file);
        f.fails(&format!("train --dataset {set} --data-dir data --out run"), &format!("{file}: "));
        f.fails(&format!("data info {set} --data-dir data"), &format!("{file}: "));
    }
    f.fails("data info shvn", "did you mean svhn?");
    f.fails("data fetch cifar10 shvn", "did you mean svhn?");
    f.fails("data fetch", "NAME");
    f.fails("data fetch svhn --mirror ftp://x --data-dir d", "--mirror ftp://x: give a URL that begins with http://");
    // The folder is made before anything is looked at.
    let line = "data fetch svhn --offline all --data-dir d";
    let output = f.command(line).output().unwrap();
    failed(line, output, "train_32x32.mat: it offers 3847 bytes instead of 182040794");
    f.fails("data fetch svhn --offline all --mirror http://x", "cannot be used with");
    f.fails("data info svhn --size 3", "`3`: give HEIGHTxWIDTH");
    f.fails("data info svhn --size 8x8 --data-dir data", "--size 8x8: svhn has a size of its own");
    f.fails("data verify nothing", "faults found: 1");
}

#[test]
fn fetching_through_a_proxy() {
    let f = Folder::new();
    let proxy = Server::start(|_| Reply::status("404 Not Found"));
    let line = "data fetch svhn";
    failed(line, with_proxy(&f, line, &proxy.url), "train_32x32.mat: HTTP status 404 Not Found");
    assert_eq!(proxy.log(), ["ufldl.stanford.edu:80 all", "/housenumbers/train_32x32.mat all"]);
    // One that refuses connections to a port is asked three times.
    let line = "data fetch cifar10";
    failed(line, with_proxy(&f, line, &proxy.url), "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz: ");
    assert_eq!(proxy.log()[2..], ["www.cs.toronto.edu:443 all"; 3]);
    // The mirror is asked first.
    let mirror = Server::of(b"short".to_vec());
    let line = format!("data fetch svhn --mirror {}", mirror.url);
    failed(&line, with_proxy(&f, &line, &proxy.url), "it offers 5 bytes instead of 182040794; http://ufldl");
    assert_eq!(f.list("data/svhn"), [""; 0]);
}

#[test]
fn a_full_disk_while_fetching() {
    let f = Folder::new();
    let mirror = Server::of(vec![0; 26_421_880]);
    let line = format!("data fetch fashion-mnist --data-dir data --mirror {}", mirror.url);
    let limited = |limit: &str| {
        // Nobody answers at the proxy, so that no other place can be reached.
        let proxy = ["HTTP_PROXY", "HTTPS_PROXY"].map(|name| (name, "http://127.0.0.1:1"));
        f.shell(limit, &line).env("NO_PROXY", "127.0.0.1").envs(proxy).output().unwrap()
    };
    // A limit on the size of files stops any user's writes; its signal is ignored, so that the write fails.
    let expected = "train-images-idx3-ubyte.gz.part: cannot write (what arrived is kept): File too large";
    failed(&line, limited("trap '' XFSZ; ulimit -f 2048"), expected);
    assert_eq!(f.list("data/fashion-mnist"), ["train-images-idx3-ubyte.gz.part"]);
    let kept = f.path("data/fashion-mnist/train-images-idx3-ubyte.gz.part").metadata().unwrap().len();
    assert!(kept == 2048 * 512 || kept == 2048 * 1024, "{kept}");
    // With room it goes on there; this content is not the true one.
    failed(&line, limited(":"), "wrong checksum");
    assert_eq!(mirror.log()[1], format!("/train-images-idx3-ubyte.gz {kept}"));
    assert_eq!(f.list("data/fashion-mnist"), [""; 0]);

    // Full while the decoded set is written: the archives stay.
    let f = with_archives(&["svhn"]);
    let output = f.shell("trap '' XFSZ; ulimit -f 20", "data info svhn --data-dir data").output().unwrap();
    assert!(succeeded("data info", output).contains("9 train"), "what can't be kept can be used");
    assert_eq!(f.list("data"), ["svhn"]);
}
