//! Rounding and the float functions that Rust lacks.

/// Rounding mode of an instruction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Round {
    /// To nearest, ties to even.
    Near,
    /// To nearest, ties away from zero.
    Away,
    Zero,
    Down,
    Up,
}

/// A float format narrower than f64: bits of precision (the hidden one included) and exponent range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Format {
    pub precision: i32,
    pub min_exp: i32,
    pub exp_bits: i32,
}

pub(crate) const F16: Format = Format { precision: 11, min_exp: -14, exp_bits: 5 };
pub(crate) const BF16: Format = Format { precision: 8, min_exp: -126, exp_bits: 8 };
pub(crate) const TF32: Format = Format { precision: 11, min_exp: -126, exp_bits: 8 };
pub(crate) const F32: Format = Format { precision: 24, min_exp: -126, exp_bits: 8 };

/// NaN as NVIDIA GPUs write it.
pub(crate) const NAN32: u32 = 0x7fff_ffff;

/// `x` rounded once to a narrow format, as its bits.
pub(crate) fn narrow(x: f64, format: Format, round: Round) -> u32 {
    let Format { precision: p, min_exp, exp_bits } = format;
    let inf = ((1u32 << exp_bits) - 1) << (p - 1);
    let sign_bit = (x.is_sign_negative() as u32) << (exp_bits + p - 1);
    let negative = x.is_sign_negative();
    if x.is_nan() {
        return (1 << (exp_bits + p - 1)) - 1;
    }
    if x.is_infinite() || x == 0.0 {
        return sign_bit | if x == 0.0 { 0 } else { inf };
    }
    let a = x.abs();
    let exp = ((a.to_bits() >> 52) as i32 - 1023).max(min_exp);
    let to_inf = match round {
        Round::Near | Round::Away => true,
        Round::Zero => false,
        Round::Down => negative,
        Round::Up => !negative,
    };
    let overflow = sign_bit | if to_inf { inf } else { inf - 1 };
    if exp >= 1 << (exp_bits - 1) {
        return overflow;
    }
    let quantum = exp - (p - 1);
    // Exact: a power of two, and the exponent is bounded on both sides.
    let scaled = a * f64::from_bits(((1023 - quantum) as u64) << 52);
    let whole = scaled.floor();
    let rest = scaled - whole;
    let up = match round {
        Round::Near => rest > 0.5 || (rest == 0.5 && whole % 2.0 == 1.0),
        Round::Away => rest >= 0.5,
        Round::Zero => false,
        Round::Down => negative && rest > 0.0,
        Round::Up => !negative && rest > 0.0,
    };
    let mantissa = whole as i64 + up as i64;
    // A carry out of the mantissa raises the exponent by itself.
    let hidden = 1i64 << (p - 1);
    let bits = ((((exp - min_exp) as i64) << (p - 1)) + mantissa).max(0);
    let bits = if mantissa < hidden { mantissa } else { bits };
    if bits >= inf as i64 {
        return overflow;
    }
    sign_bit | bits as u32
}

/// `p + c` rounded to odd, so that a second rounding to a format of at most 24 bits is right in every mode. The product
/// of two numbers of such formats is exact in f64.
#[inline(always)]
pub(crate) fn odd_sum(p: f64, c: f64) -> f64 {
    let s = p + c;
    let t = s - p;
    let err = (p - (s - t)) + (c - t);
    // The comparisons are false for infinities and NaN, whose error is NaN.
    let fix = ((err > 0.0) | (err < 0.0)) & (s.to_bits() & 1 == 0);
    let grow = (err > 0.0) == (s > 0.0);
    let step = if grow { 1 } else { !0u64 };
    f64::from_bits(s.to_bits().wrapping_add(if fix { step } else { 0 }))
}

