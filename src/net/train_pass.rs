//! The walk of the training step: batch norm in train mode, activations kept, weight gradients.

use super::{Filtered, Net, Prepared};
use crate::batch::Batch;
use crate::ops::Program;
use crate::ops::conv::{ConvDgrad, ConvFprop, ConvWgrad, Epilogue};
use crate::ops::head::{HeadDgrad, HeadFprop, HeadWgrad, Loss, Measures};
use crate::ops::norm::{Norm, NormBprop, NormFprop};
use crate::ops::prepare_filter::PrepareFilter;
use crate::ops::stem::{StemFprop, StemWgrad};
use crate::ops::update::Arenas;
use crate::program::{Buf, Filter, FilterDecl, Map, Pass, Shape};

/// What a block keeps for its backward pass.
struct Kept {
    /// Input of the block: the residual stream.
    x: Map,
    /// relu(norm1(x)).
    a1: Map,
    /// conv1(a1).
    h: Map,
    /// relu(norm2(h)).
    a2: Map,
    filters: BlockFilters,
}

/// A block's filters, forward and backward.
#[derive(Clone, Copy)]
struct BlockFilters {
    conv1: Prepared,
    conv2: Prepared,
    shortcut: Option<Prepared>,
}

/// The walk: its maps and prepared filters in one program.
pub struct TrainPass<'n> {
    net: &'n Net,
    arenas: Arenas,
    stem: Filter,
    blocks: Vec<Kept>,
    /// Output of the last block.
    y: Map,
    /// relu(norm(y)).
    a: Map,
    /// Two gradient maps for each stage, which take turns.
    gradients: Vec<[Map; 2]>,
}

impl<'n> TrainPass<'n> {
    /// Declares everything in `p` and records the filters' preparation.
    ///
    /// `exact` asks for the rounding of direct convolutions.
    pub fn prepare(p: &mut Program, net: &'n Net, arenas: Arenas, exact: bool) -> Self {
        let filter = |p: &mut Program, f: Filtered, stem: bool, pass| {
            let filter = p.filter(FilterDecl { conv: f.conv, stem, pass, exact });
            let normalisation = net.arch.normalisation.clone().filter(|_| stem);
            let (params, weights) = (arenas.params, f.weights);
            let prepare = PrepareFilter { filter, params, weights, scale_k: None, scale_c: None, normalisation };
            p.push(prepare);
            filter
        };
        let both = |p: &mut Program, f| Prepared {
            fprop: filter(p, f, false, Pass::Fprop),
            dgrad: filter(p, f, false, Pass::Dgrad),
        };
        let stem = filter(p, net.stem, true, Pass::Fprop);
        let filters: Vec<_> = net
            .blocks
            .iter()
            .map(|b| BlockFilters {
                conv1: both(p, b.conv1),
                conv2: both(p, b.conv2),
                shortcut: b.shortcut.map(|s| both(p, s)),
            })
            .collect();
        Self::with(p, net, arenas, stem, filters)
    }

    /// Another pass in the same program, with the same filters, maps of its own, and gradients and statistics in `arenas`.
    pub fn twin(&self, p: &mut Program, arenas: Arenas) -> Self {
        Self::with(p, self.net, arenas, self.stem, self.blocks.iter().map(|b| b.filters).collect())
    }

    fn with(p: &mut Program, net: &'n Net, arenas: Arenas, stem: Filter, filters: Vec<BlockFilters>) -> Self {
        let mut gradients = vec![[p.map(net.blocks[0].input), p.map(net.blocks[0].input)]];
        let mut blocks = Vec::new();
        for (b, filters) in net.blocks.iter().zip(filters) {
            if b.shortcut.is_some() {
                gradients.push([p.map(b.output), p.map(b.output)]);
            }
            let (x, a1, h, a2) = (p.map(b.input), p.map(b.input), p.map(b.output), p.map(b.output));
            blocks.push(Kept { x, a1, h, a2, filters });
        }
        let (y, a) = (p.map(net.last()), p.map(net.last()));
        TrainPass { net, arenas, stem, blocks, y, a, gradients }
    }

    fn norm(&self, p: &mut Program, shape: Shape, norm: Norm, x: Map, a: Map) {
        let Arenas { params, batch_stats, .. } = self.arenas;
        p.push(NormFprop { shape, x, a, params, batch_stats, norm });
    }

