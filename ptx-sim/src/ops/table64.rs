//! Instructions with registers of 64 bits.

use super::float::{c, max64, min64};
use super::{all_lanes, lane_ops};

fn f(a: u64) -> f64 {
    f64::from_bits(a)
}

/// Subnormals flushed to zero of the same sign.
fn z(x: f64) -> u64 {
    if x.is_subnormal() { x.to_bits() & 1 << 63 } else { x.to_bits() }
}

lane_ops! { Un64(a: u64) -> u64 {
    Mov: "mov.b64" | "mov.u64" | "mov.s64" | "mov.f64" => a;
    Cnot: "cnot.b64" => (a == 0) as u64;
    Neg: "neg.s64" => a.wrapping_neg();
    Not: "not.b64" => !a;
    Abs: "abs.s64" => (a as i64).unsigned_abs();
    Brev: "brev.b64" => a.reverse_bits();
    NegF: "neg.f64" => a ^ 1 << 63;
    AbsF: "abs.f64" => a & !(1 << 63);
    Sqrt: "sqrt.rn.f64" => f(a).sqrt().to_bits();
    Rcp: "rcp.rn.f64" => (1.0 / f(a)).to_bits();
    // The GPU computes the upper half of the result only; Newton steps follow wherever nvcc emits it.
    RcpApprox: "rcp.approx.ftz.f64" => z(1.0 / f(z(f(a)))) & !0xffff_ffff;
    RsqrtApprox: "rsqrt.approx.f64" => (1.0 / f(a).sqrt()).to_bits();
    RsqrtApproxZ: "rsqrt.approx.ftz.f64" => z(1.0 / f(z(f(a))).sqrt()) & !0xffff_ffff;
}}

lane_ops! { Bin64(a: u64, b: u64) -> u64 {
    Add: "add.s64" | "add.u64" => a.wrapping_add(b);
    Sub: "sub.s64" | "sub.u64" => a.wrapping_sub(b);
    Mul: "mul.lo.s64" | "mul.lo.u64" => a.wrapping_mul(b);
    MulHiU: "mul.hi.u64" => ((a as u128 * b as u128) >> 64) as u64;
    MulHiS: "mul.hi.s64" => ((a as i64 as i128 * b as i64 as i128) >> 64) as u64;
    DivU: "div.u64" => a.checked_div(b).unwrap_or(!0);
    DivS: "div.s64" => if b == 0 { !0 } else { (a as i64).wrapping_div(b as i64) as u64 };
    RemU: "rem.u64" => a.checked_rem(b).unwrap_or(a);
    RemS: "rem.s64" => if b == 0 { a } else { (a as i64).wrapping_rem(b as i64) as u64 };
    And: "and.b64" => a & b;
    Or: "or.b64" => a | b;
    Xor: "xor.b64" => a ^ b;
    MinU: "min.u64" => a.min(b);
    MinS: "min.s64" => (a as i64).min(b as i64) as u64;
    MaxU: "max.u64" => a.max(b);
    MaxS: "max.s64" => (a as i64).max(b as i64) as u64;
    AddF: "add.f64" | "add.rn.f64" => (f(a) + f(b)).to_bits();
    SubF: "sub.f64" | "sub.rn.f64" => (f(a) - f(b)).to_bits();
    MulF: "mul.f64" | "mul.rn.f64" => (f(a) * f(b)).to_bits();
    DivF: "div.rn.f64" => (f(a) / f(b)).to_bits();
    MinF: "min.f64" => min64(f(a), f(b));
    MaxF: "max.f64" => max64(f(a), f(b));
    Copysign: "copysign.f64" => a & 1 << 63 | b & !(1 << 63);
}}

lane_ops! { Tri64(a: u64, b: u64, d: u64) -> u64 {
    Mad: "mad.lo.s64" | "mad.lo.u64" => a.wrapping_mul(b).wrapping_add(d);
    MadHiU: "mad.hi.u64" => (((a as u128 * b as u128) >> 64) as u64).wrapping_add(d);
    MadHiS: "mad.hi.s64" => (((a as i64 as i128 * b as i64 as i128) >> 64) as u64).wrapping_add(d);
    SadU: "sad.u64" => a.abs_diff(b).wrapping_add(d);
    SadS: "sad.s64" => (a as i64).abs_diff(b as i64).wrapping_add(d);
    Fma: "fma.rn.f64" | "mad.rn.f64" => f(a).mul_add(f(b), f(d)).to_bits();
}}

lane_ops! { Shift64(a: u64, b: u32) -> u64 {
    Shl: "shl.b64" => if b > 63 { 0 } else { a << b };
    ShrU: "shr.u64" | "shr.b64" => if b > 63 { 0 } else { a >> b };
    ShrS: "shr.s64" => (a as i64 >> b.min(63)) as u64;
}}

fn bfind(a: u64, shift: bool) -> u32 {
    match (a, shift) {
        (0, _) => !0,
        (_, true) => a.leading_zeros(),
        (_, false) => 63 - a.leading_zeros(),
    }
}

lane_ops! { Count64(a: u64) -> u32 {
    Popc: "popc.b64" => a.count_ones();
    Clz: "clz.b64" => a.leading_zeros();
    BfindU: "bfind.u64" => bfind(a, false);
    BfindS: "bfind.s64" => bfind(a ^ (a as i64 >> 63) as u64, false);
    BfindShU: "bfind.shiftamt.u64" => bfind(a, true);
    BfindShS: "bfind.shiftamt.s64" => bfind(a ^ (a as i64 >> 63) as u64, true);
    CvtLow: "cvt.u32.u64" | "cvt.u32.s64" | "cvt.s32.u64" | "cvt.s32.s64" => a as u32;
    CvtLow16: "cvt.u16.u64" | "cvt.u16.s64" => a as u16 as u32;
    CvtLow8: "cvt.u8.u64" | "cvt.u8.s64" => a as u8 as u32;
    CvtFD: "cvt.rn.f32.f64" => c(f(a) as f32);
    CvtSD: "cvt.rzi.s32.f64" => if f(a).is_nan() { 1 << 31 } else { f(a) as i32 as u32 };
}}

lane_ops! { Wide1(a: u32) -> u64 {
    CvtS: "cvt.s64.s32" | "cvt.u64.s32" => a as i32 as u64;
    CvtU: "cvt.u64.u32" | "cvt.s64.u32" => a as u64;
    CvtU16: "cvt.u64.u16" | "cvt.s64.u16" => a as u16 as u64;
    CvtS16: "cvt.s64.s16" | "cvt.u64.s16" => a as i16 as u64;
    CvtU8: "cvt.u64.u8" | "cvt.s64.u8" => a as u8 as u64;
    CvtS8: "cvt.s64.s8" | "cvt.u64.s8" => a as i8 as u64;
    CvtDF: "cvt.f64.f32" => (f32::from_bits(a) as f64).to_bits();
    CvtDS: "cvt.rn.f64.s32" => (a as i32 as f64).to_bits();
    CvtDU: "cvt.rn.f64.u32" => (a as f64).to_bits();
}}

lane_ops! { Wide2(a: u32, b: u32) -> u64 {
    MulU: "mul.wide.u32" => a as u64 * b as u64;
    MulS: "mul.wide.s32" => (a as i32 as i64 * b as i32 as i64) as u64;
}}

lane_ops! { Wide3(a: u32, b: u32, d: u64) -> u64 {
    MadU: "mad.wide.u32" => (a as u64 * b as u64).wrapping_add(d);
    MadS: "mad.wide.s32" => ((a as i32 as i64 * b as i32 as i64) as u64).wrapping_add(d);
}}
