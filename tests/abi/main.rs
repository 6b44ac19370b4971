//! Host and kernels agree on what passes between them: structures by name, fields, order, types and bytes, also those that the
//! PTX declares; and numbers by name and value.
//!
//! A structure is the kernels' if a kernel takes it by value, or such a one holds it; the host's are all that are Pod. Names of
//! structures are unique. Files that share a structure belong together: a constant of one has a twin of its name in the other,
//! or else in the op's folder, or else anywhere. Constants of a namespace have a module of the same name for a twin.

mod side;
mod text;

use ham_engine::gpu::kernels::MODULES;
use side::{Const, File, Form, Kind, Side, Struct, evaluate, named};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use text::Value;

/// Constants of kernels' files that are the kernels' own: how they go about their work.
const KERNEL_ONLY: [&str; 7] = ["AHEAD", "ALL", "ALL_LANES", "QUADS", "SPAN", "WARPS", "WGRAD_SLOTS"];
/// Constants of launchers that are the host's own.
const HOST_ONLY: [&str; 6] = ["AHEAD", "BLOCKS", "COLUMNS", "SHARED", "SMS", "SUM_GROUPS"];

/// What was compared.
#[derive(Debug, Default, PartialEq)]
struct Compared {
    structs: usize,
    fields: usize,
    /// Kernels, and their parameters.
    kernels: usize,
    params: usize,
    /// Constants of files, of the kernels' side and of the host's, and of groups.
    kernel_constants: usize,
    host_constants: usize,
    grouped: usize,
    tiles: usize,
}

/// Both sides and the PTX's parameters, by kernel.
#[derive(Clone)]
struct Abi {
    kernels: Side,
    host: Side,
    params: BTreeMap<&'static str, &'static [usize]>,
    /// All text of the kernels' headers.
    headers: String,
}

impl Abi {
    fn read() -> Abi {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let read = |folder: &str, endings: &[&str]| -> BTreeMap<String, String> {
            let files = walkdir::WalkDir::new(root.join(folder)).into_iter().map(Result::unwrap);
            let wanted = files.filter(|f| f.path().extension().is_some_and(|e| endings.iter().any(|w| e == *w)));
            let path = |p: &Path| p.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            wanted.map(|f| (path(f.path()), std::fs::read_to_string(f.path()).unwrap())).collect()
        };
        let headers: String = read("kernels", &["cuh"]).into_values().collect();
        let parsed = |texts: BTreeMap<String, String>, parse: &dyn Fn(&str) -> Result<File, String>| -> Side {
            let one = |(path, text): (String, String)| match parse(&text) {
                Ok(file) => (path, Rc::new(file)),
                Err(e) => panic!("{path}: {e}"),
            };
            texts.into_iter().map(one).collect()
        };
        let entries = MODULES.iter().flat_map(|m| m.entries);
        Abi {
            kernels: parsed(read("kernels", &["cu", "cuh"]), &|text| side::cuda(text, &headers)),
            host: parsed(read("src", &["rs"]), &side::rust),
            params: entries.map(|e| (e.name, e.params)).collect(),
            headers,
        }
    }

    /// Compares; what is wrong, a line each, if anything is.
    fn compare(&self) -> Result<Compared, Vec<String>> {
        let (mut compared, mut faults) = (Compared::default(), Vec::new());
        let sizes = self.structs(&mut compared, &mut faults);
        self.parameters(&sizes, &mut compared, &mut faults);
        self.groups(&mut compared, &mut faults);
        self.constants(&mut compared, &mut faults);
        let tiles = |side: &Side, times: usize| {
            let mut all: Vec<_> = side.values().flat_map(|f| f.tiles.clone()).collect();
            all = std::iter::repeat_n(all, times).flatten().collect();
            all.sort();
            all
        };
        // Each with moments and without.
        if tiles(&self.kernels, 1) != tiles(&self.host, 2) {
            faults.push("the tiles of convolutions differ".into());
        }
        compared.tiles = tiles(&self.host, 1).len();
        if faults.is_empty() { Ok(compared) } else { Err(faults) }
    }

