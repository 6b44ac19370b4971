//! Launchers of the kernels in `kernels/head.cu`.

use super::{HeadDgrad, HeadFprop, HeadWgrad, Loss};
use crate::Result;
use crate::batch::Batch;
use crate::gpu::driver::{Arg, Ptr};
use crate::gpu::launches::{GpuOp, Launches, bytes, padded};
use crate::gpu::unsupported;
use crate::ops::select::Select;
use crate::program::Shape;
use bytemuck::{Pod, Zeroable};

/// Threads that have an example.
const THREADS: usize = 256;
/// Threads of a block of the weights' gradient.
const WGRAD_THREADS: usize = 64;
/// Shared memory that every GPU gives a block.
const SHARED: usize = 48 << 10;

/// Numbers of the losses.
mod loss {
    pub const CROSS_ENTROPY: u32 = 0;
    pub const MARGIN: u32 = 1;
    pub const DIVERGENCE: u32 = 2;
    pub const GIVEN: u32 = 3;
    pub const DIFFERENCE: u32 = 4;
    pub const TARGETED_DLR: u32 = 5;
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct HeadDims {
    classes: u32,
    channels: u32,
    cp: u32,
    pixels: u32,
    parts: u32,
    inverse: f32,
    loss: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct HeadWgradDims {
    classes: u32,
    channels: u32,
}

/// The kernel's view of a head, and its bytes of shared memory.
fn dims(cx: &Launches, shape: Shape, classes: usize, loss: Loss) -> Result<(HeadDims, usize)> {
    let (cp, pixels) = (padded(shape.c), shape.h * shape.w);
    let lanes = 16 / cx.precision.size();
    let parts = (THREADS * lanes / cp).clamp(1, pixels);
    let shared = (parts * cp + 2 * classes) * 4;
    if shared > SHARED {
        let what = format!("{} channels and {classes} classes: at most 12288 channels and twice the classes", shape.c);
        return Err(unsupported("head", what));
    }
    if loss == Loss::Margin && classes < 2 {
        return Err(unsupported("head", "the margin of one class: it takes two; use the cross-entropy"));
    }
    if loss == Loss::TargetedDlr && classes < 4 {
        return Err(unsupported("head", format!("the targeted DLR of {classes} classes: it takes four")));
    }
    let dims = HeadDims {
        classes: classes as u32,
        channels: shape.c as u32,
        cp: cp as u32,
        pixels: pixels as u32,
        parts: parts as u32,
        inverse: 1.0 / pixels as f32,
        loss: match loss {
            Loss::CrossEntropy => loss::CROSS_ENTROPY,
            Loss::Margin => loss::MARGIN,
            Loss::Divergence => loss::DIVERGENCE,
            Loss::TwoPass => loss::GIVEN,
            Loss::Difference => loss::DIFFERENCE,
            Loss::TargetedDlr => loss::TARGETED_DLR,
        },
    };
    Ok((dims, shared))
}

/// What the loss compares with, or the gradient that is given; null for none.
fn target(cx: &Launches, b: &Batch, loss: Loss) -> Ptr {
    match loss {
        Loss::CrossEntropy | Loss::Margin | Loss::Difference | Loss::TargetedDlr => 0,
        Loss::Divergence => cx.buf(b.clean().probs),
        Loss::TwoPass => cx.buf(b.gradient),
    }
}

/// The class that the loss leads to; null for none.
fn target_class(cx: &Launches, b: &Batch, loss: Loss) -> Ptr {
    if matches!(loss, Loss::Difference | Loss::TargetedDlr) { cx.buf(b.target) } else { 0 }
}

/// The gradient's mask and scale, or null.
fn mask_and_scale(cx: &Launches, d: &HeadDgrad) -> [Ptr; 2] {
    [d.bits.map_or(0, |b| cx.bits(b)), d.affine.map_or(0, |a| cx.affine(a)[0])]
}

impl GpuOp for HeadDgrad {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let b = &self.batch;
        let (dims, shared) = dims(cx, self.shape, b.classes, self.loss)?;
        let [bits, scale] = mask_and_scale(cx, self);
        let args = [
            Arg::Out(cx.map(self.dy)),
            Arg::In(cx.buf(b.probs)),
            Arg::In(cx.buf(b.logits)),
            Arg::In(cx.span(self.params, self.linear.weight)),
            Arg::In(cx.buf(b.label)),
            Arg::In(target(cx, b, self.loss)),
            Arg::In(target_class(cx, b, self.loss)),
            Arg::In(if self.weighted { cx.buf(b.weight) } else { 0 }),
            Arg::In(scale),
            Arg::In(bits),
            Arg::In(cx.buf(b.position)),
            cx.live(),
            bytes(&dims),
        ];
        let name = format!("{}, {} classes", self.shape, b.classes);
        cx.launch_typed("head_dgrad", [cx.capacity(), 1, 1], THREADS, shared, args, name)
    }
}

impl GpuOp for HeadWgrad {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        let (b, channels) = (&self.batch, self.channels);
        let dims = HeadWgradDims { classes: b.classes as u32, channels: channels as u32 };
        let args = [
            Arg::Out(cx.span(self.grads, self.linear.weight)),
            Arg::Out(cx.span(self.grads, self.linear.bias)),
            Arg::In(cx.buf(b.probs)),
            Arg::In(cx.buf(b.pooled)),
            Arg::In(cx.buf(b.label)),
            Arg::In(if self.given { cx.buf(b.gradient) } else { 0 }),
            Arg::In(cx.buf(b.weight)),
            Arg::In(cx.buf(b.position)),
            cx.live(),
            bytes(&dims),
        ];
        let grid = [channels.div_ceil(WGRAD_THREADS), b.classes, 1];
        cx.launch("head_wgrad", grid, WGRAD_THREADS, 0, args, format!("{channels} channels, {} classes", b.classes))
    }
}

