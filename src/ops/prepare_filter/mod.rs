//! Makes a filter ready for a pass: folded, transposed, packed or transformed as the device's kernels like it.

pub(crate) mod cpu;
pub(crate) mod gpu;

use crate::ops::stem::Normalisation;
use crate::program::{Affine, Buf, Extent, Filter, Operation, Span, Uses, Values};

/// Prepare `filter` from the KRSC weights `weights` of the arena `params`, each `w[k,r,s,c]` times `scale_k.scale[k]` and
/// `scale_c.scale[c]` where given.
#[derive(Clone, Debug)]
pub struct PrepareFilter {
    /// The filter to fill.
    pub filter: Filter,
    /// The parameter arena.
    pub params: Buf,
    /// Where the weights are in it.
    pub weights: Span,
    /// Folded batch norm of the output channels.
    pub scale_k: Option<Affine>,
    /// Folded batch norm of the input channels (dgrad).
    pub scale_c: Option<Affine>,
    /// For the stem: the normalisation of the image.
    pub normalisation: Option<Normalisation>,
}

impl Operation for PrepareFilter {
    fn name(&self) -> &'static str {
        "prepare filter"
    }

    fn extent(&self) -> Extent {
        Extent::Filter
    }

    fn uses(&self) -> Uses {
        Uses::none()
    }

    fn describe(&self, values: &Values) -> String {
        let decl = values.filter(self.filter);
        let folded = if self.scale_k.is_some() || self.scale_c.is_some() { ", batch norm folded in" } else { "" };
        format!("{:?} of {}{folded}", decl.pass, decl.conv)
    }
}
