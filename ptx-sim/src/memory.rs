//! Simulated global memory: allocations with guard gaps, per-byte initialised bits, and who accessed each word.

use crate::error::{Error, FaultKind, Result};

/// Lowest device address; below lie the 32-bit offsets of shared and local memory.
const BASE: u64 = 0x7_0000_0000;
const ALIGN: u64 = 256;

/// What is wrong with an access, before it is known whose it is.
#[derive(Debug)]
pub(crate) struct MemFault(pub FaultKind, pub String);

/// One bit per byte.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub fn new(len: usize) -> Bits {
        Bits(vec![0; len.div_ceil(64)])
    }

    /// Whether all of `n` <= 16 bytes, which lie within one aligned run of 64, are set.
    #[inline(always)]
    pub fn all(&self, at: usize, n: usize) -> bool {
        let mask = ((1u64 << n) - 1) << (at & 63);
        self.0[at / 64] & mask == mask
    }

    #[inline(always)]
    pub fn set(&mut self, at: usize, n: usize) {
        self.0[at / 64] |= ((1u64 << n) - 1) << (at & 63);
    }

    pub fn set_range(&mut self, at: usize, n: usize) {
        for i in at..at + n {
            self.0[i / 64] |= 1 << (i & 63);
        }
    }

    pub fn clear(&mut self) {
        self.0.fill(0);
    }
}

/// Last access to a word by a block: launch-wide time, block, bytes. Packed as time << 28 | block << 4 | bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    write: u64,
    read: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Alloc {
    base: u64,
    len: u64,
    pub data: Vec<u8>,
    pub init: Bits,
    words: Vec<Word>,
    /// Bit 0: sector read in this launch, bit 1: sector written; and per byte touched.
    sectors: Vec<u8>,
    touched: Bits,
    pub read_only: bool,
    freed: bool,
}

/// The block that accesses, for the race check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accessor {
    pub block: u32,
    /// Atomic, volatile or with acquire/release semantics: never a race.
    pub strong: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Global {
    allocs: Vec<Alloc>,
    next: u64,
    last: usize,
    pub check_races: bool,
    pub check_init: bool,
    /// Counts accesses; stamps the words.
    time: u64,
    launch_start: u64,
    /// Per block: time of its last release (fence) and last acquire (fence or strong access).
    released: Vec<u64>,
    acquired: Vec<u64>,
}

impl Global {
    pub fn new() -> Global {
        Global {
            allocs: Vec::new(),
            next: BASE,
            last: 0,
            check_races: true,
            check_init: true,
            time: 1,
            launch_start: 1,
            released: Vec::new(),
            acquired: Vec::new(),
        }
    }

    pub fn alloc(&mut self, len: usize) -> u64 {
        let base = self.next;
        self.next = (base + len as u64).div_ceil(ALIGN) * ALIGN + ALIGN;
        self.allocs.push(Alloc {
            base,
            len: len as u64,
            data: vec![0; len],
            init: Bits::new(len),
            words: Vec::new(),
            sectors: Vec::new(),
            touched: Bits::default(),
            read_only: false,
            freed: false,
        });
        base
    }

    pub fn free(&mut self, base: u64) -> Result<()> {
        match self.allocs.iter_mut().find(|a| a.base == base && !a.freed) {
            None => Err(Error::Memory(format!("free of {base:#x}, which is not an allocation"))),
            Some(a) => {
                a.freed = true;
                a.data = Vec::new();
                a.init = Bits::default();
                a.words = Vec::new();
                a.sectors = Vec::new();
                Ok(())
            }
        }
    }

    /// The allocation and the offset in it of a host-side access.
    pub fn host(&mut self, addr: u64, len: usize) -> Result<(&mut Alloc, usize)> {
        let i = self.find(addr, len).map_err(|e| Error::Memory(e.1))?;
        let a = &mut self.allocs[i];
        let at = (addr - a.base) as usize;
        Ok((a, at))
    }

    /// Forgets what earlier launches touched.
    pub fn begin(&mut self, blocks: usize) {
        // Stamps of the launch before must lie below.
        self.time += 1;
        self.launch_start = self.time;
        self.released = vec![0; blocks];
        self.acquired = vec![0; blocks];
        for a in self.allocs.iter_mut().filter(|a| !a.freed) {
            a.sectors = vec![0; a.data.len().div_ceil(32)];
            a.touched = Bits::new(a.data.len());
            if self.check_races && a.words.is_empty() {
                a.words = vec![Word::default(); a.data.len().div_ceil(4)];
            }
        }
    }

    /// Sectors read, sectors written and bytes touched since `begin`.
    pub fn touched(&self) -> (u64, u64, u64) {
        let mut out = (0, 0, 0);
        for a in self.allocs.iter().filter(|a| !a.freed) {
            out.0 += a.sectors.iter().filter(|&&s| s & 1 != 0).count() as u64;
            out.1 += a.sectors.iter().filter(|&&s| s & 2 != 0).count() as u64;
            out.2 += a.touched.0.iter().map(|w| w.count_ones() as u64).sum::<u64>();
        }
        out
    }

