//! Instructions on registers of at most 32 bits. What reads 16 bits ignores the upper half of its register.

use super::float::*;
use super::half2::{self as h2, B, H, Half, fma, relu, x2, x3};
use super::{all_lanes, lane_ops};
use crate::exec::each;

fn shl(a: u32, b: u32) -> u32 {
    if b > 31 { 0 } else { a << b }
}

fn shr(a: u32, b: u32) -> u32 {
    if b > 31 { 0 } else { a >> b }
}

fn h16(a: u32) -> u32 {
    a & 0xffff
}

fn bfe(a: u32, b: u32, c: u32, signed: bool) -> u32 {
    let (pos, len) = (b & 0xff, c & 0xff);
    let field = if len == 0 { 0 } else { shr(a, pos) & if len > 31 { !0 } else { (1 << len) - 1 } };
    if !signed || len == 0 {
        return field;
    }
    let sign = a >> (pos + len - 1).min(31) & 1;
    // What lies above the source's top bit takes the sign, too.
    let kept = len.min(32u32.saturating_sub(pos));
    if sign == 1 && kept < 32 { field | !0 << kept } else { field }
}

fn bfind(a: u32) -> u32 {
    if a == 0 { !0 } else { 31 - a.leading_zeros() }
}

#[inline(always)]
fn prmt(a: u32, b: u32, c: u32) -> u32 {
    let all = (b as u64) << 32 | a as u64;
    let one = |i: u32| {
        let sel = c >> (4 * i);
        let byte = (all >> (8 * (sel & 7))) as u32 & 255;
        let sign = (byte >> 7) * 255;
        (if sel & 8 == 0 { byte } else { sign }) << (8 * i)
    };
    one(0) | one(1) | one(2) | one(3)
}

fn bmsk(a: u32, b: u32, clamp: bool) -> u32 {
    if clamp && a > 31 {
        return 0;
    }
    let (a, sum) = (a & 31, (a & 31) + (b & 31));
    let above = if sum > 31 || clamp && b > 31 { 0 } else { !0 << sum };
    !0 << a & !above
}

fn szext(a: u32, b: u32, clamp: bool, signed: bool) -> u32 {
    if clamp && b > 31 {
        return a;
    }
    let n = b & 31;
    if n == 0 {
        return 0;
    }
    if signed { ((a << (32 - n)) as i32 >> (32 - n)) as u32 } else { a << (32 - n) >> (32 - n) }
}

/// The product of the lower 24 bits.
fn mul24(a: u32, b: u32) -> u64 {
    (a & 0xff_ffff) as u64 * (b & 0xff_ffff) as u64
}

fn mul24s(a: u32, b: u32) -> i64 {
    ((a << 8) as i32 >> 8) as i64 * ((b << 8) as i32 >> 8) as i64
}

/// `n` bits at `at`, sign- or zero-extended.
fn part(a: u32, at: u32, n: u32, signed: bool) -> u32 {
    let v = a << (32 - n - at);
    if signed { (v as i32 >> (32 - n)) as u32 } else { v >> (32 - n) }
}

fn dp4a(a: u32, b: u32, d: u32, sa: bool, sb: bool) -> u32 {
    (0..4).fold(d, |s, i| s.wrapping_add(part(a, 8 * i, 8, sa).wrapping_mul(part(b, 8 * i, 8, sb))))
}

/// Two halves of `a` with two bytes of `b`, from bit `at` on.
fn dp2a(a: u32, b: u32, d: u32, sa: bool, sb: bool, at: u32) -> u32 {
    (0..2).fold(d, |s, i| s.wrapping_add(part(a, 16 * i, 16, sa).wrapping_mul(part(b, at + 8 * i, 8, sb))))
}

fn ex2(x: f32) -> f32 {
    via64(x, f64::exp2)
}

