//! Shared memory of a block, with the checks of races, initialisation and cp.async.
//!
//! Memory is looked at in cells, as wide as the narrowest access of the kernel, so that all checks are exact. Each cell
//! knows its last write and the reads since the last barrier of the whole block. An *epoch* is what lies between two such
//! barriers; epochs count on from block to block, so that a new block needs no cleared memory.

mod check;

use crate::error::FaultKind;
use crate::exec::{Buf, Request, copy, lanes};
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
/// Bits of a time that a cell keeps.
const TIME: u32 = 0x1f_ffff;

/// What is known of 32 cells, each fact in an array of its own, so that requests of a whole warp are vector loops.
#[derive(Clone)]
struct Cells {
    /// Epoch of the last write, or `PENDING`.
    written: [u32; 32],
    /// Of that write, the thread (10 bits), the time of its warp (21), and whether it was an atomic.
    writer: [u32; 32],
    /// Epoch of the last read.
    read: [u32; 32],
    /// The warps that have read in that epoch.
    warps: [u32; 32],
    /// Of the last of them, the lanes and the time.
    lanes: [u32; 32],
    time: [u32; 32],
}

const NEW: Cells =
    Cells { written: [0; 32], writer: [0; 32], read: [0; 32], warps: [0; 32], lanes: [0; 32], time: [0; 32] };

/// All bits, or none: branches would keep the loops over cells from being vector instructions.
#[inline(always)]
fn all_if(yes: bool) -> u32 {
    if yes { !0 } else { 0 }
}

/// `N` of the facts about 32 cells.
#[inline(always)]
fn some<const N: usize>(facts: &mut [u32; 32], at: usize) -> &mut [u32; N] {
    (&mut facts[at..at + N]).try_into().expect("N cells")
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
    cells: Vec<Cells>,
    /// Per cell and warp the time of the last read, where a barrier of a part of the block may order warps.
    times: Option<Vec<[u32; 32]>>,
    /// Per cell and lane (of the last warp that read) the time of the last read, where a barrier of a part of a warp may
    /// order lanes.
    lane_times: Option<Vec<[u32; 32]>>,
    /// Per warp, up to which time of each other warp it knows.
    clocks: Clocks,
    /// Per warp, the same of each lane. Empty without barriers of parts of a warp.
    lane_clocks: Vec<Clocks>,
    /// Epoch in which the block started.
    first: u32,
    now: u32,
    pub check_races: bool,
    pub check_init: bool,
    pub check_async: bool,
}

