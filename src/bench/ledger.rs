//! Where the time of a mini-batch goes: step by step of the attack, and by kind of work.

use crate::backend::Trace;
use crate::ops::statistics::Counts;
use crate::ops::{Op, Program};
use crate::program::{Node, Range};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LedgerRow {
    /// What: a step of the attack, or a part of the rest.
    pub what: String,
    /// What a step of the attack was of.
    pub step: Option<StepPasses>,
    /// Seconds, of all workers, divided by their number.
    pub seconds: f64,
}

/// What a step of the attack computed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(into = "[u64; 3]")]
pub struct StepPasses {
    /// Examples at its start.
    pub live: u64,
    /// Forward passes of an example.
    pub fprop: u64,
    /// Gradients of one with respect to its input.
    pub dgrad: u64,
}

impl From<StepPasses> for [u64; 3] {
    fn from(s: StepPasses) -> [u64; 3] {
        [s.live, s.fprop, s.dgrad]
    }
}

/// Where the time of a mini-batch went. The rows add up to the wall clock's seconds; the last one is what workers waited.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ledger {
    /// The rows.
    #[serde(rename = "lines")]
    pub rows: Vec<LedgerRow>,
    /// Seconds by the clock.
    pub seconds: f64,
}

/// What an op that is part of no step is booked on.
fn part(op: &Op, training: bool) -> &'static str {
    match op {
        Op::Load(_) => "load and augment",
        Op::Start(_) => "random start",
        Op::Fold(_) | Op::PrepareFilter(_) => "fold and prepare filters",
        Op::Freeze(_) | Op::Thaw(_) => "freeze and thaw",
        Op::Weigh(_) | Op::TwoPassLoss(_) | Op::CountBatch(_) | Op::CountPass(_) => "weights, losses, counters",
        Op::Update(_) => "parameter update",
        Op::ConvWgrad(_) | Op::StemWgrad(_) | Op::HeadWgrad(_) => "training: weight gradients",
        Op::NormFprop(_) | Op::NormBprop(_) => "training: batch norm",
        Op::StemFprop(_) | Op::ConvFprop(_) | Op::HeadFprop(_) if training => "training: forward",
        Op::StemDgrad(_) | Op::ConvDgrad(_) | Op::HeadDgrad(_) if training => "training: gradients to maps",
        Op::StemFprop(_)
        | Op::ConvFprop(_)
        | Op::HeadFprop(_)
        | Op::StemDgrad(_)
        | Op::ConvDgrad(_)
        | Op::HeadDgrad(_) => "forward passes outside of steps",
        Op::Select(_) | Op::Compact(_) | Op::Refill(_) => "check and compact",
        Op::PgdStep(_) | Op::Square(_) | Op::FabStep(_) | Op::FabBack(_) | Op::TargetClass(_) | Op::Apgd(_) => "attack",
    }
}

/// Books a trace of `program`, whose replay took `wall` seconds and counted `counts`.
pub fn of(program: &Program, trace: &Trace, wall: f64, counts: &Counts) -> Ledger {
    let mut rows: Vec<LedgerRow> = Vec::new();
    let mut ranges: Vec<Range> = Vec::new();
    let mut seconds = trace.seconds.iter();
    for node in &program.nodes {
        let op = match node {
            Node::Op(op) => op,
            Node::Enter(range) => {
                ranges.push(*range);
                continue;
            }
            Node::Leave => {
                ranges.pop();
                continue;
            }
            Node::Mark(_) => continue,
        };
        let step = ranges.iter().find_map(|r| match r {
            Range::Step(k) => Some(*k),
            _ => None,
        });
        let checks = ranges.contains(&Range::Check);
        let training = ranges.iter().any(|r| matches!(r, Range::Forward | Range::Backward));
        let what = match step {
            Some(_) if checks => "check and compact".to_owned(),
            Some(k) => Range::Step(k).to_string(),
            None => part(op, training).to_owned(),
        };
        let row = match rows.iter_mut().position(|l| l.what == what) {
            Some(at) => &mut rows[at],
            None => {
                let step = step.filter(|_| !checks).map(|k| {
                    let live = |k: usize| counts.live.get(k).copied().unwrap_or(0);
                    // A step's forward pass is of those that took the step before.
                    let before = if k == 0 { counts.examples } else { live(k - 1) };
                    StepPasses { live: before, fprop: before, dgrad: live(k) }
                });
                rows.push(LedgerRow { what, step, seconds: 0.0 });
                rows.last_mut().expect("just pushed")
            }
        };
        row.seconds += seconds.next().expect("a trace has every op") / trace.workers as f64;
    }
    let busy: f64 = rows.iter().map(|l| l.seconds).sum();
    rows.push(LedgerRow { what: "waiting for other threads".to_owned(), step: None, seconds: (wall - busy).max(0.0) });
    Ledger { rows, seconds: wall }
}

impl Ledger {
    /// As a table.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header(["", "live", "fprop", "dgrad", "ms", "share"]);
        for row in &self.rows {
            let [live, fprop, dgrad] =
                row.step.map_or(Default::default(), |s| <[u64; 3]>::from(s).map(|n| n.to_string()));
            let (ms, share) = (format!("{:.2}", 1e3 * row.seconds), 100.0 * row.seconds / self.seconds);
            table.add_row([row.what.clone(), live, fprop, dgrad, ms, format!("{share:.1} %")]);
        }
        table.add_row(["all", "", "", "", &format!("{:.2}", 1e3 * self.seconds), "100 %"]);
        table.column_iter_mut().skip(1).for_each(|c| c.set_cell_alignment(CellAlignment::Right));
        table.to_string()
    }
}
