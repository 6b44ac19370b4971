//! Shared memory of a block, with the checks of races, initialisation and cp.async.
//!
//! Memory is looked at in cells, as wide as the narrowest access of the kernel, so that all checks are exact. Each cell
//! knows its last write and the reads since the last barrier of the whole block. An *epoch* is what lies between two such
//! barriers; epochs count on from block to block, so that a new block needs no cleared memory.

use crate::error::FaultKind;
use crate::exec::{Buf, Request, copy, lanes, lanes as lanes_of};
use crate::inst::Traits;
use crate::memory::MemFault;

/// The first lane at fault, and its fault.
pub(crate) type LaneFault = (usize, MemFault);

/// The warp that accesses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub warp: u32,
    /// How many barriers of its warp (or of a part of the block) it has passed.
    pub time: u32,
    /// Atomics do not race with each other.
    pub atomic: bool,
}

/// Per warp or lane, up to which time of each other one it knows.
type Clocks = [[u32; 32]; 32];

/// Epoch of a cell that a cp.async is about to write.
const PENDING: u32 = u32::MAX;
const ATOMIC: u32 = 1 << 31;

/// Packs the thread (10 bits), the time (21 bits) and whether it was an atomic.
fn pack(who: Who, lane: u32) -> u32 {
    who.warp << 5 | lane | (who.time & 0x1f_ffff) << 10 | if who.atomic { ATOMIC } else { 0 }
}

/// All bits, or none: branches would keep the loops over cells from being vector instructions.
#[inline(always)]
fn all_if(yes: bool) -> u32 {
    if yes { !0 } else { 0 }
}

/// Each of these learns what any of them knows.
fn meet(clocks: &mut Clocks, who: impl Iterator<Item = usize> + Clone) {
    let mut all = [0; 32];
    for i in who.clone() {
        for (a, c) in all.iter_mut().zip(clocks[i]) {
            *a = c.max(*a);
        }
    }
    who.for_each(|i| clocks[i] = all);
}

pub(crate) struct Shared {
    data: Vec<u8>,
    size: usize,
    /// log2 of the bytes of a cell.
    shift: u32,
    /// Per cell: epoch of the last write, and the thread and time of it.
    written: Vec<u32>,
    writer: Vec<u32>,
    /// Per cell: epoch of the last read, the warps that read in it; of the last warp its lanes and time.
    read: Vec<u32>,
    warps: Vec<u32>,
    lanes: Vec<u32>,
    time: Vec<u32>,
    /// Per cell and warp the time of the last read, where a barrier of a part of the block may order warps.
    times: Option<Vec<[u32; 32]>>,
    /// Per cell and lane (of the last warp that read) the time of the last read, where a barrier of a part of a warp may
    /// order lanes.
    lane_times: Option<Vec<[u32; 32]>>,
    /// Per warp, up to which time of each other warp it knows.
    clocks: Clocks,
    /// Per warp, the same of each lane. Empty without barriers of parts of a warp.
    lane_clocks: Vec<Clocks>,
    first: u32,
    now: u32,
    pub check_races: bool,
    pub check_init: bool,
    pub check_async: bool,
}

impl Shared {
    /// Memory of a block.
    pub fn new(size: usize, kernel: &Traits) -> Shared {
        let shift = kernel.shared_shift;
        let cells = size.div_ceil(1 << shift);
        let zeros = || vec![0; cells];
        Shared {
            data: vec![0; cells << shift],
            size,
            shift,
            written: zeros(),
            writer: zeros(),
            read: zeros(),
            warps: zeros(),
            lanes: zeros(),
            time: zeros(),
            times: kernel.partial_barriers.then(|| vec![[0; 32]; cells]),
            lane_times: kernel.partial_warp_barriers.then(|| vec![[0; 32]; cells]),
            clocks: [[0; 32]; 32],
            lane_clocks: if kernel.partial_warp_barriers { vec![[[0; 32]; 32]; 32] } else { Vec::new() },
            first: 1,
            now: 1,
            check_races: true,
            check_init: true,
            check_async: true,
        }
    }

