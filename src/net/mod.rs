//! Networks of pre-activation blocks (PreActResNet, WideResNet): architecture, parameters by their PyTorch names, and the two ways
//! to walk them.
//!
//! ```text
//! block(x):  a = relu(norm1(x));  h = conv1(a);  y = conv2(relu(norm2(h))) + (shortcut(a) or x)
//! net(x):    stem, blocks, relu(norm), average pool, linear
//! ```
//! [`eval_pass`] walks it with batch norms folded and keeps ReLU bits only (attack, evaluation); [`train_pass`] walks it in
//! train mode and keeps what the weight gradients need.

pub mod arch;
pub mod eval_pass;
pub mod onnx;
pub mod state;
pub mod train_pass;

use crate::ops::head::Linear;
use crate::ops::norm::Norm;
use crate::program::{Conv, Filter, Shape, Span};
pub use arch::{Arch, Family};

/// Which arena a tensor of the state dict lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arena {
    /// Trained: parameters, gradients and momenta share this layout.
    Params,
    /// Running statistics of batch norms.
    Running,
}

/// A tensor of the state dict and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// PyTorch's name.
    pub name: String,
    /// PyTorch's shape; four dimensions are OIHW and lie in the arena as KRSC.
    pub shape: Vec<usize>,
    /// The arena.
    pub arena: Arena,
    /// The place in it.
    pub span: Span,
}

/// A convolution and the place of its filter in the parameter arena.
#[derive(Clone, Copy, Debug)]
pub struct Filtered {
    /// Geometry.
    pub conv: Conv,
    /// Filter.
    pub weights: Span,
}

/// A convolution's filter, prepared for both passes.
#[derive(Clone, Copy, Debug)]
struct Prepared {
    fprop: Filter,
    dgrad: Filter,
}

/// A pre-activation basic block.
#[derive(Clone, Debug)]
pub struct Block {
    /// Shape of its input.
    pub input: Shape,
    /// Shape of its output.
    pub output: Shape,
    /// Before the first convolution.
    pub norm1: Norm,
    /// First convolution.
    pub conv1: Filtered,
    /// Before the second convolution.
    pub norm2: Norm,
    /// Second convolution.
    pub conv2: Filtered,
    /// The 1x1 shortcut on the activated input, where width or stride changes.
    pub shortcut: Option<Filtered>,
}

/// A network laid out: geometry, and where every parameter is.
#[derive(Clone, Debug)]
pub struct Net {
    /// What it was made from.
    pub arch: Arch,
    /// The first convolution, on the image.
    pub stem: Filtered,
    /// The blocks, in order.
    pub blocks: Vec<Block>,
    /// The final batch norm.
    pub norm: Norm,
    /// The classifier.
    pub linear: Linear,
    /// All tensors of the state dict, in PyTorch's order.
    pub tensors: Vec<Tensor>,
    /// Length of the parameter arena.
    pub params: usize,
    /// Length of the running-statistics arena.
    pub running: usize,
}

/// Hands out consecutive places in the arenas and keeps the table of names.
#[derive(Default)]
struct Layout {
    tensors: Vec<Tensor>,
    params: usize,
    running: usize,
}

impl Layout {
    fn add(&mut self, name: String, shape: &[usize], arena: Arena) -> Span {
        let end = match arena {
            Arena::Params => &mut self.params,
            Arena::Running => &mut self.running,
        };
        let span = Span { offset: *end, len: shape.iter().product() };
        *end += span.len;
        self.tensors.push(Tensor { name, shape: shape.to_vec(), arena, span });
        span
    }

    fn conv(&mut self, name: &str, conv: Conv) -> Filtered {
        let shape = [conv.k, conv.c, conv.filter, conv.filter];
        Filtered { conv, weights: self.add(format!("{name}.weight"), &shape, Arena::Params) }
    }

    fn norm(&mut self, name: &str, c: usize) -> Norm {
        Norm {
            gamma: self.add(format!("{name}.weight"), &[c], Arena::Params),
            beta: self.add(format!("{name}.bias"), &[c], Arena::Params),
            mean: self.add(format!("{name}.running_mean"), &[c], Arena::Running),
            var: self.add(format!("{name}.running_var"), &[c], Arena::Running),
        }
    }
}

impl Net {
    /// Lays out `arch`.
    pub fn new(arch: Arch) -> Net {
        let mut layout = Layout::default();
        let image = arch.image;
        let conv = |input: Shape, k, filter, stride| Conv { c: input.c, k, h: input.h, w: input.w, filter, stride };
        let stem = layout.conv("conv1", conv(image, arch.stem(), 3, 1));
        let mut shape = Shape { c: arch.stem(), ..image };
        let names = arch.family.names();
        let mut blocks = Vec::new();
        for (s, (&width, &count)) in arch.widths.iter().zip(&arch.blocks).enumerate() {
            for b in 0..count {
                let [before, between] = names.stage;
                let name = format!("{before}{}{between}{b}", s + 1);
                let stride = if s > 0 && b == 0 { 2 } else { 1 };
                let input = shape;
                let first = conv(input, width, 3, stride);
                let output = Shape { c: width, h: first.p(), w: first.q() };
                let norm1 = layout.norm(&format!("{name}.bn1"), input.c);
                let conv1 = layout.conv(&format!("{name}.conv1"), first);
                let norm2 = layout.norm(&format!("{name}.bn2"), width);
                let conv2 = layout.conv(&format!("{name}.conv2"), conv(output, width, 3, 1));
                let shortcut = (stride != 1 || input.c != width)
                    .then(|| layout.conv(&format!("{name}.{}", names.shortcut), conv(input, width, 1, stride)));
                blocks.push(Block { input, output, norm1, conv1, norm2, conv2, shortcut });
                shape = output;
            }
        }
        let norm = layout.norm(names.norm, shape.c);
        let linear = Linear {
            weight: layout.add(format!("{}.weight", names.linear), &[arch.classes, shape.c], Arena::Params),
            bias: layout.add(format!("{}.bias", names.linear), &[arch.classes], Arena::Params),
        };
        let Layout { tensors, params, running } = layout;
        Net { arch, stem, blocks, norm, linear, tensors, params, running }
    }

    /// Shape of the last feature map.
    pub fn last(&self) -> Shape {
        self.blocks.last().expect("an arch has at least one block").output
    }

    /// Multiply-accumulates of one forward pass of one example.
    pub fn macs(&self) -> usize {
        let blocks = self.blocks.iter().flat_map(|b| [Some(b.conv1), Some(b.conv2), b.shortcut].into_iter().flatten());
        std::iter::once(self.stem).chain(blocks).map(|f| f.conv.macs()).sum::<usize>() + self.linear.weight.len
    }
}
