//! f16 and bf16 arithmetic, one or two values in a 32-bit register.

use super::float::{BF16, F16, Format, Round, fma_odd, narrow};
use half::{bf16, f16};

/// A 16-bit float format.
pub(crate) trait Half {
    const FORMAT: Format;
    fn wide(a: u32) -> f32;
    fn bits(x: f32) -> u32;
}

pub(crate) struct H;
pub(crate) struct B;

impl Half for H {
    const FORMAT: Format = F16;
    #[inline(always)]
    fn wide(a: u32) -> f32 {
        f16::from_bits(a as u16).to_f32()
    }
    #[inline(always)]
    fn bits(x: f32) -> u32 {
        if x.is_nan() { 0x7fff } else { f16::from_f32(x).to_bits() as u32 }
    }
}

impl Half for B {
    const FORMAT: Format = BF16;
    #[inline(always)]
    fn wide(a: u32) -> f32 {
        f32::from_bits(a << 16)
    }
    #[inline(always)]
    fn bits(x: f32) -> u32 {
        if x.is_nan() { 0x7fff } else { bf16::from_f32(x).to_bits() as u32 }
    }
}

/// f32 holds more than twice the bits of both formats, so rounding twice is innocuous for +, -, *.
#[inline(always)]
pub(crate) fn op2<T: Half>(a: u32, b: u32, f: impl Fn(f32, f32) -> f32) -> u32 {
    T::bits(f(T::wide(a & 0xffff), T::wide(b & 0xffff)))
}

#[inline(always)]
pub(crate) fn fma<T: Half>(a: u32, b: u32, c: u32) -> u32 {
    let [a, b, c] = [a, b, c].map(|v| T::wide(v & 0xffff) as f64);
    let s = fma_odd(a, b, c);
    if s == 0.0 {
        // The f64 sum has the sign of zero that IEEE asks for.
        return if s.is_sign_negative() { 0x8000 } else { 0 };
    }
    narrow(s, T::FORMAT, Round::Near)
}

/// Clamped to [0, 1]; NaN becomes 0.
#[inline(always)]
pub(crate) fn sat<T: Half>(a: u32) -> u32 {
    T::bits(f32::from_bits(super::float::sat(T::wide(a))))
}

/// max(x, 0) that keeps NaN, of fma.relu.
#[inline(always)]
pub(crate) fn relu<T: Half>(a: u32) -> u32 {
    if T::wide(a).is_nan() {
        0x7fff
    } else if a & 0x8000 != 0 {
        0
    } else {
        a
    }
}

#[inline(always)]
pub(crate) fn x2(a: u32, b: u32, f: impl Fn(u32, u32) -> u32) -> u32 {
    f(a & 0xffff, b & 0xffff) | f(a >> 16, b >> 16) << 16
}

#[inline(always)]
pub(crate) fn x3(a: u32, b: u32, c: u32, f: impl Fn(u32, u32, u32) -> u32) -> u32 {
    f(a & 0xffff, b & 0xffff, c & 0xffff) | f(a >> 16, b >> 16, c >> 16) << 16
}

#[inline(always)]
pub(crate) fn min(a: f32, b: f32) -> f32 {
    f32::from_bits(super::float::min(a, b))
}

#[inline(always)]
pub(crate) fn max(a: f32, b: f32) -> f32 {
    f32::from_bits(super::float::max(a, b))
}

#[inline(always)]
pub(crate) fn min_nan(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { min(a, b) }
}

#[inline(always)]
pub(crate) fn max_nan(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { max(a, b) }
}
