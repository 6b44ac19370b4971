//! The house: which module stands on which, that an op is one folder, and that the README draws it so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floors from the ground up: modules of `src` use what stands below them, none of their own floor.
const FLOORS: &[&[&str]] = &[
    &["error"],
    &["named", "rng"],
    &["fsio"],
    &["program"],
    &["batch"],
    &["cpu", "gpu"],
    &["ops"],
    &["backend"],
    &["net"],
    &["attack"],
    &["method"],
    &["engine"],
    &["data", "perf"],
    &["results"],
    &["eval"],
    &["train"],
    &["bench"],
    &["report"],
    &["cli"],
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The paths of a use tree: `a::{b, c::{d, e}}` names `a::b`, `a::c::d` and `a::c::e`.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else { return vec![tree.split(" as ").next().unwrap_or(tree).trim().to_owned()] };
    let (prefix, inner) = (&tree[..open], tree[open + 1..].trim_end().strip_suffix('}').expect("a closed use tree"));
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (i, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let parts = parts.into_iter().filter(|p| !p.trim().is_empty());
    parts.flat_map(expand).map(|rest| format!("{prefix}{rest}")).collect()
}

/// What a file of this crate uses of it: line, and path behind `crate::`. Uses by name in the middle of the code count as well,
/// those of comments and of its unit tests don't.
fn uses(text: &str) -> Vec<(usize, String)> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(i) = text[at..].find("crate::").map(|i| at + i) {
        at = i + "crate::".len();
        let line_start = text[..i].rfind('\n').map_or(0, |n| n + 1);
        let before = &text[line_start..i];
        // `$crate` is a macro's own path; a letter before it is another word.
        let part_of_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        if before.trim_start().starts_with("//") || before.contains("// ") || part_of_word {
            continue;
        }
        let is_use = before.trim_start().trim_start_matches("pub ").starts_with("use ")
            || before.trim_start().starts_with("pub(") && before.contains(" use ");
        let end = match is_use {
            true => text[at..].find(';').map_or(text.len(), |n| at + n),
            false => {
                let path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
                text[at..].find(|c| !path(c)).map_or(text.len(), |n| at + n)
            }
        };
        let line = text[..i].matches('\n').count() + 1;
        found.extend(expand(&text[at..end].replace('\n', " ")).into_iter().map(|path| (line, path)));
    }
    found
}

/// The module of `src` that a file belongs to, and the folder within it, as in `ops` and `ops/conv`.
fn place(file: &Path) -> (String, String) {
    let relative = file.strip_prefix(root().join("src")).unwrap();
    let parts: Vec<String> = relative.iter().map(|p| p.to_string_lossy().trim_end_matches(".rs").to_owned()).collect();
    let module = parts[0].clone();
    let folder = if parts.len() > 2 { format!("{module}/{}", parts[1]) } else { parts[..parts.len().min(2)].join("/") };
    (module, folder)
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

#[test]
fn imports_only_lead_down() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let (mut up, mut compared) = (Vec::new(), 0);
    for file in &files {
        let (module, _) = place(file);
        if module == "lib" || module == "main" {
            continue;
        }
        let own = floor(&module).unwrap_or_else(|| panic!("{}: `{module}` is on no floor", file.display()));
        for (line, path) in uses(&fs::read_to_string(file).unwrap()) {
            let target = path.split("::").next().unwrap();
            // `crate::Result` and `crate::Error` are the error module's.
            let Some(of) = floor(target) else {
                assert!(["Result", "Error"].contains(&target), "{}:{line}: `{target}`: on no floor", file.display());
                continue;
            };
            compared += 1;
            if target != module && of >= own {
                let shown = file.strip_prefix(root()).unwrap().display();
                up.push(format!("{shown}:{line}: `{module}` uses `{path}`, which does not stand below it"));
            }
        }
    }
    assert!(up.is_empty(), "imports that don't lead down:\n{}", up.join("\n"));
    assert!(compared > 800, "{compared} imports compared: some were not seen");
}

