//! Shared memory of a block, with the checks of races, initialisation and cp.async.
//!
//! Memory is looked at in cells, as wide as the narrowest access of the kernel, so that all checks are exact. Each cell
//! knows its last write and the reads since the last barrier of the whole block. An *epoch* is what lies between two such
//! barriers; epochs count on from block to block, so that a new block needs no cleared memory.

mod check;
mod plain;

use crate::error::FaultKind;
use crate::exec::{Buf, Request, copy, lanes};
use crate::inst::Traits;
use crate::memory::MemFault;
use std::ops::Range;

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

/// What is known of each cell, each fact in an array of its own, so that requests of a whole warp are vector loops.
#[derive(Default)]
struct Cells {
    /// Epoch of the last write, or `PENDING`.
    written: Vec<u32>,
    /// Of that write, the thread (10 bits), the time of its warp (21), and whether it was an atomic.
    writer: Vec<u32>,
    /// Epoch of the last read.
    read: Vec<u32>,
    /// The warps that have read in that epoch.
    warps: Vec<u32>,
    /// Of the last of them, the lanes and the time.
    lanes: Vec<u32>,
    time: Vec<u32>,
}

impl Cells {
    fn new(n: usize) -> Cells {
        let fact = || vec![0; n];
        Cells { written: fact(), writer: fact(), read: fact(), warps: fact(), lanes: fact(), time: fact() }
    }
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
    cells: Cells,
    /// There are barriers of a warp or of a part of the block, so that times differ from zero.
    timed: bool,
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
    /// As in `Launch`.
    pub fast: bool,
}

impl Shared {
    /// Memory of a block.
    pub fn new(size: usize, kernel: &Traits) -> Shared {
        let cells = size.div_ceil(1 << kernel.shared_shift);
        Shared {
            data: vec![0; (cells << kernel.shared_shift) + plain::BEHIND],
            size,
            shift: kernel.shared_shift,
            cells: Cells::new(cells),
            timed: kernel.partial_barriers || kernel.warp_barriers,
            times: kernel.partial_barriers.then(|| vec![[0; 32]; cells]),
            lane_times: kernel.partial_warp_barriers.then(|| vec![[0; 32]; cells]),
            clocks: [[0; 32]; 32],
            lane_clocks: if kernel.partial_warp_barriers { vec![[[0; 32]; 32]; 32] } else { Vec::new() },
            first: 1,
            now: 1,
            check_races: true,
            check_init: true,
            check_async: true,
            fast: false,
        }
    }

    /// Starts a new block, which has written nothing yet. `unfinished`: the one before ended with copies under way.
    pub fn restart(&mut self, unfinished: bool) {
        if self.now > u32::MAX / 2 {
            self.cells = Cells::new(self.cells.written.len());
            self.now = 0;
        }
        if unfinished {
            self.cells.written.iter_mut().filter(|w| **w == PENDING).for_each(|w| *w = 0);
        }
        self.now += 1;
        self.first = self.now;
        if self.timed {
            self.clocks = [[0; 32]; 32];
        }
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
    #[inline(never)]
    pub fn load(&mut self, at: Request, who: Who, out: &mut Buf) -> Result<(), LaneFault> {
        self.place(at)?;
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
            for c in self.cells_of(at.addrs[lane as usize], at.n) {
                self.read_cell(c, who, bits).map_err(|f| (lane as usize, f))?;
            }
        }
        out.gather(&self.data, at.addrs, at.mask, at.n, at.run);
        Ok(())
    }

    /// The cells of `n` bytes at an address.
    #[inline(always)]
    fn cells_of(&self, at: u64, n: usize) -> std::ops::Range<usize> {
        at as usize >> self.shift..(at as usize + n) >> self.shift
    }

