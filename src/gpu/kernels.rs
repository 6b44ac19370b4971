//! The kernels of `kernels/*.cu` as PTX, embedded by `build.rs`.

use crate::{Error, Result};

/// A PTX text and the kernels in it.
#[derive(Debug)]
pub struct Module {
    /// Name of its source, without `.cu`.
    pub name: &'static str,
    /// The PTX.
    pub ptx: &'static str,
    /// Its kernels.
    pub entries: &'static [&'static str],
}

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// A kernel: its module and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// Index in [`MODULES`].
    pub module: usize,
    /// Name of the entry.
    pub name: &'static str,
}

impl Kernel {
    /// The kernel of that name.
    ///
    /// # Errors
    /// If there is none (a bug of a launcher).
    pub fn find(name: &str) -> Result<Kernel> {
        let all = MODULES.iter().enumerate().flat_map(|(module, m)| m.entries.iter().map(move |e| (module, *e)));
        let mut found = all.filter(|(_, entry)| *entry == name);
        let kernel = found.next().map(|(module, name)| Kernel { module, name });
        kernel.ok_or_else(|| Error::Op { op: "gpu", what: format!("no kernel {name}") })
    }
}