    /// Records the forward pass of `image` (by slot), head included.
    pub fn forward(&self, p: &mut Program, batch: &Batch, image: Buf) {
        p.push(StemFprop {
            conv: self.net.stem.conv,
            image,
            normalisation: self.net.arch.normalisation.clone(),
            filter: self.stem,
            epilogue: Epilogue { y: Some(self.blocks[0].x), ..Epilogue::default() },
        });
        for (i, (b, k)) in self.net.blocks.iter().zip(&self.blocks).enumerate() {
            let y = self.blocks.get(i + 1).map_or(self.y, |next| next.x);
            let conv = |p: &mut Program, f: Filtered, x, filter: Prepared, residual, y| {
                let epilogue = Epilogue { residual, y: Some(y), ..Epilogue::default() };
                p.push(ConvFprop { conv: f.conv, x, filter: filter.fprop, epilogue });
            };
            self.norm(p, b.input, b.norm1, k.x, k.a1);
            conv(p, b.conv1, k.a1, k.filters.conv1, None, k.h);
            self.norm(p, b.output, b.norm2, k.h, k.a2);
            let residual = match (b.shortcut, k.filters.shortcut) {
                (Some(f), Some(filter)) => {
                    conv(p, f, k.a1, filter, None, y);
                    y
                }
                _ => k.x,
            };
            conv(p, b.conv2, k.a2, k.filters.conv2, Some(residual), y);
        }
        self.norm(p, self.net.last(), self.net.norm, self.y, self.a);
        p.push(HeadFprop {
            shape: self.net.last(),
            a: self.a,
            params: self.arenas.params,
            linear: self.net.linear,
            batch: *batch,
            measures: Measures::default(),
        });
    }

    /// Records the backward pass of `loss`, [`Loss::CrossEntropy`] or [`Loss::TwoPass`]: every parameter's gradient, none with
    /// respect to the image.
    pub fn backward(&self, p: &mut Program, batch: &Batch, loss: Loss, image: Buf) {
        let Arenas { params, grads, batch_stats, .. } = self.arenas;
        let (linear, batch) = (self.net.linear, *batch);
        let bprop = |p: &mut Program, shape, norm, x, a, grad, residual| {
            p.push(NormBprop { shape, x, a, grad, residual, params, grads, batch_stats, norm });
        };
        let wgrad = |p: &mut Program, f: Filtered, x, dy| {
            p.push(ConvWgrad { conv: f.conv, x, dy, grads, weights: f.weights });
        };
        let dgrad = |p: &mut Program, f: Filtered, dy, filter: Prepared, residual, dx| {
            p.push(ConvDgrad { conv: f.conv, dy, filter: filter.dgrad, bits: None, residual, dx });
        };
        let mut stages = self.gradients.iter().rev();
        let [mut dy, mut free] = *stages.next().expect("a net has a stage");
        let shape = self.net.last();
        let given = loss == Loss::TwoPass;
        p.push(HeadWgrad { channels: shape.c, grads, linear, batch, given });
        p.push(HeadDgrad { shape, params, linear, batch, loss, weighted: !given, bits: None, affine: None, dy });
        bprop(p, shape, self.net.norm, self.y, self.a, dy, None);
        for (b, k) in self.net.blocks.iter().zip(&self.blocks).rev() {
            wgrad(p, b.conv2, k.a2, dy);
            dgrad(p, b.conv2, dy, k.filters.conv2, None, free);
            bprop(p, b.output, b.norm2, k.h, k.a2, free, None);
            wgrad(p, b.conv1, k.a1, free);
            match (b.shortcut, k.filters.shortcut) {
                (Some(f), Some(filter)) => {
                    wgrad(p, f, k.a1, dy);
                    let [dx, other] = *stages.next().expect("a shortcut block starts a stage");
                    dgrad(p, b.conv1, free, k.filters.conv1, None, dx);
                    dgrad(p, f, dy, filter, Some(dx), dx);
                    bprop(p, b.input, b.norm1, k.x, k.a1, dx, None);
                    (dy, free) = (dx, other);
                }
                _ => {
                    // dgrad may not write the map that it reads, nor dy, which is still to be added: a2 is spent.
                    let dx = k.a2;
                    dgrad(p, b.conv1, free, k.filters.conv1, None, dx);
                    bprop(p, b.input, b.norm1, k.x, k.a1, dx, Some(dy));
                    dy = dx;
                }
            }
        }
        p.push(StemWgrad {
            conv: self.net.stem.conv,
            image,
            normalisation: self.net.arch.normalisation.clone(),
            dy,
            grads,
            weights: self.net.stem.weights,
        });
    }
}
