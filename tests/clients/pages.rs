//! The pages of `report`.

use crate::browser::{Browser, View};
use crate::common::Folder;
use ham_engine::results::{Report, rho};
use std::path::Path;

/// A phone and a desk, in light and dark, and paper.
const VIEWS: [View; 5] = [
    View { width: 360, dark: false, print: false },
    View { width: 360, dark: true, print: false },
    View { width: 1280, dark: false, print: false },
    View { width: 1280, dark: true, print: false },
    View { width: 720, dark: true, print: true },
];

/// What is wrong with a page in one view.
fn findings(browser: &mut Browser, path: &Path, view: View) -> Vec<String> {
    browser.open(path, view);
    // What is folded up must fit too.
    browser.evaluate("for (const d of document.querySelectorAll('details')) d.open = true");
    let laid_out = browser.evaluate(include_str!("look.js"));
    let mut found: Vec<String> = serde_json::from_value(laid_out).unwrap();
    found.extend(browser.complaints());
    let script = "getComputedStyle(document.body).backgroundColor";
    let paper = browser.evaluate(script).as_str().unwrap().to_owned();
    let bright = paper.contains("255, 255, 255") || paper.contains("0, 0, 0, 0");
    if bright == (view.dark && !view.print) {
        found.push(format!("the paper is {paper}"));
    }
    // For people: HAM_SCREENSHOTS=folder tools/clients pages
    if let Some(folder) = std::env::var_os("HAM_SCREENSHOTS") {
        let scheme = if view.dark { "dark" } else { "light" };
        let stem = path.file_stem().unwrap().to_string_lossy();
        let name = format!("{stem}-{}-{scheme}{}.png", view.width, if view.print { "-print" } else { "" });
        std::fs::write(Path::new(&folder).join(name), browser.screenshot()).unwrap();
    }
    found
}

#[test]
fn pages_are_readable_everywhere() {
    let f = Folder::with_data();
    for (method, seed) in [("pgd-at", 0), ("pgd-at", 1), ("ham", 0), ("ham", 1)] {
        let options = format!("--method {method} --seed {seed} --epochs 3 --begin-epoch 2 --lr 0.05");
        f.ok(&f.train_line(&format!("{options} --out runs/{method}-{seed}")));
    }
    // What `eval` finds of a run's checkpoints is on its page, unless the checkpoint is another now.
    f.ok("eval --checkpoint runs/ham-0/last.safetensors --attack pgd-20,pgd-40 --restarts 2");
    f.ok("eval --checkpoint runs/ham-0/best-mean.safetensors --attack square-20 --norm l2 --eps 0.5 --examples 8 --seed 5 --out runs/ham-0/l2.report.json");
    let mut stale = f.json("runs/ham-0/last.report.json");
    stale["warnings"] = serde_json::json!(["the gradient is a lie"]);
    f.write("runs/ham-0/last.report.json", stale.to_string());
    stale["checkpoint_hash"] = "0123".into();
    f.write("runs/ham-0/best-worst.report.json", stale.to_string());
    let said = f.ok("report runs/ham-0");
    assert_eq!(said, "runs/ham-0/report.html and runs/ham-0/report.md written\n");
    f.ok("report runs --baseline runs/pgd-at-0 --out compared --images 2 --attack cw-3");

    let mut browser = Browser::start();
    for page in ["runs/ham-0/report.html", "compared/report.html"] {
        for view in VIEWS {
            let found = findings(&mut browser, &f.path(page), view);
            assert!(found.is_empty(), "{page}, {view:?}: {found:#?}");
        }
    }
    // What must be on them.
    let text = |browser: &mut Browser| browser.evaluate("document.body.innerText").as_str().unwrap().to_owned();
    let compared = text(&mut browser);
    for part in
        ["pgd-at (baseline)", "pgd-20: rho", "p, sign flips", "In detail: seed 0", "cw-3", "units", "difference"]
    {
        assert!(compared.contains(part), "{part}");
    }
    assert_eq!(browser.evaluate("document.images.length"), 2 * 2 * 3);
    let markdown = f.text("runs/ham-0/report.md");
    for part in [
        "| pgd-20 (2 restarts) | ",
        "| pgd-40 (2 restarts) | ",
        "| square-20 (best-mean, l2, eps 0.5, seed 5, 8 images) | ",
        "**Warning:** the gradient is a lie (2 restarts)",
        "**Warning:** best-worst.report.json is left out: it is of no checkpoint that is here now",
        "| attack | left, % | units per image |",
    ] {
        assert!(markdown.contains(part), "{part} in {markdown}");
    }
    let markdown = f.text("compared/report.md");
    for part in ["## ham", "| pgd-20: rho | – | ", "against the baseline", "### Cost", "```toml"] {
        assert!(markdown.contains(part), "{part} in {markdown}");
    }
    for part in [
        "Classes (rows) and what they are taken for",
        "Test images by confidence, clean and attacked",
        "Test images by class and confidence under",
        "Dropped by class and confidence",
        "Kappa by class",
        "Warning: the gradient is a lie",
    ] {
        assert!(compared.contains(part), "{part}");
    }
    // `eval` against a baseline finds the same rho.
    f.ok("eval --checkpoint runs/ham-0/last.safetensors --baseline runs/pgd-at-0/report.json --out e.json");
    let report = |name: &str| Report::read(&f.path(name)).unwrap();
    let (run, baseline, found) =
        (report("runs/ham-0/report.json"), report("runs/pgd-at-0/report.json"), report("e.json"));
    for (a, b) in run.attacks.iter().zip(&baseline.attacks) {
        assert_eq!(found.rho.get(&a.name).copied(), rho(&a.fairness, &b.fairness), "{}", a.name);
    }
    let other = f.text("e.json").replace(&run.data.hash, "0123");
    f.write("other.json", other);
    f.fails("eval --checkpoint runs/ham-0/last.safetensors --baseline other.json", "other.json: is of other data");
    // Without images neither data nor checkpoint is read.
    std::fs::remove_file(f.path("data.safetensors")).unwrap();
    f.ok("report runs/ham-0 --images 0 --out bare");
    f.fails("report runs/ham-0 --out x", "the report's images need the data; --images 0 leaves them out");
    f.fails("report nowhere", "nowhere: cannot read the run's folder");
    f.fails("report runs/ham-0 --attack clean", "--attack clean: give fgsm, pgd-STEPS");
}

/// The look at a page finds what is wrong with a bad one.
#[test]
fn a_bad_page_is_found_out() {
    let f = Folder::new();
    f.write(
        "bad.html",
        "<!DOCTYPE html><meta name='viewport' content='width=device-width'>
         <body style='margin:0'><div style='width:500px'>wide</div>
         <p style='color:#bbb'>pale</p><img src='data:,'><script>console.error('loud')</script>
         <svg width='60' height='20'><text x='40' y='15'>too long for it</text></svg>
         <img src='http://127.0.0.1:9/x.png'>",
    );
    let found = findings(&mut Browser::start(), &f.path("bad.html"), VIEWS[1]).join("\n");
    for part in [
        "the page is 500 wide of 360",
        "sticks out: DIV",
        "contrast 1.9",
        "an image is not shown",
        "an image without words",
        "text out of its figure",
        "loud",
        "asks for http://127.0.0.1:9/x.png",
        "the paper is",
    ] {
        assert!(found.contains(part), "{part} is not in:\n{found}");
    }
}
