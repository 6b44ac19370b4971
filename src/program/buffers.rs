//! Who owns flat buffers.

use super::{Buf, DType};
use crate::Result;
use bytemuck::Pod;

/// A device's memory, as flat buffers.
pub trait Buffers {
    /// A new buffer of `len` elements, all zero.
    ///
    /// # Errors
    /// Where memory does not suffice.
    fn alloc(&mut self, dtype: DType, len: usize) -> Result<Buf>;

    /// Copies `data` into `buf` from element `offset` on.
    ///
    /// # Errors
    /// Where the device fails.
    ///
    /// # Panics
    /// If the type or the range does not fit the buffer (an engine bug).
    fn write<T: Pod>(&mut self, buf: Buf, offset: usize, data: &[T]) -> Result<()>;

    /// Copies from `buf`, from element `offset` on, into `out`; waits for what was replayed before.
    ///
    /// # Errors
    /// Where the device fails, also in what was replayed before.
    ///
    /// # Panics
    /// If the type or the range does not fit the buffer (an engine bug).
    fn read<T: Pod>(&self, buf: Buf, offset: usize, out: &mut [T]) -> Result<()>;

    /// The whole buffer, as a vector.
    ///
    /// # Errors
    /// As [`Buffers::read`].
    fn read_all<T: Pod>(&self, buf: Buf) -> Result<Vec<T>> {
        let mut out = vec![T::zeroed(); buf.len];
        self.read(buf, 0, &mut out)?;
        Ok(out)
    }
}