    /// Starts a new block, which has written nothing yet.
    pub fn restart(&mut self) {
        if self.now > u32::MAX / 2 {
            self.written.fill(0);
            self.read.fill(0);
            self.now = 0;
        }
        // A block may end with copies under way.
        for w in self.written.iter_mut().filter(|w| **w == PENDING) {
            *w = 0;
        }
        self.now += 1;
        self.first = self.now;
        self.clocks = [[0; 32]; 32];
        self.lane_clocks.fill([[0; 32]; 32]);
    }

    /// A barrier of the whole block.
    pub fn barrier(&mut self) {
        self.now += 1;
    }

    /// A barrier of some warps, whose times these are (before they go on).
    pub fn partial_barrier(&mut self, warps: &[(u32, u32)]) {
        for &(w, time) in warps {
            self.clocks[w as usize][w as usize] = time + 1;
            if let Some(lanes) = self.lane_clocks.get_mut(w as usize) {
                *lanes = [[time + 1; 32]; 32];
            }
        }
        meet(&mut self.clocks, warps.iter().map(|w| w.0 as usize));
    }

    /// A barrier of lanes of one warp, at a time of it.
    pub fn warp_barrier(&mut self, warp: u32, members: u32, time: u32) {
        if let Some(clocks) = self.lane_clocks.get_mut(warp as usize) {
            lanes(members).for_each(|i| clocks[i][i] = time + 1);
            meet(clocks, lanes(members));
        }
    }

    /// Checks bounds and alignment.
    #[inline(always)]
    fn place(&self, at: Request) -> Result<(), LaneFault> {
        if let Some(lane) = at.misaligned() {
            let what = format!("shared address {:#x} is no multiple of {}", at.addrs[lane], at.n);
            return Err((lane, MemFault(FaultKind::Misaligned, what)));
        }
        let limit = (self.size + 1).saturating_sub(at.n) as u64;
        let outside = if at.run { at.addrs[31] >= limit } else { at.addrs.iter().fold(false, |o, &a| o | (a >= limit)) };
        if !outside {
            return Ok(());
        }
        let Some(lane) = lanes(at.mask).find(|&i| at.addrs[i] >= limit) else { return Ok(()) };
        let what = format!(
            "access to {} bytes at shared address {:#x} of {} bytes",
            at.n, at.addrs[lane], self.size
        );
        Err((lane, MemFault(FaultKind::OutOfBounds, what)))
    }

    /// Reads into `out`, lane by lane at a distance of the width.
    #[inline(always)]
    pub fn load(&mut self, at: Request, who: Who, out: &mut Buf) -> Result<(), LaneFault> {
        self.place(at)?;
        match at.n >> self.shift {
            1 => self.read_cells::<1>(at, who)?,
            2 => self.read_cells::<2>(at, who)?,
            4 => self.read_cells::<4>(at, who)?,
            8 => self.read_cells::<8>(at, who)?,
            _ => self.read_cells::<16>(at, who)?,
        }
        out.gather(&self.data, at.addrs, at.mask, at.n, at.run);
        Ok(())
    }

    /// Enters the reads of a request, of `N` cells a lane.
    #[inline(always)]
    fn read_cells<const N: usize>(&mut self, at: Request, who: Who) -> Result<(), LaneFault> {
        let Request { addrs, mask, .. } = at;
        if N <= 4 && at.run {
            let c = (addrs[0] >> self.shift) as usize;
            // An array of all 32 lanes' cells, so that the loops have a fixed length.
            return match N {
                1 => self.read_run::<32>(c, who, |j| 1 << j),
                2 => self.read_run::<64>(c, who, |j| 1 << (j / 2)),
                _ => self.read_run::<128>(c, who, |j| 1 << (j / 4)),
            };
        }
        let mut left = mask;
        while left != 0 {
            let lane = left.trailing_zeros();
            // Lanes that follow with the same address go with the first.
            let mut bits = 1u32 << lane;
            let mut next = lane + 1;
            while next < 32 && left >> next & 1 == 1 && addrs[next as usize] == addrs[lane as usize] {
                bits |= 1 << next;
                next += 1;
            }
            left &= !bits;
            self.read_run::<N>((addrs[lane as usize] >> self.shift) as usize, who, |_| bits)?;
        }
        Ok(())
    }

