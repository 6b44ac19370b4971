//! `ham-engine bench`: methods side by side.

use crate::common::{Folder, TINY};
use ham_engine::results::comparison::{Comparison, MethodRow};
use std::path::Path;

const ALL: &str = "ham,ham-trades,pgd-at,standard,fgsm-rs,trades,mart,fat,gairat";

fn line(more: &str) -> String {
    format!("bench --dataset data.safetensors {} --batch 16 {more}", TINY.join(" "))
}

fn comparison(f: &Folder, folder: &str) -> Comparison {
    Comparison::read(&f.path(&format!("{folder}/bench.json"))).unwrap()
}

fn row<'a>(c: &'a Comparison, method: &str) -> &'a MethodRow {
    c.methods.iter().find(|m| m.method == method).unwrap_or_else(|| panic!("no {method}"))
}

#[test]
fn costs_at_fixed_weights_are_those_of_the_cost_model() {
    let f = Folder::with_data();
    let printed = f.ok(&line(&format!("--methods {ALL} --cost-only --kept-share 0.25 --repeats 2 --ledger --out b")));
    let c = comparison(&f, "b");
    assert_eq!((c.baseline.as_str(), c.methods[0].method.as_str(), c.epochs), ("pgd-at", "pgd-at", None));
    assert_eq!(c.methods.len(), 9);
    let r = 0.25;
    // K = 3 steps; HAM checks after the first. A training step is 3 units, one of two passes 6.
    let units = [
        ("standard", 3.0),
        ("fgsm-rs", 2.0 + 3.0),
        ("pgd-at", 6.0 + 3.0),
        ("gairat", 6.0 + 3.0),
        ("trades", 1.0 + 6.0 + 6.0),
        ("mart", 6.0 + 6.0),
        ("ham", 2.0 + 1.0 + 3.0 * r + 3.0 * r),
        ("ham-trades", 1.0 + 2.0 + 1.0 + 3.0 * r + 6.0 * r),
    ];
    for (method, units) in units {
        let cost = &row(&c, method).cost;
        assert_eq!(cost.passes.sum(), units, "{method}");
        assert_eq!(cost.ratio.count, 2, "{method}");
        assert!(cost.seconds.low > 0.0 && cost.memory.unwrap() > 0 && cost.gflops.unwrap() > 0.0, "{method}");
        assert!(cost.attack + cost.update + cost.data <= cost.seconds.high * 1.5, "{method}");
    }
    let ham = &row(&c, "ham").cost;
    assert_eq!((ham.kept_share, &ham.live[..]), (r, &[1.0, r, r][..]));
    assert_eq!(row(&c, "pgd-at").cost.ratio.median, 1.0);
    assert_eq!(row(&c, "fat").cost.kept_share, 1.0);
    assert!(c.peak_gflops.unwrap() > 0.0);
    // With a pool, the pass that made the decision is run again for those that stay.
    f.ok(&line("--methods ham,mart --refill --cost-only --kept-share 0.25 --repeats 2 --ledger --out r"));
    let c = comparison(&f, "r");
    assert_eq!(
        c.methods.iter().map(|m| m.method.as_str()).collect::<Vec<_>>(),
        ["pgd-at", "ham", "ham-refill", "mart"]
    );
    let refill = &row(&c, "ham-refill").cost;
    assert_eq!((refill.passes.sum(), refill.kept_share), (2.0 + 1.0 + 4.0 * r + 3.0 * r, r));
    // Ratios are of epochs, whatever a round has of them.
    let ratio = refill.seconds.low / row(&c, "pgd-at").cost.seconds.high;
    assert!(refill.ratio.high >= ratio && refill.ratio.low <= refill.seconds.high / row(&c, "pgd-at").cost.seconds.low);
    for wanted in ["attack step 2", "check and compact", "training: weight gradients", "waiting for other threads"] {
        assert!(printed.contains(wanted), "{wanted:?} is not in:\n{printed}");
    }
    for file in ["bench.csv", "cost.svg", "live.svg", "ledger.txt"] {
        assert!(f.path("b").join(file).exists(), "{file}");
    }
}

#[test]
fn exact_convolutions_and_a_share_that_is_not_forced() {
    let f = Folder::with_data();
    f.ok(&line("--cost-only --exact --repeats 1 --out b --json"));
    let c = comparison(&f, "b");
    let kept = row(&c, "ham").cost.kept_share;
    assert!((0.0..=1.0).contains(&kept) && c.methods.len() == 2, "{kept}");
}

