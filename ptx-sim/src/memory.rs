//! Simulated global memory: allocations with guard gaps, and what is known of each of their sectors (32 aligned bytes):
//! which bytes are initialised and which blocks of the current launch accessed them.

use crate::error::{Error, FaultKind, Result};
use crate::races::{Detail, SHARDS};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

/// Lowest device address; below lie the 32-bit offsets of shared and local memory.
const BASE: u64 = 0x7_0000_0000;
/// Alignment of allocations, and least gap between two.
const ALIGN: u64 = 256;
/// Bytes of a sector.
pub(crate) const SECTOR: usize = 32;

/// What is wrong with an access, before it is known whose it is.
#[derive(Debug)]
pub(crate) struct MemFault(pub FaultKind, pub String);

/// Bytes that several host threads access. Which of them may is decided by the sector's tag (see `races`).
struct Bytes(Box<[UnsafeCell<u8>]>);

// SAFETY: whoever touches the bytes has entered itself in the tag of their sector before, and is refused where another
// block's access conflicts; where that check is off, or cannot tell, blocks run on one thread.
#[allow(unsafe_code)]
unsafe impl Sync for Bytes {}

fn zeros(len: usize) -> Bytes {
    // `vec![0; n]` comes zeroed from the system, without a pass over the memory.
    let bytes = vec![0u8; len].into_boxed_slice();
    // SAFETY: UnsafeCell<u8> has the layout of u8.
    #[allow(unsafe_code)]
    Bytes(unsafe { Box::from_raw(Box::into_raw(bytes) as *mut [UnsafeCell<u8>]) })
}

macro_rules! zeroed_atomics {
    ($name:ident, $plain:ty, $atomic:ty) => {
        fn $name(len: usize) -> Box<[$atomic]> {
            let words = vec![0 as $plain; len].into_boxed_slice();
            // SAFETY: the atomic has the size and alignment of the plain integer on every target that has it.
            #[allow(unsafe_code)]
            unsafe {
                Box::from_raw(Box::into_raw(words) as *mut [$atomic])
            }
        }
    };
}
zeroed_atomics!(zeroed32, u32, AtomicU32);
zeroed_atomics!(zeroed64, u64, AtomicU64);

/// Asks for a cache line.
#[inline(always)]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of every x86-64; a prefetch of any address is harmless.
    #[allow(unsafe_code)]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

pub(crate) struct Alloc {
    pub base: u64,
    pub len: u64,
    /// Rounded up to whole sectors.
    data: Bytes,
    /// One bit per byte of each sector: something has been written to it.
    pub init: Box<[AtomicU32]>,
    /// What the current launch did to each sector.
    pub tags: Box<[AtomicU64]>,
    /// In launches whose blocks synchronise, the time of the access that a tag is about.
    times: OnceLock<Box<[AtomicU32]>>,
    pub read_only: bool,
    freed: bool,
}

impl Alloc {
    fn new(base: u64, len: usize) -> Alloc {
        let sectors = len.div_ceil(SECTOR);
        Alloc {
            base,
            len: len as u64,
            data: zeros(sectors * SECTOR),
            init: zeroed32(sectors),
            tags: zeroed64(sectors),
            times: OnceLock::new(),
            read_only: false,
            freed: false,
        }
    }

    #[inline(always)]
    pub fn time(&self, sector: usize) -> u32 {
        self.times.get().map_or(0, |t| t[sector].load(Relaxed))
    }

    #[inline(always)]
    pub fn set_time(&self, sector: usize, time: u32) {
        self.times.get_or_init(|| zeroed32(self.tags.len()))[sector].store(time, Relaxed);
    }

    /// The bytes of a sector.
    pub fn host(&self, sector: usize) -> *mut u8 {
        self.data.0[sector * SECTOR..(sector + 1) * SECTOR].as_ptr() as *mut u8
    }

    /// Asks for the bytes of sectors.
    #[inline(always)]
    pub fn prefetch_data(&self, first: usize, last: usize) {
        for sector in (first..last + 1).step_by(2) {
            prefetch(self.host(sector));
        }
    }

    /// Asks for the bytes of sectors and for what is known of them.
    #[inline(always)]
    pub fn prefetch(&self, first: usize, last: usize) {
        self.prefetch_data(first, last);
        for sector in (first..last + 1).step_by(8) {
            prefetch(self.tags[sector].as_ptr().cast());
        }
        prefetch(self.init[first].as_ptr().cast());
    }

