//! f16 and bf16 arithmetic, one or two values in a 32-bit register.

use super::float::odd_sum;

/// A 16-bit float format. Both conversions are exact or rounded once, and without branches, so that the loops over the
/// lanes become vector instructions; half's own look for F16C at each call.
pub(crate) trait Half {
    /// The lower 16 bits of `a`; those above are ignored.
    fn wide(a: u32) -> f32;
    /// To nearest, ties to even; NaN as the GPU writes it.
    fn bits(x: f32) -> u32;
    /// `a * b + c` as an f32 that rounds to this format as the exact value does.
    fn fma(a: f32, b: f32, c: f32) -> f32;
    /// Subnormals flushed to zero of the same sign.
    fn flush(a: u32) -> u32;
}

pub(crate) struct H;
pub(crate) struct B;

/// One of two values. As a choice of bits it stays one, where the compiler would make branches of several in a row.
#[inline(always)]
fn pick(yes: bool, a: u32, b: u32) -> u32 {
    let m = 0u32.wrapping_sub(yes as u32);
    b ^ (a ^ b) & m
}

impl Half for H {
    #[inline(always)]
    fn wide(a: u32) -> f32 {
        let m = a & 0x7fff;
        // The exponent's bias differs by 112. The last bit of 0.5 as an f32 stands for 2^-24, so a difference makes numbers
        // of subnormals; a product would, too, but processors take long over subnormal operands.
        let normal = (m << 13) + (112 << 23);
        let small = (f32::from_bits(0x3f00_0000 | m) - 0.5).to_bits();
        let finite = pick(m < 0x400, small, normal);
        f32::from_bits((a & 0x8000) << 16 | pick(m >= 0x7c00, m << 13 | 0x7f80_0000, finite))
    }
    #[inline(always)]
    fn bits(x: f32) -> u32 {
        let magnitude = x.to_bits() & 0x7fff_ffff;
        // Normal results: the bias changes, and an addition rounds the 13 bits that go.
        let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + (magnitude >> 13 & 1)) >> 13;
        // Subnormal ones: in the sum with 0.5, whose last bit stands for 2^-24, the addition of floats rounds.
        let tiny = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
        let small = pick(magnitude < 113 << 23, tiny, normal);
        // From 65520 on, the nearest is infinity.
        let finite = pick(magnitude >= 0x477f_f000, 0x7c00, small) | x.to_bits() >> 16 & 0x8000;
        pick(magnitude > 0x7f80_0000, 0x7fff, finite)
    }
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        // The product has at most 22 bits, and neither overflows nor underflows.
        odd_sum32(a * b, c)
    }
    #[inline(always)]
    fn flush(a: u32) -> u32 {
        pick(a & 0x7c00 == 0, a & 0x8000, a)
    }
}

impl Half for B {
    #[inline(always)]
    fn wide(a: u32) -> f32 {
        f32::from_bits(a << 16)
    }
    #[inline(always)]
    fn bits(x: f32) -> u32 {
        let v = x.to_bits();
        pick(v & 0x7fff_ffff > 0x7f80_0000, 0x7fff, v.wrapping_add(0x7fff + (v >> 16 & 1)) >> 16)
    }
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        odd(odd_sum(a as f64 * b as f64, c as f64))
    }
    #[inline(always)]
    fn flush(a: u32) -> u32 {
        pick(a & 0x7f80 == 0, a & 0x8000, a)
    }
}

/// `p + c` rounded to odd, as `odd_sum` does in f64.
#[inline(always)]
fn odd_sum32(p: f32, c: f32) -> f32 {
    let s = p + c;
    let t = s - p;
    let err = (p - (s - t)) + (c - t);
    // The comparisons are false for infinities and NaN, whose error is NaN.
    let fix = ((err > 0.0) | (err < 0.0)) & (s.to_bits() & 1 == 0);
    let grow = (err > 0.0) == (s > 0.0);
    f32::from_bits(s.to_bits().wrapping_add(pick(fix, pick(grow, 1, !0), 0)))
}

/// `a * b + c` of packed bf16. Where no product of a warp overflows or underflows, f32 is wide enough for all of it.
#[inline(always)]
pub(crate) fn fma_bf16x2(out: &mut [u32; 32], a: &[u32; 32], b: &[u32; 32], c: &[u32; 32]) {
    let mut plain = true;
    for i in 0..32 {
        let mut half = |at: u32| {
            let (x, y) = (B::wide(a[i] >> at), B::wide(b[i] >> at));
            let p = x * y;
            let inside = (p.to_bits() & 0x7fff_ffff).wrapping_sub(0x0080_0000) < 0x7e80_0000;
            plain &= inside | (x == 0.0) | (y == 0.0);
            B::bits(odd_sum32(p, B::wide(c[i] >> at)))
        };
        out[i] = half(0) | half(16) << 16;
    }
    if !plain {
        for i in 0..32 {
            out[i] = x3(a[i], b[i], c[i], fma::<B>);
        }
    }
}