    /// Enters reads of `N` cells in a row; `bits` are the lanes that read the one at an index.
    #[inline(always)]
    fn read_run<const N: usize>(&mut self, c: usize, who: Who, bits: impl Fn(usize) -> u32) -> Result<(), LaneFault> {
        let (now, first, warp) = (self.now, self.first, 1 << who.warp);
        let written: &[u32; N] = self.written[c..c + N].try_into().expect("N cells");
        let writer: &[u32; N] = self.writer[c..c + N].try_into().expect("N cells");
        let mut doubt = 0;
        for k in 0..N {
            // Written in this block before the last barrier, or by the one lane that reads.
            let old = all_if(written[k].wrapping_sub(first) < now.wrapping_sub(first));
            let by = writer[k];
            let own = all_if(1u32 << (by & 31) == bits(k)) & all_if(by >> 5 & 31 == who.warp);
            doubt |= !(old | (own & all_if(written[k] == now)));
        }
        if doubt != 0 {
            for k in 0..N {
                self.check_read(c + k, bits(k), who).map_err(|e| (bits(k).trailing_zeros() as usize, e))?;
            }
        }
        if who.atomic {
            return Ok(());
        }
        // Lanes that read before the last barrier of the warp are remembered where that may have been of a part.
        let keep = all_if(self.lane_times.is_some());
        let read: &mut [u32; N] = (&mut self.read[c..c + N]).try_into().expect("N cells");
        let warps: &mut [u32; N] = (&mut self.warps[c..c + N]).try_into().expect("N cells");
        let lanes: &mut [u32; N] = (&mut self.lanes[c..c + N]).try_into().expect("N cells");
        let time: &mut [u32; N] = (&mut self.time[c..c + N]).try_into().expect("N cells");
        for k in 0..N {
            let same = all_if(read[k] == now);
            let alone = same & all_if(warps[k] == warp) & (keep | all_if(time[k] == who.time));
            lanes[k] = bits(k) | (lanes[k] & alone);
            warps[k] = warp | (warps[k] & same);
        }
        *read = [now; N];
        *time = [who.time; N];
        if let Some(times) = &mut self.times {
            for t in &mut times[c..c + N] {
                t[who.warp as usize] = who.time;
            }
        }
        if let Some(times) = &mut self.lane_times {
            for (k, t) in times[c..c + N].iter_mut().enumerate() {
                lanes_of(bits(k)).for_each(|i| t[i] = who.time);
            }
        }
        Ok(())
    }

    #[cold]
    fn check_read(&self, c: usize, bits: u32, who: Who) -> Result<(), MemFault> {
        self.check_pending(c)?;
        if self.check_init && self.written[c] < self.first {
            let what = format!("read of shared address {:#x}, which nothing has written", c << self.shift);
            return Err(MemFault(FaultKind::Uninitialised, what));
        }
        self.after_write(c, bits, who, "reads")
    }

    fn check_pending(&self, c: usize) -> Result<(), MemFault> {
        if self.check_async && self.written[c] == PENDING {
            let what = format!("access to shared address {:#x} before the wait for its cp.async", c << self.shift);
            return Err(MemFault(FaultKind::AsyncPending, what));
        }
        Ok(())
    }

    /// Whether what a thread did at a time of its warp is known to lanes `bits` of `who`.
    fn knows(&self, who: Who, bits: u32, thread: u32, time: u32) -> bool {
        let (warp, lane) = (thread >> 5, thread as usize & 31);
        if warp != who.warp {
            return self.times.is_some() && self.clocks[who.warp as usize][warp as usize] > time;
        }
        match self.lane_clocks.get(warp as usize) {
            Some(clocks) => lanes(bits).all(|i| clocks[i][lane] > time),
            None => time != who.time & 0x1f_ffff,
        }
    }

