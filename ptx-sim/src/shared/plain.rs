//! Requests to shared memory that are plainly right: all lanes at once.

use super::{Cells, PENDING, Shared, Who, all_if};
use crate::exec::{Buf, Pattern, copy, each, lanes};

/// `N` of the facts about cells.
#[inline(always)]
fn some<const N: usize>(facts: &[u32], at: usize) -> &[u32; N] {
    facts[at..at + N].try_into().expect("N cells")
}

#[inline(always)]
fn some_mut<const N: usize>(facts: &mut [u32], at: usize) -> &mut [u32; N] {
    (&mut facts[at..at + N]).try_into().expect("N cells")
}

/// Calls a method of `$p`'s places with the number of cells that it takes at once, and whether one lane has them all.
macro_rules! by_width {
    ($self:ident.$f:ident($p:ident, $($arg:expr),*)) => {
        match $p.n >> $self.shift {
            1 if $p.eights => $self.$f::<8, false>($p, $($arg),*),
            1 => $self.$f::<1, true>($p, $($arg),*),
            2 => $self.$f::<2, true>($p, $($arg),*),
            4 => $self.$f::<4, true>($p, $($arg),*),
            8 => $self.$f::<8, true>($p, $($arg),*),
            _ => $self.$f::<16, true>($p, $($arg),*),
        }
    };
}

impl Shared {
    /// Reads a request of a pattern into `out`, as `load` does; false if it needs the closer look there.
    #[inline(always)]
    pub fn load_plain(&mut self, p: &Pattern, base: u32, who: Who, out: &mut Buf) -> bool {
        if !p.fits(base, self.size) || who.atomic || self.times.is_some() || self.lane_times.is_some() {
            return false;
        }
        // Reads that are entered already may be entered again.
        if !by_width!(self.enter_reads(p, base, who)) {
            return false;
        }
        if p.run {
            let at = base as usize;
            out.all_mut(p.n).copy_from_slice(&self.data[at..at + 32 * p.n]);
            return true;
        }
        match p.n {
            1 => self.take::<1>(p, base, out),
            2 => self.take::<2>(p, base, out),
            4 => self.take::<4>(p, base, out),
            8 => self.take::<8>(p, base, out),
            _ => self.take::<16>(p, base, out),
        }
        true
    }

    /// Writes a request of a pattern, as `store` does; false (and nothing done) if it needs the closer look there.
    #[inline(always)]
    pub fn store_plain(&mut self, p: &Pattern, base: u32, who: Who, from: &Buf) -> bool {
        if !p.fits(base, self.size) || !p.apart() || !by_width!(self.enter_writes(p, base, who, self.now)) {
            return false;
        }
        if p.run {
            let at = base as usize;
            self.data[at..at + 32 * p.n].copy_from_slice(from.all(p.n));
            return true;
        }
        match p.n {
            1 => self.put::<1>(p, base, from),
            2 => self.put::<2>(p, base, from),
            4 => self.put::<4>(p, base, from),
            8 => self.put::<8>(p, base, from),
            _ => self.put::<16>(p, base, from),
        }
        true
    }

    /// Copies `N` bytes of each lane out of memory.
    #[inline(always)]
    fn take<const N: usize>(&self, p: &Pattern, base: u32, out: &mut Buf) {
        let data = &self.data[..];
        if p.mask == !0 {
            for lane in 0..32 {
                let at = p.address(base, lane);
                copy(out.lane_mut(lane, N), &data[at..at + N]);
            }
            return;
        }
        for lane in lanes(p.mask) {
            let at = p.address(base, lane);
            copy(out.lane_mut(lane, N), &data[at..at + N]);
        }
    }

    /// Copies `N` bytes of each lane into memory.
    #[inline(always)]
    fn put<const N: usize>(&mut self, p: &Pattern, base: u32, from: &Buf) {
        let data = &mut self.data[..];
        for lane in lanes(p.mask) {
            let at = p.address(base, lane);
            copy(&mut data[at..at + N], from.lane(lane, N));
        }
    }

    /// Starts a cp.async as `begin_async` does; false (and nothing done) if it needs the closer look there.
    #[inline(always)]
    pub fn begin_plain(&mut self, p: &Pattern, base: u32, who: Who) -> bool {
        let epoch = if self.check_async { PENDING } else { self.now };
        p.fits(base, self.size) && p.apart() && by_width!(self.enter_writes(p, base, who, epoch))
    }