#[test]
fn runs_of_every_method_side_by_side_and_again() {
    let f = Folder::with_data();
    let line = line("--methods ham,fat,trades --epochs 2 --begin-epoch 2 --seeds 2 --seed 3 --out b --json");
    let printed = f.ok(&line);
    let c: Comparison = serde_json::from_str(&printed).unwrap();
    assert_eq!(c, comparison(&f, "b"));
    assert_eq!(c.attacks(), ["clean", "pgd-20", "cw-30"]);
    assert_eq!(c.methods.iter().map(|m| m.method.as_str()).collect::<Vec<_>>(), ["pgd-at", "ham", "fat", "trades"]);
    for m in &c.methods {
        let seeds: Vec<u64> = m.results.iter().map(|r| r.seed).collect();
        assert_eq!((seeds, m.results[0].kept_share.len()), (vec![3, 4], 2), "{}", m.method);
        // HAM is itself in the second epoch of each run only.
        assert_eq!(m.cost.seconds.count, if m.method == "ham" { 2 } else { 4 }, "{}", m.method);
        assert!(m.cost.eval.is_some() && m.cost.memory.unwrap() > 0);
        let against_itself = m.method == "pgd-at";
        assert!(m.results.iter().all(|r| r.rho.iter().all(|rho| !against_itself || rho.is_none())));
    }
    // A run of HAM is the one that `train` makes.
    let alone =
        "train --dataset data.safetensors --batch 16 --method ham --epochs 2 --begin-epoch 2 --seed 4 --out alone";
    f.ok(&format!("{alone} {}", TINY.join(" ")));
    assert_eq!(f.read("alone/last.safetensors"), f.read("b/ham-4/last.safetensors"));
    for file in ["bench.csv", "cost.svg", "live.svg", "tradeoff.svg", "class_lines.svg", "fat-3/report.json"] {
        assert!(f.path("b").join(file).exists(), "{file}");
    }
    // Everything is there already; a second time the same runs are put side by side again.
    let again: Comparison = serde_json::from_str(&f.ok(&line)).unwrap();
    let results = |c: &Comparison| c.methods.iter().map(|m| (m.results.clone(), m.cost.seconds)).collect::<Vec<_>>();
    assert_eq!(results(&again), results(&c));
    f.fails(&line.replace("--epochs 2", "--epochs 3"), "holds a run with other options");
}

/// A peer that answers at once: what is asked of it, and how its answers are shown.
#[cfg(unix)]
#[test]
fn a_peer_runs_in_turn() {
    use std::os::unix::fs::PermissionsExt;
    let f = Folder::with_data();
    let script = |name: &str, text: &str| {
        let path = f.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    script("benches/peer/setup.sh", "#!/bin/sh\n");
    script("benches/peer/peer.py", "");
    let answers = |answer: &str| {
        let ready = r#"echo '{"ready": true, "torch": "9.9", "threads": 2, "cpu_capability": "NONE"}'"#;
        let text = format!(
            "#!/bin/sh\necho \"$@\" > args\n{ready}\nwhile read line; do echo $line >> asked; {answer}; done\n"
        );
        script(".peer/bin/python", &text);
    };
    answers(r#"echo '{"method": "x", "style": "y", "seconds": 3, "attack_seconds": 2, "update_seconds": 1}'"#);
    f.ok(&line("--cost-only --kept-share 0.5 --repeats 2 --peer --threads 2 --out b"));
    let c = comparison(&f, "b");
    let peer = &row(&c, "ham (PyTorch, tuned)").cost;
    let per_epoch = c.examples.epoch as f64 / c.examples.batch as f64;
    assert_eq!((peer.seconds.median, peer.attack, peer.update), (3.0 * per_epoch, 2.0 * per_epoch, per_epoch));
    assert_eq!((peer.kept_share, peer.gflops, peer.memory), (0.5, None, None));
    assert_eq!(c.methods.len(), 6);
    let args = f.text("args");
    for wanted in
        ["--widths 4,8", "--blocks 1,1", "--batch 16", "--threads 2", "--steps 3", "--k-drop 1", "--kept-share 0.5"]
    {
        assert!(args.contains(wanted), "{wanted:?} is not in: {args}");
    }
    let asked = f.text("asked");
    assert_eq!(asked.lines().count(), 3 * 4, "{asked}");
    assert!(asked.starts_with(r#"{"method": "pgd-at", "style": "official"}"#), "{asked}");
    std::fs::remove_dir_all(f.path("b")).unwrap();

    let fails = |line: &str, expected: &str| {
        crate::common::failed(line, f.command(line).output().unwrap(), expected);
        assert!(!Path::new(&f.path("b")).exists(), "a folder without a result stays");
    };
    let with_peer = line("--cost-only --kept-share 0.5 --repeats 1 --peer --out b");
    answers(r#"echo '{"error": "out of memory"}'"#);
    fails(&with_peer, "the PyTorch peer failed: out of memory");
    answers("echo what");
    fails(&with_peer, "said something else");
    answers("exit 1");
    fails(&with_peer, "the PyTorch peer ended");
    script("benches/peer/setup.sh", "#!/bin/sh\nexit 3\n");
    fails(&with_peer, "could not be set up");
}

#[test]
fn what_bench_refuses() {
    let f = Folder::with_data();
    f.fails(&line("--method ham"), "--method: bench compares several");
    f.fails(&line("--methods nothing"), "nothing");
    f.fails(&line("--kept-share 0.5"), "--cost-only");
    f.fails(&line("--cost-only --kept-share 1.5 --out b"), "--kept-share 1.5: must be between 0 and 1");
    f.fails(&line("--cost-only --peer --out b"), "--peer needs --kept-share");
    f.fails(&line("--cost-only --peer --kept-share 0.5 --k-drop 1,2 --out b"), "has one check");
    f.fails(&line("--cost-only --peer --kept-share 0.5 --out b"), "run this in the project's folder");
    f.fails(&line("--methods trades --no-random-start --out b"), "TRADES can't start at the image");
    f.fails(&line("--seeds 0"), "--seeds");
}