lane_ops! { Un32(a: u32) -> u32 {
    Mov: "mov.b32" | "mov.u32" | "mov.s32" | "mov.f32" | "mov.b16" | "mov.u16" | "mov.s16" => a;
    Neg: "neg.s32" => a.wrapping_neg();
    Neg16: "neg.s16" => h16(a.wrapping_neg());
    Not: "not.b32" => !a;
    Not16: "not.b16" => h16(!a);
    Cnot: "cnot.b32" => (a == 0) as u32;
    Abs: "abs.s32" => (a as i32).unsigned_abs();
    Abs16: "abs.s16" => (a as i16).unsigned_abs() as u32;
    Cnot16: "cnot.b16" => (h16(a) == 0) as u32;
    Popc: "popc.b32" => a.count_ones();
    Clz: "clz.b32" => a.leading_zeros();
    Brev: "brev.b32" => a.reverse_bits();
    BfindU: "bfind.u32" => bfind(a);
    BfindS: "bfind.s32" => bfind(if (a as i32) < 0 { !a } else { a });
    BfindShU: "bfind.shiftamt.u32" => if a == 0 { !0 } else { a.leading_zeros() };
    BfindShS: "bfind.shiftamt.s32" => {
        let v = if (a as i32) < 0 { !a } else { a };
        if v == 0 { !0 } else { v.leading_zeros() }
    };
    NegF: "neg.f32" => a ^ 1 << 31;
    NegFz: "neg.ftz.f32" => z(a).to_bits() ^ 1 << 31;
    AbsF: "abs.f32" => a & !(1 << 31);
    AbsFz: "abs.ftz.f32" => z(a).to_bits() & !(1 << 31);
    SqrtRn: "sqrt.rn.f32" | "sqrt.approx.f32" => c(f(a).sqrt());
    SqrtZ: "sqrt.rn.ftz.f32" | "sqrt.approx.ftz.f32" => cz(z(a).sqrt());
    Rcp: "rcp.rn.f32" | "rcp.approx.f32" => c(1.0 / f(a));
    RcpZ: "rcp.rn.ftz.f32" | "rcp.approx.ftz.f32" => cz(1.0 / z(a));
    Rsqrt: "rsqrt.approx.f32" => c(via64(f(a), |x| 1.0 / x.sqrt()));
    RsqrtZ: "rsqrt.approx.ftz.f32" => cz(via64(z(a), |x| 1.0 / x.sqrt()));
    Ex2: "ex2.approx.f32" => c(ex2(f(a)));
    Ex2Z: "ex2.approx.ftz.f32" => cz(ex2(z(a)));
    Lg2: "lg2.approx.f32" => c(via64(f(a), f64::log2));
    Lg2Z: "lg2.approx.ftz.f32" => cz(via64(z(a), f64::log2));
    Sin: "sin.approx.f32" => c(via64(f(a), f64::sin));
    SinZ: "sin.approx.ftz.f32" => cz(via64(z(a), f64::sin));
    Cos: "cos.approx.f32" => c(via64(f(a), f64::cos));
    CosZ: "cos.approx.ftz.f32" => cz(via64(z(a), f64::cos));
    Tanh: "tanh.approx.f32" => c(via64(f(a), f64::tanh));
    NegH: "neg.f16" | "neg.bf16" => a ^ 0x8000;
    NegH2: "neg.f16x2" | "neg.bf16x2" => a ^ 0x8000_8000;
    AbsH: "abs.f16" | "abs.bf16" => a & 0x7fff;
    AbsH2: "abs.f16x2" | "abs.bf16x2" => a & 0x7fff_7fff;
    Ex2H: "ex2.approx.f16" => H::bits(ex2(H::wide(a)));
    Ex2H2: "ex2.approx.f16x2" => x2(a, 0, |v, _| H::bits(ex2(H::wide(v))));
    Ex2B: "ex2.approx.ftz.bf16" => B::flush(B::bits(ex2(B::wide(B::flush(a)))));
    Ex2B2: "ex2.approx.ftz.bf16x2" => x2(a, 0, |v, _| B::flush(B::bits(ex2(B::wide(B::flush(v))))));
    TanhB: "tanh.approx.bf16" => B::bits(via64(B::wide(a), f64::tanh));
    TanhB2: "tanh.approx.bf16x2" => x2(a, 0, |v, _| B::bits(via64(B::wide(v), f64::tanh)));
    TanhH: "tanh.approx.f16" => H::bits(via64(H::wide(a), f64::tanh));
    TanhH2: "tanh.approx.f16x2" => x2(a, 0, |v, _| H::bits(via64(H::wide(v), f64::tanh)));
    CvtHF: "cvt.rn.f16.f32" => H::bits(f(a));
    CvtBF: "cvt.rn.bf16.f32" => B::bits(f(a));
    CvtHFrelu: "cvt.rn.relu.f16.f32" => relu::<H>(H::bits(f(a)));
    CvtBFrelu: "cvt.rn.relu.bf16.f32" => relu::<B>(B::bits(f(a)));
    CvtFH: "cvt.f32.f16" => c(H::wide(a));
    CvtFB: "cvt.f32.bf16" => c(B::wide(a));
    CvtFS: "cvt.rn.f32.s32" => (a as i32 as f32).to_bits();
    CvtFU: "cvt.rn.f32.u32" => (a as f32).to_bits();
    CvtSFz: "cvt.rzi.s32.f32" => f(a) as i32 as u32;
    CvtUFz: "cvt.rzi.u32.f32" => f(a) as u32;
    CvtSFn: "cvt.rni.s32.f32" => f(a).round_ties_even() as i32 as u32;
    CvtFsat: "cvt.sat.f32.f32" => sat(f(a));
    CvtFn: "cvt.rni.f32.f32" => c(f(a).round_ties_even());
    CvtFz: "cvt.rzi.f32.f32" => c(f(a).trunc());
    CvtFm: "cvt.rmi.f32.f32" => c(f(a).floor());
    CvtFp: "cvt.rpi.f32.f32" => c(f(a).ceil());
    CvtLow8: "cvt.u8.u8" | "cvt.u16.u8" | "cvt.u32.u8" | "cvt.s16.u8" | "cvt.s32.u8" | "cvt.u8.u16" | "cvt.u8.s16"
        | "cvt.u8.u32" | "cvt.u8.s32" => a & 255;
    CvtLow8S: "cvt.s16.s8" | "cvt.s32.s8" | "cvt.s8.s32" | "cvt.s8.s16" | "cvt.s8.u32" | "cvt.s8.u16" | "cvt.u32.s8"
        => a as i8 as u32;
    CvtLow16: "cvt.u32.u16" | "cvt.s32.u16" | "cvt.u16.u32" | "cvt.u16.s32" => h16(a);
    CvtLow16S: "cvt.s32.s16" | "cvt.u32.s16" | "cvt.s16.s32" | "cvt.s16.u32" => a as i16 as u32;
}}

