//! What happens to a finished vector of sixteen channels of one pixel before it leaves the registers.

use super::{Act, per_channel};
use crate::cpu::layout::LANES;
use crate::cpu::simd::Simd;

/// The steps, in order, each if present: add the bias, drop where the mask is 0, add the residual, store y, then
/// `a = max(0, scale * y + shift)` with its bits. All maps have the same shape.
#[derive(Clone, Copy, Default)]
pub(crate) struct Epilogue {
    bias: Option<*const f32>,
    mask: Option<*const u16>,
    residual: Option<*const f32>,
    y: Option<*mut f32>,
    a: Option<*mut f32>,
    affine: Option<(*const f32, *const f32)>,
    bits: Option<*mut u16>,
}

impl Epilogue {
    pub fn fprop(
        k: usize,
        bias: Option<&[f32]>,
        residual: Option<*const f32>,
        y: Option<*mut f32>,
        act: Option<Act<'_>>,
    ) -> Self {
        Epilogue {
            bias: bias.map(|v| per_channel(v, k)),
            mask: None,
            residual,
            y,
            a: act.map(|act| act.a),
            affine: act.and_then(|act| act.affine).map(|(s, t)| (per_channel(s, k), per_channel(t, k))),
            bits: act.and_then(|act| act.bits),
        }
    }

    pub fn dgrad(mask: Option<*const u16>, residual: Option<*const f32>, dx: *mut f32) -> Self {
        Epilogue { mask, residual, y: Some(dx), ..Default::default() }
    }

    /// The same for maps that start `map` f32 and masks that start `bit` words further on.
    ///
    /// # Safety
    /// The pointers are valid there.
    #[inline(always)]
    pub unsafe fn at(self, map: usize, bit: usize) -> Self {
        // SAFETY: by the caller's promise.
        unsafe {
            Epilogue {
                mask: self.mask.map(|p| p.add(bit)),
                residual: self.residual.map(|p| p.add(map)),
                y: self.y.map(|p| p.add(map)),
                a: self.a.map(|p| p.add(map)),
                bits: self.bits.map(|p| p.add(bit)),
                ..self
            }
        }
    }

    /// Finishes `v`, the channels of `block` at `map` f32 from the start of the maps and `bit` words from the start of
    /// the masks.
    ///
    /// # Safety
    /// The pointers are valid there.
    #[inline(always)]
    pub unsafe fn apply<S: Simd>(&self, s: S, mut v: S::V, block: usize, map: usize, bit: usize) {
        // SAFETY: by the caller's promise; per-channel vectors are checked to be padded to whole blocks.
        unsafe {
            if let Some(bias) = self.bias {
                v = s.add(v, s.load(bias.add(block * LANES)));
            }
            if let Some(mask) = self.mask {
                v = s.mask(*mask.add(bit), v);
            }
            if let Some(residual) = self.residual {
                v = s.add(v, s.load(residual.add(map)));
            }
            if let Some(y) = self.y {
                s.store(y.add(map), v);
            }
            if let Some(a) = self.a {
                if let Some((scale, shift)) = self.affine {
                    v = s.fma(v, s.load(scale.add(block * LANES)), s.load(shift.add(block * LANES)));
                }
                s.store(a.add(map), s.max(v, s.zero()));
                if let Some(bits) = self.bits {
                    *bits.add(bit) = s.positive(v);
                }
            }
        }
    }
}