    /// Compares structures; bytes of each that the kernels have.
    fn structs(&self, compared: &mut Compared, faults: &mut Vec<String>) -> BTreeMap<String, usize> {
        let (ours, theirs) = (by_name(&self.host), by_name(&self.kernels));
        let mut sizes = BTreeMap::new();
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let by_value = self.kernels.values().flat_map(|f| &f.entries).flat_map(|e| &e.params);
        let mut ahead: Vec<&Kind> = by_value.collect();
        while let Some(kind) = ahead.pop() {
            let Kind::Struct(name) = kind else { continue };
            match theirs.get(&**name) {
                Some((_, of)) if reached.insert(name) => ahead.extend(of.fields.iter().map(|f| &f.kind)),
                Some(_) => {}
                None => faults.push(format!("the kernels have no plain structure {name}")),
            }
        }
        let our_names: BTreeSet<&str> = ours.keys().copied().collect();
        for side in [&self.host, &self.kernels] {
            let all = side.values().flat_map(|f| &f.structs).map(|s| &*s.name).filter(|n| reached.contains(n));
            let mut once = BTreeSet::new();
            faults.extend(all.filter(|n| !once.insert(*n)).map(|n| format!("{n} exists twice")));
        }
        faults.extend(our_names.symmetric_difference(&reached).map(|n| format!("{n} exists on one side only")));
        for name in our_names.intersection(&reached) {
            let ((our_file, our), (their_file, their)) = (ours[name], theirs[name]);
            let of_host = layout(&self.host, our_file, our, &|n| ours.get(n).copied());
            let of_kernels = layout(&self.kernels, their_file, their, &|n| theirs.get(n).copied());
            let (a, b) = match (of_host, of_kernels) {
                (Ok(a), Ok(b)) => (a, b),
                (a, b) => {
                    faults.extend([a.err(), b.err()].into_iter().flatten().map(|e| format!("{name}: {e}")));
                    continue;
                }
            };
            if a != b {
                faults.push(format!("{name}: {our_file} has {a:?}, {their_file} {b:?}"));
            }
            compared.structs += 1;
            compared.fields += b.fields.len();
            sizes.insert((*name).to_owned(), b.size);
        }
        sizes
    }

    /// Compares what kernels take with what the PTX says that they take.
    fn parameters(&self, sizes: &BTreeMap<String, usize>, compared: &mut Compared, faults: &mut Vec<String>) {
        let mut missing = self.params.clone();
        for entry in self.kernels.values().flat_map(|f| &f.entries) {
            let size = |kind: &Kind| match kind {
                Kind::U32 | Kind::I32 | Kind::F32 => Some(4),
                Kind::U64 | Kind::Address => Some(8),
                Kind::Struct(name) => sizes.get(name).copied(),
            };
            let declared: Option<Vec<usize>> = entry.params.iter().map(size).collect();
            match (missing.remove(&*entry.name), declared) {
                (Some(ptx), Some(declared)) if ptx == declared => {
                    compared.kernels += 1;
                    compared.params += ptx.len();
                }
                (ptx, declared) => faults.push(format!("{}: parameters {declared:?}, in the PTX {ptx:?}", entry.name)),
            }
        }
        faults.extend(missing.keys().map(|name| format!("{name} is in the PTX alone")));
    }

