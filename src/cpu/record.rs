//! Makes a program ready to replay: groups its ops into steps, and finds every value a place in memory.
//!
//! Between two ops that need the whole batch (a compaction, a batch norm in train mode, an update) all ops are independent
//! per example. Such a *stretch* runs depth-first: a tile of images goes through all of its ops, all attack steps included,
//! before the next tile, so that activations stay in cache. A map that every stretch writes before it reads needs room for
//! one tile per thread only; it is *local*. Within a tile, *runs* of ops over large maps go over smaller parts of it.

use super::context::CpuOp;
use super::layout::MapShape;
use super::memory::Memory;
use crate::Result;
use crate::program::{Bits, FilterDecl, Map, Op, Phase, Program, Shape, Value, uses};

/// Bytes of maps and filters that a run may keep busy: a share of the second-level cache.
const CACHE: usize = 384 << 10;
/// Rows of a matrix product over images and Winograd tiles from which on its filters are read seldom enough.
const ROWS: usize = 64;

/// Where a value lives.
#[derive(Debug)]
pub enum Place {
    /// In memory of its own, with room for every slot.
    Shared(Memory),
    /// At this byte of each thread's arena, with room for a tile.
    Local(usize),
}

/// The values of a program and their places.
#[derive(Debug)]
pub struct Values {
    pub(super) maps: Vec<(MapShape, Place)>,
    pub(super) bits: Vec<(MapShape, Place)>,
    pub(super) filters: Vec<(FilterDecl, Memory)>,
    pub(super) affines: Vec<(usize, Memory)>,
    /// f32 of scratch at the start of each arena.
    pub(super) scratch: usize,
}

impl Values {
    /// The shape of a map in this backend's layout.
    pub fn shape(&self, map: Map) -> MapShape {
        self.maps[map.0 as usize].0
    }

    /// The declaration of a filter.
    pub fn decl(&self, filter: crate::program::Filter) -> &FilterDecl {
        &self.filters[filter.0 as usize].0
    }
}

/// What is done at a time.
#[derive(Debug)]
pub(super) enum Step {
    Mark(Phase),
    /// An op that needs the whole batch, by its index.
    Alone(usize),
    /// Foldings, one after another, and then the preparation of the filters that they scale.
    Prepare {
        folds: Vec<usize>,
        filters: Vec<usize>,
    },
    /// Per-example ops, and tallies, which are done once.
    Stretch {
        tallies: Vec<usize>,
        runs: Vec<Run>,
    },
}

/// Per-example ops that go over a tile in parts of `slots`.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) ops: Vec<usize>,
    pub(super) slots: usize,
}

/// A program ready to replay.
pub struct Recorded {
    pub(super) program: Program,
    pub(super) steps: Vec<Step>,
    pub(super) values: Values,
    pub(super) arenas: Vec<Memory>,
    /// Most slots of a tile.
    pub(super) tile: usize,
}

impl Recorded {
    /// Bytes of its values and arenas.
    pub(super) fn bytes(&self) -> usize {
        let place = |p: &Place| match p {
            Place::Shared(memory) => memory.bytes(),
            Place::Local(_) => 0,
        };
        let Values { maps, bits, filters, affines, .. } = &self.values;
        maps.iter().chain(bits).map(|v| place(&v.1)).sum::<usize>()
            + filters.iter().map(|f| f.1.bytes()).sum::<usize>()
            + affines.iter().map(|a| a.1.bytes()).sum::<usize>()
            + self.arenas.iter().map(Memory::bytes).sum::<usize>()
    }

