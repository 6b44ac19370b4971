//! Formulas as `kernels/formula.cuh` takes them.

use super::{Formula, LONGEST};
use crate::Result;
use crate::batch::Batch;
use crate::gpu::driver::Arg;
use crate::gpu::launches::Launches;
use bytemuck::{Pod, Zeroable};

/// Threads of a block that evaluates formulas.
pub(in crate::ops) const THREADS: usize = 256;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FormulaCode {
    op: u32,
    value: f32,
}

/// A formula as the kernels take it.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(in crate::ops) struct FormulaDims {
    codes: [FormulaCode; LONGEST],
    len: u32,
}

impl FormulaDims {
    pub(in crate::ops) fn new(formula: &Formula) -> Result<FormulaDims> {
        formula.validate()?;
        let mut dims = FormulaDims { codes: Zeroable::zeroed(), len: formula.code().len() as u32 };
        for (to, code) in dims.codes.iter_mut().zip(formula.code()) {
            let (op, value) = code.encode();
            *to = FormulaCode { op, value };
        }
        Ok(dims)
    }
}

/// The state that formulas are of.
pub(in crate::ops) fn state(cx: &Launches, b: &Batch) -> [Arg; 6] {
    [b.crossed, b.kappa, b.confidence, b.loss, b.step, b.label].map(|buf| Arg::In(cx.buf(buf)))
}
