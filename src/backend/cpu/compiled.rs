//! Makes a program ready to replay: groups its ops into steps, and finds every value a place in memory.
//!
//! Between two ops that need the whole batch (a compaction, a batch norm in train mode, an update) all ops are independent
//! per example. Such a *stretch* runs depth-first: a tile of images goes through all of its ops, all attack steps included,
//! before the next tile, so that activations stay in cache. A map that every stretch writes before it reads needs room for
//! one tile per thread only; it is *local*. Within a tile, *runs* of ops over large maps go over smaller parts of it.

use crate::Result;
use crate::cpu::layout::MapShape;
use crate::cpu::memory::Memory;
use crate::cpu::storage::{Place, Storage};
use crate::ops::prepare_filter::cpu::filter_len;
use crate::ops::{Op, Program};
use crate::program::{Bits, Extent, Map, Node, Phase, Value, Values};

/// Bytes of maps and filters that a run may keep busy: a share of the second-level cache.
const CACHE: usize = 384 << 10;
/// Rows of a matrix product over images and Winograd tiles from which on its filters are read seldom enough.
const ROWS: usize = 64;

/// What is done at a time. Ops are named by their place among the program's ops.
#[derive(Debug)]
pub(super) enum Section {
    Mark(Phase),
    /// An op that needs the whole batch.
    Alone(usize),
    /// Foldings, one after another, and then the preparation of the filters that they scale.
    Prepare {
        folds: Vec<usize>,
        filters: Vec<usize>,
    },
    /// Per-example ops, and counts of the live examples, which are taken once.
    Stretch {
        counts: Vec<usize>,
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
pub struct Compiled {
    pub(super) ops: Vec<Op>,
    pub(super) sections: Vec<Section>,
    pub(super) values: Values,
    pub(super) storage: Storage,
    pub(super) arenas: Vec<Memory>,
    /// Most slots of a tile.
    pub(super) tile: usize,
}

/// Whether values that a tile can hold are kept there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locality {
    /// In a thread's arena where that is enough.
    Tiles,
    /// Everything in memory of its own, to be looked at.
    Inspectable,
}

impl Compiled {
    /// Bytes of its values and arenas.
    pub(super) fn bytes(&self) -> usize {
        let place = |p: &Place| match p {
            Place::Shared(memory) => memory.bytes(),
            Place::Local(_) => 0,
        };
        let Storage { maps, bits, filters, affines, .. } = &self.storage;
        maps.iter().chain(bits).map(|v| place(&v.1)).sum::<usize>()
            + filters.iter().map(|f| f.1.bytes()).sum::<usize>()
            + affines.iter().map(|a| a.1.bytes()).sum::<usize>()
            + self.arenas.iter().map(Memory::bytes).sum::<usize>()
    }

