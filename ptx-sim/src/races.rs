//! Who accessed a sector of global memory in the current launch, and whether that is a race.
//!
//! Blocks of a launch run in no order, so a byte that one of them writes must not be accessed by another, unless both use
//! atomics (or other strong accesses), or a release and an acquire order the two (see `order`).
//!
//! Each sector has a tag, an atomic word. The common states fit in it: nothing yet, one block that accessed all 32 bytes,
//! several that read all. Whatever else happens (accesses to parts of a sector) is kept in a `Detail`, exact to the byte,
//! whose index the tag then holds.
//!
//! Of kernels whose blocks synchronise, each access has a time as well. The tags keep only the last time of one block and
//! none of several, so they may see a race where there is none; such a launch is undone and run again with details of
//! all.

use crate::memory::{Global, SECTOR};
use crate::order::Order;
use smallvec::{SmallVec, smallvec};
use std::ops::Range;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// Locks that the details are spread over.
pub(crate) const SHARDS: usize = 64;

// A tag: launch (32 bits), state (2), written, read, block or index of the detail (28).
const LOW: u64 = (1 << 28) - 1;
const READ: u64 = 1 << 28;
const WRITTEN: u64 = 1 << 29;
const STATE: u64 = 3 << 30;
/// One block accessed all bytes at once: read them, or wrote them (and perhaps read some).
const ONE: u64 = 0;
/// Several blocks read all bytes, none wrote any.
const MANY: u64 = 1 << 30;
const DETAIL: u64 = 2 << 30;

/// In an entry: two or more blocks.
const SEVERAL: u32 = u32::MAX;

/// Bytes that a block accessed, at one time of its own clock.
#[derive(Clone, Copy, Debug)]
struct Entry {
    block: u32,
    time: u32,
    strong: bool,
    reads: u32,
    writes: u32,
}

/// The accesses to one sector: mostly of one block, or of two whose parts meet in it.
#[derive(Debug, Default)]
pub(crate) struct Detail {
    entries: SmallVec<[Entry; 2]>,
    /// One of them is no strong one.
    weak: bool,
}

/// One block's access to bytes of a sector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub block: u32,
    pub bytes: u32,
    pub write: bool,
    /// An atomic, volatile or relaxed access: no race with another one of these.
    pub strong: bool,
}

/// What a host thread has seen its blocks touch first.
#[derive(Debug, Default)]
pub(crate) struct Footprint {
    pub read_sectors: u64,
    pub written_sectors: u64,
    /// Bytes of sectors in a state other than DETAIL (modulo 2^64, for one thread may add what another takes away).
    pub bytes: u64,
    /// Contents of the sectors before their first write, if they may have to be restored.
    pub saved: Option<Vec<Saved>>,
}

/// A sector before the launch.
#[derive(Debug)]
pub(crate) struct Saved {
    alloc: u32,
    sector: u32,
    init: u32,
    bytes: [u8; SECTOR],
}

/// The other block of a race, if it is one, and whether it wrote.
#[derive(Debug)]
pub(crate) struct Race {
    pub block: Option<u32>,
    pub wrote: bool,
}

impl Global {
    /// Enters an access in its sector's tag before it happens. `alone`: no other host thread runs blocks.
    #[inline(always)]
    pub fn touch(
        &self,
        (alloc, sector): (usize, usize),
        access: Access,
        order: Option<&mut Order>,
        seen: &mut Footprint,
        alone: bool,
    ) -> Result<(), Race> {
        if order.is_none() {
            let tag = &self.allocs[alloc].tags[sector];
            let (stamp, bit) = ((self.stamp as u64) << 32, if access.write { WRITTEN } else { READ });
            let mine = stamp | access.block as u64;
            let known = tag.load(Acquire);
            // Most accesses are not the first of their block, or read what several blocks have read, and change nothing.
            let by = known & !(READ | WRITTEN);
            if known & bit != 0 && (by == mine || !access.write && by & !LOW == stamp | MANY) {
                return Ok(());
            }
            if known >> 32 != self.stamp as u64
                && access.bytes == u32::MAX
                && (alone || tag.compare_exchange(known, mine | bit, AcqRel, Relaxed).is_ok())
            {
                if alone {
                    tag.store(mine | bit, Relaxed);
                }
                seen.bytes = seen.bytes.wrapping_add(SECTOR as u64);
                self.first((alloc, sector), bit, seen);
                return Ok(());
            }
        }
        self.touch_closely((alloc, sector), access, order, seen, alone)
    }