impl GpuOp for HeadFprop {
    fn launch(&self, cx: &mut Launches) -> Result<()> {
        fprop(cx, self, None, None)
    }
}

/// The forward half; then the check that keeps who has crossed, and the backward half.
pub fn fprop(cx: &mut Launches, fprop: &HeadFprop, check: Option<&Select>, dgrad: Option<&HeadDgrad>) -> Result<()> {
    let b = &fprop.batch;
    let loss = dgrad.map_or(Loss::CrossEntropy, |d| d.loss);
    let (dims, shared) = dims(cx, fprop.shape, b.classes, loss)?;
    let [bits, scale] = dgrad.map_or([0; 2], |d| mask_and_scale(cx, d));
    let args = [
        Arg::Out(cx.buf(b.pooled)),
        Arg::Out(cx.buf(b.logits)),
        Arg::Out(cx.buf(b.probs)),
        Arg::Out(cx.buf(b.crossed)),
        Arg::Out(check.map_or(0, |check| cx.buf(check.batch.keep))),
        Arg::Out(if fprop.measures.kappa { cx.buf(b.kappa) } else { 0 }),
        Arg::Out(if fprop.measures.step { cx.buf(b.step) } else { 0 }),
        Arg::Out(cx.buf(b.confidence)),
        Arg::Out(cx.buf(b.loss)),
        Arg::Out(dgrad.map_or(0, |d| cx.map(d.dy))),
        Arg::In(cx.map(fprop.a)),
        Arg::In(cx.span(fprop.params, fprop.linear.weight)),
        Arg::In(cx.span(fprop.params, fprop.linear.bias)),
        Arg::In(cx.buf(b.label)),
        Arg::In(dgrad.map_or(0, |d| target(cx, b, d.loss))),
        Arg::In(dgrad.map_or(0, |d| target_class(cx, b, d.loss))),
        Arg::In(scale),
        Arg::In(bits),
        Arg::In(cx.buf(b.position)),
        cx.live(),
        bytes(&dims),
    ];
    let gradient = if dgrad.is_some() { ", gradient" } else { "" };
    let name = format!("{}, {} classes{gradient}", fprop.shape, b.classes);
    cx.launch_typed("head_fprop", [cx.capacity(), 1, 1], THREADS, shared, args, name)
}
