//! Requests of a warp to global memory: which sectors they touch, the checks of each, and the data.

use super::buf::contiguous;
use super::{Buf, Worker, lanes};
use crate::error::FaultKind;
use crate::memory::{Alloc, MemFault, SECTOR, mask};
use crate::races::{Access, Race};
use crate::shared::LaneFault;
use std::sync::atomic::Ordering::Relaxed;

/// The sectors of a request, with the bytes of each.
struct Sectors {
    list: [(u64, u32); 32],
    count: usize,
    /// Of which sector each lane is.
    of: [u8; 32],
    /// All lanes, one after the other.
    run: bool,
}

impl Sectors {
    /// `n` bytes a lane at aligned addresses, so that each lane lies in one sector.
    #[inline(always)]
    fn new(addrs: &[u64; 32], active: u32, n: usize) -> Sectors {
        let mut s = Sectors { list: [(0, 0); 32], count: 0, of: [0; 32], run: contiguous(addrs, active, n) };
        if s.run {
            let (start, end) = (addrs[0], addrs[0] + 32 * n as u64);
            let mut at = start;
            while at < end {
                let next = (at / SECTOR as u64 + 1) * SECTOR as u64;
                s.list[s.count] = (at / SECTOR as u64, mask(at as usize % SECTOR, (next.min(end) - at) as usize));
                s.count += 1;
                at = next;
            }
            return s;
        }
        let mut highest = 0;
        for lane in lanes(active) {
            let (sector, bytes) = (addrs[lane] / SECTOR as u64, mask(addrs[lane] as usize % SECTOR, n));
            // Addresses mostly ascend.
            let known = if s.count > 0 && s.list[s.count - 1].0 == sector {
                Some(s.count - 1)
            } else if sector > highest {
                None
            } else {
                s.list[..s.count].iter().position(|p| p.0 == sector)
            };
            let at = known.unwrap_or(s.count);
            if known.is_none() {
                s.list[at] = (sector, 0);
                s.count += 1;
                highest = highest.max(sector);
            }
            s.list[at].1 |= bytes;
            s.of[lane] = at as u8;
        }
        s
    }
}

/// How a request accesses memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    Load,
    Store,
    /// Reads and writes.
    Atomic,
}

/// The lane whose `n` bytes hold one of the `bytes` of a sector.
#[cold]
fn lane_of(addrs: &[u64; 32], active: u32, n: usize, sector: u64, bytes: u32) -> usize {
    let hit = |&i: &usize| addrs[i] / SECTOR as u64 == sector && mask(addrs[i] as usize % SECTOR, n) & bytes != 0;
    lanes(active).find(hit).unwrap_or(active.trailing_zeros() as usize)
}

#[cold]
fn race_fault(block: u32, write: bool, race: Race) -> MemFault {
    let other = race.block.map_or("other blocks".into(), |b| format!("block index {b}"));
    let (verb, did) = (if write { "writes" } else { "reads" }, if race.wrote { "wrote" } else { "read" });
    let what = format!("block index {block} {verb} a word that {other} {did} in the same launch");
    MemFault(FaultKind::GlobalRace, what)
}

