//! Counts of memory requests: wavefronts of shared memory, lanes that meet at one address, local memory.

use super::{Pattern, Worker, lanes};
use crate::counters::Counters;
use crate::inst::{Access, Space};

/// `n` bytes of each lane of a mask, at addresses of one memory.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub addrs: &'a [u64; 32],
    pub mask: u32,
    pub n: usize,
    /// All lanes are active, and their bytes follow each other.
    pub run: bool,
}

impl Request<'_> {
    #[inline(always)]
    pub fn new(addrs: &[u64; 32], mask: u32, n: usize) -> Request<'_> {
        let mut off = 0;
        for (i, &a) in addrs.iter().enumerate() {
            off |= a.wrapping_sub(addrs[0]) ^ (i * n) as u64;
        }
        Request { addrs, mask, n, run: mask == !0 && off == 0 }
    }

    /// The first active lane whose address is no multiple of the width.
    #[inline(always)]
    pub fn misaligned(&self) -> Option<usize> {
        let low = self.n as u64 - 1;
        let all = if self.run { self.addrs[0] } else { self.addrs.iter().fold(0, |all, a| all | a) };
        if all & low == 0 {
            return None;
        }
        lanes(self.mask).find(|&i| self.addrs[i] & low != 0)
    }
}

/// Passes that the banks of shared memory take for `n` bytes a lane, and how many they would without conflicts.
///
/// Lanes go in phases of 128 bytes: all 32 up to 4 bytes each, 16 of 8 bytes, 8 of 16. In a phase, a bank serves one
/// word a pass, to all lanes that want it. Accesses of 8 and 16 bytes fill whole groups of banks, which then count as
/// one.
#[inline(always)]
pub(super) fn wavefronts(Request { addrs, mask, n, run }: Request) -> (u64, u64) {
    // Powers of two, so shifts: a division per lane would cost more than all the rest.
    let shift = n.max(4).trailing_zeros();
    let slots = 128 >> shift;
    if run {
        return (32 / slots as u64, 32 / slots as u64);
    }
    let (mut total, mut ideal) = (0, 0);
    for phase in (0..32).step_by(slots) {
        let active = mask >> phase & (((1u64 << slots) - 1) as u32);
        if active == 0 {
            continue;
        }
        ideal += 1;
        let (mut first, mut used, mut clash) = ([0u64; 32], 0u32, false);
        for i in lanes(active) {
            let word = addrs[phase + i] >> shift;
            let slot = word as usize & (slots - 1);
            clash |= used >> slot & 1 == 1 && first[slot] != word;
            used |= 1 << slot;
            first[slot] = word;
        }
        total += if clash { worst_slot(&addrs[phase..], active, shift, slots) } else { 1 };
    }
    (total, ideal)
}

/// Most different words that one slot has to serve.
#[cold]
fn worst_slot(addrs: &[u64], active: u32, shift: u32, slots: usize) -> u64 {
    let mut words: Vec<u64> = lanes(active).map(|i| addrs[i] >> shift).collect();
    words.sort_unstable();
    words.dedup();
    let mut per_slot = [0; 32];
    for w in words {
        per_slot[w as usize % slots] += 1;
    }
    per_slot.into_iter().max().unwrap_or(0)
}

/// Counts a request to shared memory.
#[inline(never)]
pub(super) fn shared_counts(c: &mut Counters, at: Request, store: bool) {
    let (waves, ideal) = wavefronts(at);
    count_shared(c, waves, ideal, store);
}

/// Counts a request to shared memory whose pattern is known.
#[inline(always)]
pub(super) fn shared_request(c: &mut Counters, p: &Pattern, store: bool) {
    count_shared(c, p.waves, p.ideal, store);
}

#[inline(always)]
fn count_shared(c: &mut Counters, waves: u64, ideal: u64, store: bool) {
    if store {
        c.shared_store_requests += 1;
        c.shared_store_wavefronts += waves;
    } else {
        c.shared_load_requests += 1;
        c.shared_load_wavefronts += waves;
    }
    c.shared_ideal_wavefronts += ideal;
}

/// Most lanes that meet at one address.
pub(super) fn busiest(addrs: &[u64; 32], mask: u32) -> u64 {
    let mut list: Vec<u64> = lanes(mask).map(|i| addrs[i]).collect();
    list.sort_unstable();
    list.chunk_by(|a, b| a == b).map(|c| c.len() as u64).max().unwrap_or(0)
}

impl Worker<'_> {
    /// What a strong load from global memory lets the block know.
    #[inline(always)]
    pub(super) fn order_load(&mut self, a: &Access, addrs: &[u64; 32], mask: u32) {
        if let Some(order) = self.order.as_mut().filter(|_| a.strong) {
            lanes(mask).for_each(|i| order.load(self.block, addrs[i], a.acquire));
        }
    }

    /// What a strong store to global memory lets others know.
    #[inline(always)]
    pub(super) fn order_store(&mut self, a: &Access, addrs: &[u64; 32], mask: u32) {
        if let Some(order) = self.order.as_mut().filter(|_| a.strong) {
            lanes(mask).for_each(|i| order.store(self.block, addrs[i], a.release, false));
        }
    }

    pub(super) fn count_local(&mut self, space: Space, mask: u32, n: usize, store: bool) {
        // The parameters of inlined calls are registers on a GPU.
        if space == Space::CallParam {
            return;
        }
        let c = &mut self.counters;
        if store {
            c.local_store_requests += 1;
        } else {
            c.local_load_requests += 1;
        }
        c.local_bytes += mask.count_ones() as u64 * n as u64;
    }

    pub(super) fn count_atomics(&mut self, addrs: &[u64; 32], mask: u32) {
        for i in lanes(mask) {
            *self.atomics.entry(addrs[i]).or_default() += 1;
        }
    }
}