/// `x` rounded to odd: of two neighbours the one whose last bit is set, unless `x` is an f32. The next rounding, to a
/// format of at most 22 bits, is then right.
#[inline(always)]
fn odd(x: f64) -> f32 {
    let near = x as f32;
    let (bits, back) = (near.to_bits(), (near as f64).abs());
    let fix = (back != x.abs()) & (bits & 1 == 0) & !x.is_nan();
    f32::from_bits(bits.wrapping_add(pick(fix, pick(back < x.abs(), 1, !0), 0)))
}

/// f32 holds more than twice the bits of both formats, so rounding twice is innocuous for +, -, *.
#[inline(always)]
pub(crate) fn op2<T: Half>(a: u32, b: u32, f: impl Fn(f32, f32) -> f32) -> u32 {
    T::bits(f(T::wide(a), T::wide(b)))
}

#[inline(always)]
pub(crate) fn fma<T: Half>(a: u32, b: u32, c: u32) -> u32 {
    T::bits(T::fma(T::wide(a), T::wide(b), T::wide(c)))
}

/// Clamped to [0, 1]; NaN becomes 0.
#[inline(always)]
pub(crate) fn sat<T: Half>(a: u32) -> u32 {
    T::bits(f32::from_bits(super::float::sat(T::wide(a))))
}

/// max(x, 0) that keeps NaN, of fma.relu.
#[inline(always)]
pub(crate) fn relu<T: Half>(a: u32) -> u32 {
    pick(T::wide(a).is_nan(), 0x7fff, pick(a & 0x8000 != 0, 0, a))
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
    if a.is_nan() | b.is_nan() { f32::NAN } else { min(a, b) }
}

#[inline(always)]
pub(crate) fn max_nan(a: f32, b: f32) -> f32 {
    if a.is_nan() | b.is_nan() { f32::NAN } else { max(a, b) }
}

// Named functions for the tables: a closure is inlined only when it seems worth it, and without that no loop over the
// lanes becomes vector instructions.

#[inline(always)]
pub(crate) fn add<T: Half>(a: u32, b: u32) -> u32 {
    T::bits(T::wide(a) + T::wide(b))
}

#[inline(always)]
pub(crate) fn sub<T: Half>(a: u32, b: u32) -> u32 {
    T::bits(T::wide(a) - T::wide(b))
}

#[inline(always)]
pub(crate) fn mul<T: Half>(a: u32, b: u32) -> u32 {
    T::bits(T::wide(a) * T::wide(b))
}

#[inline(always)]
pub(crate) fn least<T: Half>(a: u32, b: u32) -> u32 {
    T::bits(min(T::wide(a), T::wide(b)))
}

#[inline(always)]
pub(crate) fn most<T: Half>(a: u32, b: u32) -> u32 {
    T::bits(max(T::wide(a), T::wide(b)))
}

#[inline(always)]
pub(crate) fn least_nan<T: Half>(a: u32, b: u32) -> u32 {
    T::bits(min_nan(T::wide(a), T::wide(b)))
}

#[inline(always)]
pub(crate) fn most_nan<T: Half>(a: u32, b: u32) -> u32 {
    T::bits(max_nan(T::wide(a), T::wide(b)))
}

#[inline(always)]
pub(crate) fn fma_relu<T: Half>(a: u32, b: u32, c: u32) -> u32 {
    relu::<T>(fma::<T>(a, b, c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fma_of_packed_bf16_rounds_once() {
        let mut state = 1u64;
        let mut random = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u32
        };
        // Exponents of the addend that lie below, at and above those of the products, so that there are ties; at last any
        // bits, so that products overflow and vanish.
        for round in 0..3000 {
            let mut register = |addend: bool| -> [u32; 32] {
                std::array::from_fn(|_| {
                    let mut half = || match (round % 10, addend) {
                        (9, _) => random() & 0xffff,
                        (k, true) => (random() & 0x80ff) + ((0x3f80 + 0x80 * (random() % 20)) - 0x400) + k % 2,
                        _ => (random() & 0x80ff) + 0x3f80,
                    };
                    half() | half() << 16
                })
            };
            let (a, b, c) = (register(false), register(false), register(true));
            let mut out = [0; 32];
            fma_bf16x2(&mut out, &a, &b, &c);
            for i in 0..32 {
                let expected = x3(a[i], b[i], c[i], fma::<B>);
                assert_eq!(out[i], expected, "{:#x} * {:#x} + {:#x}", a[i], b[i], c[i]);
            }
        }
    }
}
