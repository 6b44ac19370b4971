//! A look into a compiled program's values, for tests of single ops; the engine itself never needs one.
//!
//! Only *shared* values can be seen: those that an op of the whole batch touches, or that are read before they are written.
//! Tile-local ones have no place of their own, unless the program is compiled by [`CpuBackend::compile_inspectable`]. Values are in the order `[h, w, c]`, without borders or padding channels.

use super::CpuBackend;
use super::compiled::{Compiled, Locality};
use crate::Result;
use crate::cpu::layout::{LANES, MapShape};
use crate::cpu::memory::Memory;
use crate::cpu::storage::Place;
use crate::ops::Program;
use crate::program::{Affine, Bits, Map};

/// The memory of a shared value.
fn shared(place: &Place) -> &Memory {
    match place {
        Place::Shared(memory) => memory,
        Place::Local(_) => panic!("a tile-local value can't be inspected"),
    }
}

/// Offset of an element in the plane layout of a map.
fn map_offset(s: MapShape, i: usize) -> usize {
    let (c, x, y) = (i % s.c, i / s.c % s.w, i / s.c / s.w);
    c / LANES * s.plane() + s.origin() + y * s.row() + x * LANES + c % LANES
}

/// Word and bit of an element in a mask.
fn bit_offset(s: MapShape, i: usize) -> (usize, usize) {
    let (c, pixel) = (i % s.c, i / s.c);
    (c / LANES * s.h * s.w + pixel, c % LANES)
}

impl CpuBackend {
    /// As [`compile`](crate::backend::Backend::compile), with memory of its own for every value.
    ///
    /// # Errors
    /// As there.
    pub fn compile_inspectable(&mut self, program: Program) -> Result<Compiled> {
        Compiled::new(program, self.threads, Locality::Inspectable)
    }
}

impl Compiled {
    fn map_at(&self, map: Map, slot: usize) -> (MapShape, *mut f32) {
        let (shape, place) = &self.storage.maps[map.0 as usize];
        assert!(slot < self.values.capacity);
        // SAFETY: a shared map has room for every slot.
        (*shape, unsafe { shared(place).ptr().cast::<f32>().add(slot * shape.example()) })
    }

    fn bits_at(&self, bits: Bits, slot: usize) -> (MapShape, *mut u16) {
        let (shape, place) = &self.storage.bits[bits.0 as usize];
        assert!(slot < self.values.capacity);
        // SAFETY: a shared mask has room for every slot.
        (*shape, unsafe { shared(place).ptr().cast::<u16>().add(slot * shape.bits()) })
    }

    /// A shared map's values of one slot.
    ///
    /// # Panics
    /// If the map is tile-local or there is no such slot.
    pub fn map_values(&self, map: Map, slot: usize) -> Vec<f32> {
        let (s, at) = self.map_at(map, slot);
        // SAFETY: the offsets lie in the example; a replay needs `&mut self`.
        (0..s.c * s.h * s.w).map(|i| unsafe { *at.add(map_offset(s, i)) }).collect()
    }

    /// Sets a shared map's values of one slot.
    ///
    /// # Panics
    /// If the map is tile-local, there is no such slot, or the number of values is wrong.
    pub fn set_map_values(&mut self, map: Map, slot: usize, values: &[f32]) {
        let (s, at) = self.map_at(map, slot);
        assert_eq!(values.len(), s.c * s.h * s.w);
        // SAFETY: the offsets lie in the example, and `self` is borrowed mutably.
        values.iter().enumerate().for_each(|(i, v)| unsafe { *at.add(map_offset(s, i)) = *v });
    }

    /// A shared mask's bits of one slot.
    ///
    /// # Panics
    /// If the mask is tile-local or there is no such slot.
    pub fn bits_values(&self, bits: Bits, slot: usize) -> Vec<bool> {
        let (s, at) = self.bits_at(bits, slot);
        let bit = |i| {
            let (word, bit) = bit_offset(s, i);
            // SAFETY: the offsets lie in the example; a replay needs `&mut self`.
            unsafe { *at.add(word) >> bit & 1 == 1 }
        };
        (0..s.c * s.h * s.w).map(bit).collect()
    }

    /// Sets a shared mask's bits of one slot.
    ///
    /// # Panics
    /// If the mask is tile-local, there is no such slot, or the number of bits is wrong.
    pub fn set_bits_values(&mut self, bits: Bits, slot: usize, values: &[bool]) {
        let (s, at) = self.bits_at(bits, slot);
        assert_eq!(values.len(), s.c * s.h * s.w);
        for (i, v) in values.iter().enumerate() {
            let (word, bit) = bit_offset(s, i);
            // SAFETY: the offsets lie in the example, and `self` is borrowed mutably.
            unsafe { *at.add(word) = *at.add(word) & !(1 << bit) | (*v as u16) << bit };
        }
    }

    /// Sets an affine's scale and shift.
    ///
    /// # Panics
    /// If the number of values is wrong.
    pub fn set_affine(&mut self, affine: Affine, scale: &[f32], shift: &[f32]) {
        let (channels, memory) = &self.storage.affines[affine.0 as usize];
        assert!(scale.len() == *channels && shift.len() == *channels);
        let at = memory.ptr().cast::<f32>();
        for (i, (scale, shift)) in scale.iter().zip(shift).enumerate() {
            // SAFETY: the memory has both vectors, each padded to whole blocks, and `self` is borrowed mutably.
            unsafe {
                *at.add(i) = *scale;
                *at.add(channels.next_multiple_of(LANES) + i) = *shift;
            }
        }
    }
}