impl Shared {
    /// Memory of a block.
    pub fn new(size: usize, kernel: &Traits) -> Shared {
        let cells = size.div_ceil(1 << kernel.shared_shift);
        Shared {
            data: vec![0; cells << kernel.shared_shift],
            size,
            shift: kernel.shared_shift,
            cells: vec![NEW; cells.div_ceil(32)],
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
            self.cells.fill(NEW);
            self.now = 0;
        }
        // A block may end with copies under way.
        for w in self.cells.iter_mut().flat_map(|c| &mut c.written).filter(|w| **w == PENDING) {
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
        let outside =
            if at.run { at.addrs[31] >= limit } else { at.addrs.iter().fold(false, |o, &a| o | (a >= limit)) };
        if !outside {
            return Ok(());
        }
        let Some(lane) = lanes(at.mask).find(|&i| at.addrs[i] >= limit) else { return Ok(()) };
        let what = format!("access to {} bytes at shared address {:#x} of {} bytes", at.n, at.addrs[lane], self.size);
        Err((lane, MemFault(FaultKind::OutOfBounds, what)))
    }

    /// Reads into `out`, lane by lane at a distance of the width.
    #[inline(always)]
    pub fn load(&mut self, at: Request, who: Who, out: &mut Buf) -> Result<(), LaneFault> {
        self.place(at)?;
        match at.n >> self.shift {
            1 => self.read_lanes::<1>(at, who)?,
            2 => self.read_lanes::<2>(at, who)?,
            4 => self.read_lanes::<4>(at, who)?,
            8 => self.read_lanes::<8>(at, who)?,
            _ => self.read_lanes::<16>(at, who)?,
        }
        out.gather(&self.data, at.addrs, at.mask, at.n, at.run);
        Ok(())
    }

    /// Enters the reads of a request, of `N` cells a lane.
    #[inline(always)]
    fn read_lanes<const N: usize>(&mut self, at: Request, who: Who) -> Result<(), LaneFault> {
        let first = (at.addrs[0] >> self.shift) as usize;
        if at.run && first.is_multiple_of(32) {
            for k in 0..N {
                self.read_cells::<32>(first + 32 * k, who, |j| 1 << ((32 * k + j) / N))?;
            }
            return Ok(());
        }
        let mut left = at.mask;
        while left != 0 {
            let lane = left.trailing_zeros();
            // Lanes that follow with the same address go with the first.
            let mut bits = 1u32 << lane;
            while bits.leading_zeros() > 0 {
                let next = 32 - bits.leading_zeros();
                if left >> next & 1 == 0 || at.addrs[next as usize] != at.addrs[lane as usize] {
                    break;
                }
                bits |= 1 << next;
            }
            left &= !bits;
            let c = (at.addrs[lane as usize] >> self.shift) as usize;
            if N == 1 {
                self.read_cell(c, who, bits).map_err(|f| (lane as usize, f))?;
            } else {
                self.read_cells::<N>(c, who, |_| bits)?;
            }
        }
        Ok(())
    }

    /// Enters a read of one cell by lanes `bits`: what `read_cells` does to several at once.
    #[inline(always)]
    fn read_cell(&mut self, c: usize, who: Who, bits: u32) -> Result<(), MemFault> {
        let (now, warp) = (self.now, 1 << who.warp);
        let (cells, k) = (&self.cells[c / 32], c % 32);
        if cells.written[k].wrapping_sub(self.first) >= now.wrapping_sub(self.first) {
            self.doubtful_read(c, bits, who)?;
        }
        if who.atomic {
            return Ok(());
        }
        let keep = self.lane_times.is_some();
        let cells = &mut self.cells[c / 32];
        let same = cells.read[k] == now;
        let alone = same && cells.warps[k] == warp && (keep || cells.time[k] == who.time);
        cells.lanes[k] = bits | if alone { cells.lanes[k] } else { 0 };
        cells.warps[k] = warp | if same { cells.warps[k] } else { 0 };
        cells.read[k] = now;
        cells.time[k] = who.time;
        if self.times.is_some() || keep {
            self.note_times(c, bits, who);
        }
        Ok(())
    }

    /// Enters reads of `N` cells in a row; `bits` are the lanes that read the one at an index.
    #[inline(always)]
    fn read_cells<const N: usize>(&mut self, c: usize, who: Who, bits: impl Fn(usize) -> u32) -> Result<(), LaneFault> {
        let (now, first, warp) = (self.now, self.first, 1 << who.warp);
        let cells = &mut self.cells[c / 32];
        let at = c % 32;
        let (written, writer) = (some::<N>(&mut cells.written, at), some::<N>(&mut cells.writer, at));
        let mut doubt = 0;
        for k in 0..N {
            // Written in this block before the last barrier, or by the one lane that reads.
            let old = all_if(written[k].wrapping_sub(first) < now.wrapping_sub(first));
            let own = all_if(1u32 << (writer[k] & 31) == bits(k)) & all_if(writer[k] >> 5 & 31 == who.warp);
            doubt |= !(old | (own & all_if(written[k] == now)));
        }
        if doubt != 0 {
            for k in 0..N {
                self.doubtful_read(c + k, bits(k), who).map_err(|f| (bits(k).trailing_zeros() as usize, f))?;
            }
        }
        if who.atomic {
            return Ok(());
        }
        let cells = &mut self.cells[c / 32];
        // Lanes that read before the last barrier of the warp are remembered where that may have been of a part.
        let keep = all_if(self.lane_times.is_some());
        let (read, warps) = (some::<N>(&mut cells.read, at), some::<N>(&mut cells.warps, at));
        let (lanes, time) = (some::<N>(&mut cells.lanes, at), some::<N>(&mut cells.time, at));
        for k in 0..N {
            let same = all_if(read[k] == now);
            let alone = same & all_if(warps[k] == warp) & (keep | all_if(time[k] == who.time));
            lanes[k] = bits(k) | (lanes[k] & alone);
            warps[k] = warp | (warps[k] & same);
        }
        *read = [now; N];
        *time = [who.time; N];
        if self.times.is_some() || self.lane_times.is_some() {
            (0..N).for_each(|k| self.note_times(c + k, bits(k), who));
        }
        Ok(())
    }

    fn note_times(&mut self, c: usize, bits: u32, who: Who) {
        if let Some(times) = &mut self.times {
            times[c][who.warp as usize] = who.time;
        }
        if let Some(times) = &mut self.lane_times {
            lanes(bits).for_each(|i| times[c][i] = who.time);
        }
    }

    /// Writes from `from`, lane by lane at a distance of the width.
    #[inline(always)]
    pub fn store(&mut self, at: Request, who: Who, from: &Buf) -> Result<(), LaneFault> {
        self.place(at)?;
        match at.n >> self.shift {
            1 => self.write_lanes::<1>(at, who, from),
            2 => self.write_lanes::<2>(at, who, from),
            4 => self.write_lanes::<4>(at, who, from),
            8 => self.write_lanes::<8>(at, who, from),
            _ => self.write_lanes::<16>(at, who, from),
        }
    }

    #[inline(always)]
    fn write_lanes<const N: usize>(&mut self, at: Request, who: Who, from: &Buf) -> Result<(), LaneFault> {
        let to = at.addrs[0] as usize;
        let first = to >> self.shift;
        // Whatever part of the run is in doubt is entered again by each lane.
        if at.run
            && first.is_multiple_of(32)
            && (0..N).all(|k| self.write_cells::<32>(first + 32 * k, who, self.now, |j| (32 * k + j) as u32 / N as u32))
        {
            self.data[to..to + 32 * at.n].copy_from_slice(from.all(at.n));
            return Ok(());
        }
        for lane in lanes(at.mask) {
            let to = at.addrs[lane] as usize;
            let c = to >> self.shift;
            if !self.write_cells::<N>(c, who, self.now, |_| lane as u32) {
                let equal = self.data[to..to + at.n] == *from.lane(lane, at.n);
                self.doubtful_write((c, N), who, lane as u32, self.now, equal).map_err(|f| (lane, f))?;
            }
            copy(&mut self.data[to..to + at.n], from.lane(lane, at.n));
        }
        Ok(())
    }

    /// Enters writes of `N` cells in a row as ones of `epoch`, by the lanes that `lane` says for an index; false if one of
    /// them needs a closer look, because since the last barrier another lane has accessed it.
    #[inline(always)]
    fn write_cells<const N: usize>(&mut self, c: usize, who: Who, epoch: u32, lane: impl Fn(usize) -> u32) -> bool {
        let now = self.now;
        let cells = &mut self.cells[c / 32];
        let at = c % 32;
        if N == 1 {
            let thread = who.warp << 5 | lane(0);
            let own = || cells.written[at] == now && cells.writer[at] & 0x3ff == thread;
            let own_read = || cells.warps[at] == 1 << who.warp && cells.lanes[at] == 1 << lane(0);
            let clear = (cells.written[at] < now || own()) && (cells.read[at] != now || own_read());
            if clear {
                (cells.written[at], cells.writer[at]) = (epoch, who.pack(lane(0)));
            }
            return clear;
        }
        let (written, writer) = (some::<N>(&mut cells.written, at), some::<N>(&mut cells.writer, at));
        let (read, warps) = (some::<N>(&mut cells.read, at), some::<N>(&mut cells.warps, at));
        let readers = some::<N>(&mut cells.lanes, at);
        let mut doubt = 0;
        for k in 0..N {
            let own = all_if(writer[k] & 0x3ff == who.warp << 5 | lane(k));
            let unwritten = all_if(written[k] < now) | (all_if(written[k] == now) & own);
            let own = all_if(warps[k] == 1 << who.warp) & all_if(readers[k] == 1 << lane(k));
            doubt |= !(unwritten & (all_if(read[k] != now) | own));
        }
        if doubt == 0 {
            *written = [epoch; N];
            for (k, w) in writer.iter_mut().enumerate() {
                *w = who.pack(lane(k));
            }
        }
        doubt == 0
    }

    #[inline(always)]
    fn written(&mut self, c: usize, who: Who, lane: u32, epoch: u32) {
        let cells = &mut self.cells[c / 32];
        (cells.written[c % 32], cells.writer[c % 32]) = (epoch, who.pack(lane));
    }

    /// Applies `f` to the bytes of each lane in turn, as the hardware does with atomics. `f` gets lane and old value.
    #[inline(always)]
    pub fn update(&mut self, at: Request, who: Who, mut f: impl FnMut(usize, u64) -> u64) -> Result<(), LaneFault> {
        self.place(at)?;
        for lane in lanes(at.mask) {
            let to = at.addrs[lane] as usize;
            for c in to >> self.shift..(to + at.n) >> self.shift {
                self.read_cell(c, who, 1 << lane).map_err(|fault| (lane, fault))?;
                if !self.write_cells::<1>(c, who, self.now, |_| lane as u32) {
                    self.doubtful_write((c, 1), who, lane as u32, self.now, false).map_err(|fault| (lane, fault))?;
                }
            }
            let mut raw = [0; 8];
            raw[..at.n].copy_from_slice(&self.data[to..to + at.n]);
            let new = f(lane, u64::from_le_bytes(raw)).to_le_bytes();
            self.data[to..to + at.n].copy_from_slice(&new[..at.n]);
        }
        Ok(())
    }

    /// A cp.async starts: its bytes must not be accessed before its wait.
    #[inline(always)]
    pub fn begin_async(&mut self, at: Request, who: Who) -> Result<(), LaneFault> {
        self.place(at)?;
        match at.n >> self.shift {
            1 => self.pend_lanes::<1>(at, who),
            2 => self.pend_lanes::<2>(at, who),
            4 => self.pend_lanes::<4>(at, who),
            8 => self.pend_lanes::<8>(at, who),
            _ => self.pend_lanes::<16>(at, who),
        }
    }

    #[inline(always)]
    fn pend_lanes<const N: usize>(&mut self, at: Request, who: Who) -> Result<(), LaneFault> {
        let epoch = if self.check_async { PENDING } else { self.now };
        for lane in lanes(at.mask) {
            let c = at.addrs[lane] as usize >> self.shift;
            if !self.write_cells::<N>(c, who, epoch, |_| lane as u32) {
                self.doubtful_write((c, N), who, lane as u32, epoch, false).map_err(|f| (lane, f))?;
            }
        }
        Ok(())
    }

    /// The wait for a cp.async: its data arrives.
    #[inline(always)]
    pub fn end_async(&mut self, at: Request, who: Who, from: &Buf) {
        for lane in lanes(at.mask) {
            let to = at.addrs[lane] as usize;
            for c in to >> self.shift..(to + at.n) >> self.shift {
                self.written(c, who, lane as u32, self.now);
            }
            copy(&mut self.data[to..to + at.n], from.lane(lane, at.n));
        }
    }
}

impl Who {
    /// The thread of a lane, with the time: what a cell remembers of a write.
    #[inline(always)]
    fn pack(self, lane: u32) -> u32 {
        self.warp << 5 | lane | (self.time & TIME) << 10 | if self.atomic { ATOMIC } else { 0 }
    }
}
