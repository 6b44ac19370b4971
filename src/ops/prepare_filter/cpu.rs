use super::PrepareFilter;
use crate::cpu::context::{Context, CpuOp};
use crate::ops::conv::cpu::algo;
use crate::ops::{conv, stem};
use crate::program::FilterDecl;

/// f32 of a prepared filter.
pub fn filter_len(f: &FilterDecl) -> usize {
    if f.stem { stem::cpu::filter_len(&f.conv) } else { conv::cpu::filter_len(&f.conv, f.pass, algo(f)) }
}

impl CpuOp for PrepareFilter {
    fn run(&self, cx: &Context) {
        // SAFETY: each filter is prepared by one op, before any op uses it.
        let (decl, out) = unsafe { cx.filter_mut(self.filter) };
        // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
        let w = &unsafe { cx.read::<f32>(self.params) }[self.weights.range()];
        let scale_k = self.scale_k.map(|a| cx.affine(a).0);
        let scale_c = self.scale_c.map(|a| cx.affine(a).0);
        if decl.stem {
            stem::cpu::pack(&decl.conv, decl.pass, w, None, self.normalisation.as_ref(), out);
        } else {
            conv::cpu::pack(cx.level, &decl.conv, decl.pass, algo(decl), w, scale_k, scale_c, out);
        }
    }
}