    /// Prepares `program` for `threads` threads; if `inspectable`, every value gets memory of its own.
    pub(super) fn new(program: Program, threads: usize, inspectable: bool) -> Result<Recorded> {
        let tile = tile(&program).min(program.capacity.div_ceil(threads)).max(1);
        let steps = steps(&program, tile);
        let shape = |s: &Shape| MapShape { c: s.c, h: s.h, w: s.w };
        let mut end = 0;
        let capacity = program.capacity;
        let mut place = |local: bool, bytes: usize| -> Result<Place> {
            if !local {
                return Ok(Place::Shared(Memory::zeroed(capacity * bytes)?));
            }
            let at = end;
            end += (tile * bytes).next_multiple_of(64);
            Ok(Place::Local(at))
        };
        let (mut maps, mut bits, mut filters, mut affines) = (vec![], vec![], vec![], vec![]);
        for (i, s) in program.maps.iter().map(shape).enumerate() {
            let local = !inspectable && is_local(&program, &steps, Value::Map(Map(i as u32)));
            maps.push((s, place(local, s.example() * 4)?));
        }
        for (i, s) in program.bits.iter().map(shape).enumerate() {
            let local = !inspectable && is_local(&program, &steps, Value::Bits(Bits(i as u32)));
            bits.push((s, place(local, s.bits() * 2)?));
        }
        for f in &program.filters {
            filters.push((*f, Memory::zeroed(crate::ops::conv::run::filter_len(f) * 4)?));
        }
        for &c in &program.affines {
            affines.push((c, Memory::zeroed(c.next_multiple_of(16) * 2 * 4)?));
        }
        let mut values = Values { maps, bits, filters, affines, scratch: 0 };
        values.scratch = scratch(&program, &steps, &values, tile).next_multiple_of(16);
        for place in values.maps.iter_mut().chain(&mut values.bits).map(|v| &mut v.1) {
            if let Place::Local(at) = place {
                *at += values.scratch * 4;
            }
        }
        let arenas = (0..threads).map(|_| Memory::zeroed(values.scratch * 4 + end)).collect::<Result<_>>()?;
        Ok(Recorded { program, steps, values, arenas, tile })
    }
}

/// Slots of a tile: enough that the products over the smallest maps have `ROWS` rows.
fn tile(program: &Program) -> usize {
    let smallest = program.maps.iter().map(|s| s.h.div_ceil(4) * s.w.div_ceil(4)).min().unwrap_or(1);
    ROWS.div_ceil(smallest).max(8)
}

/// Slots that an op goes over at a time, a power of two: as many as keep its maps in cache, or the whole tile where its
/// filters would not stay there anyway.
fn run_slots(op: &Op, program: &Program, tile: usize) -> usize {
    let shape = |s: Shape| MapShape { c: s.c, h: s.h, w: s.w };
    let (reads, writes) = uses(op);
    let bytes = reads.iter().chain(&writes).map(|v| match v {
        Value::Map(m) => shape(program.maps[m.0 as usize]).example() * 4,
        Value::Bits(b) => shape(program.bits[b.0 as usize]).bits() * 2,
    });
    let bytes: usize = bytes.sum();
    let filter = match op {
        Op::ConvFprop(o) => Some(o.filter),
        Op::ConvDgrad(o) => Some(o.filter),
        _ => None,
    };
    let filter = filter.map_or(0, |f| crate::ops::conv::run::filter_len(&program.filters[f.0 as usize]) * 4);
    if filter > CACHE {
        return tile;
    }
    let slots = (CACHE / bytes.max(1)).max(1);
    (1 << slots.ilog2()).min(tile)
}

fn steps(program: &Program, tile: usize) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (i, op) in program.ops.iter().enumerate() {
        match (op, steps.last_mut()) {
            (Op::Enter(_) | Op::Leave, _) => {}
            (Op::Mark(phase), _) => steps.push(Step::Mark(*phase)),
            (Op::Fold(_), Some(Step::Prepare { folds, .. })) => folds.push(i),
            (Op::PrepareFilter(_), Some(Step::Prepare { filters, .. })) => filters.push(i),
            (Op::Fold(_), _) => steps.push(Step::Prepare { folds: vec![i], filters: vec![] }),
            (Op::PrepareFilter(_), _) => steps.push(Step::Prepare { folds: vec![], filters: vec![i] }),
            (Op::Tally(_), Some(Step::Stretch { tallies, .. })) => tallies.push(i),
            (_, Some(Step::Stretch { runs, .. })) if per_example(op) => {
                let slots = run_slots(op, program, tile);
                match runs.last_mut() {
                    Some(run) if run.slots == slots => run.ops.push(i),
                    _ => runs.push(Run { ops: vec![i], slots }),
                }
            }
            _ if per_example(op) => {
                let run = Run { ops: vec![i], slots: run_slots(op, program, tile) };
                steps.push(Step::Stretch { tallies: vec![], runs: vec![run] });
            }
            _ => steps.push(Step::Alone(i)),
        }
    }
    steps
}

