//! Shared memory of a block, with the race and cp.async checks; and local memory of a warp's threads.

use crate::error::FaultKind;
use crate::memory::{Bits, MemFault};

type Checked<T> = std::result::Result<T, MemFault>;

/// Who accesses: thread, and how many block barriers and warp barriers it has passed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Who {
    pub thread: u32,
    pub epoch: u32,
    pub warp_epoch: u32,
    pub atomic: bool,
}

const MANY: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Access {
    who: Who,
    /// Which bytes of the word; 0 if there was no access yet.
    bytes: u8,
    /// Another thread of the same warp, or of another one (`MANY`), read as well.
    also: u32,
}

const NONE: Access = Access { who: Who { thread: 0, epoch: 0, warp_epoch: 0, atomic: false }, bytes: 0, also: 0 };

impl Access {
    /// Whether nothing orders this access before one by `who`.
    fn conflicts(&self, who: Who, bytes: u8) -> bool {
        if self.bytes & bytes == 0 || self.who.epoch != who.epoch || (self.who.atomic && who.atomic) {
            return false;
        }
        if self.also == MANY {
            return true;
        }
        let same_warp = self.who.thread / 32 == who.thread / 32;
        if same_warp && self.who.warp_epoch != who.warp_epoch {
            return false;
        }
        self.who.thread != who.thread || self.also != 0
    }
}

pub(crate) struct Shared {
    pub data: Vec<u8>,
    init: Bits,
    /// Bytes that a cp.async has been told to write and that no wait covers yet.
    pending: Vec<u16>,
    reads: Vec<Access>,
    writes: Vec<Access>,
    pub check_races: bool,
    pub check_init: bool,
}

impl Shared {
    pub fn new(len: usize, check_races: bool, check_init: bool) -> Shared {
        let words = if check_races { len.div_ceil(4) } else { 0 };
        Shared {
            data: vec![0; len],
            init: Bits::new(len),
            pending: vec![0; len.div_ceil(4)],
            reads: vec![NONE; words],
            writes: vec![NONE; words],
            check_races,
            check_init,
        }
    }

    fn place(&self, addr: u64, n: usize) -> Checked<usize> {
        if addr & (n as u64 - 1) != 0 {
            return Err(MemFault(FaultKind::Misaligned, format!("shared address {addr:#x} is no multiple of {n}")));
        }
        if addr.checked_add(n as u64).is_none_or(|end| end > self.data.len() as u64) {
            let len = self.data.len();
            return Err(MemFault(
                FaultKind::OutOfBounds,
                format!("access to {n} bytes at shared address {addr:#x} of {len} bytes"),
            ));
        }
        let at = addr as usize;
        if self.pending[at / 4..(at + n).div_ceil(4)].iter().any(|&p| p > 0) {
            return Err(MemFault(
                FaultKind::AsyncPending,
                format!("access to shared address {addr:#x}, which a cp.async writes that was not waited for"),
            ));
        }
        Ok(at)
    }

    fn bytes(at: usize, n: usize) -> u8 {
        if n >= 4 { 15 } else { ((1 << n) - 1) << (at & 3) }
    }

    fn race(other: Who, who: Who, at: usize, what: &str) -> MemFault {
        MemFault(
            FaultKind::SharedRace,
            format!(
                "thread {} {what} the word at shared address {at:#x}; thread {} did before without a barrier between",
                who.thread, other.thread
            ),
        )
    }

    pub fn read(&mut self, addr: u64, n: usize, who: Who) -> Checked<[u8; 16]> {
        let at = self.place(addr, n)?;
        if self.check_init && !self.init.all(at, n) {
            return Err(MemFault(
                FaultKind::Uninitialised,
                format!("read of {n} bytes at shared address {addr:#x}, which nothing has written"),
            ));
        }
        if self.check_races {
            let bytes = Self::bytes(at, n);
            for w in at / 4..(at + n).div_ceil(4) {
                if self.writes[w].conflicts(who, bytes) {
                    return Err(Self::race(self.writes[w].who, who, w * 4, "reads (the other one wrote)"));
                }
                self.note_read(w, who, bytes);
            }
        }
        let mut out = [0; 16];
        out[..n].copy_from_slice(&self.data[at..at + n]);
        Ok(out)
    }

