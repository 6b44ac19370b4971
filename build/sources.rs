// The kernels' sources, their hash, and the PTX committed beside them. Shared by build.rs and the test that compares.

use super::nvcc::{FLAGS, Nvcc, RELEASE};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// The .cu files of `kernels/`, by name, and what they hold.
pub struct Sources {
    /// `kernels/`.
    pub folder: PathBuf,
    /// Names of the modules (files without `.cu`), sorted.
    pub names: Vec<String>,
    /// SHA-256 of all sources, headers included, and of the compiler's release and flags.
    pub hash: String,
}

impl Sources {
    /// Reads `root/kernels`.
    pub fn read(root: &Path) -> Result<Sources, String> {
        let folder = root.join("kernels");
        let files = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let mut paths: Vec<PathBuf> = files.filter_map(|f| Some(f.ok()?.path())).collect();
        let has = |p: &Path, ending: &str| p.extension().is_some_and(|e| e == ending);
        paths.retain(|p| has(p, "cu") || has(p, "cuh"));
        paths.sort();
        let mut hash = Sha256::new();
        hash.update(RELEASE);
        FLAGS.iter().for_each(|flag| hash.update(flag));
        let mut names = Vec::new();
        for path in &paths {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
            hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
            if has(path, "cu") {
                names.push(name);
            }
        }
        let hash = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Ok(Sources { folder, names, hash })
    }

    /// The PTX of a module, which names no folder of this machine, under the lowest version that the compiler's ptxas accepts.
    pub fn compile(&self, nvcc: &Nvcc, name: &str, out: &Path) -> Result<String, String> {
        let draft = out.join(format!("{name}.draft.ptx"));
        let ptx = without_places(&nvcc.compile(&self.folder, &format!("{name}.cu"), &draft)?);
        let lowered = nvcc.lowered(&ptx, &draft)?;
        let _ = fs::remove_file(&draft);
        Ok(lowered.unwrap_or(ptx))
    }

    /// The folder of the committed PTX.
    pub fn committed_folder(&self) -> PathBuf {
        self.folder.join("ptx")
    }

    /// The committed PTX of all modules, if it was made from these sources.
    pub fn committed(&self) -> Result<Vec<String>, String> {
        let folder = self.committed_folder();
        let made_from = fs::read_to_string(folder.join("SOURCES")).unwrap_or_default();
        if made_from.trim() != self.hash {
            return Err("kernels/ptx was made from other sources than kernels/*.cu".into());
        }
        let read = |name: &String| {
            let path = folder.join(name).with_extension("ptx");
            fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
        };
        self.names.iter().map(read).collect()
    }
}

/// `_INTERNAL_`, as the line info's names of functions have it before a hash of the source's place.
const INTERNAL: &str = "95,73,78,84,69,82,78,65,76,95,";

/// The same PTX wherever it is compiled: `.file` directives with the file's name alone, and zeros for the eight digits that
/// names of functions have from the source's place.
fn without_places(ptx: &str) -> String {
    let rewrite = |line: &str| -> String {
        if let Some((number, path)) = line.strip_prefix("\t.file\t").and_then(|rest| rest.split_once('"')) {
            let path = path.split('"').next().unwrap_or(path);
            let name = path.rsplit('/').next().unwrap_or(path);
            return format!("\t.file\t{number}\"{name}\"\n");
        }
        match line.split_once(INTERNAL) {
            Some((before, after)) => {
                let digits = after.split(',').take(8).map(|n| n.len() + 1).sum::<usize>();
                format!("{before}{INTERNAL}{}{}", "48,".repeat(8), after.get(digits..).unwrap_or_default())
            }
            None => line.into(),
        }
    };
    ptx.split_inclusive('\n').map(rewrite).collect()
}

/// The kernels of a PTX text, by name, and the bytes of each parameter.
pub fn entries(ptx: &str) -> Result<Vec<(&str, Vec<usize>)>, String> {
    let declared = ptx.split(".entry ").skip(1);
    declared
        .map(|text| {
            // Line info and comments come before the first parenthesis or after the last.
            let (name, rest) = text.split_once('(').ok_or("an entry without parameters")?;
            let (params, _) = rest.split_once(')').ok_or("an entry whose parameters don't end")?;
            let sizes = params.split(',').map(str::trim).filter(|p| !p.is_empty()).map(param_size);
            Ok((name.trim(), sizes.collect::<Result<_, String>>()?))
        })
        .collect()
}

/// The bytes of a parameter such as `.param .u64 name` or `.param .align 4 .b8 name[20]`.
fn param_size(param: &str) -> Result<usize, String> {
    let size = || {
        let mut words = param.strip_prefix(".param ")?.split_whitespace();
        let mut kind = words.next()?;
        if kind == ".align" {
            kind = words.nth(1)?;
        }
        let name = words.next()?;
        let count = match name.split_once('[') {
            Some((_, count)) => count.strip_suffix(']')?.parse().ok()?,
            None => 1,
        };
        let bits: usize = kind.strip_prefix(['.'])?.strip_prefix(['b', 'u', 's', 'f'])?.parse().ok()?;
        words.next().is_none().then_some(bits / 8 * count)
    };
    size().ok_or_else(|| format!("the parameter {param:?} is of no known form"))
}
