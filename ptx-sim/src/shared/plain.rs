//! Requests to shared memory that are plainly right: all lanes at once.

use super::{Cells, PENDING, Shared, Who, all_if};
use crate::exec::{Buf, Pattern, Values, copy, each, lanes, permute};

/// `N` of the facts about cells.
#[inline(always)]
fn some<const N: usize>(facts: &[u32], at: usize) -> &[u32; N] {
    facts[at..at + N].try_into().expect("N cells")
}

#[inline(always)]
fn some_mut<const N: usize>(facts: &mut [u32], at: usize) -> &mut [u32; N] {
    (&mut facts[at..at + N]).try_into().expect("N cells")
}

/// Calls a method with the number of cells that a pattern's groups have.
macro_rules! by_width {
    ($self:ident.$f:ident($p:ident, $($arg:expr),*)) => {
        match $p.width {
            8 => $self.$f::<8>($p, $($arg),*),
            4 => $self.$f::<4>($p, $($arg),*),
            2 => $self.$f::<2>($p, $($arg),*),
            _ => $self.$f::<1>($p, $($arg),*),
        }
    };
}

/// Bytes behind the end of the data, so that words that lie close to the last one can be read with it.
pub(super) const BEHIND: usize = 128;

impl Shared {
    /// Reads a request of a pattern, as `load` does; None if it needs the closer look there. Returns the bytes of all
    /// lanes, one lane's after the other's: where they lie, or in `out`.
    #[inline(always)]
    pub fn load_plain<'b>(&'b mut self, p: &Pattern, base: u32, who: Who, out: &'b mut Buf) -> Option<&'b [u8]> {
        let low = p.lowest(base, self.size)?;
        if who.atomic || self.times.is_some() || self.lane_times.is_some() {
            return None;
        }
        // Reads that are entered already may be entered again.
        if !by_width!(self.enter_reads(p, base, who)) {
            return None;
        }
        if p.run {
            return Some(&self.data[low..low + 32 * p.n]);
        }
        if let Some(words) = &p.words {
            let near = bytemuck::pod_read_unaligned(&self.data[low..low + BEHIND]);
            *out.words_mut() = permute(&near, words, self.fast);
            return Some(out.all(4));
        }
        match p.n {
            1 => self.take::<1>(p, base, out),
            2 => self.take::<2>(p, base, out),
            4 => self.take::<4>(p, base, out),
            8 => self.take::<8>(p, base, out),
            _ => self.take::<16>(p, base, out),
        }
        Some(out.all(p.n))
    }

    /// Writes a request of a pattern, as `store` does; false (and nothing done) if it needs the closer look there.
    /// They go straight to where they belong or by way of `from`.
    #[inline(always)]
    pub fn store_plain(&mut self, p: &Pattern, base: u32, who: Who, from: &mut Buf, values: &Values) -> bool {
        let Some(low) = p.lowest(base, self.size).filter(|_| p.apart) else { return false };
        if !by_width!(self.enter_writes(p, base, who, self.now)) {
            return false;
        }
        if p.run {
            values.put(&mut self.data[low..low + 32 * p.n]);
            return true;
        }
        values.put(from.all_mut(p.n));
        self.put_lanes(p, base, from);
        true
    }

    /// Copies the bytes of each lane into memory.
    #[inline(always)]
    fn put_lanes(&mut self, p: &Pattern, base: u32, from: &Buf) {
        match p.n {
            1 => self.put::<1>(p, base, from),
            2 => self.put::<2>(p, base, from),
            4 => self.put::<4>(p, base, from),
            8 => self.put::<8>(p, base, from),
            _ => self.put::<16>(p, base, from),
        }
    }

    /// Copies `N` bytes of each lane out of memory, where a request of the pattern lies in it.
    #[inline(always)]
    fn take<const N: usize>(&self, p: &Pattern, base: u32, out: &mut Buf) {
        for lane in 0..32 {
            let at = p.address(base, lane);
            debug_assert!(at + N <= self.size);
            // SAFETY: `lowest` has checked that the bytes of all active lanes lie in memory; the others have the address of
            // one of these.
            #[allow(unsafe_code)]
            let bytes: [u8; N] = unsafe { self.data.as_ptr().add(at).cast::<[u8; N]>().read() };
            copy(out.lane_mut(lane, N), &bytes);
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
        p.apart && p.lowest(base, self.size).is_some() && by_width!(self.enter_writes(p, base, who, epoch))
    }

    /// The wait for a whole cp.async that `begin_plain` started.
    #[inline(always)]
    pub fn end_plain(&mut self, p: &Pattern, base: u32, who: Who, from: &Buf) {
        by_width!(self.write_all(p, base, who, self.now));
        self.put_lanes(p, base, from);
    }

    /// Enters reads of cells in groups of `N`; false if one of them is of something that has not been written in this block
    /// before the last barrier.
    #[inline(always)]
    fn enter_reads<const N: usize>(&mut self, p: &Pattern, base: u32, who: Who) -> bool {
        let (now, first, warp, timed) = (self.now, self.first, 1 << who.warp, self.timed);
        let old = now.wrapping_sub(first);
        let Cells { written, read, warps, lanes, time, .. } = &mut self.cells;
        let all = written.len();
        let (read, warps, lanes, time) = (&mut read[..all], &mut warps[..all], &mut lanes[..all], &mut time[..all]);
        let mut doubt = 0;
        for (group, bits) in p.groups.iter().zip(p.bits.chunks_exact(N)) {
            let c = (base.wrapping_add(*group) >> self.shift) as usize;
            // All is loaded before any of it is stored, or else no vectors would come of it.
            let bits = *some::<N>(bits, 0);
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
    fn enter_writes<const N: usize>(&mut self, p: &Pattern, base: u32, who: Who, epoch: u32) -> bool {
        let (now, shift) = (self.now, self.shift);
        let Cells { written, writer, read, warps, lanes, .. } = &self.cells;
        let all = written.len();
        let (writer, read, warps, lanes) = (&writer[..all], &read[..all], &warps[..all], &lanes[..all]);
        let mut doubt = 0;
        for group in &p.groups {
            let c = (base.wrapping_add(*group) >> shift) as usize;
            let (written, read) = (some::<N>(written, c), some::<N>(read, c));
            for j in 0..N {
                doubt |= !all_if(written[j] < now) | all_if(read[j] == now);
            }
        }
        if doubt != 0 {
            // What the same lane has accessed may be written again.
            let (thread0, warp) = (who.pack(0) & 0x3ff, 1 << who.warp);
            doubt = 0;
            for (group, lane) in p.groups.iter().zip(p.lane.chunks_exact(N)) {
                let c = (base.wrapping_add(*group) >> shift) as usize;
                let lane = some::<N>(lane, 0);
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
        self.write_all::<N>(p, base, who, epoch);
        true
    }

    /// Enters writes of which nothing is in the way.
    #[inline(always)]
    fn write_all<const N: usize>(&mut self, p: &Pattern, base: u32, who: Who, epoch: u32) {
        let (written, writer) = (&mut self.cells.written[..], &mut self.cells.writer[..]);
        let writer0 = who.pack(0);
        for (group, lane) in p.groups.iter().zip(p.lane.chunks_exact(N)) {
            let c = (base.wrapping_add(*group) >> self.shift) as usize;
            let lane = some::<N>(lane, 0);
            *some_mut::<N>(written, c) = [epoch; N];
            *some_mut::<N>(writer, c) = each(|j| writer0 | lane[j]);
        }
    }
}
