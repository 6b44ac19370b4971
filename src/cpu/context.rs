//! What an op sees while it runs: a range of slots, and pointers to the values it names.

use super::layout::MapShape;
use super::memory::Memory;
use super::simd::Level;
use super::storage::{Place, Storage};
use crate::batch::Batch;
use crate::program::{Affine, Bits, Buf, Filter, FilterDecl, Map, Values};
use bytemuck::Pod;

/// An op's CPU implementation, in `src/ops/<op>/cpu.rs`.
pub trait CpuOp {
    /// Runs it on the slots of `cx`.
    ///
    /// Per-example ops run on any range of slots, several ranges at once on different threads: they touch only what belongs
    /// to their slots. The others run alone, with all live slots, inside the backend's thread pool.
    fn run(&self, cx: &Context);

    /// f32 of scratch that [`Context::scratch`] must offer for `n` slots.
    fn scratch(&self, n: usize, values: &Values) -> usize {
        let _ = (n, values);
        0
    }
}

/// A range of slots of one replay.
pub struct Context<'a> {
    /// The SIMD level.
    pub level: Level,
    /// First slot.
    pub first: usize,
    /// Number of slots.
    pub n: usize,
    /// The backend's buffers.
    pub bufs: &'a [Memory],
    /// Where the program's values are.
    pub storage: &'a Storage,
    /// Scratch and tile-local values of this thread.
    pub arena: &'a Memory,
    /// The slot that tile-local values start with.
    pub origin: usize,
}