impl Worker<'_> {
    /// Checks the request and enters it where races are looked for. Returns the host's address of each sector.
    #[inline(always)]
    fn enter(
        &mut self,
        s: &Sectors,
        (addrs, active, n): (&[u64; 32], u32, usize),
        mode: Mode,
        strong: bool,
    ) -> Result<[*mut u8; 32], LaneFault> {
        let global = self.global;
        let mut hosts = [std::ptr::null_mut(); 32];
        for (k, &(sector, bytes)) in s.list[..s.count].iter().enumerate() {
            let fault = |bytes: u32, f: MemFault| (lane_of(addrs, active, n, sector, bytes), f);
            let first = sector * SECTOR as u64;
            let low = first + bytes.trailing_zeros() as u64;
            let found = global.find(low, 1, self.recent[self.slot]);
            let a = found.map_err(|f| fault(bytes & bytes.wrapping_neg(), f))?;
            self.recent[self.slot] = a;
            let alloc = &global.allocs[a];
            let left = alloc.base + alloc.len - first;
            if left < SECTOR as u64 && bytes >> left != 0 {
                let bad = bytes >> left << left;
                let lane = lane_of(addrs, active, n, sector, bad);
                let found = global.find(addrs[lane], n as u64, a);
                return Err((lane, found.expect_err("it reaches over the end")));
            }
            let index = (first - alloc.base) as usize / SECTOR;
            if mode != Mode::Load && alloc.read_only && global.check_read_only {
                let at = low - alloc.base;
                let what = format!("write to read-only memory, offset {at} of an allocation of {} bytes", alloc.len);
                return Err(fault(bytes, MemFault(FaultKind::ReadOnly, what)));
            }
            if mode != Mode::Store && global.check_init {
                let missing = bytes & !alloc.init[index].load(Relaxed);
                if missing != 0 {
                    let at = index * SECTOR + missing.trailing_zeros() as usize;
                    let what = format!("read of offset {at} of an allocation of {} bytes, never written", alloc.len);
                    return Err(fault(missing, MemFault(FaultKind::Uninitialised, what)));
                }
            }
            for write in [false, true] {
                if mode == if write { Mode::Load } else { Mode::Store } {
                    continue;
                }
                let access = Access { block: self.block, bytes, write, strong };
                let entered = global.touch((a, index), access, self.order.as_mut(), &mut self.seen, self.alone);
                entered.map_err(|race| fault(bytes, race_fault(self.block, write, race)))?;
            }
            if mode != Mode::Load {
                self.initialise(alloc, index, bytes);
            }
            hosts[k] = alloc.host(index);
        }
        Ok(hosts)
    }

    #[inline(always)]
    fn initialise(&self, alloc: &Alloc, index: usize, bytes: u32) {
        let init = &alloc.init[index];
        let old = init.load(Relaxed);
        if old & bytes != bytes {
            if self.alone || bytes == u32::MAX {
                init.store(old | bytes, Relaxed);
            } else {
                // Other blocks may write other bytes of the sector.
                init.fetch_or(bytes, Relaxed);
            }
        }
    }

    #[inline(always)]
    fn aligned(addrs: &[u64; 32], active: u32, n: usize) -> Result<(), LaneFault> {
        let mut bad = 0u32;
        for (i, &a) in addrs.iter().enumerate() {
            bad |= ((a & (n as u64 - 1) != 0) as u32) << i;
        }
        if bad & active == 0 {
            return Ok(());
        }
        let lane = (bad & active).trailing_zeros() as usize;
        Err((lane, MemFault(FaultKind::Misaligned, format!("address {:#x} is no multiple of {n}", addrs[lane]))))
    }

    /// Reads `n` bytes a lane.
    #[inline(always)]
    pub(super) fn global_load(
        &mut self,
        addrs: &[u64; 32],
        active: u32,
        n: usize,
        strong: bool,
        out: &mut Buf,
    ) -> Result<(), LaneFault> {
        Self::aligned(addrs, active, n)?;
        let s = Sectors::new(addrs, active, n);
        let hosts = self.enter(&s, (addrs, active, n), Mode::Load, strong)?;
        self.counters.global_load_requests += 1;
        self.counters.global_load_sectors += s.count as u64;
        // SAFETY: `enter` has checked that the bytes of each sector lie in its allocation, and has refused the request
        // where another block writes them. Of a run, all sectors follow each other in one allocation.
        #[allow(unsafe_code)]
        unsafe {
            if s.run {
                let from = hosts[0].add(addrs[0] as usize % SECTOR);
                std::ptr::copy_nonoverlapping(from, out.all_mut(n).as_mut_ptr(), 32 * n);
                return Ok(());
            }
            for lane in lanes(active) {
                let from = hosts[s.of[lane] as usize].add(addrs[lane] as usize % SECTOR);
                super::copy(out.lane_mut(lane, n), std::slice::from_raw_parts(from, n));
            }
        }
        Ok(())
    }

    /// Writes `n` bytes a lane.
    #[inline(always)]
    pub(super) fn global_store(
        &mut self,
        addrs: &[u64; 32],
        active: u32,
        n: usize,
        strong: bool,
        from: &Buf,
    ) -> Result<(), LaneFault> {
        Self::aligned(addrs, active, n)?;
        let s = Sectors::new(addrs, active, n);
        let hosts = self.enter(&s, (addrs, active, n), Mode::Store, strong)?;
        self.counters.global_store_requests += 1;
        self.counters.global_store_sectors += s.count as u64;
        // SAFETY: as in `global_load`; `enter` has refused the request where another block accesses the bytes.
        #[allow(unsafe_code)]
        unsafe {
            if s.run {
                let to = hosts[0].add(addrs[0] as usize % SECTOR);
                std::ptr::copy_nonoverlapping(from.lane(0, n).as_ptr(), to, 32 * n);
                return Ok(());
            }
            for lane in lanes(active) {
                let to = hosts[s.of[lane] as usize].add(addrs[lane] as usize % SECTOR);
                super::copy(std::slice::from_raw_parts_mut(to, n), from.lane(lane, n));
            }
        }
        Ok(())
    }

    /// Applies `f` to the `n` bytes of each lane in turn, as one atomic request. `f` gets lane and old value.
    pub(super) fn global_atomic(
        &mut self,
        addrs: &[u64; 32],
        active: u32,
        n: usize,
        mut f: impl FnMut(usize, u64) -> u64,
    ) -> Result<(), LaneFault> {
        Self::aligned(addrs, active, n)?;
        let s = Sectors::new(addrs, active, n);
        let hosts = self.enter(&s, (addrs, active, n), Mode::Atomic, true)?;
        self.counters.global_atomic_sectors += s.count as u64;
        for lane in lanes(active) {
            let which = if s.run { (addrs[lane] / SECTOR as u64 - s.list[0].0) as usize } else { s.of[lane] as usize };
            // SAFETY: as in `global_store`; kernels with atomics run on one thread.
            #[allow(unsafe_code)]
            let bytes = unsafe { std::slice::from_raw_parts_mut(hosts[which].add(addrs[lane] as usize % SECTOR), n) };
            let mut raw = [0; 8];
            raw[..n].copy_from_slice(bytes);
            bytes.copy_from_slice(&f(lane, u64::from_le_bytes(raw)).to_le_bytes()[..n]);
        }
        Ok(())
    }
}
