//! PyTorch: the example, the peer of `bench`, the authors' attacks, and the reference cases.

use crate::common::{BIN, Folder, succeeded};
use crate::place;
use ham_engine::results::comparison::Comparison;
use std::process::Command;

/// A Python script of the project, in the project's folder.
fn python(script: &str) -> Command {
    let mut command = Command::new(place("TORCH"));
    command.arg(script).current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// A run of one epoch on some Fashion-MNIST, in `run`.
fn run(f: &Folder) {
    f.ok("train --method pgd-at --steps 2 --widths 4,8 --blocks 1 --epochs 1 --max-batches 30 --out run");
}

#[test]
fn the_example_measures_the_same_accuracy() {
    let f = Folder::new();
    f.ok("train --widths 4,8 --blocks 1 --method standard --epochs 2 --mean 0.3 --std 0.35 --out run");
    f.ok("export --checkpoint run/last.safetensors net.safetensors");
    f.ok("data export fashion-mnist-mini data.safetensors");
    let mut example = python("examples/load_checkpoint.py");
    example.arg(f.path("net.safetensors")).arg(f.path("data.safetensors"));
    let said = succeeded("example", example.output().unwrap());
    let clean = &f.json("run/report.json")["attacks"][0];
    assert_eq!(clean["name"], "clean");
    let ours = clean["fairness"]["mean"].as_f64().unwrap();
    assert!((0.2..0.95).contains(&ours), "{ours}");
    let theirs: f64 = said.trim().strip_prefix("clean accuracy ").expect(&said).parse().unwrap();
    // It prints four digits; an image on the border may fall to either side.
    assert!((ours - theirs).abs() <= 1.0 / 2000.0 + 5e-5, "{ours} and {theirs}");
}

#[test]
fn the_peer_runs_in_turn() {
    let f = Folder::with_data();
    let line = f.train_line("--cost-only --kept-share 0.5 --repeats 1 --peer --threads 2 --out");
    let mut bench = f.command(
        &line.replacen("train", "bench", 1).replace("data.safetensors", f.path("data.safetensors").to_str().unwrap()),
    );
    bench.arg(f.path("b")).current_dir(env!("CARGO_MANIFEST_DIR"));
    succeeded("bench --peer", bench.output().unwrap());
    let c = Comparison::read(&f.path("b/bench.json")).unwrap();
    let peers: Vec<_> = c.methods.iter().filter(|m| m.method.contains("PyTorch")).collect();
    assert_eq!(peers.len(), 4);
    assert!(peers.iter().all(|m| m.cost.seconds.median > 0.0 && m.cost.attack > 0.0 && m.cost.update > 0.0));
}

/// The attack from the image itself breaks what the authors' code breaks; the script exits with 1 if not.
#[test]
fn the_authors_attacks_leave_as_many() {
    let f = Folder::new();
    run(&f);
    for norm in ["linf", "l2"] {
        let mut reference = python("benches/reference/autoattack.py");
        reference.args([
            "--attack",
            "apgd-ce",
            "--from-the-image",
            "--examples",
            "200",
            "--eps",
            "0.05",
            "--engine",
            BIN,
        ]);
        let output =
            reference.args(["--norm", norm]).arg("--checkpoint").arg(f.path("run/last.safetensors")).output().unwrap();
        let said = succeeded(norm, output);
        assert!(said.contains("apgd-ce from the image"), "{said}");
    }
}

#[test]
fn the_reference_cases_of_methods_are_made_again() {
    succeeded("--check", python("tests/golden/methods.py").arg("--check").output().unwrap());
}