    /// `touch` of whole sectors that follow each other, by a block without an order. None where one of them needs a
    /// closer look, and what has been entered may be entered again; else whether the block accesses them for the first
    /// time. Mostly all have been accessed by this block, or none by any.
    #[inline(always)]
    pub fn touch_whole(
        &self,
        (alloc, sectors): (usize, Range<usize>),
        (block, write): (u32, bool),
        seen: &mut Footprint,
        alone: bool,
    ) -> Option<bool> {
        let tags = &self.allocs[alloc].tags[sectors.clone()];
        let (stamp, bit) = ((self.stamp as u64) << 32, if write { WRITTEN } else { READ });
        let (mine, many) = (stamp | block as u64, if write { !0 } else { stamp | MANY });
        let by = |tag: u64| tag & !(READ | WRITTEN);
        let is_known = |tag: u64| (tag & bit != 0) & ((by(tag) == mine) | (by(tag) & !LOW == many));
        let is_own = |tag: u64| (tag >> 32 != self.stamp as u64) | (by(tag) == mine);
        // Mostly all are the same.
        let one = tags[0].load(Acquire);
        let same = tags.iter().fold(0, |off, tag| off | tag.load(Acquire) ^ one) == 0;
        let all = |f: &dyn Fn(u64) -> bool| tags.iter().all(|tag| f(tag.load(Acquire)));
        let (known, own) = if same { (is_known(one), is_own(one)) } else { (all(&is_known), all(&is_own)) };
        if known || !own {
            return known.then_some(false);
        }
        for (tag, sector) in tags.iter().zip(sectors) {
            let old = tag.load(Acquire);
            let fresh = old >> 32 != self.stamp as u64;
            let had = if fresh { 0 } else { old };
            let new = mine | had | bit;
            if alone {
                tag.store(new, Relaxed);
            } else if tag.compare_exchange(old, new, AcqRel, Relaxed).is_err() {
                return None;
            }
            seen.bytes = seen.bytes.wrapping_add(if fresh { SECTOR as u64 } else { 0 });
            self.first((alloc, sector), bit & !had, seen);
        }
        Some(true)
    }

    /// `touch`, of an access that may change the tag.
    #[inline(never)]
    fn touch_closely(
        &self,
        (alloc, sector): (usize, usize),
        access: Access,
        order: Option<&mut Order>,
        seen: &mut Footprint,
        alone: bool,
    ) -> Result<(), Race> {
        let tag = &self.allocs[alloc].tags[sector];
        let time = order.as_ref().map_or(0, |o| o.now());
        let stamped = order.is_some();
        let whole = access.bytes == u32::MAX && !(stamped && (self.exact || access.strong));
        let mine = (self.stamp as u64) << 32 | access.block as u64;
        let bit = if access.write { WRITTEN } else { READ };
        loop {
            let old = tag.load(Acquire);
            let fresh = old >> 32 != self.stamp as u64;
            let new = if fresh {
                if !whole {
                    break;
                }
                mine | bit
            } else if old & STATE == ONE {
                let wrote = old & WRITTEN != 0;
                if old & LOW == access.block as u64 {
                    if access.write && !wrote && !whole {
                        break;
                    }
                    old | bit
                } else if (access.write || wrote) && self.check_races {
                    let (other, time) = ((old & LOW) as u32, self.allocs[alloc].time(sector));
                    if order.as_ref().is_some_and(|o| o.happened(access.block, other, time)) {
                        break;
                    }
                    return Err(Race { block: Some(other), wrote });
                } else if !whole && self.check_races {
                    break;
                } else if access.write || wrote {
                    old | bit
                } else {
                    old & !STATE | MANY
                }
            } else if old & STATE == MANY {
                if access.write && self.check_races {
                    return Err(Race { block: None, wrote: false });
                }
                old | bit
            } else {
                break;
            };
            if stamped {
                if self.exact || access.strong {
                    break;
                }
                self.allocs[alloc].set_time(sector, time);
            }
            if new != old {
                if alone {
                    tag.store(new, Relaxed);
                } else if tag.compare_exchange_weak(old, new, AcqRel, Relaxed).is_err() {
                    continue;
                }
                seen.bytes = seen.bytes.wrapping_add(if fresh { SECTOR as u64 } else { 0 });
                let had = if fresh { 0 } else { old };
                self.first((alloc, sector), new & !had, seen);
            }
            return Ok(());
        }
        self.touch_detail((alloc, sector), access, order, seen)
    }

    /// Counts and saves a sector that is read or written for the first time.
    #[inline(always)]
    fn first(&self, at: (usize, usize), added: u64, seen: &mut Footprint) {
        seen.read_sectors += (added & READ != 0) as u64;
        if added & WRITTEN != 0 {
            seen.written_sectors += 1;
            if let Some(saved) = &mut seen.saved {
                let a = &self.allocs[at.0];
                let mut bytes = [0; SECTOR];
                // SAFETY: the sector has 32 bytes; its tag (or its detail's lock) keeps other writers away until this
                // first one has gone on.
                #[allow(unsafe_code)]
                unsafe {
                    std::ptr::copy_nonoverlapping(a.host(at.1), bytes.as_mut_ptr(), SECTOR);
                }
                let init = a.init[at.1].load(Relaxed);
                saved.push(Saved { alloc: at.0 as u32, sector: at.1 as u32, init, bytes });
            }
        }
    }