/// `a * b + c` rounded down or up; range reductions that nvcc emits need it fast. Of the sum rounded to odd, the nearest
/// f32 is at most one step on the wrong side.
#[inline(always)]
pub(crate) fn fma_directed(a: f32, b: f32, c: f32, down: bool) -> u32 {
    let (product, addend) = (a as f64 * b as f64, c as f64);
    let s = odd_sum(product, addend);
    // Zero as the sum of different signs is -0 when rounding down.
    let cancels = (s == 0.0) & (product.to_bits() != addend.to_bits()) & down;
    let near = s as f32;
    let wrong = if down { near as f64 > s } else { (near as f64) < s };
    let outward = near.is_sign_negative() == down;
    let step = if outward { 1 } else { !0u32 };
    let bits = near.to_bits().wrapping_add(if wrong { step } else { 0 });
    let bits = if cancels { 1 << 31 } else { bits };
    if near.is_nan() { NAN32 } else { bits }
}

/// Bits of an f32 result, NaN made canonical.
#[inline(always)]
pub(crate) fn c(x: f32) -> u32 {
    if x.is_nan() { NAN32 } else { x.to_bits() }
}

#[inline(always)]
pub(crate) fn f(a: u32) -> f32 {
    f32::from_bits(a)
}

/// Subnormals flushed to zero of the same sign.
#[inline(always)]
pub(crate) fn z(a: u32) -> f32 {
    if a & 0x7f80_0000 == 0 { f32::from_bits(a & 1 << 31) } else { f32::from_bits(a) }
}

#[inline(always)]
pub(crate) fn cz(x: f32) -> u32 {
    c(z(x.to_bits()))
}

/// Clamped to [0, 1]; NaN becomes 0.
#[inline(always)]
pub(crate) fn sat(x: f32) -> u32 {
    if x > 0.0 { x.min(1.0).to_bits() } else { 0 }
}

/// The smaller one; a NaN loses, -0 is below +0. All of it are choices without branches.
#[inline(always)]
pub(crate) fn min(a: f32, b: f32) -> u32 {
    // Equal numbers differ at most in the sign of zero.
    let number = if a == b { a.to_bits() | b.to_bits() } else { (if a < b { a } else { b }).to_bits() };
    choose(a, b, number)
}

/// The larger one; a NaN loses, +0 is above -0.
#[inline(always)]
pub(crate) fn max(a: f32, b: f32) -> u32 {
    let number = if a == b { a.to_bits() & b.to_bits() } else { (if a > b { a } else { b }).to_bits() };
    choose(a, b, number)
}

#[inline(always)]
fn choose(a: f32, b: f32, number: u32) -> u32 {
    let one = if a.is_nan() { b.to_bits() } else { number };
    let other = if b.is_nan() { a.to_bits() } else { one };
    if a.is_nan() & b.is_nan() { NAN32 } else { other }
}

#[inline(always)]
pub(crate) fn nan_or(a: f32, b: f32, other: u32) -> u32 {
    if a.is_nan() | b.is_nan() { NAN32 } else { other }
}

pub(crate) fn min64(a: f64, b: f64) -> u64 {
    if a.is_nan() {
        return b.to_bits();
    }
    if b.is_nan() || a < b || (a == b && a.is_sign_negative()) { a.to_bits() } else { b.to_bits() }
}

pub(crate) fn max64(a: f64, b: f64) -> u64 {
    if a.is_nan() {
        return b.to_bits();
    }
    if b.is_nan() || a > b || (a == b && a.is_sign_positive()) { a.to_bits() } else { b.to_bits() }
}

/// div.approx: the manual lets huge divisors give zero.
#[inline(always)]
pub(crate) fn div_approx(a: f32, b: f32) -> f32 {
    const HUGE: f32 = 8.507_059e37;
    if b.is_finite() && b.abs() > HUGE {
        return if a.is_infinite() || a.is_nan() { f32::NAN } else { 0.0f32.copysign(a * b.signum()) };
    }
    a / b
}

/// Functions that the GPU approximates: computed in f64 and rounded once, so well within the documented error.
#[inline(always)]
pub(crate) fn via64(x: f32, f: impl Fn(f64) -> f64) -> f32 {
    f(x as f64) as f32
}
