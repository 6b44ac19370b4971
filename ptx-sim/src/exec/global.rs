//! Requests of a warp to global memory: which sectors they touch, the checks of each, and the data.

use super::{Ahead, Buf, Request, Values, Worker, copy, each, lanes};
use crate::error::FaultKind;
use crate::memory::{Alloc, MemFault, SECTOR, mask};
use crate::races::{Access, Race};
use crate::shared::LaneFault;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

/// The sectors of a request whose lanes lie anywhere, with the bytes of each.
struct Sectors {
    list: [(u64, u32); 32],
    count: usize,
    /// Of which sector each lane is.
    of: [u8; 32],
}

impl Sectors {
    /// `n` bytes a lane at aligned addresses, so that each lane lies in one sector.
    #[inline(always)]
    fn new(addrs: &[u64; 32], active: u32, n: usize) -> Sectors {
        let mut s = Sectors { list: [(0, 0); 32], count: 0, of: [0; 32] };
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

#[cold]
fn misaligned(lane: usize, address: u64, n: usize) -> LaneFault {
    (lane, MemFault(FaultKind::Misaligned, format!("address {address:#x} is no multiple of {n}")))
}

#[inline(always)]
fn aligned_run(start: u64, n: usize) -> Result<(), LaneFault> {
    if start & (n as u64 - 1) == 0 { Ok(()) } else { Err(misaligned(0, start, n)) }
}

#[inline(always)]
fn aligned(at: Request) -> Result<(), LaneFault> {
    match at.misaligned() {
        None => Ok(()),
        Some(i) => Err(misaligned(i, at.addrs[i], at.n)),
    }
}

/// Bytes of a sector at fault, and the fault.
type SectorFault = (u32, MemFault);

impl Worker<'_> {
    /// Checks an access to bytes of a sector of an allocation and enters it where races are looked for.
    #[inline(always)]
    fn enter(&mut self, a: usize, index: usize, bytes: u32, mode: Mode, strong: bool) -> Result<(), SectorFault> {
        let global = self.global;
        let alloc = &global.allocs[a];
        if mode != Mode::Store && global.check_init {
            let missing = bytes & !alloc.init[index].load(Relaxed);
            if missing != 0 {
                let at = index * SECTOR + missing.trailing_zeros() as usize;
                let what = format!("read of offset {at} of an allocation of {} bytes, never written", alloc.len);
                return Err((missing, MemFault(FaultKind::Uninitialised, what)));
            }
        }
        for write in [false, true] {
            if mode == if write { Mode::Load } else { Mode::Store } {
                continue;
            }
            let access = Access { block: self.block, bytes, write, strong };
            let entered = global.touch((a, index), access, self.order.as_mut(), &mut self.seen, self.alone);
            entered.map_err(|race| (bytes, race_fault(self.block, write, race)))?;
        }
        if mode != Mode::Load {
            self.initialise(alloc, index, bytes);
        }
        Ok(())
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

    /// The allocation that holds `n` bytes at an address, which may be written if they are to be.
    #[inline(always)]
    fn locate(&mut self, address: u64, n: u64, mode: Mode) -> Result<usize, MemFault> {
        let a = self.global.find(address, n, self.recent[self.slot])?;
        self.recent[self.slot] = a;
        let alloc = &self.global.allocs[a];
        if mode != Mode::Load && alloc.read_only && self.global.check_read_only {
            return Err(MemFault(
                FaultKind::ReadOnly,
                format!("write to offset {} of an allocation of {} bytes, read-only", address - alloc.base, alloc.len),
            ));
        }
        Ok(a)
    }

    /// Enters an access to the `n` bytes each of lanes that follow each other, from `lane` on. Returns the host's address
    /// of the first one, and the number of sectors.
    #[inline(always)]
    fn enter_span(
        &mut self,
        (start, n): (u64, usize),
        (lane, lanes): (usize, usize),
        mode: Mode,
        strong: bool,
    ) -> Result<(*mut u8, u64), LaneFault> {
        let n = n as u64;
        let end = start + lanes as u64 * n;
        let a = match self.locate(start, end - start, mode) {
            Ok(a) => a,
            // Which lane is it?
            Err(all) => {
                for i in 0..lanes {
                    self.locate(start + i as u64 * n, n, mode).map_err(|f| (lane + i, f))?;
                }
                return Err((lane, all));
            }
        };
        let global = self.global;
        let alloc = &global.allocs[a];
        let (low, high) = ((start - alloc.base) as usize, (end - alloc.base) as usize);
        let (first, last) = (low / SECTOR, (high - 1) / SECTOR);
        // The data arrives while the checks run.
        alloc.prefetch_data(first, last);
        let whole = (low | high).is_multiple_of(SECTOR) && self.order.is_none();
        if !(whole && self.enter_whole(alloc, (a, first..last + 1), mode)) {
            for index in first..=last {
                let (from, to) = (low.max(index * SECTOR), high.min((index + 1) * SECTOR));
                let entered = self.enter(a, index, mask(from % SECTOR, to - from), mode, strong);
                let at = |bytes: u32| index * SECTOR + bytes.trailing_zeros() as usize - low;
                entered.map_err(|(bytes, f)| (lane + at(bytes) / n as usize, f))?;
            }
        }
        Ok((alloc.host(first).wrapping_add(low % SECTOR), (last - first + 1) as u64))
    }

    /// `enter` of whole sectors that follow each other; false, and nothing entered, where one of them needs a closer look.
    #[inline(always)]
    fn enter_whole(&mut self, alloc: &Alloc, (a, sectors): (usize, Range<usize>), mode: Mode) -> bool {
        let (init, write) = (&alloc.init[sectors.clone()], mode == Mode::Store);
        let written = init.iter().fold(u32::MAX, |all, i| all & i.load(Relaxed)) == u32::MAX;
        if !(written || write || !self.global.check_init) {
            return false;
        }
        let touched = self.global.touch_whole((a, sectors.clone()), (self.block, write), &mut self.seen, self.alone);
        match touched {
            None => return false,
            Some(first) if first => self.look_ahead(alloc, sectors),
            Some(_) => {}
        }
        if write && !written {
            init.iter().for_each(|i| i.store(u32::MAX, Relaxed));
        }
        true
    }

    /// Asks for what comes next where an instruction accesses memory that has not been accessed yet. It goes on as it did
    /// last time, or else the next block accesses what lies behind this block's part.
    #[inline(always)]
    fn look_ahead(&mut self, alloc: &Alloc, sectors: Range<usize>) {
        let Ahead { last, step } = &mut self.ahead[self.slot];
        let (first, count) = (sectors.start as isize, sectors.len());
        let moved = first - *last;
        let next = if moved == *step { first + moved } else { first + self.next_block * (count * self.warps) as isize };
        (*last, *step) = (first, moved);
        if next >= 0 && (next as usize).saturating_add(count) <= alloc.init.len() {
            alloc.prefetch(next as usize, next as usize + count - 1);
        }
    }

    /// Enters a request whose lanes follow each other in runs, each behind the one before, and calls `f` with the first
    /// lane of each run, its lanes and the host's address of its bytes. Returns the number of sectors; None if it is not
    /// such a request, of which a part may have been entered then.
    #[inline(always)]
    fn enter_runs(
        &mut self,
        at: Request,
        mode: Mode,
        strong: bool,
        mut f: impl FnMut(usize, usize, *mut u8),
    ) -> Result<Option<u64>, LaneFault> {
        let n = at.n as u64;
        // Lanes that go on where the one before them ends.
        let next: [u32; 32] = each(|i| ((at.addrs[i] == at.addrs[i.saturating_sub(1)].wrapping_add(n)) as u32) << i);
        let next = next.iter().fold(0, |all, i| all | i) & at.mask & at.mask << 1;
        let (mut starts, mut count, mut behind) = (at.mask & !next, 0, 0);
        while starts != 0 {
            let lane = starts.trailing_zeros() as usize;
            starts &= starts - 1;
            let lanes = 1 + (!(next as u64 >> (lane + 1))).trailing_zeros() as usize;
            let start = at.addrs[lane];
            // Beyond the end of all addresses there is no memory: lane by lane that is found out.
            let Some(end) = start.checked_add(lanes as u64 * n) else { return Ok(None) };
            if start / (SECTOR as u64) < behind || lanes == 1 && n < 8 {
                return Ok(None);
            }
            behind = (end - 1) / SECTOR as u64 + 1;
            let (host, sectors) = self.enter_span((start, at.n), (lane, lanes), mode, strong)?;
            f(lane, lanes, host);
            count += sectors;
        }
        Ok(Some(count))
    }

    /// Enters a request. Returns the host's address of each lane's bytes, and the number of sectors.
    #[inline(always)]
    fn enter_lanes(
        &mut self,
        (addrs, active, n): (&[u64; 32], u32, usize),
        mode: Mode,
        strong: bool,
    ) -> Result<([*mut u8; 32], u64), LaneFault> {
        let s = Sectors::new(addrs, active, n);
        let mut hosts = [std::ptr::null_mut(); 32];
        for (host, &(sector, bytes)) in hosts.iter_mut().zip(&s.list[..s.count]) {
            let fault = |(bytes, f)| (lane_of(addrs, active, n, sector, bytes), f);
            let (low, high) = (bytes.trailing_zeros() as u64, 32 - bytes.leading_zeros() as u64);
            let at = sector * SECTOR as u64;
            let a = match self.locate(at + low, high - low, mode) {
                Ok(a) => a,
                Err(all) => {
                    for lane in lanes(active).filter(|&i| s.list[s.of[i] as usize].0 == sector) {
                        self.locate(addrs[lane], n as u64, mode).map_err(|f| (lane, f))?;
                    }
                    return Err(fault((bytes, all)));
                }
            };
            let alloc = &self.global.allocs[a];
            let index = (at - alloc.base) as usize / SECTOR;
            self.enter(a, index, bytes, mode, strong).map_err(fault)?;
            *host = alloc.host(index);
        }
        let host = |i: usize| hosts[s.of[i] as usize].wrapping_add(addrs[i] as usize % SECTOR);
        Ok((std::array::from_fn(host), s.count as u64))
    }

    /// Reads `n` bytes a lane of a whole warp, each lane's behind those of the one before. Returns them where they lie.
    #[inline(always)]
    pub(super) fn load_run(&mut self, start: u64, n: usize, strong: bool) -> Result<&[u8], LaneFault> {
        aligned_run(start, n)?;
        self.counters.global_load_requests += 1;
        self.counters.global_load_bytes += 32 * n as u64;
        let (host, count) = self.enter_span((start, n), (0, 32), Mode::Load, strong)?;
        self.counters.global_load_sectors += count;
        // SAFETY: as in `global_load`; all bytes lie in one allocation, which outlives the launch.
        #[allow(unsafe_code)]
        Ok(unsafe { std::slice::from_raw_parts(host, 32 * n) })
    }

    /// Writes `n` bytes a lane of a whole warp, each lane's behind those of the one before.
    #[inline(always)]
    pub(super) fn store_run(&mut self, start: u64, strong: bool, values: &Values) -> Result<(), LaneFault> {
        let n = values.bytes();
        aligned_run(start, n)?;
        self.counters.global_store_requests += 1;
        self.counters.global_store_bytes += 32 * n as u64;
        let (host, count) = self.enter_span((start, n), (0, 32), Mode::Store, strong)?;
        self.counters.global_store_sectors += count;
        // SAFETY: as in `global_store`.
        #[allow(unsafe_code)]
        values.put(unsafe { std::slice::from_raw_parts_mut(host, 32 * n) });
        Ok(())
    }

    /// Reads `n` bytes a lane into `out`.
    #[inline(always)]
    pub(super) fn global_load(&mut self, at: Request, strong: bool, out: &mut Buf) -> Result<(), LaneFault> {
        aligned(at)?;
        let Request { addrs, mask: active, n, .. } = at;
        self.counters.global_load_requests += 1;
        self.counters.global_load_bytes += n as u64 * active.count_ones() as u64;
        // SAFETY: entering has checked that all bytes lie in an allocation, and has refused the request where another
        // block writes them.
        #[allow(unsafe_code)]
        unsafe {
            let runs = self.enter_runs(at, Mode::Load, strong, |lane, lanes, host| {
                copy_run(
                    &mut out.all_mut(n)[lane * n..(lane + lanes) * n],
                    std::slice::from_raw_parts(host, lanes * n),
                );
            })?;
            if let Some(count) = runs {
                self.counters.global_load_sectors += count;
                return Ok(());
            }
            let (hosts, count) = self.enter_lanes((addrs, active, n), Mode::Load, strong)?;
            self.counters.global_load_sectors += count;
            for lane in lanes(active) {
                copy(out.lane_mut(lane, n), std::slice::from_raw_parts(hosts[lane], n));
            }
        }
        Ok(())
    }

    /// Writes `n` bytes a lane from `from`.
    #[inline(always)]
    pub(super) fn global_store(&mut self, at: Request, strong: bool, from: &Buf) -> Result<(), LaneFault> {
        aligned(at)?;
        let Request { addrs, mask: active, n, .. } = at;
        self.counters.global_store_requests += 1;
        self.counters.global_store_bytes += n as u64 * active.count_ones() as u64;
        // SAFETY: as in `global_load`; the request is refused where another block accesses the bytes.
        #[allow(unsafe_code)]
        unsafe {
            let runs = self.enter_runs(at, Mode::Store, strong, |lane, lanes, host| {
                copy_run(std::slice::from_raw_parts_mut(host, lanes * n), &from.all(n)[lane * n..(lane + lanes) * n]);
            })?;
            if let Some(count) = runs {
                self.counters.global_store_sectors += count;
                return Ok(());
            }
            let (hosts, count) = self.enter_lanes((addrs, active, n), Mode::Store, strong)?;
            self.counters.global_store_sectors += count;
            for lane in lanes(active) {
                copy(std::slice::from_raw_parts_mut(hosts[lane], n), from.lane(lane, n));
            }
        }
        Ok(())
    }

    /// Applies `f` to the `n` bytes of each lane in turn, as one atomic request. `f` gets lane and old value.
    pub(super) fn global_atomic(&mut self, at: Request, mut f: impl FnMut(usize, u64) -> u64) -> Result<(), LaneFault> {
        aligned(at)?;
        let Request { addrs, mask: active, n, .. } = at;
        let (hosts, count) = self.enter_lanes((addrs, active, n), Mode::Atomic, true)?;
        self.counters.global_atomic_sectors += count;
        for lane in lanes(active) {
            // SAFETY: as in `global_store`; kernels with atomics run on one thread.
            #[allow(unsafe_code)]
            let bytes = unsafe { std::slice::from_raw_parts_mut(hosts[lane], n) };
            let mut raw = [0; 8];
            raw[..n].copy_from_slice(bytes);
            bytes.copy_from_slice(&f(lane, u64::from_le_bytes(raw)).to_le_bytes()[..n]);
        }
        Ok(())
    }
}

/// Copies without a call: runs of lanes are short.
#[inline(always)]
fn copy_run(to: &mut [u8], from: &[u8]) {
    // What is read by vectors soon is best written by vectors.
    let (mut to, mut from) = (to.chunks_exact_mut(32), from.chunks_exact(32));
    for (to, from) in to.by_ref().zip(from.by_ref()) {
        let to: &mut [u8; 32] = to.try_into().expect("32 bytes");
        *to = from.try_into().expect("32 bytes");
    }
    let (mut to, mut from) = (to.into_remainder().chunks_exact_mut(16), from.remainder().chunks_exact(16));
    for (to, from) in to.by_ref().zip(from.by_ref()) {
        let to: &mut [u8; 16] = to.try_into().expect("16 bytes");
        *to = from.try_into().expect("16 bytes");
    }
    for (to, from) in to.into_remainder().iter_mut().zip(from.remainder()) {
        *to = *from;
    }
}