    /// The last write of a cell must come before an access by lanes `bits`.
    fn after_write(&self, c: usize, bits: u32, who: Who, verb: &str) -> Result<(), MemFault> {
        let writer = self.writer[c];
        let (thread, time) = (writer & 0x3ff, writer >> 10 & 0x1f_ffff);
        let (warp, lane) = (thread >> 5, thread & 31);
        let own = warp == who.warp && bits == 1 << lane;
        let exempt = own || (who.atomic && writer & ATOMIC != 0) || !self.check_races;
        if self.written[c] != self.now || exempt || self.knows(who, bits, thread, time) {
            return Ok(());
        }
        Err(self.race(c, bits, who, verb, thread, "wrote"))
    }

    /// The reads of a cell must come before a write by lanes `bits`.
    fn after_reads(&self, c: usize, bits: u32, who: Who) -> Result<(), MemFault> {
        if self.read[c] != self.now || !self.check_races {
            return Ok(());
        }
        let own = 1 << who.warp;
        for warp in lanes(self.warps[c] & !own) {
            let time = self.times.as_ref().map_or(self.time[c], |t| t[c][warp]);
            if !self.knows(who, bits, (warp as u32) << 5, time) {
                return Err(self.race(c, bits, who, "writes", (warp as u32) << 5, "read"));
            }
        }
        // Of several warps, only the lanes of the last are known.
        for lane in lanes(if self.warps[c] == own { self.lanes[c] & !bits } else { 0 }) {
            let time = self.lane_times.as_ref().map_or(self.time[c], |t| t[c][lane]);
            let thread = who.warp << 5 | lane as u32;
            if !self.knows(who, bits, thread, time) {
                return Err(self.race(c, bits, who, "writes", thread, "read"));
            }
        }
        Ok(())
    }

    #[cold]
    fn race(&self, c: usize, bits: u32, who: Who, verb: &str, other: u32, did: &str) -> MemFault {
        let thread = who.warp << 5 | bits.trailing_zeros();
        let other = if did == "read" && other >> 5 != who.warp {
            format!("warp {}", other >> 5)
        } else {
            format!("thread {other}")
        };
        MemFault(
            FaultKind::SharedRace,
            format!(
                "thread {thread} {verb} shared address {:#x}, which {other} {did} with no barrier between",
                c << self.shift
            ),
        )
    }

    /// Writes from `from`, lane by lane at a distance of the width.
    #[inline(always)]
    pub fn store(&mut self, at: Request, who: Who, from: &Buf) -> Result<(), LaneFault> {
        self.place(at)?;
        match at.n >> self.shift {
            1 => self.write_cells::<1>(at, who, from),
            2 => self.write_cells::<2>(at, who, from),
            4 => self.write_cells::<4>(at, who, from),
            8 => self.write_cells::<8>(at, who, from),
            _ => self.write_cells::<16>(at, who, from),
        }
    }

    #[inline(always)]
    fn write_cells<const N: usize>(&mut self, at: Request, who: Who, from: &Buf) -> Result<(), LaneFault> {
        let Request { addrs, mask, n, run } = at;
        if N <= 4 && run {
            let at = addrs[0] as usize;
            let c = at >> self.shift;
            let clear = match N {
                1 => self.write_run::<32>(c, who, self.now, |j| j as u32),
                2 => self.write_run::<64>(c, who, self.now, |j| j as u32 / 2),
                _ => self.write_run::<128>(c, who, self.now, |j| j as u32 / 4),
            };
            if clear {
                self.data[at..at + 32 * n].copy_from_slice(from.all(n));
                return Ok(());
            }
        }
        for lane in lanes(mask) {
            let at = addrs[lane] as usize;
            let c = at >> self.shift;
            if !self.write_run::<N>(c, who, self.now, |_| lane as u32) {
                let bytes = from.lane(lane, n);
                self.check_write(c, N, lane as u32, who, &self.data[at..at + n] == bytes).map_err(|e| (lane, e))?;
                self.enter_write::<N>(c, who, self.now, |_| lane as u32);
            }
            copy(&mut self.data[at..at + n], from.lane(lane, n));
        }
        Ok(())
    }