    /// Compares namespaces with modules of the same name, and holds that modules of constants in ops have one.
    fn groups(&self, compared: &mut Compared, faults: &mut Vec<String>) {
        let mut all: [BTreeMap<String, BTreeMap<String, String>>; 2] = Default::default();
        for (groups, side) in all.iter_mut().zip([&self.kernels, &self.host]) {
            for (path, file) in side {
                for c in file.consts.iter().filter(|c| !c.group.is_empty()) {
                    let value = format!("{:?}", evaluate(side, path, &c.expression));
                    let group = groups.entry(c.group.clone()).or_default();
                    if group.insert(c.name.clone(), value).is_some() {
                        faults.push(format!("{path}: {}::{} exists twice", c.group, c.name));
                    }
                }
            }
        }
        let [theirs, mut ours] = all;
        let in_ops = |group: &String| {
            let mut files = self.host.iter().filter(|(_, f)| f.consts.iter().any(|c| c.group == *group));
            files.any(|(path, _)| path.starts_with("src/ops/"))
        };
        ours.retain(|group, _| theirs.contains_key(group) || in_ops(group));
        for group in theirs.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
            let (our, their) = (ours.get(group), theirs.get(group));
            if our != their {
                faults.push(format!("{group}: kernels have {their:?}, the host {our:?}"));
            }
            compared.grouped += their.map_or(0, BTreeMap::len);
        }
    }

    /// Compares constants of files.
    fn constants(&self, compared: &mut Compared, faults: &mut Vec<String>) {
        let (theirs, ours) = (declared(&self.kernels), declared(&self.host));
        let together = |file: &str, names: &BTreeMap<&str, &str>, others: &BTreeMap<&str, &str>| -> BTreeSet<String> {
            let own = names.iter().filter(|(_, f)| **f == file);
            own.filter_map(|(name, _)| others.get(name).map(|f| (*f).to_owned())).collect()
        };
        let mut unused: [BTreeSet<&str>; 2] = [KERNEL_ONLY.into(), HOST_ONLY.into()];
        let sides = [
            (&self.kernels, &theirs, &self.host, &ours, &mut compared.kernel_constants),
            (&self.host, &ours, &self.kernels, &theirs, &mut compared.host_constants),
        ];
        for ((side, names, other, others, count), unused) in sides.into_iter().zip(&mut unused) {
            let own_list: BTreeSet<&str> = unused.clone();
            for (path, file) in side {
                let shared = together(path, names, others);
                // Of the host the launchers alone: who has structures that kernels take.
                if path.starts_with("src/") && shared.is_empty() {
                    continue;
                }
                for c in file.consts.iter().filter(|c| c.group.is_empty() && c.form != Form::Array) {
                    unused.remove(&*c.name);
                    if own_list.contains(&*c.name) {
                        continue;
                    }
                    let value = evaluate(side, path, &c.expression);
                    match (value, named(other, &shared, &c.name, false)) {
                        (Ok(a), Ok(b)) if a == b => *count += 1,
                        (a, b) => faults.push(format!("{path}: {} is {a:?}, on the other side {b:?}", c.name)),
                    }
                }
            }
        }
        faults.extend(unused.into_iter().flatten().map(|name| format!("{name} is listed and nowhere")));
    }
}

/// Which file declares each structure that both sides might have.
fn declared(side: &Side) -> BTreeMap<&str, &str> {
    side.iter().flat_map(|(path, file)| file.structs.iter().map(move |s| (&*s.name, &**path))).collect()
}

/// Structures by name, each with its file.
fn by_name(side: &Side) -> BTreeMap<&str, (&str, &Struct)> {
    side.iter().flat_map(|(path, file)| file.structs.iter().map(move |s| (&*s.name, (&**path, s)))).collect()
}

/// A structure's bytes.
#[derive(Debug, PartialEq)]
struct Layout {
    /// Name, offset, type and length of each field.
    fields: Vec<(String, usize, String, usize)>,
    size: usize,
    align: usize,
}

fn layout<'a>(
    side: &'a Side,
    file: &str,
    of: &Struct,
    named: &dyn Fn(&str) -> Option<(&'a str, &'a Struct)>,
) -> Result<Layout, String> {
    let mut l = Layout { fields: Vec::new(), size: 0, align: 1 };
    for field in &of.fields {
        let (kind, size, align) = match &field.kind {
            Kind::U32 => ("u32".to_owned(), 4, 4),
            Kind::I32 => ("i32".to_owned(), 4, 4),
            Kind::F32 => ("f32".to_owned(), 4, 4),
            // Kernels of several element types have addresses as numbers.
            Kind::U64 | Kind::Address => ("u64".to_owned(), 8, 8),
            Kind::Struct(name) => {
                let (its_file, inner) = named(name).ok_or_else(|| format!("no structure {name}"))?;
                let inner = layout(side, its_file, inner, named)?;
                (name.clone(), inner.size, inner.align)
            }
        };
        let len = match &field.len {
            None => 1,
            Some(len) => match evaluate(side, file, len)? {
                Value::Int(n) if n > 0 => n as usize,
                other => return Err(format!("{} of length {other:?}", field.name)),
            },
        };
        if !l.size.is_multiple_of(align) {
            return Err(format!("{} has padding before it", field.name));
        }
        l.fields.push((field.name.clone(), l.size, kind, len));
        (l.size, l.align) = (l.size + size * len, l.align.max(align));
    }
    if !l.size.is_multiple_of(l.align) {
        return Err("padding at the end".into());
    }
    Ok(l)
}

