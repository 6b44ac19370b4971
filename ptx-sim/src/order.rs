//! What orders blocks of one launch: releases and acquires, as vector clocks.
//!
//! A block's clock counts its releases. Whoever acquires what a block has released knows all that the block did up to
//! then, and all that it knew. A fence followed by a strong store releases, a strong load followed by a fence acquires.
//! Threads of a block are not told apart: a fence of one counts for all, as after a barrier.

use std::collections::HashMap;

/// Per block, how many of its releases are known.
type Clock = HashMap<u32, u32>;

#[derive(Debug, Default)]
struct Block {
    releases: u32,
    knows: Clock,
    /// What a strong store publishes: all that was known at the last fence.
    fenced: Option<Clock>,
    /// What strong loads saw, known after the next fence.
    pending: Clock,
}

/// The blocks and the places by which they synchronise.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// The block that runs, and how often it has released.
    current: u32,
    now: u32,
    blocks: HashMap<u32, Block>,
    /// What a strong access to an address publishes.
    places: HashMap<u64, Clock>,
}

fn join(into: &mut Clock, from: &Clock) {
    for (&block, &n) in from {
        let known = into.entry(block).or_default();
        *known = n.max(*known);
    }
}

impl Order {
    fn block(&mut self, block: u32) -> &mut Block {
        self.blocks.entry(block).or_default()
    }

    /// Another block runs from now on.
    pub fn switch(&mut self, block: u32) {
        self.current = block;
        self.now = self.block(block).releases;
    }

    /// The time that accesses are stamped with.
    #[inline(always)]
    pub fn now(&self) -> u32 {
        self.now
    }

    /// Whether an access of `other` at a time of its clock happened before what `block` does now.
    pub fn happened(&self, block: u32, other: u32, time: u32) -> bool {
        self.blocks.get(&block).and_then(|b| b.knows.get(&other)).is_some_and(|&known| known > time)
    }

    /// All that a block has done and knows, from now on with a new time.
    fn release(&mut self, block: u32) -> Clock {
        let b = self.block(block);
        b.releases += 1;
        let mut clock = b.knows.clone();
        clock.insert(block, b.releases);
        self.now = self.blocks[&self.current].releases;
        clock
    }

    pub fn fence(&mut self, block: u32) {
        let b = self.block(block);
        let pending = std::mem::take(&mut b.pending);
        join(&mut b.knows, &pending);
        let clock = self.release(block);
        self.block(block).fenced = Some(clock);
    }

    /// A strong load of a block, acquiring or relaxed.
    pub fn load(&mut self, block: u32, address: u64, acquire: bool) {
        if let Some(clock) = self.places.get(&address) {
            let b = self.blocks.entry(block).or_default();
            join(if acquire { &mut b.knows } else { &mut b.pending }, clock);
        }
    }

    /// A strong store of a block, releasing or relaxed; `update`: of an atomic, which carries on what others released.
    pub fn store(&mut self, block: u32, address: u64, release: bool, update: bool) {
        let clock = if release { Some(self.release(block)) } else { self.block(block).fenced.clone() };
        match (clock, self.places.get_mut(&address)) {
            (Some(clock), Some(place)) if update => join(place, &clock),
            (Some(clock), _) => drop(self.places.insert(address, clock)),
            (None, Some(_)) if !update => drop(self.places.remove(&address)),
            (None, _) => {}
        }
    }
}