/// Within a module, files of different folders don't use one another in a circle.
#[test]
fn folders_of_a_module_form_no_circles() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let folders: BTreeSet<String> = files.iter().map(|f| place(f).1).collect();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in &files {
        let (module, from) = place(file);
        // A module's root names all of its parts.
        if file.ends_with(format!("{module}/mod.rs")) {
            continue;
        }
        for (_, path) in uses(&fs::read_to_string(file).unwrap()) {
            let mut parts = path.split("::");
            let to = [parts.next().unwrap_or(""), parts.next().unwrap_or("")].join("/");
            if to != from && to.starts_with(&format!("{module}/")) && folders.contains(&to) {
                graph.entry(from.clone()).or_default().insert(to);
            }
        }
    }
    // Whoever uses nothing that is left can be taken away; what can't be is in a circle.
    while let Some(free) =
        graph.iter().find(|(_, to)| to.iter().all(|t| !graph.contains_key(t))).map(|(f, _)| f.clone())
    {
        graph.remove(&free);
    }
    assert!(graph.is_empty(), "circles: {graph:#?}");
}

#[test]
fn clap_is_the_command_line_s_alone() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let others = files.iter().filter(|f| place(f).0 != "cli");
    let with: Vec<_> = others.filter(|f| fs::read_to_string(f).unwrap().contains("clap::")).collect();
    assert!(with.is_empty(), "{with:?}");
}

/// A folder for an op has its formula, CPU twin and launcher, and its kernels are found by its name.
#[test]
fn an_op_is_one_folder_and_its_kernels_bear_its_name() {
    let list = fs::read_to_string(root().join("src/ops/mod.rs")).unwrap();
    let rows = list.split("operations! {").nth(1).expect("the list of operations").split('}').next().unwrap();
    let ops: Vec<&str> = rows.lines().filter_map(|l| l.trim().split_once(':')).map(|(module, _)| module).collect();
    assert!(ops.len() >= 20, "{ops:?}");
    for op in &ops {
        let folder = root().join("src/ops").join(op);
        for part in ["cpu", "gpu"] {
            let found = folder.join(part).join("mod.rs").exists() || folder.join(part).with_extension("rs").exists();
            assert!(found, "ops/{op} has no {part}");
        }
    }
    let mut kernels = Vec::new();
    for entry in fs::read_dir(root().join("kernels")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "cu") {
            kernels.push(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    let named = |kernel: &String| ops.iter().any(|op| kernel == op || kernel.starts_with(&format!("{op}_")));
    let stray: Vec<_> = kernels.iter().filter(|k| !named(k)).collect();
    assert!(stray.is_empty(), "kernels of no op: {stray:?}");
    let without: Vec<_> =
        ops.iter().filter(|op| !kernels.iter().any(|k| k == *op || k.starts_with(&format!("{op}_")))).collect();
    assert!(without.is_empty(), "ops without kernels: {without:?}");
}

/// The figures have the floors, top first: the words before the first gap of each of their lines.
#[test]
fn readme_and_docs_draw_these_floors() {
    for (page, section) in [("README.md", "## How it is built"), ("docs/architecture.md", "## Floors")] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let figure = text.split(section).nth(1).expect("the section").split("```").nth(1).expect("a figure");
        let lines = figure.lines().filter(|l| !l.is_empty());
        let drawn: Vec<Vec<&str>> =
            lines.map(|l| l.split("  ").next().unwrap().split(',').map(str::trim).collect()).collect();
        let floors: Vec<Vec<&str>> = FLOORS.iter().rev().map(|f| f.to_vec()).collect();
        assert_eq!(drawn, floors, "{page}");
    }
}

#[test]
fn use_trees_are_read_whole() {
    assert_eq!(expand("a::b"), ["a::b"]);
    assert_eq!(expand("a::{b, c::{d as x, e}, self}"), ["a::b", "a::c::d", "a::c::e", "a::self"]);
    let text = "use crate::a::{b,\n  c};\n// crate::d\npub(crate) use crate::e::F;\nfn f() -> crate::g::H { x(crate::i::j()) }\n\
                macro_rules! m { () => { $crate::k::l() } }\n#[cfg(test)]\nmod tests {\n use crate::z::Z;\n}\n";
    let found: Vec<(usize, String)> = uses(text);
    let expected = [(1, "a::b"), (1, "a::c"), (4, "e::F"), (5, "g::H"), (5, "i::j")];
    assert_eq!(found, expected.map(|(line, path)| (line, path.to_owned())));
}
