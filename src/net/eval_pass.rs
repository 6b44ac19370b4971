//! The lean walk of attack and evaluation: eval mode, batch norms folded, one bit kept per ReLU.
//!
//! norm2 folds into conv1's filter and bias; norm1 into the epilogue of whatever made its input, and into the dgrad filters
//! that lead back through it. The residual stream is updated in place, forward and backward.

use super::{Block, Filtered, Net, Prepared};
use crate::batch::Batch;
use crate::ops::Program;
use crate::ops::conv::{Activation, ConvDgrad, ConvFprop, Epilogue};
use crate::ops::head::{HeadDgrad, HeadFprop, Loss, Measures};
use crate::ops::norm::{Fold, Norm};
use crate::ops::prepare_filter::PrepareFilter;
use crate::ops::stem::{StemDgrad, StemFprop};
use crate::ops::update::Arenas;
use crate::program::{Affine, Bits, Buf, FilterDecl, Map, Pass, Shape};

/// Maps of one resolution; forward and backward share them.
#[derive(Clone, Copy)]
struct Stage {
    shape: Shape,
    /// The residual stream, or its gradient.
    res: Map,
    /// Activated residual stream.
    a: Map,
    /// Activated first convolution, or its gradient.
    h: Map,
}

struct BlockFilters {
    conv1: Prepared,
    conv2: Prepared,
    shortcut: Option<Prepared>,
    affine1: Affine,
    affine2: Affine,
    bits1: Bits,
    bits2: Bits,
    input: usize,
    output: usize,
}

/// The walk: its maps, masks and prepared filters in one program.
pub struct EvalPass<'n> {
    net: &'n Net,
    arenas: Arenas,
    stages: Vec<Stage>,
    stem: Prepared,
    blocks: Vec<BlockFilters>,
    affine: Affine,
    bits: Bits,
}

impl<'n> EvalPass<'n> {
    /// Declares everything in `p` and records the folding and the filters' preparation.
    ///
    /// `exact` asks for the rounding of direct convolutions.
    pub fn prepare(p: &mut Program, net: &'n Net, arenas: Arenas, exact: bool) -> Self {
        let stage =
            |p: &mut Program, shape: Shape| Stage { shape, res: p.map(shape), a: p.map(shape), h: p.map(shape) };
        let mut stages = vec![stage(p, net.blocks[0].input)];
        let fold = |p: &mut Program, norm: Norm| {
            let affine = p.affine(norm.gamma.len);
            p.push(Fold { params: arenas.params, running: arenas.running, norm, affine });
            affine
        };
        let filters = |p: &mut Program, f: Filtered, stem: bool, scale_k: Option<Affine>, scale_c: Option<Affine>| {
            let [fprop, dgrad] = [Pass::Fprop, Pass::Dgrad].map(|pass| {
                let filter = p.filter(FilterDecl { conv: f.conv, stem, pass, exact });
                let scale_c = scale_c.filter(|_| pass == Pass::Dgrad);
                let normalisation = net.arch.normalisation.clone().filter(|_| stem);
                let (params, weights) = (arenas.params, f.weights);
                let prepare = PrepareFilter { filter, params, weights, scale_k, scale_c, normalisation };
                p.push(prepare);
                filter
            });
            Prepared { fprop, dgrad }
        };
        let stem = filters(p, net.stem, true, None, None);
        let mut blocks = Vec::new();
        for b in &net.blocks {
            let input = stages.len() - 1;
            // A block with a 1x1 shortcut needs maps of its own even where the shape stays the same (1x1 images).
            if b.shortcut.is_some() {
                stages.push(stage(p, b.output));
            }
            let (affine1, affine2) = (fold(p, b.norm1), fold(p, b.norm2));
            blocks.push(BlockFilters {
                conv1: filters(p, b.conv1, false, Some(affine2), Some(affine1)),
                conv2: filters(p, b.conv2, false, None, None),
                shortcut: b.shortcut.map(|s| filters(p, s, false, None, Some(affine1))),
                affine1,
                affine2,
                bits1: p.mask(b.input),
                bits2: p.mask(b.output),
                input,
                output: stages.len() - 1,
            });
        }
        let (affine, bits) = (fold(p, net.norm), p.mask(net.last()));
        EvalPass { net, arenas, stages, stem, blocks, affine, bits }
    }

