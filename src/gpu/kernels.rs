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
    pub entries: &'static [Entry],
}

/// A kernel as its PTX declares it.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Bytes of each parameter.
    pub params: &'static [usize],
}

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// A kernel: its module and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// Index in [`MODULES`].
    pub module: usize,
    /// Name of the entry.
    pub name: &'static str,
    /// Bytes of each parameter.
    pub params: &'static [usize],
}

impl Kernel {
    /// All kernels.
    pub fn all() -> impl Iterator<Item = Kernel> {
        let of = |(module, m): (usize, &'static Module)| {
            m.entries.iter().map(move |e| Kernel { module, name: e.name, params: e.params })
        };
        MODULES.iter().enumerate().flat_map(of)
    }

    /// The kernel of that name.
    ///
    /// # Errors
    /// If there is none (a bug of a launcher).
    pub fn find(name: &str) -> Result<Kernel> {
        let kernel = Kernel::all().find(|kernel| kernel.name == name);
        kernel.ok_or_else(|| Error::Op { op: "gpu", what: format!("no kernel {name}") })
    }
}