    /// Enters a read of one cell by lanes `bits`.
    #[inline(always)]
    fn read_cell(&mut self, c: usize, who: Who, bits: u32) -> Result<(), MemFault> {
        let (now, warp) = (self.now, 1 << who.warp);
        if self.cells.written[c].wrapping_sub(self.first) >= now.wrapping_sub(self.first) {
            self.doubtful_read(c, bits, who)?;
        }
        if who.atomic {
            return Ok(());
        }
        // Lanes that read before the last barrier of the warp are remembered where that may have been of a part.
        let keep = self.lane_times.is_some();
        let cells = &mut self.cells;
        let same = cells.read[c] == now;
        let alone = same && cells.warps[c] == warp && (keep || cells.time[c] == who.time);
        cells.lanes[c] = bits | if alone { cells.lanes[c] } else { 0 };
        cells.warps[c] = warp | if same { cells.warps[c] } else { 0 };
        cells.read[c] = now;
        cells.time[c] = who.time;
        if self.times.is_some() || keep {
            self.note_times(c, bits, who);
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
    #[inline(never)]
    pub fn store(&mut self, at: Request, who: Who, from: &Buf) -> Result<(), LaneFault> {
        self.place(at)?;
        for lane in lanes(at.mask) {
            let to = at.addrs[lane] as usize;
            let cells = self.cells_of(at.addrs[lane], at.n);
            if !self.write_cells(cells.clone(), who, self.now, lane as u32) {
                let equal = self.data[to..to + at.n] == *from.lane(lane, at.n);
                self.doubtful_write(cells, who, lane as u32, self.now, equal).map_err(|f| (lane, f))?;
            }
            copy(&mut self.data[to..to + at.n], from.lane(lane, at.n));
        }
        Ok(())
    }

    /// Enters a lane's write of cells as one of `epoch`; false if one of them needs a closer look, because since the last
    /// barrier another lane has accessed it.
    #[inline(always)]
    fn write_cells(&mut self, range: Range<usize>, who: Who, epoch: u32, lane: u32) -> bool {
        let (now, thread) = (self.now, who.warp << 5 | lane);
        let cells = &mut self.cells;
        let clear = |c: usize| {
            let own = || cells.written[c] == now && cells.writer[c] & 0x3ff == thread;
            let own_read = || cells.warps[c] == 1 << who.warp && cells.lanes[c] == 1 << lane;
            (cells.written[c] < now || own()) && (cells.read[c] != now || own_read())
        };
        if !range.clone().all(clear) {
            return false;
        }
        self.written(range, who, lane, epoch);
        true
    }

    #[inline(always)]
    fn written(&mut self, range: Range<usize>, who: Who, lane: u32, epoch: u32) {
        self.cells.written[range.clone()].fill(epoch);
        self.cells.writer[range].fill(who.pack(lane));
    }

    /// Applies `f` to the bytes of each lane in turn, as the hardware does with atomics. `f` gets lane and old value.
    #[inline(always)]
    pub fn update(&mut self, at: Request, who: Who, mut f: impl FnMut(usize, u64) -> u64) -> Result<(), LaneFault> {
        self.place(at)?;
        for lane in lanes(at.mask) {
            let to = at.addrs[lane] as usize;
            for c in self.cells_of(at.addrs[lane], at.n) {
                self.read_cell(c, who, 1 << lane).map_err(|fault| (lane, fault))?;
                if !self.write_cells(c..c + 1, who, self.now, lane as u32) {
                    self.doubtful_write(c..c + 1, who, lane as u32, self.now, false).map_err(|fault| (lane, fault))?;
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
    #[inline(never)]
    pub fn begin_async(&mut self, at: Request, who: Who) -> Result<(), LaneFault> {
        self.place(at)?;
        let epoch = if self.check_async { PENDING } else { self.now };
        for lane in lanes(at.mask) {
            let cells = self.cells_of(at.addrs[lane], at.n);
            if !self.write_cells(cells.clone(), who, epoch, lane as u32) {
                self.doubtful_write(cells, who, lane as u32, epoch, false).map_err(|f| (lane, f))?;
            }
        }
        Ok(())
    }

    /// The wait for a cp.async: its data arrives.
    #[inline(always)]
    pub fn end_async(&mut self, at: Request, who: Who, from: &Buf) {
        match at.n >> self.shift {
            1 => self.arrive::<1>(at, who, from),
            2 => self.arrive::<2>(at, who, from),
            4 => self.arrive::<4>(at, who, from),
            8 => self.arrive::<8>(at, who, from),
            _ => self.arrive::<16>(at, who, from),
        }
    }

    /// `N`: cells of a lane.
    #[inline(always)]
    fn arrive<const N: usize>(&mut self, at: Request, who: Who, from: &Buf) {
        for lane in lanes(at.mask) {
            let to = at.addrs[lane] as usize;
            let c = to >> self.shift;
            self.cells.written[c..c + N].copy_from_slice(&[self.now; N]);
            self.cells.writer[c..c + N].copy_from_slice(&[who.pack(lane as u32); N]);
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