lane_ops! { Bin32(a: u32, b: u32) -> u32 {
    Add: "add.s32" | "add.u32" => a.wrapping_add(b);
    AddSat: "add.sat.s32" => (a as i32).saturating_add(b as i32) as u32;
    Sub: "sub.s32" | "sub.u32" => a.wrapping_sub(b);
    SubSat: "sub.sat.s32" => (a as i32).saturating_sub(b as i32) as u32;
    Mul: "mul.lo.s32" | "mul.lo.u32" => a.wrapping_mul(b);
    MulHiU: "mul.hi.u32" => ((a as u64 * b as u64) >> 32) as u32;
    MulHiS: "mul.hi.s32" => ((a as i32 as i64 * b as i32 as i64) >> 32) as u32;
    MulWideU16: "mul.wide.u16" => h16(a) * h16(b);
    MulWideS16: "mul.wide.s16" => (a as i16 as i32 * b as i16 as i32) as u32;
    // Division by zero gives all ones on NVIDIA GPUs; the manual leaves it open.
    DivU: "div.u32" => a.checked_div(b).unwrap_or(!0);
    DivS: "div.s32" => if b == 0 { !0 } else { (a as i32).wrapping_div(b as i32) as u32 };
    RemU: "rem.u32" => a.checked_rem(b).unwrap_or(a);
    RemS: "rem.s32" => if b == 0 { a } else { (a as i32).wrapping_rem(b as i32) as u32 };
    And: "and.b32" | "and.b16" => a & b;
    Or: "or.b32" | "or.b16" => a | b;
    Xor: "xor.b32" | "xor.b16" => a ^ b;
    Shl: "shl.b32" => shl(a, b);
    ShrU: "shr.u32" | "shr.b32" => shr(a, b);
    ShrS: "shr.s32" => ((a as i32) >> b.min(31)) as u32;
    MinU: "min.u32" => a.min(b);
    MinS: "min.s32" => (a as i32).min(b as i32) as u32;
    MaxU: "max.u32" => a.max(b);
    MaxS: "max.s32" => (a as i32).max(b as i32) as u32;
    BmskC: "bmsk.clamp.b32" => bmsk(a, b, true);
    BmskW: "bmsk.wrap.b32" => bmsk(a, b, false);
    SzextCU: "szext.clamp.u32" => szext(a, b, true, false);
    SzextCS: "szext.clamp.s32" => szext(a, b, true, true);
    SzextWU: "szext.wrap.u32" => szext(a, b, false, false);
    SzextWS: "szext.wrap.s32" => szext(a, b, false, true);
    Mul24U: "mul24.lo.u32" => mul24(a, b) as u32;
    Mul24S: "mul24.lo.s32" => mul24s(a, b) as u32;
    Mul24HiU: "mul24.hi.u32" => (mul24(a, b) >> 16) as u32;
    Mul24HiS: "mul24.hi.s32" => (mul24s(a, b) >> 16) as u32;
    CvtHF2: "cvt.rn.f16x2.f32" => H::bits(f(a)) << 16 | H::bits(f(b));
    CvtBF2: "cvt.rn.bf16x2.f32" => B::bits(f(a)) << 16 | B::bits(f(b));
    CvtHFrelu2: "cvt.rn.relu.f16x2.f32" => relu::<H>(H::bits(f(a))) << 16 | relu::<H>(H::bits(f(b)));
    CvtBFrelu2: "cvt.rn.relu.bf16x2.f32" => relu::<B>(B::bits(f(a))) << 16 | relu::<B>(B::bits(f(b)));
    Add16: "add.s16" | "add.u16" => h16(a.wrapping_add(b));
    Sub16: "sub.s16" | "sub.u16" => h16(a.wrapping_sub(b));
    Mul16: "mul.lo.s16" | "mul.lo.u16" => h16(a.wrapping_mul(b));
    MulHi16: "mul.hi.u16" => (h16(a) * h16(b)) >> 16;
    MulHiS16: "mul.hi.s16" => h16(((a as i16 as i32 * b as i16 as i32) >> 16) as u32);
    DivU16: "div.u16" => h16(h16(a).checked_div(h16(b)).unwrap_or(!0));
    DivS16: "div.s16" => if h16(b) == 0 { 0xffff } else { (a as i16).wrapping_div(b as i16) as u16 as u32 };
    RemU16: "rem.u16" => h16(a).checked_rem(h16(b)).unwrap_or(h16(a));
    RemS16: "rem.s16" => if h16(b) == 0 { h16(a) } else { (a as i16).wrapping_rem(b as i16) as u16 as u32 };
    Shl16: "shl.b16" => h16(shl(a, b));
    ShrU16: "shr.u16" | "shr.b16" => shr(h16(a), b);
    ShrS16: "shr.s16" => h16((a as i16 as i32 >> b.min(31)) as u32);
    MinU16: "min.u16" => h16(a).min(h16(b));
    MinS16: "min.s16" => (a as i16).min(b as i16) as u16 as u32;
    MaxU16: "max.u16" => h16(a).max(h16(b));
    MaxS16: "max.s16" => (a as i16).max(b as i16) as u16 as u32;
    AddF: "add.f32" | "add.rn.f32" => c(f(a) + f(b));
    AddFz: "add.ftz.f32" | "add.rn.ftz.f32" => cz(z(a) + z(b));
    AddFsat: "add.sat.f32" | "add.rn.sat.f32" => sat(f(a) + f(b));
    AddFzsat: "add.ftz.sat.f32" | "add.rn.ftz.sat.f32" => sat(f(cz(z(a) + z(b))));
    SubF: "sub.f32" | "sub.rn.f32" => c(f(a) - f(b));
    SubFz: "sub.ftz.f32" | "sub.rn.ftz.f32" => cz(z(a) - z(b));
    SubFsat: "sub.sat.f32" | "sub.rn.sat.f32" => sat(f(a) - f(b));
    MulF: "mul.f32" | "mul.rn.f32" => c(f(a) * f(b));
    MulFz: "mul.ftz.f32" | "mul.rn.ftz.f32" => cz(z(a) * z(b));
    MulFsat: "mul.sat.f32" | "mul.rn.sat.f32" => sat(f(a) * f(b));
    DivF: "div.rn.f32" | "div.full.f32" => c(f(a) / f(b));
    DivFz: "div.rn.ftz.f32" | "div.full.ftz.f32" => cz(z(a) / z(b));
    DivA: "div.approx.f32" => c(div_approx(f(a), f(b)));
    DivAz: "div.approx.ftz.f32" => cz(div_approx(z(a), z(b)));
    MinF: "min.f32" => min(f(a), f(b));
    MinFz: "min.ftz.f32" => min(z(a), z(b));
    MinFznan: "min.ftz.NaN.f32" => nan_or(z(a), z(b), min(z(a), z(b)));
    MaxFznan: "max.ftz.NaN.f32" => nan_or(z(a), z(b), max(z(a), z(b)));
    MinFnan: "min.NaN.f32" => nan_or(f(a), f(b), min(f(a), f(b)));
    MaxF: "max.f32" => max(f(a), f(b));
    MaxFz: "max.ftz.f32" => max(z(a), z(b));
    MaxFnan: "max.NaN.f32" => nan_or(f(a), f(b), max(f(a), f(b)));
    // copysign d, a, b: the sign of a, the magnitude of b.
    Copysign: "copysign.f32" => a & 1 << 31 | b & !(1 << 31);
    AddH: "add.f16" | "add.rn.f16" => h2::add::<H>(a, b);
    SubH: "sub.f16" | "sub.rn.f16" => h2::sub::<H>(a, b);
    MulH: "mul.f16" | "mul.rn.f16" => h2::mul::<H>(a, b);
    AddH2: "add.f16x2" | "add.rn.f16x2" => x2(a, b, h2::add::<H>);
    SubH2: "sub.f16x2" | "sub.rn.f16x2" => x2(a, b, h2::sub::<H>);
    MulH2: "mul.f16x2" | "mul.rn.f16x2" => x2(a, b, h2::mul::<H>);
    MinH: "min.f16" => h2::least::<H>(a, b);
    MaxH: "max.f16" => h2::most::<H>(a, b);
    MinH2: "min.f16x2" => x2(a, b, h2::least::<H>);
    MaxH2: "max.f16x2" => x2(a, b, h2::most::<H>);
    MinHnan: "min.NaN.f16" => h2::least_nan::<H>(a, b);
    MaxHnan: "max.NaN.f16" => h2::most_nan::<H>(a, b);
    MinHnan2: "min.NaN.f16x2" => x2(a, b, h2::least_nan::<H>);
    MaxHnan2: "max.NaN.f16x2" => x2(a, b, h2::most_nan::<H>);
    AddB: "add.bf16" | "add.rn.bf16" => h2::add::<B>(a, b);
    SubB: "sub.bf16" | "sub.rn.bf16" => h2::sub::<B>(a, b);
    MulB: "mul.bf16" | "mul.rn.bf16" => h2::mul::<B>(a, b);
    AddB2: "add.bf16x2" | "add.rn.bf16x2" => x2(a, b, h2::add::<B>);
    SubB2: "sub.bf16x2" | "sub.rn.bf16x2" => x2(a, b, h2::sub::<B>);
    MulB2: "mul.bf16x2" | "mul.rn.bf16x2" => x2(a, b, h2::mul::<B>);
    MinB: "min.bf16" => h2::least::<B>(a, b);
    MaxB: "max.bf16" => h2::most::<B>(a, b);
    MinB2: "min.bf16x2" => x2(a, b, h2::least::<B>);
    MaxB2: "max.bf16x2" => x2(a, b, h2::most::<B>);
    MinBnan: "min.NaN.bf16" => h2::least_nan::<B>(a, b);
    MaxBnan: "max.NaN.bf16" => h2::most_nan::<B>(a, b);
    MinBnan2: "min.NaN.bf16x2" => x2(a, b, h2::least_nan::<B>);
    MaxBnan2: "max.NaN.bf16x2" => x2(a, b, h2::most_nan::<B>);
}}