/// Whether every step that uses the value is a stretch that writes it before it reads it.
fn is_local(program: &Program, steps: &[Step], value: Value) -> bool {
    steps.iter().all(|step| match step {
        Step::Mark(_) | Step::Prepare { .. } => true,
        Step::Alone(i) => {
            let (reads, writes) = uses(&program.ops[*i]);
            !reads.contains(&value) && !writes.contains(&value)
        }
        Step::Stretch { runs, .. } => {
            let first = runs.iter().flat_map(|r| &r.ops).find_map(|&i| {
                let (reads, writes) = uses(&program.ops[i]);
                if reads.contains(&value) { Some(false) } else { writes.contains(&value).then_some(true) }
            });
            first.unwrap_or(true)
        }
    })
}

fn scratch(program: &Program, steps: &[Step], values: &Values, tile: usize) -> usize {
    let need = |i: usize, n| implementation(&program.ops[i]).map_or(0, |op: &dyn CpuOp| op.scratch(n, values));
    let of_step = |step: &Step| match step {
        Step::Alone(i) => need(*i, program.capacity),
        Step::Stretch { runs, .. } => {
            runs.iter().flat_map(|r| r.ops.iter().map(|&i| need(i, r.slots.min(tile)))).max().unwrap_or(0)
        }
        _ => 0,
    };
    steps.iter().map(of_step).max().unwrap_or(0)
}

/// Whether an op may run on tiles of slots, tile by tile through a whole stretch of such ops.
pub(super) fn per_example(op: &Op) -> bool {
    use Op::*;
    matches!(
        op,
        Start(_)
            | Aim(_)
            | Apgd(_)
            | Square(_)
            | FabStep(_)
            | FabBack(_)
            | StemFprop(_)
            | StemDgrad(_)
            | ConvFprop(_)
            | ConvDgrad(_)
            | HeadFprop(_)
            | HeadDgrad(_)
    )
}

/// The op's implementation; none for marks.
pub(super) fn implementation(op: &Op) -> Option<&dyn CpuOp> {
    Some(match op {
        Op::Load(o) => o,
        Op::Start(o) => o,
        Op::Square(o) => o,
        Op::FabStep(o) => o,
        Op::FabBack(o) => o,
        Op::Fold(o) => o,
        Op::PrepareFilter(o) => o,
        Op::StemFprop(o) => o,
        Op::StemDgrad(o) => o,
        Op::StemWgrad(o) => o,
        Op::ConvFprop(o) => o,
        Op::ConvDgrad(o) => o,
        Op::ConvWgrad(o) => o,
        Op::NormFprop(o) => o,
        Op::NormBprop(o) => o,
        Op::HeadFprop(o) => o,
        Op::HeadDgrad(o) => o,
        Op::HeadWgrad(o) => o,
        Op::Select(o) => o,
        Op::Compact(o) => o,
        Op::Freeze(o) => o,
        Op::Thaw(o) => o,
        Op::Weigh(o) => o,
        Op::Pair(o) => o,
        Op::Refill(o) => o,
        Op::Aim(o) => o,
        Op::Apgd(o) => o,
        Op::Update(o) => o,
        Op::Tally(o) => o,
        Op::Account(o) => o,
        Op::Mark(_) | Op::Enter(_) | Op::Leave => return None,
    })
}