    /// All masks: what a compaction between forward and backward must move.
    pub fn masks(&self) -> Vec<Bits> {
        self.blocks.iter().flat_map(|b| [b.bits1, b.bits2]).chain([self.bits]).collect()
    }

    /// The activation that follows block `i - 1` (the stem for 0), and the residual stream where block `i` needs it.
    fn block_input(&self, i: usize) -> (Option<Map>, Activation) {
        match self.blocks.get(i) {
            Some(b) => {
                let s = self.stages[b.input];
                let y = b.shortcut.is_none().then_some(s.res);
                (y, Activation { affine: Some(b.affine1), a: s.a, bits: Some(b.bits1) })
            }
            None => {
                let s = self.stages[self.blocks[i - 1].output];
                (None, Activation { affine: Some(self.affine), a: s.a, bits: Some(self.bits) })
            }
        }
    }

    /// Records the forward pass of `image` (by slot), head included.
    pub fn forward(&self, p: &mut Program, batch: &Batch, image: Buf, measures: Measures) {
        let (y, act) = self.block_input(0);
        p.push(StemFprop {
            conv: self.net.stem.conv,
            image,
            normalisation: self.net.arch.normalisation.clone(),
            filter: self.stem.fprop,
            epilogue: Epilogue { y, act: Some(act), ..Epilogue::default() },
        });
        for (i, (b, f)) in self.net.blocks.iter().zip(&self.blocks).enumerate() {
            self.block_forward(p, i, b, f);
        }
        let last = self.stages.last().expect("a net has a stage");
        p.push(HeadFprop {
            shape: last.shape,
            a: last.a,
            params: self.arenas.params,
            linear: self.net.linear,
            batch: *batch,
            measures,
        });
    }

    fn block_forward(&self, p: &mut Program, i: usize, b: &Block, f: &BlockFilters) {
        let (from, to) = (self.stages[f.input], self.stages[f.output]);
        let act = Some(Activation { affine: None, a: to.h, bits: Some(f.bits2) });
        let epilogue = Epilogue { bias: Some(f.affine2), act, ..Epilogue::default() };
        p.push(ConvFprop { conv: b.conv1.conv, x: from.a, filter: f.conv1.fprop, epilogue });
        if let (Some(shortcut), Some(filter)) = (b.shortcut, f.shortcut) {
            let epilogue = Epilogue { y: Some(to.res), ..Epilogue::default() };
            p.push(ConvFprop { conv: shortcut.conv, x: from.a, filter: filter.fprop, epilogue });
        }
        let (y, act) = self.block_input(i + 1);
        let epilogue = Epilogue { bias: None, residual: Some(to.res), y, act: Some(act) };
        p.push(ConvFprop { conv: b.conv2.conv, x: to.h, filter: f.conv2.fprop, epilogue });
    }

    /// Records the backward pass to the image, from the state that the last forward pass left: the gradient of `loss`, by slot.
    pub fn backward(&self, p: &mut Program, batch: &Batch, loss: Loss, gradient: Buf) {
        let last = self.stages.last().expect("a net has a stage");
        p.push(HeadDgrad {
            shape: last.shape,
            params: self.arenas.params,
            linear: self.net.linear,
            batch: *batch,
            loss,
            weighted: false,
            bits: Some(self.bits),
            affine: Some(self.affine),
            dy: last.res,
        });
        for (b, f) in self.net.blocks.iter().zip(&self.blocks).rev() {
            let (from, to) = (self.stages[f.input], self.stages[f.output]);
            let mut dgrad = |conv, dy, filter, bits, residual, dx| {
                p.push(ConvDgrad { conv, dy, filter, bits: Some(bits), residual, dx });
            };
            dgrad(b.conv2.conv, to.res, f.conv2.dgrad, f.bits2, None, to.h);
            // The identity shortcut's gradient is already in the residual stream; a 1x1 shortcut's is added to conv1's.
            let identity = f.shortcut.is_none().then_some(to.res);
            dgrad(b.conv1.conv, to.h, f.conv1.dgrad, f.bits1, identity, from.res);
            if let (Some(shortcut), Some(filter)) = (b.shortcut, f.shortcut) {
                dgrad(shortcut.conv, to.res, filter.dgrad, f.bits1, Some(from.res), from.res);
            }
        }
        p.push(StemDgrad {
            conv: self.net.stem.conv,
            dy: self.stages[0].res,
            filter: self.stem.dgrad,
            normalisation: self.net.arch.normalisation.clone(),
            gradient,
        });
    }
}