    fn find(&mut self, addr: u64, n: usize) -> std::result::Result<usize, MemFault> {
        let inside = |a: &Alloc| addr >= a.base && addr - a.base < a.len.max(1) && n as u64 <= a.len - (addr - a.base);
        if self.allocs.get(self.last).is_some_and(|a| inside(a) && !a.freed) {
            return Ok(self.last);
        }
        let i = self.allocs.partition_point(|a| a.base <= addr);
        let near = i.checked_sub(1).map(|i| &self.allocs[i]);
        match near {
            Some(a) if inside(a) && a.freed => {
                Err(MemFault(FaultKind::UseAfterFree, format!("access to {addr:#x} in freed memory")))
            }
            Some(a) if inside(a) => {
                self.last = i - 1;
                Ok(i - 1)
            }
            Some(a) => Err(MemFault(
                FaultKind::OutOfBounds,
                format!(
                    "access to {n} bytes at {addr:#x}, offset {} of the nearest allocation of {} bytes",
                    addr - a.base,
                    a.len
                ),
            )),
            None => Err(MemFault(FaultKind::OutOfBounds, format!("access to {n} bytes at {addr:#x}, no allocation"))),
        }
    }

    fn place(&mut self, addr: u64, n: usize) -> std::result::Result<(usize, usize), MemFault> {
        if addr & (n as u64 - 1) != 0 {
            return Err(MemFault(FaultKind::Misaligned, format!("address {addr:#x} is no multiple of {n}")));
        }
        let i = self.find(addr, n)?;
        Ok((i, (addr - self.allocs[i].base) as usize))
    }

    /// A fence, or an atomic that orders: what the block wrote is visible, what others released it may read.
    pub fn fence(&mut self, block: u32) {
        self.time += 1;
        self.released[block as usize] = self.time;
        self.acquired[block as usize] = self.time;
    }

    pub fn acquire(&mut self, block: u32) {
        self.time += 1;
        self.acquired[block as usize] = self.time;
    }

    /// Whether an earlier access, as packed in a word, conflicts with one now.
    fn conflicts(&self, packed: u64, who: Accessor, bytes: u64) -> Option<u32> {
        let (time, block) = (packed >> 28, (packed >> 4 & 0xff_ffff) as u32);
        if time < self.launch_start || block == who.block || packed & bytes == 0 {
            return None;
        }
        // Ordered if the other block released after its access and this one acquired after that.
        let released = self.released.get(block as usize).copied().unwrap_or(0);
        let ordered = released > time && self.acquired[who.block as usize] > released;
        (!ordered).then_some(block)
    }

    fn race(&mut self, i: usize, at: usize, n: usize, who: Accessor, write: bool) -> std::result::Result<(), MemFault> {
        for w in at / 4..(at + n).div_ceil(4) {
            let bytes = if n >= 4 { 15 } else { ((1u64 << n) - 1) << (at & 3) };
            let word = self.allocs[i].words[w];
            if let Some(other) = self.conflicts(word.write, who, bytes) {
                let kind = if write { "writes" } else { "reads" };
                return Err(MemFault(
                    FaultKind::GlobalRace,
                    format!(
                        "block index {} {kind} a word that block index {other} wrote in the same launch",
                        who.block
                    ),
                ));
            }
            if write && let Some(other) = self.conflicts(word.read, who, bytes) {
                return Err(MemFault(
                    FaultKind::GlobalRace,
                    format!("block index {} writes a word that block index {other} read in the same launch", who.block),
                ));
            }
            let stamp = self.time << 28 | (who.block as u64 & 0xff_ffff) << 4 | bytes;
            let word = &mut self.allocs[i].words[w];
            if write {
                word.write = stamp;
            } else {
                word.read = stamp;
            }
        }
        Ok(())
    }

    /// `n` bytes, a power of two up to 16.
    pub fn read(&mut self, addr: u64, n: usize, who: Accessor) -> std::result::Result<[u8; 16], MemFault> {
        let (i, at) = self.place(addr, n)?;
        if self.check_init && !self.allocs[i].init.all(at, n) {
            return Err(MemFault(
                FaultKind::Uninitialised,
                format!("read of {n} bytes at offset {at} of an allocation, which nothing has written"),
            ));
        }
        if self.check_races && !who.strong {
            self.race(i, at, n, who, false)?;
        }
        let a = &mut self.allocs[i];
        a.sectors[at / 32] |= 1;
        a.touched.set(at, n);
        let mut out = [0; 16];
        out[..n].copy_from_slice(&a.data[at..at + n]);
        Ok(out)
    }

    pub fn write(&mut self, addr: u64, bytes: &[u8], who: Accessor) -> std::result::Result<(), MemFault> {
        let n = bytes.len();
        let (i, at) = self.place(addr, n)?;
        if self.allocs[i].read_only {
            return Err(MemFault(FaultKind::ReadOnly, format!("write to read-only memory at {addr:#x}")));
        }
        if self.check_races && !who.strong {
            self.race(i, at, n, who, true)?;
        }
        let a = &mut self.allocs[i];
        a.sectors[at / 32] |= 2;
        a.touched.set(at, n);
        a.init.set(at, n);
        a.data[at..at + n].copy_from_slice(bytes);
        Ok(())
    }

    pub fn tick(&mut self) {
        self.time += 1;
    }
}