lane_ops! { Tri32(a: u32, b: u32, d: u32) -> u32 {
    Mad: "mad.lo.s32" | "mad.lo.u32" => a.wrapping_mul(b).wrapping_add(d);
    MadHiU: "mad.hi.u32" => (((a as u64 * b as u64) >> 32) as u32).wrapping_add(d);
    MadHiS: "mad.hi.s32" => (((a as i32 as i64 * b as i32 as i64) >> 32) as u32).wrapping_add(d);
    MadWideU16: "mad.wide.u16" => (h16(a) * h16(b)).wrapping_add(d);
    MadWideS16: "mad.wide.s16" => ((a as i16 as i32 * b as i16 as i32) as u32).wrapping_add(d);
    Mad16: "mad.lo.s16" | "mad.lo.u16" => h16(a.wrapping_mul(b).wrapping_add(d));
    BfeU: "bfe.u32" => bfe(a, b, d, false);
    BfeS: "bfe.s32" => bfe(a, b, d, true);
    Prmt: "prmt.b32" => prmt(a, b, d);
    ShfLw: "shf.l.wrap.b32" => (((b as u64) << 32 | a as u64) << (d & 31) >> 32) as u32;
    ShfLc: "shf.l.clamp.b32" => if d > 31 { a } else { (((b as u64) << 32 | a as u64) << d >> 32) as u32 };
    ShfRw: "shf.r.wrap.b32" => (((b as u64) << 32 | a as u64) >> (d & 31)) as u32;
    ShfRc: "shf.r.clamp.b32" => (((b as u64) << 32 | a as u64) >> d.min(32)) as u32;
    SadU: "sad.u32" => a.abs_diff(b).wrapping_add(d);
    SadS: "sad.s32" => (a as i32).abs_diff(b as i32).wrapping_add(d);
    Dp4aUU: "dp4a.u32.u32" => dp4a(a, b, d, false, false);
    Dp4aUS: "dp4a.u32.s32" => dp4a(a, b, d, false, true);
    Dp4aSU: "dp4a.s32.u32" => dp4a(a, b, d, true, false);
    Dp4aSS: "dp4a.s32.s32" => dp4a(a, b, d, true, true);
    Dp2aLUU: "dp2a.lo.u32.u32" => dp2a(a, b, d, false, false, 0);
    Dp2aLUS: "dp2a.lo.u32.s32" => dp2a(a, b, d, false, true, 0);
    Dp2aLSU: "dp2a.lo.s32.u32" => dp2a(a, b, d, true, false, 0);
    Dp2aLSS: "dp2a.lo.s32.s32" => dp2a(a, b, d, true, true, 0);
    Dp2aHUU: "dp2a.hi.u32.u32" => dp2a(a, b, d, false, false, 16);
    Dp2aHUS: "dp2a.hi.u32.s32" => dp2a(a, b, d, false, true, 16);
    Dp2aHSU: "dp2a.hi.s32.u32" => dp2a(a, b, d, true, false, 16);
    Dp2aHSS: "dp2a.hi.s32.s32" => dp2a(a, b, d, true, true, 16);
    Mad24U: "mad24.lo.u32" => (mul24(a, b) as u32).wrapping_add(d);
    Mad24S: "mad24.lo.s32" => (mul24s(a, b) as u32).wrapping_add(d);
    Mad24HiU: "mad24.hi.u32" => ((mul24(a, b) >> 16) as u32).wrapping_add(d);
    Mad24HiS: "mad24.hi.s32" => ((mul24s(a, b) >> 16) as u32).wrapping_add(d);
    SadU16: "sad.u16" => h16(h16(a).abs_diff(h16(b)).wrapping_add(d));
    SadS16: "sad.s16" => h16(((a as i16).abs_diff(b as i16) as u32).wrapping_add(d));
    MadHi16: "mad.hi.u16" => h16(((h16(a) * h16(b)) >> 16).wrapping_add(d));
    MadHiS16: "mad.hi.s16" => h16(((a as i16 as i32 * b as i16 as i32) >> 16) as u32).wrapping_add(d) & 0xffff;
    MadHiSsat: "mad.hi.sat.s32" => {
        (((a as i32 as i64 * b as i32 as i64) >> 32) as i32).saturating_add(d as i32) as u32
    };
    Fma: "fma.rn.f32" | "mad.rn.f32" => c(f(a).mul_add(f(b), f(d)));
    FmaZ: "fma.rn.ftz.f32" | "mad.rn.ftz.f32" => cz(z(a).mul_add(z(b), z(d)));
    FmaSat: "fma.rn.sat.f32" | "mad.rn.sat.f32" => sat(f(a).mul_add(f(b), f(d)));
    FmaZsat: "fma.rn.ftz.sat.f32" | "mad.rn.ftz.sat.f32" => sat(f(cz(z(a).mul_add(z(b), z(d)))));
    FmaRm: "fma.rm.f32" | "mad.rm.f32" => fma_directed(f(a), f(b), f(d), true);
    FmaRp: "fma.rp.f32" | "mad.rp.f32" => fma_directed(f(a), f(b), f(d), false);
    FmaH: "fma.rn.f16" => fma::<H>(a, b, d);
    FmaHrelu: "fma.rn.relu.f16" => relu::<H>(fma::<H>(a, b, d));
    FmaH2: "fma.rn.f16x2" => x3(a, b, d, fma::<H>);
    FmaHrelu2: "fma.rn.relu.f16x2" => x3(a, b, d, h2::fma_relu::<H>);
    FmaB: "fma.rn.bf16" => fma::<B>(a, b, d);
    FmaBrelu: "fma.rn.relu.bf16" => relu::<B>(fma::<B>(a, b, d));
    FmaB2: "fma.rn.bf16x2" => x3(a, b, d, fma::<B>);
    FmaBrelu2: "fma.rn.relu.bf16x2" => x3(a, b, d, h2::fma_relu::<B>);
}}

/// lop3: any function of three bits, by its truth table. Bit by bit: `c` chooses within pairs of the table's entries, `b`
/// between the chosen, `a` between those.
#[inline(always)]
pub(crate) fn lop3(out: &mut [u32; 32], a: &[u32; 32], b: &[u32; 32], c: &[u32; 32], table: u8) {
    let t: [u32; 8] = each(|i| 0u32.wrapping_sub((table >> i & 1) as u32));
    let mux = |s: u32, one: u32, zero: u32| zero ^ s & (one ^ zero);
    for i in 0..32 {
        let pair = |k: usize| mux(c[i], t[k + 1], t[k]);
        out[i] = mux(a[i], mux(b[i], pair(6), pair(4)), mux(b[i], pair(2), pair(0)));
    }
}

/// bfi: `len` bits of `a` put at `pos` of `b`.
#[inline(always)]
pub(crate) fn bfi(a: u64, b: u64, pos: u32, len: u32, width: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    if pos >= width || len == 0 {
        return b;
    }
    let field = if len >= 64 { !0 } else { (1u64 << len) - 1 };
    let mask = field << pos;
    b & !mask | a << pos & mask
}