#[test]
fn host_and_kernels_agree() {
    let abi = Abi::read();
    let compared = abi.compare().unwrap_or_else(|faults| panic!("{}", faults.join("\n")));
    println!("{compared:?}");
    let entries = || MODULES.iter().flat_map(|m| m.entries);
    let written = abi.host.values().map(|f| f.text.matches("Zeroable)]\n#[repr(C)]").count()).sum::<usize>();
    assert_eq!(compared.structs, written);
    assert!(compared.fields > 5 * compared.structs, "{compared:?}");
    assert_eq!((compared.kernels, compared.params), (entries().count(), entries().map(|e| e.params.len()).sum()));
    let groups = abi.kernels.values().flat_map(|f| &f.consts).filter(|c| !c.group.is_empty());
    assert_eq!(compared.grouped, groups.count());
    assert!(compared.kernel_constants > 50 && compared.host_constants > 40 && compared.tiles == 9, "{compared:?}");
}

/// What a change of a side's file does.
fn broken(abi: &Abi, host: bool, path: &str, text: &str) -> bool {
    let parsed = if host { side::rust(text) } else { side::cuda(text, &abi.headers) };
    let Ok(file) = parsed else { return true };
    let mut changed = abi.clone();
    let side = if host { &mut changed.host } else { &mut changed.kernels };
    side.insert(path.into(), Rc::new(file));
    changed.compare().is_err()
}

/// The text of a file with other fields in a structure.
fn with_fields(file: &File, of: &Struct, fields: &[side::Field], host: bool) -> String {
    let one = |f: &side::Field| {
        let len = f.len.as_ref().map(|len| len.iter().map(text::Token::text).collect::<Vec<_>>().join(" "));
        match (host, len) {
            (true, None) => format!("{}: {},", f.name, f.written),
            (true, Some(len)) => format!("{}: [{}; {len}],", f.name, f.written),
            (false, len) => format!("{} {}{};", f.written, f.name, len.map_or(String::new(), |len| format!("[{len}]"))),
        }
    };
    let body: String = fields.iter().map(one).collect();
    format!("{}{body}{}", &file.text[..of.body.start], &file.text[of.body.end..])
}