    /// Prepares `program` for `threads` threads.
    pub(super) fn new(program: Program, threads: usize, locality: Locality) -> Result<Compiled> {
        let Program { values, nodes } = program;
        let capacity = values.capacity;
        let tile = tile(&values).min(capacity.div_ceil(threads)).max(1);
        let (sections, ops) = sections(nodes, &values, tile);
        let is_local = |value| locality == Locality::Tiles && is_local(&ops, &sections, value);
        let mut end = 0;
        let mut place = |local: bool, bytes: usize| -> Result<Place> {
            if !local {
                return Ok(Place::Shared(Memory::zeroed(capacity * bytes)?));
            }
            let at = end;
            end += (tile * bytes).next_multiple_of(64);
            Ok(Place::Local(at))
        };
        let (mut maps, mut bits, mut filters, mut affines) = (vec![], vec![], vec![], vec![]);
        for (i, s) in values.maps.iter().map(|s| MapShape::from(*s)).enumerate() {
            maps.push((s, place(is_local(Value::Map(Map(i as u32))), s.example() * 4)?));
        }
        for (i, s) in values.bits.iter().map(|s| MapShape::from(*s)).enumerate() {
            bits.push((s, place(is_local(Value::Bits(Bits(i as u32))), s.bits() * 2)?));
        }
        for f in &values.filters {
            filters.push((*f, Memory::zeroed(filter_len(f) * 4)?));
        }
        for &c in &values.affines {
            affines.push((c, Memory::zeroed(c.next_multiple_of(16) * 2 * 4)?));
        }
        let scratch = scratch(&ops, &sections, &values, tile).next_multiple_of(16);
        for place in maps.iter_mut().chain(&mut bits).map(|v: &mut (MapShape, Place)| &mut v.1) {
            if let Place::Local(at) = place {
                *at += scratch * 4;
            }
        }
        let storage = Storage { maps, bits, filters, affines, scratch };
        let arenas = (0..threads).map(|_| Memory::zeroed(scratch * 4 + end)).collect::<Result<_>>()?;
        Ok(Compiled { ops, sections, values, storage, arenas, tile })
    }
}

/// Slots of a tile: enough that the products over the smallest maps have `ROWS` rows.
fn tile(values: &Values) -> usize {
    let smallest = values.maps.iter().map(|s| s.h.div_ceil(4) * s.w.div_ceil(4)).min().unwrap_or(1);
    ROWS.div_ceil(smallest).max(8)
}

/// Slots that an op goes over at a time, a power of two: as many as keep its maps in cache, or the whole tile where its
/// filter would not stay there anyway.
fn run_slots(op: &Op, values: &Values, tile: usize) -> usize {
    let uses = op.operation().uses();
    let bytes = uses.reads.iter().chain(&uses.writes).map(|v| match v {
        Value::Map(m) => MapShape::from(values.map(*m)).example() * 4,
        Value::Bits(b) => MapShape::from(values.mask(*b)).bits() * 2,
    });
    let bytes: usize = bytes.sum();
    let filter = uses.filter.map_or(0, |f| filter_len(values.filter(f)) * 4);
    if filter > CACHE {
        return tile;
    }
    let slots = (CACHE / bytes.max(1)).max(1);
    (1 << slots.ilog2()).min(tile)
}

/// What a program does at a time, and its ops.
fn sections(nodes: Vec<Node<Op>>, values: &Values, tile: usize) -> (Vec<Section>, Vec<Op>) {
    let (mut sections, mut ops): (Vec<Section>, Vec<Op>) = (Vec::new(), Vec::new());
    for node in nodes {
        let op = match node {
            Node::Op(op) => op,
            Node::Mark(phase) => {
                sections.push(Section::Mark(phase));
                continue;
            }
            Node::Enter(_) | Node::Leave => continue,
        };
        let i = ops.len();
        match (op.operation().extent(), sections.last_mut()) {
            (Extent::Fold, Some(Section::Prepare { folds, .. })) => folds.push(i),
            (Extent::Fold, _) => sections.push(Section::Prepare { folds: vec![i], filters: vec![] }),
            (Extent::Filter, Some(Section::Prepare { filters, .. })) => filters.push(i),
            (Extent::Filter, _) => sections.push(Section::Prepare { folds: vec![], filters: vec![i] }),
            (Extent::Count, Some(Section::Stretch { counts, .. })) => counts.push(i),
            (Extent::Example, Some(Section::Stretch { runs, .. })) => {
                let slots = run_slots(&op, values, tile);
                match runs.last_mut() {
                    Some(run) if run.slots == slots => run.ops.push(i),
                    _ => runs.push(Run { ops: vec![i], slots }),
                }
            }
            (Extent::Example, _) => {
                let run = Run { ops: vec![i], slots: run_slots(&op, values, tile) };
                sections.push(Section::Stretch { counts: vec![], runs: vec![run] });
            }
            (Extent::Count | Extent::Batch | Extent::Live, _) => sections.push(Section::Alone(i)),
        }
        ops.push(op);
    }
    (sections, ops)
}

/// Whether every section that uses the value is a stretch that writes it before it reads it.
fn is_local(ops: &[Op], sections: &[Section], value: Value) -> bool {
    sections.iter().all(|section| match section {
        Section::Mark(_) | Section::Prepare { .. } => true,
        Section::Alone(i) => {
            let uses = ops[*i].operation().uses();
            !uses.reads.contains(&value) && !uses.writes.contains(&value)
        }
        Section::Stretch { runs, .. } => {
            let first = runs.iter().flat_map(|r| &r.ops).find_map(|&i| {
                let uses = ops[i].operation().uses();
                if uses.reads.contains(&value) { Some(false) } else { uses.writes.contains(&value).then_some(true) }
            });
            first.unwrap_or(true)
        }
    })
}

/// f32 of scratch that the ops of every section find.
fn scratch(ops: &[Op], sections: &[Section], values: &Values, tile: usize) -> usize {
    let need = |i: usize, n| ops[i].cpu().scratch(n, values);
    let of_section = |section: &Section| match section {
        Section::Alone(i) => need(*i, values.capacity),
        Section::Stretch { runs, .. } => {
            runs.iter().flat_map(|r| r.ops.iter().map(|&i| need(i, r.slots.min(tile)))).max().unwrap_or(0)
        }
        Section::Prepare { .. } | Section::Mark(_) => 0,
    };
    sections.iter().map(of_section).max().unwrap_or(0)
}