    /// Enters reads, of `N` cells of one lane's place or of `N` places of one cell; false if one of them is of something
    /// that has not been written in this block before the last barrier.
    #[inline(always)]
    fn enter_reads<const N: usize, const SAME: bool>(&mut self, p: &Pattern, base: u32, who: Who) -> bool {
        let (now, first, warp, timed) = (self.now, self.first, 1 << who.warp, self.timed);
        let old = now.wrapping_sub(first);
        let Cells { written, read, warps, lanes, time, .. } = &mut self.cells;
        let all = written.len();
        let (read, warps, lanes, time) = (&mut read[..all], &mut warps[..all], &mut lanes[..all], &mut time[..all]);
        let mut doubt = 0;
        let step = if SAME { 1 } else { N };
        for block in 0..p.count.min(32) / step {
            let k = block * step;
            let c = p.cell(base, k, self.shift);
            // All is loaded before any of it is stored, or else no vectors would come of it.
            let bits: [u32; N] = if SAME { [p.bits[k]; N] } else { *some(&p.bits, k) };
            let (write, reads) = (*some::<N>(written, c), *some::<N>(read, c));
            let (mut readers, mut last) = (*some::<N>(warps, c), *some::<N>(lanes, c));
            let mut alone = [!0; N];
            if timed {
                let times = *some::<N>(time, c);
                alone = each(|j| all_if(times[j] == who.time));
                *some_mut::<N>(time, c) = [who.time; N];
            }
            for j in 0..N {
                doubt |= !all_if(write[j].wrapping_sub(first) < old);
                let same = all_if(reads[j] == now);
                last[j] = bits[j] | (last[j] & same & all_if(readers[j] == warp) & alone[j]);
                readers[j] = warp | (readers[j] & same);
            }
            *some_mut::<N>(read, c) = [now; N];
            *some_mut::<N>(warps, c) = readers;
            *some_mut::<N>(lanes, c) = last;
        }
        doubt == 0
    }

    /// Enters writes as ones of `epoch`, as `enter_reads` does; false (and nothing done) if one of them is to what another
    /// lane has accessed since the last barrier.
    #[inline(always)]
    fn enter_writes<const N: usize, const SAME: bool>(&mut self, p: &Pattern, base: u32, who: Who, epoch: u32) -> bool {
        let (now, writer0, shift) = (self.now, who.pack(0), self.shift);
        let Cells { written, writer, read, warps, lanes, .. } = &mut self.cells;
        let all = written.len();
        let (writer, read, warps, lanes) = (&mut writer[..all], &read[..all], &warps[..all], &lanes[..all]);
        let count = p.count.min(32);
        let step = if SAME { 1 } else { N };
        let mut doubt = 0;
        for block in 0..count / step {
            let k = block * step;
            let c = p.cell(base, k, shift);
            let (written, read) = (some::<N>(written, c), some::<N>(read, c));
            for j in 0..N {
                doubt |= !all_if(written[j] < now) | all_if(read[j] == now);
            }
        }
        if doubt != 0 {
            // What the same lane has accessed may be written again.
            let (thread0, warp) = (writer0 & 0x3ff, 1 << who.warp);
            doubt = 0;
            for block in 0..count / step {
                let k = block * step;
                let c = p.cell(base, k, shift);
                let lane: [u32; N] = if SAME { [p.lane[k]; N] } else { *some(&p.lane, k) };
                let (written, writer) = (some::<N>(written, c), some::<N>(writer, c));
                let (read, warps, lanes) = (some::<N>(read, c), some::<N>(warps, c), some::<N>(lanes, c));
                for j in 0..N {
                    let own = all_if(written[j] == now) & all_if(writer[j] & 0x3ff == thread0 | lane[j]);
                    let own_read = all_if(warps[j] == warp) & all_if(lanes[j] == 1 << (lane[j] & 31));
                    doubt |= !((all_if(written[j] < now) | own) & (all_if(read[j] != now) | own_read));
                }
            }
        }
        if doubt != 0 {
            return false;
        }
        for block in 0..count / step {
            let k = block * step;
            let c = p.cell(base, k, shift);
            let lane: [u32; N] = if SAME { [p.lane[k]; N] } else { *some(&p.lane, k) };
            *some_mut::<N>(written, c) = [epoch; N];
            for (writer, lane) in some_mut::<N>(writer, c).iter_mut().zip(lane) {
                *writer = writer0 | lane;
            }
        }
        true
    }
}
