//! The closer look at accesses to shared memory that are not plainly right.

use super::{ATOMIC, PENDING, Shared, TIME, Who};
use crate::error::FaultKind;
use crate::exec::lanes;
use crate::memory::MemFault;
use std::ops::Range;

impl Shared {
    #[cold]
    #[inline(never)]
    pub(super) fn doubtful_read(&mut self, c: usize, bits: u32, who: Who) -> Result<(), MemFault> {
        self.check_pending(c)?;
        if self.check_init && self.cells.written[c] < self.first {
            let what = format!("read of shared address {:#x}, which nothing has written", c << self.shift);
            return Err(MemFault(FaultKind::Uninitialised, what));
        }
        self.after_write(c, bits, who, "reads")
    }

    fn check_pending(&self, c: usize) -> Result<(), MemFault> {
        if self.check_async && self.cells.written[c] == PENDING {
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
            None => time != who.time & TIME,
        }
    }

    /// The last write of a cell must come before an access by lanes `bits`.
    fn after_write(&self, c: usize, bits: u32, who: Who, verb: &str) -> Result<(), MemFault> {
        let (written, writer) = (self.cells.written[c], self.cells.writer[c]);
        let (thread, time) = (writer & 0x3ff, writer >> 10 & TIME);
        let own = thread >> 5 == who.warp && bits == 1 << (thread & 31);
        let exempt = own || (who.atomic && writer & ATOMIC != 0) || !self.check_races;
        if written != self.now || exempt || self.knows(who, bits, thread, time) {
            return Ok(());
        }
        Err(self.race(c, bits, who, verb, thread, "wrote"))
    }

    /// The reads of a cell must come before a write by lanes `bits`.
    fn after_reads(&self, c: usize, bits: u32, who: Who) -> Result<(), MemFault> {
        let cells = &self.cells;
        if cells.read[c] != self.now || !self.check_races {
            return Ok(());
        }
        let own = 1 << who.warp;
        for warp in lanes(cells.warps[c] & !own) {
            let time = self.times.as_ref().map_or(cells.time[c], |t| t[c][warp]);
            if !self.knows(who, bits, (warp as u32) << 5, time) {
                return Err(self.race(c, bits, who, "writes", (warp as u32) << 5, "read"));
            }
        }
        // Of several warps, only the lanes of the last are known.
        for lane in lanes(if cells.warps[c] == own { cells.lanes[c] & !bits } else { 0 }) {
            let time = self.lane_times.as_ref().map_or(cells.time[c], |t| t[c][lane]);
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
        let at = c << self.shift;
        MemFault(
            FaultKind::SharedRace,
            format!("thread {thread} {verb} shared address {at:#x}, which {other} {did} with no barrier between"),
        )
    }

    /// Enters a write of cells where they need a closer look. `equal`: the bytes are there already.
    #[cold]
    #[inline(never)]
    pub(super) fn doubtful_write(
        &mut self,
        range: Range<usize>,
        who: Who,
        lane: u32,
        epoch: u32,
        equal: bool,
    ) -> Result<(), MemFault> {
        // Writes of equal values can't be told apart.
        let written = |c: usize| self.cells.written[c];
        let known = range.clone().all(|c| written(c) >= self.first && written(c) != PENDING);
        for c in range.clone() {
            self.check_pending(c)?;
            self.after_reads(c, 1 << lane, who)?;
            if !(equal && known) {
                self.after_write(c, 1 << lane, who, "writes")?;
            }
        }
        self.written(range, who, lane, epoch);
        Ok(())
    }
}