    fn note_read(&mut self, w: usize, who: Who, bytes: u8) {
        let r = &mut self.reads[w];
        if r.bytes == 0 || r.who.epoch != who.epoch {
            *r = Access { who, bytes, also: 0 };
        } else if r.who.thread / 32 != who.thread / 32 {
            r.also = MANY;
            r.bytes |= bytes;
        } else if r.who.warp_epoch != who.warp_epoch && r.also != MANY {
            *r = Access { who, bytes, also: 0 };
        } else {
            if r.who.thread != who.thread && r.also != MANY {
                r.also = 1;
            }
            r.bytes |= bytes;
        }
    }

    pub fn write(&mut self, addr: u64, bytes: &[u8], who: Who) -> Checked<()> {
        let n = bytes.len();
        let at = self.place(addr, n)?;
        if self.check_races {
            let mask = Self::bytes(at, n);
            // Two writes of the same value to a word can't be told apart.
            let same = self.init.all(at, n) && self.data[at..at + n] == *bytes;
            for w in at / 4..(at + n).div_ceil(4) {
                if !same && self.writes[w].conflicts(who, mask) {
                    return Err(Self::race(self.writes[w].who, who, w * 4, "writes (the other one wrote)"));
                }
                if self.reads[w].conflicts(who, mask) {
                    return Err(Self::race(self.reads[w].who, who, w * 4, "writes (the other one read)"));
                }
                self.writes[w] = Access { who, bytes: mask, also: 0 };
            }
        }
        self.init.set(at, n);
        self.data[at..at + n].copy_from_slice(bytes);
        Ok(())
    }

    /// A cp.async to `n` bytes starts: they must not be accessed before its wait.
    pub fn begin_async(&mut self, addr: u64, n: usize, who: Who) -> Checked<()> {
        let at = self.place(addr, n)?;
        if self.check_races {
            for w in at / 4..(at + n) / 4 {
                if self.reads[w].conflicts(who, 15) || self.writes[w].conflicts(who, 15) {
                    return Err(Self::race(self.reads[w].who, who, w * 4, "overwrites by cp.async"));
                }
            }
        }
        for p in &mut self.pending[at / 4..(at + n) / 4] {
            *p += 1;
        }
        Ok(())
    }

    pub fn end_async(&mut self, addr: u64, bytes: &[u8], who: Who) -> Checked<()> {
        let at = addr as usize;
        for p in &mut self.pending[at / 4..(at + bytes.len()) / 4] {
            *p -= 1;
        }
        self.write(addr, bytes, who)
    }
}

/// Local memory of the 32 threads of a warp, one after the other.
pub(crate) struct Local {
    size: usize,
    stride: usize,
    data: Vec<u8>,
    init: Bits,
    pub check_init: bool,
}

impl Local {
    pub fn new(size: usize, check_init: bool) -> Local {
        // A lane's part starts on a word of the bits, so that an access never straddles two.
        let stride = size.div_ceil(64) * 64;
        Local { size, stride, data: vec![0; stride * 32], init: Bits::new(stride * 32), check_init }
    }

    pub fn clear(&mut self) {
        self.init.clear();
    }

    fn place(&self, lane: usize, addr: u64, n: usize) -> Checked<usize> {
        if addr & (n as u64 - 1) != 0 {
            return Err(MemFault(FaultKind::Misaligned, format!("local address {addr:#x} is no multiple of {n}")));
        }
        if addr.checked_add(n as u64).is_none_or(|end| end > self.size as u64) {
            return Err(MemFault(FaultKind::OutOfBounds, format!("access to {n} bytes at local address {addr:#x}")));
        }
        Ok(lane * self.stride + addr as usize)
    }

    pub fn read(&self, lane: usize, addr: u64, n: usize) -> Checked<[u8; 16]> {
        let at = self.place(lane, addr, n)?;
        if self.check_init && !self.init.all(at, n) {
            return Err(MemFault(
                FaultKind::Uninitialised,
                format!("read of {n} bytes at local address {addr:#x}, which the thread has not written"),
            ));
        }
        let mut out = [0; 16];
        out[..n].copy_from_slice(&self.data[at..at + n]);
        Ok(out)
    }

    pub fn write(&mut self, lane: usize, addr: u64, bytes: &[u8]) -> Checked<()> {
        let at = self.place(lane, addr, bytes.len())?;
        self.init.set(at, bytes.len());
        self.data[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}
