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

    /// Finishes the vectors `v`, the channels of `block` at pixels `map` f32 from the start of the maps and `bit` words
    /// from the start of the masks. Several pixels at a time, so that each step is decided on once for all of them.
    ///
    /// # Safety
    /// The pointers are valid there; `map` and `bit` have `N` elements.
    #[inline(always)]
    pub unsafe fn apply<S: Simd, const N: usize>(
        &self,
        s: S,
        mut v: [S::V; N],
        block: usize,
        map: *const usize,
        bit: *const usize,
    ) {
        // SAFETY: by the caller's promise; per-channel vectors are checked to be padded to whole blocks.
        unsafe {
            if let Some(bias) = self.bias {
                let bias = s.load(bias.add(block * LANES));
                for i in 0..N {
                    v[i] = s.add(v[i], bias);
                }
            }
            if let Some(mask) = self.mask {
                for i in 0..N {
                    v[i] = s.mask(*mask.add(*bit.add(i)), v[i]);
                }
            }
            if let Some(residual) = self.residual {
                for i in 0..N {
                    v[i] = s.add(v[i], s.load(residual.add(*map.add(i))));
                }
            }
            if let Some(y) = self.y {
                for i in 0..N {
                    s.store(y.add(*map.add(i)), v[i]);
                }
            }
            if let Some(a) = self.a {
                if let Some((scale, shift)) = self.affine {
                    let (scale, shift) = (s.load(scale.add(block * LANES)), s.load(shift.add(block * LANES)));
                    for i in 0..N {
                        v[i] = s.fma(v[i], scale, shift);
                    }
                }
                for i in 0..N {
                    s.store(a.add(*map.add(i)), s.max(v[i], s.zero()));
                }
                if let Some(bits) = self.bits {
                    for i in 0..N {
                        *bits.add(*bit.add(i)) = s.positive(v[i]);
                    }
                }
            }
        }
    }
}