impl Context<'_> {
    /// The same on slots `first .. first + n`, a part of this range.
    pub fn part(&self, first: usize, n: usize) -> Context<'_> {
        debug_assert!(first >= self.first && first + n <= self.first + self.n);
        Context { first, n, ..*self }
    }

    /// The shape of a map in this backend's layout.
    pub fn shape(&self, map: Map) -> MapShape {
        self.storage.maps[map.0 as usize].0
    }

    fn place(&self, place: &Place, per_slot: usize) -> *mut u8 {
        let (base, slot) = match place {
            Place::Shared(memory) => (memory.ptr(), self.first),
            // SAFETY: the offset lies in the arena, which was made for it.
            Place::Local(offset) => (unsafe { self.arena.ptr().add(*offset) }, self.first - self.origin),
        };
        // SAFETY: the memory holds every slot of the batch (shared) or of a tile (local).
        unsafe { base.add(slot * per_slot) }
    }

    /// The map of slot `first`; the next slots follow at `MapShape::example`.
    pub fn map(&self, map: Map) -> *mut f32 {
        let (shape, place) = &self.storage.maps[map.0 as usize];
        self.place(place, shape.example() * 4).cast()
    }

    /// The mask of slot `first`; the next slots follow at `MapShape::bits`.
    pub fn bits(&self, bits: Bits) -> *mut u16 {
        let (shape, place) = &self.storage.bits[bits.0 as usize];
        self.place(place, shape.bits() * 2).cast()
    }

    /// u16 words of a mask per slot.
    pub fn bits_len(&self, bits: Bits) -> usize {
        self.storage.bits[bits.0 as usize].0.bits()
    }

    /// The declaration of a filter.
    pub fn decl(&self, filter: Filter) -> &FilterDecl {
        &self.storage.filters[filter.0 as usize].0
    }

    /// A prepared filter.
    pub fn filter(&self, filter: Filter) -> &[f32] {
        let memory = &self.storage.filters[filter.0 as usize].1;
        // SAFETY: prepared by an earlier op, and nothing writes it while a per-example op runs.
        unsafe { std::slice::from_raw_parts(memory.ptr().cast(), memory.bytes() / 4) }
    }

    /// An affine's scale and shift, zero-padded to whole blocks of channels.
    pub fn affine(&self, affine: Affine) -> (&[f32], &[f32]) {
        let (channels, memory) = &self.storage.affines[affine.0 as usize];
        let padded = channels.next_multiple_of(16);
        // SAFETY: as for `filter`; the memory holds both halves.
        let all = unsafe { std::slice::from_raw_parts(memory.ptr().cast::<f32>(), 2 * padded) };
        all.split_at(padded)
    }

    /// For the op that fills it: an affine's memory, scale then shift, each padded.
    ///
    /// # Safety
    /// Nothing else uses the affine at the time.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn affine_mut(&self, affine: Affine) -> (&mut [f32], &mut [f32]) {
        let (channels, memory) = &self.storage.affines[affine.0 as usize];
        let padded = channels.next_multiple_of(16);
        // SAFETY: the caller's promise.
        let all = unsafe { std::slice::from_raw_parts_mut(memory.ptr().cast::<f32>(), 2 * padded) };
        all.split_at_mut(padded)
    }

    /// For the op that fills it: a filter's declaration and memory.
    ///
    /// # Safety
    /// Nothing else uses the filter at the time.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn filter_mut(&self, filter: Filter) -> (&FilterDecl, &mut [f32]) {
        let (decl, memory) = &self.storage.filters[filter.0 as usize];
        // SAFETY: the caller's promise.
        (decl, unsafe { std::slice::from_raw_parts_mut(memory.ptr().cast(), memory.bytes() / 4) })
    }

    /// Scratch of this thread, as much as the op asked for.
    ///
    /// # Safety
    /// The op holds no other slice of it.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn scratch(&self) -> &mut [f32] {
        // SAFETY: tile-local values come after the scratch; the arena is this thread's own.
        unsafe { std::slice::from_raw_parts_mut(self.arena.ptr().cast(), self.storage.scratch) }
    }

    /// The whole of a buffer, to read and write.
    ///
    /// # Safety
    /// No two threads touch the same element at a time if one writes it, and no reference of this one overlaps.
    ///
    /// # Panics
    /// If `T` is not the buffer's element type.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn buf<T: Pod>(&self, buf: Buf) -> &mut [T] {
        let memory = &self.bufs[buf.id as usize];
        assert_eq!(size_of::<T>(), buf.dtype.size());
        // SAFETY: the buffer holds `len` elements; the caller promises the rest.
        unsafe { std::slice::from_raw_parts_mut(memory.ptr().cast(), buf.len) }
    }

    /// The whole of a buffer, to read.
    ///
    /// # Safety
    /// Nothing writes any of it as long as the reference lives: no op that may run at the same time, nor this one by another
    /// reference.
    pub unsafe fn read<T: Pod>(&self, buf: Buf) -> &[T] {
        // SAFETY: the caller's promise.
        unsafe { self.buf(buf) }
    }

    /// The rows `[index, width]` of a buffer for one index.
    ///
    /// # Safety
    /// As [`Context::buf`], for this row.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn row<T: Pod>(&self, buf: Buf, index: usize, width: usize) -> &mut [T] {
        // SAFETY: the caller's promise.
        unsafe { self.rows(buf, index, 1, width) }
    }

    /// The rows `first .. first + n` of a buffer `[index, width]`.
    ///
    /// # Safety
    /// As [`Context::buf`], for these rows.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn rows<T: Pod>(&self, buf: Buf, first: usize, n: usize, width: usize) -> &mut [T] {
        assert_eq!(size_of::<T>(), buf.dtype.size());
        assert!((first + n) * width <= buf.len);
        let start = self.bufs[buf.id as usize].ptr().cast::<T>();
        // SAFETY: in range; the caller promises that no other thread touches the rows.
        unsafe { std::slice::from_raw_parts_mut(start.add(first * width), n * width) }
    }

    /// Element `index` of a buffer.
    ///
    /// # Safety
    /// As [`Context::buf`], for this element.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn at<T: Pod>(&self, buf: Buf, index: usize) -> &mut T {
        // SAFETY: the caller's promise.
        let row = unsafe { self.row::<T>(buf, index, 1) };
        &mut row[0]
    }

    /// The position of a slot.
    ///
    /// # Safety
    /// As [`Context::read`], for the batch's positions, which only ops that run alone write.
    pub unsafe fn position(&self, batch: &Batch, slot: usize) -> usize {
        // SAFETY: the caller's promise.
        unsafe { self.read::<u32>(batch.position)[slot] as usize }
    }
}
