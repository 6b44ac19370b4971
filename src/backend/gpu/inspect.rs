//! A look into a compiled program's values, for tests of single ops; the engine itself never needs one.
//!
//! Values are in the order `[h, w, c]`, without padding channels, as in [`crate::backend::cpu::inspect`].

use super::{Compiled, GpuBackend};
use crate::Result;
use crate::gpu::Precision;
use crate::gpu::driver::{Driver, Ptr};
use crate::gpu::launches::{bits_len, map_len, padded};
use crate::program::{Affine, Bits, Map, Shape};
use half::bf16;

/// Positions of a shape's elements among the padded ones.
fn places(s: Shape) -> impl Iterator<Item = usize> {
    (0..s.h * s.w).flat_map(move |pixel| (0..s.c).map(move |c| pixel * padded(s.c) + c))
}

impl<D: Driver> Compiled<D> {
    fn map_at(&self, map: Map, slot: usize) -> (Shape, Ptr) {
        let shape = self.values.map(map);
        assert!(slot < self.values.capacity);
        (shape, self.addresses.maps[map.0 as usize] + (slot * map_len(shape) * self.precision.size()) as Ptr)
    }

    fn bits_at(&self, bits: Bits, slot: usize) -> (Shape, Ptr) {
        let shape = self.values.mask(bits);
        assert!(slot < self.values.capacity);
        (shape, self.addresses.bits[bits.0 as usize] + (slot * bits_len(shape)) as Ptr)
    }
}

impl<D: Driver> GpuBackend<D> {
    /// A map's values of one slot.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn map_values(&self, compiled: &Compiled<D>, map: Map, slot: usize) -> Result<Vec<f32>> {
        let (shape, at) = compiled.map_at(map, slot);
        let mut raw = vec![0u8; map_len(shape) * self.precision.size()];
        self.driver.read(at, &mut raw)?;
        let all: Vec<f32> = match self.precision {
            Precision::Fp32 => bytemuck::pod_collect_to_vec(&raw),
            Precision::Bf16 => {
                raw.chunks_exact(2).map(|b| bf16::from_bits(u16::from_le_bytes([b[0], b[1]])).to_f32()).collect()
            }
        };
        let padding = all.iter().enumerate().filter(|(i, _)| i % padded(shape.c) >= shape.c);
        assert!(padding.map(|(_, v)| v).all(|v| *v == 0.0), "padding channels of {shape:?} are not zero");
        Ok(places(shape).map(|i| all[i]).collect())
    }

    /// Sets a map's values of one slot; bf16 rounds them to nearest.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn set_map_values(&mut self, compiled: &Compiled<D>, map: Map, slot: usize, values: &[f32]) -> Result<()> {
        let (shape, at) = compiled.map_at(map, slot);
        assert_eq!(values.len(), shape.len());
        let mut all = vec![0.0f32; map_len(shape)];
        places(shape).zip(values).for_each(|(i, v)| all[i] = *v);
        let raw: Vec<u8> = match self.precision {
            Precision::Fp32 => bytemuck::cast_slice(&all).to_vec(),
            Precision::Bf16 => all.iter().flat_map(|v| bf16::from_f32(*v).to_bits().to_le_bytes()).collect(),
        };
        self.driver.write(at, &raw)
    }

    /// A mask's bits of one slot.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn bits_values(&self, compiled: &Compiled<D>, bits: Bits, slot: usize) -> Result<Vec<bool>> {
        let (shape, at) = compiled.bits_at(bits, slot);
        let mut raw = vec![0u8; bits_len(shape)];
        self.driver.read(at, &mut raw)?;
        Ok(places(shape).map(|i| raw[i / 8] >> (i % 8) & 1 == 1).collect())
    }

    /// Sets a mask's bits of one slot.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn set_bits_values(&mut self, compiled: &Compiled<D>, bits: Bits, slot: usize, values: &[bool]) -> Result<()> {
        let (shape, at) = compiled.bits_at(bits, slot);
        assert_eq!(values.len(), shape.len());
        let mut raw = vec![0u8; bits_len(shape)];
        places(shape).zip(values).for_each(|(i, v)| raw[i / 8] |= u8::from(*v) << (i % 8));
        self.driver.write(at, &raw)
    }

    /// Sets an affine's scale and shift.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn set_affine(&mut self, compiled: &Compiled<D>, affine: Affine, scale: &[f32], shift: &[f32]) -> Result<()> {
        let channels = compiled.values.affine(affine);
        assert!(scale.len() == channels && shift.len() == channels);
        let mut all = vec![0.0f32; 2 * padded(channels)];
        all[..channels].copy_from_slice(scale);
        all[padded(channels)..][..channels].copy_from_slice(shift);
        self.driver.write(compiled.addresses.affines[affine.0 as usize], bytemuck::cast_slice(&all))
    }
}