    #[inline(never)]
    fn touch_detail(
        &self,
        (alloc, sector): (usize, usize),
        access: Access,
        order: Option<&mut Order>,
        seen: &mut Footprint,
    ) -> Result<(), Race> {
        let tag = &self.allocs[alloc].tags[sector];
        let mut details = self.details[sector % SHARDS].lock().expect("no panic while locked");
        let bit = if access.write { WRITTEN } else { READ };
        let stamp = (self.stamp as u64) << 32;
        // Make the tag point to a detail; other threads may change its state until it does.
        let (index, old) = loop {
            let old = tag.load(Acquire);
            if old & !LOW & !READ & !WRITTEN == stamp | DETAIL {
                // Only holders of the lock change a tag in this state.
                tag.store(old | bit, Relaxed);
                break ((old & LOW) as usize, old);
            }
            let had = if old >> 32 == self.stamp as u64 { old } else { 0 };
            let index = details.len();
            let new = stamp | DETAIL | had & (READ | WRITTEN) | bit | index as u64;
            if tag.compare_exchange(old, new, AcqRel, Acquire).is_err() {
                continue;
            }
            let all = |flag| if had & flag != 0 { u32::MAX } else { 0 };
            let block = if had & STATE == MANY { SEVERAL } else { (had & LOW) as u32 };
            let time = if order.is_some() { self.allocs[alloc].time(sector) } else { 0 };
            let entry = Entry { block, time, strong: false, reads: all(READ), writes: all(WRITTEN) };
            let known = had != 0;
            seen.bytes = seen.bytes.wrapping_sub(if known { SECTOR as u64 } else { 0 });
            details.push(Detail { entries: if known { smallvec![entry] } else { SmallVec::new() }, weak: known });
            break (index, had);
        };
        self.first((alloc, sector), bit & !old, seen);
        let detail = &mut details[index];
        if self.check_races { detail.enter(access, order) } else { detail.note(access) }
    }

    /// Bytes in sectors with details, at the launch's end.
    pub fn detailed_bytes(&mut self) -> u64 {
        let all = self.details.iter_mut().flat_map(|d| d.get_mut().expect("no panic while locked").iter());
        all.map(|d| d.entries.iter().fold(0, |m, e| m | e.reads | e.writes).count_ones() as u64).sum()
    }

    /// Undoes what a launch wrote.
    pub fn restore(&mut self, saved: Vec<Saved>) {
        for s in saved {
            let a = &mut self.allocs[s.alloc as usize];
            let at = s.sector as usize;
            *a.init[at].get_mut() = s.init;
            a.bytes()[at * SECTOR..(at + 1) * SECTOR].copy_from_slice(&s.bytes);
        }
    }
}

impl Detail {
    /// Without the check of races, only which bytes were touched matters.
    fn note(&mut self, a: Access) -> Result<(), Race> {
        match self.entries.first_mut() {
            Some(e) => e.reads |= a.bytes,
            None => {
                self.entries.push(Entry { block: SEVERAL, time: 0, strong: true, reads: a.bytes, writes: 0 });
            }
        }
        Ok(())
    }

    fn enter(&mut self, a: Access, order: Option<&mut Order>) -> Result<(), Race> {
        let time = order.as_ref().map_or(0, |o| o.now());
        let (reads, writes) = if a.write { (0, a.bytes) } else { (a.bytes, 0) };
        if a.strong && !self.weak {
            // A counter of all blocks: no need to look at each.
            match self.entries.last_mut() {
                Some(e) if e.block == a.block && e.time == time => {
                    e.reads |= reads;
                    e.writes |= writes;
                }
                _ => self.entries.push(Entry { block: a.block, time, strong: true, reads, writes }),
            }
            return Ok(());
        }
        self.weak |= !a.strong;
        let (mut known, mut read_by_others, mut several) = (None, 0, None);
        for (i, e) in self.entries.iter().enumerate() {
            if e.block == a.block {
                if e.time == time && e.strong == a.strong {
                    known = Some(i);
                }
                continue;
            }
            let clash = if a.write { a.bytes & (e.reads | e.writes) } else { a.bytes & e.writes };
            let ordered = || order.as_ref().is_some_and(|o| o.happened(a.block, e.block, e.time));
            if clash != 0 && !(a.strong && e.strong) && !ordered() {
                let block = (e.block != SEVERAL).then_some(e.block);
                return Err(Race { block, wrote: e.writes & clash != 0 });
            }
            read_by_others |= e.reads;
            if e.block == SEVERAL {
                several = Some(i);
            }
        }
        // Without an order, which blocks have read a byte no longer matters once two have.
        let shared = if order.is_none() && !a.write { a.bytes & read_by_others } else { 0 };
        if shared != 0 {
            match several {
                Some(i) => self.entries[i].reads |= shared,
                None => {
                    self.entries.push(Entry { block: SEVERAL, time: 0, strong: false, reads: shared, writes: 0 });
                }
            }
        }
        let own = a.bytes & !shared;
        let (reads, writes) = if a.write { (0, own) } else { (own, 0) };
        match known {
            Some(i) => {
                self.entries[i].reads |= reads;
                self.entries[i].writes |= writes;
            }
            None if own != 0 => {
                self.entries.push(Entry { block: a.block, time, strong: a.strong, reads, writes });
            }
            None => {}
        }
        Ok(())
    }
}
