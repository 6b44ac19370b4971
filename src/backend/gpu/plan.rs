//! Which ops of a program share a launch.
//!
//! What an op leaves only for the next one need not pass through memory: a shortcut's convolution rides in the sum of the one
//! that adds it, the boundary check and the head's backward half in its forward half, the PGD step in the gradient of the stem,
//! a batch norm's statistics in the epilogue of the convolution that makes its input. Foldings and filter preparations are many
//! small jobs of one launch each.

use crate::Result;
use crate::gpu::driver::Command;
use crate::gpu::launches::Launches;
use crate::ops::conv::{ConvDgrad, ConvFprop, Epilogue};
use crate::ops::formula::crossed;
use crate::ops::head::{HeadDgrad, HeadFprop};
use crate::ops::norm::{Fold, NormFprop};
use crate::ops::pgd_step::PgdStep;
use crate::ops::prepare_filter::PrepareFilter;
use crate::ops::select::Select;
use crate::ops::statistics::gpu::PassCounts;
use crate::ops::stem::{StemDgrad, StemFprop};
use crate::ops::{Op, Program, conv, head, norm, prepare_filter, statistics, stem};
use crate::program::{Conv, Extent, Node, Operation, Phase, Range, Shape, Value};

/// One or a few ops that are launched together, or a mark.
#[derive(Debug)]
pub enum Group<'a> {
    /// An op by itself.
    Op(&'a Op),
    /// Independent foldings.
    Folds(Vec<&'a Fold>),
    /// Independent preparations.
    Filters(Vec<&'a PrepareFilter>),
    /// A convolution.
    ConvFprop {
        /// The convolution.
        conv: &'a ConvFprop,
        /// The 1x1 convolution whose output it would add as its residual: part of its sum.
        shortcut: Option<&'a ConvFprop>,
        /// The batch norm of the result: its statistics are taken in the epilogue.
        norm: Option<&'a NormFprop>,
    },
    /// The stem.
    StemFprop {
        /// The stem.
        stem: &'a StemFprop,
        /// The batch norm of the result: its statistics are taken in the epilogue.
        norm: Option<&'a NormFprop>,
    },
    /// A gradient.
    ConvDgrad {
        /// The gradient.
        conv: &'a ConvDgrad,
        /// The 1x1 convolution's gradient that would be added to it: part of its sum.
        shortcut: Option<&'a ConvDgrad>,
    },
    /// The gradient of the images.
    StemDgrad {
        /// The gradient.
        stem: &'a StemDgrad,
        /// The PGD step that uses it up: taken where the gradient is made, which is then not stored.
        step: Option<&'a PgdStep>,
    },
    /// The head.
    Head {
        /// Its forward half.
        fprop: &'a HeadFprop,
        /// The boundary check: who has crossed is marked to be kept where the head finds it out.
        check: Option<&'a Select>,
        /// The gradient, made of the logits where they are.
        dgrad: Option<&'a HeadDgrad>,
    },
    /// Example passes since the number of live examples last changed.
    Counts(PassCounts),
    /// A phase begins.
    Mark(Phase),
    /// A named range begins.
    Enter(Range),
    /// The innermost range ends.
    Leave,
}

/// The program's ops, grouped.
pub fn groups(program: &Program) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    let mut counts: Option<PassCounts> = None;
    for (i, node) in program.nodes.iter().enumerate() {
        let op = match node {
            Node::Op(op) => op,
            Node::Mark(phase) => {
                groups.push(Group::Mark(*phase));
                continue;
            }
            Node::Enter(range) => {
                groups.push(Group::Enter(*range));
                continue;
            }
            Node::Leave => {
                match groups.last() {
                    Some(Group::Enter(_)) => drop(groups.pop()),
                    _ => groups.push(Group::Leave),
                }
                continue;
            }
        };
        if op.operation().extent() == Extent::Live {
            groups.extend(counts.take().map(Group::Counts));
        }
        if let Op::CountPass(count) = op {
            counts.get_or_insert_with(|| PassCounts::new(count.stats)).add(count);
            continue;
        }
        // Ranges don't keep apart what belongs together.
        let last = groups.iter().rposition(|g| !matches!(g, Group::Enter(_) | Group::Leave));
        if let (Op::Fold(fold), Some(at)) = (op, last)
            && matches!(groups[at], Group::Filters(_))
        {
            // No folding reads a filter, so all foldings of a run of both come first.
            match groups[..at].last_mut() {
                Some(Group::Folds(all)) => all.push(fold),
                _ => groups.insert(at, Group::Folds(vec![fold])),
            }
            continue;
        }
        let later = &program.nodes[i + 1..];
        if !last.is_some_and(|at| groups[at].take_in(op, later)) {
            groups.push(Group::of(op));
        }
    }
    groups.extend(counts.map(Group::Counts));
    groups
}

impl<'a> Group<'a> {
    /// The group that an op begins.
    fn of(op: &'a Op) -> Group<'a> {
        if let Op::Fold(fold) = op {
            Group::Folds(vec![fold])
        } else if let Op::PrepareFilter(filter) = op {
            Group::Filters(vec![filter])
        } else if let Op::ConvFprop(conv) = op {
            Group::ConvFprop { conv, shortcut: None, norm: None }
        } else if let Op::StemFprop(stem) = op {
            Group::StemFprop { stem, norm: None }
        } else if let Op::ConvDgrad(conv) = op {
            Group::ConvDgrad { conv, shortcut: None }
        } else if let Op::StemDgrad(stem) = op {
            Group::StemDgrad { stem, step: None }
        } else if let Op::HeadFprop(fprop) = op {
            Group::Head { fprop, check: None, dgrad: None }
        } else {
            Group::Op(op)
        }
    }

    /// Takes the next op in, if one launch can do it as well, and says whether.
    fn take_in(&mut self, op: &'a Op, later: &[Node<Op>]) -> bool {
        match self {
            Group::Folds(all) => {
                let Op::Fold(fold) = op else { return false };
                all.push(fold);
            }
            Group::Filters(all) => {
                let Op::PrepareFilter(filter) = op else { return false };
                all.push(filter);
            }
            Group::ConvFprop { conv, shortcut: shortcut @ None, norm: None }
                if let Op::ConvFprop(next) = op
                    && rides_fprop(conv, next, later) =>
            {
                *shortcut = Some(std::mem::replace(conv, next));
            }
            Group::ConvFprop { conv: ConvFprop { conv, epilogue, .. }, norm: norm @ None, .. }
            | Group::StemFprop { stem: StemFprop { conv, epilogue, .. }, norm: norm @ None }
                if let Op::NormFprop(next) = op
                    && rides_norm(conv, epilogue, next) =>
            {
                *norm = Some(next);
            }
            Group::ConvDgrad { conv, shortcut: shortcut @ None }
                if let Op::ConvDgrad(next) = op
                    && rides_dgrad(conv, next) =>
            {
                *shortcut = Some(next);
            }
            Group::StemDgrad { stem, step: step @ None }
                if let Op::PgdStep(next) = op
                    && next.gradient == stem.gradient =>
            {
                *step = Some(next);
            }
            Group::Head { check: check @ None, dgrad: None, .. }
                if let Op::Select(next) = op
                    && next.keep_easy == 0.0
                    && next.keep == crossed() =>
            {
                *check = Some(next);
            }
            Group::Head { dgrad: dgrad @ None, .. }
                if let Op::HeadDgrad(next) = op
                    && !next.weighted =>
            {
                *dgrad = Some(next);
            }
            Group::ConvFprop { .. }
            | Group::StemFprop { .. }
            | Group::ConvDgrad { .. }
            | Group::StemDgrad { .. }
            | Group::Head { .. }
            | Group::Op(_)
            | Group::Counts(_)
            | Group::Mark(_)
            | Group::Enter(_)
            | Group::Leave => return false,
        }
        true
    }

    /// Appends its launches.
    pub(super) fn launch(&self, cx: &mut Launches) -> Result<()> {
        match self {
            Group::Op(op) => op.gpu().launch(cx),
            Group::Folds(folds) => norm::gpu::fold(cx, folds),
            Group::Filters(filters) => prepare_filter::gpu::prepare(cx, filters),
            Group::ConvFprop { conv, shortcut, norm } => conv::gpu::fprop(cx, conv, *shortcut, *norm),
            Group::StemFprop { stem, norm } => stem::gpu::fprop(cx, stem, *norm),
            Group::ConvDgrad { conv, shortcut } => conv::gpu::dgrad(cx, conv, *shortcut),
            Group::StemDgrad { stem, step } => stem::gpu::dgrad(cx, stem, *step),
            Group::Head { fprop, check, dgrad } => head::gpu::fprop(cx, fprop, *check, *dgrad),
            Group::Counts(counts) => statistics::gpu::count_passes(cx, counts),
            Group::Mark(phase) => statistics::gpu::mark(cx, Some(*phase)),
            Group::Enter(range) => {
                cx.push(Command::Push(range.to_string()));
                Ok(())
            }
            Group::Leave => {
                cx.push(Command::Pop);
                Ok(())
            }
        }
    }

    /// Its ops, in the order in which they take effect; none for marks, and for counts, which are of several places.
    pub fn ops(&self) -> Vec<&dyn Operation> {
        fn rest<'a, T: Operation + 'a>(op: &Option<&'a T>) -> Option<&'a dyn Operation> {
            op.map(|op| op as &dyn Operation)
        }
        let all: Vec<Option<&dyn Operation>> = match self {
            Group::Op(op) => vec![Some(op.operation())],
            Group::Folds(folds) => folds.iter().map(|f| Some(*f as &dyn Operation)).collect(),
            Group::Filters(filters) => filters.iter().map(|f| Some(*f as &dyn Operation)).collect(),
            Group::ConvFprop { conv, shortcut, norm } => vec![rest(shortcut), Some(*conv), rest(norm)],
            Group::StemFprop { stem, norm } => vec![Some(*stem), rest(norm)],
            Group::ConvDgrad { conv, shortcut } => vec![Some(*conv), rest(shortcut)],
            Group::StemDgrad { stem, step } => vec![Some(*stem), rest(step)],
            Group::Head { fprop, check, dgrad } => vec![Some(*fprop), rest(check), rest(dgrad)],
            Group::Counts(_) | Group::Mark(_) | Group::Enter(_) | Group::Leave => vec![],
        };
        all.into_iter().flatten().collect()
    }
}

/// Whether the sum of `first` may start the sum of `second`: nobody else wants it.
fn rides_fprop(first: &ConvFprop, second: &ConvFprop, later: &[Node<Op>]) -> bool {
    let e = &first.epilogue;
    let (Some(y), None, None, None) = (e.y, e.bias, e.residual, &e.act) else { return false };
    let overwritten = || {
        let later =
            later.iter().filter_map(|node| if let Node::Op(op) = node { Some(op.operation().uses()) } else { None });
        let mut uses_of_y = later.filter_map(|uses| {
            let y = Value::Map(y);
            if uses.reads.contains(&y) { Some(false) } else { uses.writes.contains(&y).then_some(true) }
        });
        second.epilogue.y == Some(y) || uses_of_y.next().unwrap_or(true)
    };
    first.conv.filter == 1
        && second.epilogue.residual == Some(y)
        && second.x != y
        && first.conv.y() == second.conv.y()
        && overwritten()
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
        && first.conv.x() == second.conv.x()
        && first.conv.stride == second.conv.stride
}