#[test]
fn a_change_on_one_side_is_noticed() {
    let abi = Abi::read();
    let ours = declared(&abi.host);
    let (mut swaps, mut others, mut constants) = ([0; 2], [0; 2], [0; 2]);
    for (i, (side, host)) in [(&abi.kernels, false), (&abi.host, true)].into_iter().enumerate() {
        for (path, file) in side {
            for of in file.structs.iter().filter(|s| ours.contains_key(&*s.name)) {
                let same = with_fields(file, of, &of.fields, host);
                assert!(!broken(&abi, host, path, &same), "{path}: {} written anew", of.name);
                for at in 1..of.fields.len() {
                    let mut fields = of.fields.clone();
                    fields.swap(at - 1, at);
                    let swapped = with_fields(file, of, &fields, host);
                    assert!(broken(&abi, host, path, &swapped), "{path}: {} of {} swapped", fields[at].name, of.name);
                    swaps[i] += 1;
                }
                for at in 0..of.fields.len() {
                    let changes: [fn(&mut side::Field); 3] = [
                        |f| f.name += "_",
                        |f| {
                            f.written =
                                if f.written == "u32" { if f.kind == Kind::U32 { "u64" } else { "u32" } } else { "u32" }
                                    .into()
                        },
                        |f| f.len = if f.len.is_some() { None } else { Some(vec![text::Token::Number("2".into())]) },
                    ];
                    for change in changes {
                        let mut fields = of.fields.clone();
                        change(&mut fields[at]);
                        let changed = with_fields(file, of, &fields, host);
                        assert!(broken(&abi, host, path, &changed), "{path}: {:?} of {}", fields[at], of.name);
                        others[i] += 1;
                    }
                    let mut fields = of.fields.clone();
                    fields.remove(at);
                    assert!(broken(&abi, host, path, &with_fields(file, of, &fields, host)));
                    others[i] += 1;
                }
            }
            let launcher = !host || file.structs.iter().any(|s| ours.contains_key(&*s.name));
            let listed = |c: &Const| if host { HOST_ONLY.contains(&&*c.name) } else { KERNEL_ONLY.contains(&&*c.name) };
            for c in file.consts.iter().filter(|c| c.form != Form::Array && launcher && !listed(c)) {
                let (before, after) = (&file.text[..c.at.start], &file.text[c.at.end..]);
                let to = match (c.form, evaluate(side, path, &c.expression)) {
                    (Form::Enumerator, _) => format!("{} = 77", c.name),
                    (_, Ok(Value::Float(_))) => "0.25".into(),
                    _ => format!("({}) + 1", &file.text[c.at.clone()]),
                };
                let changed = format!("{before}{to}{after}");
                assert!(broken(&abi, host, path, &changed), "{path}: {} changed", c.name);
                constants[i] += 1;
            }
        }
    }
    println!("{swaps:?} swaps, {others:?} other changes of fields, {constants:?} constants");
    let (structs, fields) = abi.compare().map(|c| (c.structs, c.fields)).unwrap();
    assert_eq!(swaps, [fields - structs; 2]);
    assert_eq!(others, [4 * fields; 2]);
}

#[test]
fn what_only_one_side_has_is_noticed() {
    let abi = Abi::read();
    let with = |host: bool, more: &str| {
        let path = declared(if host { &abi.host } else { &abi.kernels })["HeadDims"].to_owned();
        let text = if host { &abi.host[&path].text } else { &abi.kernels[&path].text };
        broken(&abi, host, &path, &format!("{text}\n{more}\n"))
    };
    assert!(!with(true, "") && !with(false, ""));
    assert!(with(true, "#[derive(Pod)]\n#[repr(C)]\nstruct OtherDims { len: u32 }"));
    assert!(with(true, "const OTHER: usize = 3;"));
    assert!(with(true, "mod other { pub const ONE: u32 = 1; }"));
    assert!(with(true, "mod loss { pub const OTHER: u32 = 9; }"));
    assert!(with(false, "struct OtherDims { u32 len; };\nextern \"C\" __global__ void other(OtherDims d) {}"));
    assert!(with(false, "constexpr u32 OTHER = 3;"));
    assert!(with(false, "namespace other {\nenum : u32 { ONE };\n}"));
    assert!(with(false, "extern \"C\" __global__ void other(u32 n) {}"));
    for odd in ["#define N 3", "const u32 N = 3;", "static u32 n;", "#if 1", "constexpr u64 N = 3;"] {
        assert!(side::cuda(odd, "").is_err(), "{odd}");
    }
    // The same field more on both sides: the PTX tells.
    let mut both = abi.clone();
    for (side, host) in [(&mut both.kernels, false), (&mut both.host, true)] {
        let path = declared(side)["HeadDims"].to_owned();
        let (file, more) = (side[&path].clone(), "more");
        let of = file.structs.iter().find(|s| s.name == "HeadDims").unwrap();
        let mut fields = of.fields.clone();
        fields.push(side::Field { name: more.into(), ..fields[0].clone() });
        let text = with_fields(&file, of, &fields, host);
        let file = if host { side::rust(&text) } else { side::cuda(&text, &abi.headers) };
        side.insert(path, Rc::new(file.unwrap()));
    }
    let faults = both.compare().unwrap_err();
    assert!(!faults.is_empty() && faults.iter().all(|f| f.contains("in the PTX")), "{faults:?}");
}