    /// Enters writes of `N` cells in a row by the lanes that `lane` says for an index, if that is no race at first
    /// sight: since the last barrier only the same lane has accessed each. They become writes of epoch `as_of`.
    #[inline(always)]
    fn write_run<const N: usize>(&mut self, c: usize, who: Who, as_of: u32, lane: impl Fn(usize) -> u32) -> bool {
        let now = self.now;
        let written: &[u32; N] = self.written[c..c + N].try_into().expect("N cells");
        let writer: &[u32; N] = self.writer[c..c + N].try_into().expect("N cells");
        let read: &[u32; N] = self.read[c..c + N].try_into().expect("N cells");
        let warps: &[u32; N] = self.warps[c..c + N].try_into().expect("N cells");
        let readers: &[u32; N] = self.lanes[c..c + N].try_into().expect("N cells");
        let mut doubt = 0;
        for k in 0..N {
            let own = all_if(writer[k] & 0x3ff == who.warp << 5 | lane(k));
            let unwritten = all_if(written[k] < now) | (all_if(written[k] == now) & own);
            let own = all_if(warps[k] == 1 << who.warp) & all_if(readers[k] == 1 << lane(k));
            doubt |= !(unwritten & (all_if(read[k] != now) | own));
        }
        let clear = doubt == 0;
        if clear {
            self.enter_write::<N>(c, who, as_of, lane);
        }
        clear
    }

    #[inline(always)]
    fn enter_write<const N: usize>(&mut self, c: usize, who: Who, as_of: u32, lane: impl Fn(usize) -> u32) {
        let written: &mut [u32; N] = (&mut self.written[c..c + N]).try_into().expect("N cells");
        *written = [as_of; N];
        let writer: &mut [u32; N] = (&mut self.writer[c..c + N]).try_into().expect("N cells");
        for (k, w) in writer.iter_mut().enumerate() {
            *w = pack(who, lane(k));
        }
    }

    /// `equal`: the bytes are there already.
    #[cold]
    fn check_write(&self, c: usize, n: usize, lane: u32, who: Who, equal: bool) -> Result<(), MemFault> {
        // Writes of equal values can't be told apart.
        let known = self.written[c..c + n].iter().all(|&w| w >= self.first && w != PENDING);
        for c in c..c + n {
            self.check_pending(c)?;
            self.after_reads(c, 1 << lane, who)?;
            if !(equal && known) {
                self.after_write(c, 1 << lane, who, "writes")?;
            }
        }
        Ok(())
    }

    /// A cp.async starts: its bytes must not be accessed before its wait.
    #[inline(always)]
    pub fn begin_async(&mut self, at: Request, who: Who) -> Result<(), LaneFault> {
        self.place(at)?;
        match at.n >> self.shift {
            1 => self.pend_cells::<1>(at, who),
            2 => self.pend_cells::<2>(at, who),
            4 => self.pend_cells::<4>(at, who),
            8 => self.pend_cells::<8>(at, who),
            _ => self.pend_cells::<16>(at, who),
        }
    }

    #[inline(always)]
    fn pend_cells<const N: usize>(&mut self, at: Request, who: Who) -> Result<(), LaneFault> {
        let epoch = if self.check_async { PENDING } else { self.now };
        for lane in lanes(at.mask) {
            let c = at.addrs[lane] as usize >> self.shift;
            if !self.write_run::<N>(c, who, epoch, |_| lane as u32) {
                self.check_write(c, N, lane as u32, who, false).map_err(|e| (lane, e))?;
                self.enter_write::<N>(c, who, epoch, |_| lane as u32);
            }
        }
        Ok(())
    }

    /// The wait for a cp.async: its data arrives.
    #[inline(always)]
    pub fn end_async(&mut self, at: Request, who: Who, from: &Buf) {
        match at.n >> self.shift {
            1 => self.fill_cells::<1>(at, who, from),
            2 => self.fill_cells::<2>(at, who, from),
            4 => self.fill_cells::<4>(at, who, from),
            8 => self.fill_cells::<8>(at, who, from),
            _ => self.fill_cells::<16>(at, who, from),
        }
    }

    #[inline(always)]
    fn fill_cells<const N: usize>(&mut self, at: Request, who: Who, from: &Buf) {
        for lane in lanes(at.mask) {
            let to = at.addrs[lane] as usize;
            self.enter_write::<N>(to >> self.shift, who, self.now, |_| lane as u32);
            copy(&mut self.data[to..to + at.n], from.lane(lane, at.n));
        }
    }
}
