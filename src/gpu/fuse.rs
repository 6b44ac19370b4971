//! Which ops of a program share a launch.
//!
//! What an op leaves only for the next one need not pass through memory: a shortcut's convolution rides in the sum of the one
//! that adds it, the head's backward half in its forward half, a batch norm's statistics in the epilogue of the convolution
//! that makes its input. Foldings and filter preparations are many small jobs of one launch each.

use crate::ops::account::gpu::Tallies;
use crate::ops::conv::{Conv, ConvDgrad, ConvFprop, Epilogue};
use crate::ops::head::{HeadDgrad, HeadFprop};
use crate::ops::mine::formula::crossed;
use crate::ops::norm::{Fold, NormFprop};
use crate::ops::stem::StemFprop;
use crate::program::{Op, PrepareFilter, Program, Range, Shape, Value, uses};

/// One or a few ops that are launched together.
#[derive(Debug)]
pub enum Step<'a> {
    /// An op by itself.
    Op(&'a Op),
    /// Independent foldings.
    Fold(Vec<&'a Fold>),
    /// Independent preparations.
    Prepare(Vec<&'a PrepareFilter>),
    /// A convolution, the 1x1 convolution whose output it would add as its residual, and the batch norm of its result, whose
    /// statistics it provides.
    Fprop(&'a ConvFprop, Option<&'a ConvFprop>, Option<&'a NormFprop>),
    /// The stem, and the batch norm of its result, whose statistics it provides.
    Stem(&'a StemFprop, Option<&'a NormFprop>),
    /// A gradient, and the 1x1 convolution's that would be added to it.
    Dgrad(&'a ConvDgrad, Option<&'a ConvDgrad>),
    /// The head, whether the examples that crossed are marked to be kept, and its gradient.
    Head(&'a HeadFprop, bool, Option<&'a HeadDgrad>),
    /// The start of a named range.
    Enter(Range),
    /// The end of the innermost range.
    Leave,
    /// Example passes since the number of live examples last changed.
    Tally(Tallies),
}

/// The program's ops, grouped.
pub fn steps(program: &Program) -> Vec<Step<'_>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut tally: Option<Tallies> = None;
    for (i, op) in program.ops.iter().enumerate() {
        let later = &program.ops[i + 1..];
        if matches!(op, Op::Load(_) | Op::Compact(_) | Op::Thaw(_) | Op::Refill(_))
            && let Some(tallies) = tally.take()
        {
            steps.push(Step::Tally(tallies));
        }
        // Ranges don't keep apart what belongs together.
        let last = steps.iter_mut().rev().find(|s| !matches!(s, Step::Enter(_) | Step::Leave));
        match (op, last) {
            (Op::Enter(range), _) => steps.push(Step::Enter(*range)),
            (Op::Leave, _) => match steps.last() {
                Some(Step::Enter(_)) => drop(steps.pop()),
                _ => steps.push(Step::Leave),
            },
            (Op::Tally(t), _) => tally.get_or_insert_with(|| Tallies::new(t.stats)).add(t),
            (Op::Fold(f), Some(Step::Fold(all))) => all.push(f),
            (Op::Fold(f), Some(Step::Prepare(_))) => {
                // No folding reads a filter, so all foldings of a run of both come first.
                let at = steps.iter().rposition(|s| matches!(s, Step::Prepare(_))).expect("matched");
                match steps[..at].last_mut() {
                    Some(Step::Fold(all)) => all.push(f),
                    _ => steps.insert(at, Step::Fold(vec![f])),
                }
            }
            (Op::Fold(f), _) => steps.push(Step::Fold(vec![f])),
            (Op::PrepareFilter(p), Some(Step::Prepare(all))) => all.push(p),
            (Op::PrepareFilter(p), _) => steps.push(Step::Prepare(vec![p])),
            (Op::ConvFprop(c), Some(Step::Fprop(first, second @ None, None))) if rides_fprop(first, c, later) => {
                *second = Some(std::mem::replace(first, c));
            }
            (Op::ConvFprop(c), _) => steps.push(Step::Fprop(c, None, None)),
            (Op::StemFprop(s), _) => steps.push(Step::Stem(s, None)),
            (Op::NormFprop(n), Some(Step::Fprop(ConvFprop { conv, epilogue, .. }, _, norm @ None)))
            | (Op::NormFprop(n), Some(Step::Stem(StemFprop { conv, epilogue, .. }, norm @ None)))
                if rides_norm(conv, epilogue, n) =>
            {
                *norm = Some(n);
            }
            (Op::ConvDgrad(c), Some(Step::Dgrad(first, second @ None))) if rides_dgrad(first, c) => *second = Some(c),
            (Op::ConvDgrad(c), _) => steps.push(Step::Dgrad(c, None)),
            (Op::HeadFprop(h), _) => steps.push(Step::Head(h, false, None)),
            (Op::Select(s), Some(Step::Head(_, keep @ false, None))) if s.keep_easy == 0.0 && s.keep == crossed() => {
                *keep = true
            }
            (Op::HeadDgrad(d), Some(Step::Head(_, _, dgrad @ None))) if !d.weighted => *dgrad = Some(d),
            (op, _) => steps.push(Step::Op(op)),
        }
    }
    steps.extend(tally.map(Step::Tally));
    steps
}

/// Whether the sum of `first` may start the sum of `second`: nobody else wants it.
fn rides_fprop(first: &ConvFprop, second: &ConvFprop, later: &[Op]) -> bool {
    let e = &first.epilogue;
    let (Some(y), None, None, None) = (e.y, e.bias, e.residual, &e.act) else { return false };
    let overwritten = || {
        second.epilogue.y == Some(y)
            || later
                .iter()
                .map(uses)
                .find_map(|(reads, writes)| {
                    let y = Value::Map(y);
                    if reads.contains(&y) { Some(false) } else { writes.contains(&y).then_some(true) }
                })
                .unwrap_or(true)
    };
    let same_output =
        (first.conv.p(), first.conv.q(), first.conv.k) == (second.conv.p(), second.conv.q(), second.conv.k);
    first.conv.filter == 1 && second.epilogue.residual == Some(y) && second.x != y && same_output && overwritten()
}

/// Whether the convolution makes just what the batch norm takes the statistics of.
fn rides_norm(c: &Conv, e: &Epilogue, norm: &NormFprop) -> bool {
    e.y == Some(norm.x) && e.act.is_none() && Shape { c: c.k, h: c.p(), w: c.q() } == norm.shape
}

/// Whether the gradient `second`, which accumulates onto that of `first`, may be part of its sum.
fn rides_dgrad(first: &ConvDgrad, second: &ConvDgrad) -> bool {
    second.conv.filter == 1
        && second.dx == first.dx
        && second.residual == Some(first.dx)
        && second.bits == first.bits
        && second.dy != first.dx
        && (first.conv.c, first.conv.h, first.conv.w) == (second.conv.c, second.conv.h, second.conv.w)
        && first.conv.stride == second.conv.stride
}