    /// The bytes, for the host, who has the device to itself.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `&mut self` is the only way to the allocation; UnsafeCell<u8> has the layout of u8.
        #[allow(unsafe_code)]
        unsafe {
            &mut *(std::ptr::from_mut(&mut *self.data.0) as *mut [u8])
        }
    }

    pub fn set_init(&mut self, at: usize, len: usize) {
        let mut i = at;
        while i < at + len {
            let end = ((i / SECTOR + 1) * SECTOR).min(at + len);
            *self.init[i / SECTOR].get_mut() |= mask(i % SECTOR, end - i);
            i = end;
        }
    }

    /// First of `len` bytes that nothing has written.
    pub fn first_uninitialised(&self, at: usize, len: usize) -> Option<usize> {
        (at..at + len).find(|i| self.init[i / SECTOR].load(Relaxed) >> (i % SECTOR) & 1 == 0)
    }
}

/// `n` (up to 32) bits from bit `at` on.
#[inline(always)]
pub(crate) fn mask(at: usize, n: usize) -> u32 {
    (((1u64 << n) - 1) << at) as u32
}

pub(crate) struct Global {
    pub allocs: Vec<Alloc>,
    next: u64,
    pub check_races: bool,
    pub check_init: bool,
    pub check_read_only: bool,
    /// Every access of a launch whose blocks synchronise is kept, not only the last of a block.
    pub exact: bool,
    /// Number of the launch, which tags of earlier ones lack.
    pub stamp: u32,
    pub details: [Mutex<Vec<Detail>>; SHARDS],
}

impl Global {
    pub fn new() -> Global {
        Global {
            allocs: Vec::new(),
            next: BASE,
            check_races: true,
            check_init: true,
            check_read_only: true,
            exact: false,
            stamp: 0,
            details: std::array::from_fn(|_| Mutex::new(Vec::new())),
        }
    }

    pub fn alloc(&mut self, len: usize) -> u64 {
        let base = self.next;
        self.next = (base + len as u64).div_ceil(ALIGN) * ALIGN + ALIGN;
        self.allocs.push(Alloc::new(base, len));
        base
    }

    pub fn free(&mut self, base: u64) -> Result<()> {
        match self.allocs.iter_mut().find(|a| a.base == base && !a.freed) {
            None => Err(Error::Memory(format!("free of {base:#x}, which is not an allocation"))),
            Some(a) => {
                // The length stays, so that later accesses are known for what they are.
                *a = Alloc { len: a.len, freed: true, ..Alloc::new(base, 0) };
                Ok(())
            }
        }
    }

    /// The allocation and the offset in it of a host-side access.
    pub fn host(&mut self, addr: u64, len: usize) -> Result<(&mut Alloc, usize)> {
        let i = self.find(addr, len as u64, 0).map_err(|e| Error::Memory(e.1))?;
        let a = &mut self.allocs[i];
        let at = (addr - a.base) as usize;
        Ok((a, at))
    }

    /// Starts a launch: forgets what earlier ones touched.
    pub fn begin(&mut self) {
        if self.stamp == u32::MAX {
            self.allocs.iter_mut().for_each(|a| a.tags = zeroed64(a.tags.len()));
            self.stamp = 0;
        }
        self.stamp += 1;
        self.details.iter_mut().for_each(|d| d.get_mut().expect("no panic while locked").clear());
    }

    /// The allocation that holds `n` bytes at `addr`; `guess` is tried first.
    #[inline(always)]
    pub fn find(&self, addr: u64, n: u64, guess: usize) -> std::result::Result<usize, MemFault> {
        let inside = |a: &Alloc| addr >= a.base && addr - a.base < a.len.max(1) && n <= a.len - (addr - a.base);
        if self.allocs.get(guess).is_some_and(|a| inside(a) && !a.freed) {
            return Ok(guess);
        }
        let i = self.allocs.partition_point(|a| a.base <= addr);
        match i.checked_sub(1).map(|i| &self.allocs[i]) {
            Some(a) if inside(a) && !a.freed => Ok(i - 1),
            near => Err(outside(addr, n, near)),
        }
    }
}

#[cold]
fn outside(addr: u64, n: u64, near: Option<&Alloc>) -> MemFault {
    let Some(a) = near else {
        return MemFault(FaultKind::OutOfBounds, format!("access to {n} bytes at {addr:#x}, no allocation"));
    };
    let at = addr - a.base;
    if a.freed && at < a.len {
        return MemFault(
            FaultKind::UseAfterFree,
            format!("access to {n} bytes at offset {at} of an allocation of {} bytes that was freed", a.len),
        );
    }
    MemFault(
        FaultKind::OutOfBounds,
        format!("access to {n} bytes at {addr:#x}, offset {at} of the nearest allocation of {} bytes", a.len),
    )
}
