//! Zeroed memory on cache-line boundaries that several threads write disjoint parts of.

use crate::{Error, Result};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Alignment: a cache line.
const ALIGN: usize = 64;

/// A block of zeroed bytes. Access goes through raw pointers, because an op's threads each write their own slots of it.
#[derive(Debug)]
pub struct Memory {
    ptr: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the memory is owned by this value and is plain bytes; who reads and writes through the pointer answers for it.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    fn layout(bytes: usize) -> Result<Layout> {
        Layout::from_size_align(bytes.max(ALIGN), ALIGN)
            .map_err(|_| Error::Op { op: "cpu memory", what: format!("{bytes} bytes can't be addressed") })
    }

    /// `bytes` zero bytes.
    ///
    /// # Errors
    /// Where the system has no such memory.
    pub fn zeroed(bytes: usize) -> Result<Memory> {
        // SAFETY: the layout's size is not zero.
        let ptr = unsafe { alloc_zeroed(Self::layout(bytes)?) };
        match NonNull::new(ptr) {
            Some(ptr) => Ok(Memory { ptr, bytes }),
            None => Err(Error::Op {
                op: "cpu memory",
                what: format!("out of memory at {} MiB; lower --batch", bytes >> 20),
            }),
        }
    }

    /// The first byte.
    pub fn ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// Size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let layout = Layout::from_size_align(self.bytes.max(ALIGN), ALIGN).expect("was allocated with it");
        // SAFETY: allocated in `zeroed` with this layout.
        unsafe { dealloc(self.ptr.as_ptr(), layout) }
    }
}
