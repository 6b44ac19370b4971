//! Instructions on registers of at most 32 bits. What reads 16 bits ignores the upper half of its register.

use super::float::*;
use super::half2::{self as h2, B, H, Half, fma, op2, relu, x2, x3};
use super::lane_ops;

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

fn prmt(a: u32, b: u32, c: u32) -> u32 {
    let all = (b as u64) << 32 | a as u64;
    let mut out = 0;
    for i in 0..4 {
        let sel = c >> (4 * i) & 15;
        let byte = (all >> (8 * (sel & 7))) as u32 & 255;
        let byte = if sel & 8 == 0 { byte } else { (byte >> 7) * 255 };
        out |= byte << (8 * i);
    }
    out
}

fn ex2(x: f32) -> f32 {
    via64(x, f64::exp2)
}

lane_ops! { Un32(a: u32) -> u32 {
    Mov: "mov.b32" | "mov.u32" | "mov.s32" | "mov.f32" | "mov.b16" | "mov.u16" | "mov.s16" | "mov.f16" | "mov.bf16" => a;
    Neg: "neg.s32" => a.wrapping_neg();
    Neg16: "neg.s16" => h16(a.wrapping_neg());
    Not: "not.b32" => !a;
    Not16: "not.b16" => h16(!a);
    Cnot: "cnot.b32" => (a == 0) as u32;
    Abs: "abs.s32" => (a as i32).unsigned_abs();
    Abs16: "abs.s16" => (a as i16).unsigned_abs() as u32;
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
    TanhH: "tanh.approx.f16" => H::bits(via64(H::wide(a), f64::tanh));
    TanhH2: "tanh.approx.f16x2" => x2(a, 0, |v, _| H::bits(via64(H::wide(v), f64::tanh)));
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
    AddRz: "add.rz.f32" => fma_f32(a, 0x3f80_0000, b, Round::Zero);
    AddRm: "add.rm.f32" => fma_f32(a, 0x3f80_0000, b, Round::Down);
    AddRp: "add.rp.f32" => fma_f32(a, 0x3f80_0000, b, Round::Up);
    SubF: "sub.f32" | "sub.rn.f32" => c(f(a) - f(b));
    SubFz: "sub.ftz.f32" | "sub.rn.ftz.f32" => cz(z(a) - z(b));
    SubFsat: "sub.sat.f32" | "sub.rn.sat.f32" => sat(f(a) - f(b));
    MulF: "mul.f32" | "mul.rn.f32" => c(f(a) * f(b));
    MulFz: "mul.ftz.f32" | "mul.rn.ftz.f32" => cz(z(a) * z(b));
    MulFsat: "mul.sat.f32" | "mul.rn.sat.f32" => sat(f(a) * f(b));
    MulRz: "mul.rz.f32" => narrow(f(a) as f64 * f(b) as f64, F32, Round::Zero);
    MulRm: "mul.rm.f32" => narrow(f(a) as f64 * f(b) as f64, F32, Round::Down);
    MulRp: "mul.rp.f32" => narrow(f(a) as f64 * f(b) as f64, F32, Round::Up);
    DivF: "div.rn.f32" | "div.full.f32" => c(f(a) / f(b));
    DivFz: "div.rn.ftz.f32" | "div.full.ftz.f32" => cz(z(a) / z(b));
    DivA: "div.approx.f32" => c(div_approx(f(a), f(b)));
    DivAz: "div.approx.ftz.f32" => cz(div_approx(z(a), z(b)));
    MinF: "min.f32" => min(f(a), f(b));
    MinFz: "min.ftz.f32" => min(z(a), z(b));
    MinFnan: "min.NaN.f32" => nan_or(f(a), f(b), min(f(a), f(b)));
    MaxF: "max.f32" => max(f(a), f(b));
    MaxFz: "max.ftz.f32" => max(z(a), z(b));
    MaxFnan: "max.NaN.f32" => nan_or(f(a), f(b), max(f(a), f(b)));
    // copysign d, a, b: the sign of a, the magnitude of b.
    Copysign: "copysign.f32" => a & 1 << 31 | b & !(1 << 31);
    AddH: "add.f16" | "add.rn.f16" => op2::<H>(a, b, |a, b| a + b);
    SubH: "sub.f16" | "sub.rn.f16" => op2::<H>(a, b, |a, b| a - b);
    MulH: "mul.f16" | "mul.rn.f16" => op2::<H>(a, b, |a, b| a * b);
    AddH2: "add.f16x2" | "add.rn.f16x2" => x2(a, b, |a, b| op2::<H>(a, b, |a, b| a + b));
    SubH2: "sub.f16x2" | "sub.rn.f16x2" => x2(a, b, |a, b| op2::<H>(a, b, |a, b| a - b));
    MulH2: "mul.f16x2" | "mul.rn.f16x2" => x2(a, b, |a, b| op2::<H>(a, b, |a, b| a * b));
    AddHsat2: "add.sat.f16x2" | "add.rn.sat.f16x2" => x2(a, b, |a, b| h2::sat::<H>(op2::<H>(a, b, |a, b| a + b)));
    MulHsat2: "mul.sat.f16x2" | "mul.rn.sat.f16x2" => x2(a, b, |a, b| h2::sat::<H>(op2::<H>(a, b, |a, b| a * b)));
    MinH: "min.f16" => op2::<H>(a, b, h2::min);
    MaxH: "max.f16" => op2::<H>(a, b, h2::max);
    MinH2: "min.f16x2" => x2(a, b, |a, b| op2::<H>(a, b, h2::min));
    MaxH2: "max.f16x2" => x2(a, b, |a, b| op2::<H>(a, b, h2::max));
    MinHnan: "min.NaN.f16" => op2::<H>(a, b, h2::min_nan);
    MaxHnan: "max.NaN.f16" => op2::<H>(a, b, h2::max_nan);
    MinHnan2: "min.NaN.f16x2" => x2(a, b, |a, b| op2::<H>(a, b, h2::min_nan));
    MaxHnan2: "max.NaN.f16x2" => x2(a, b, |a, b| op2::<H>(a, b, h2::max_nan));
    AddB: "add.bf16" | "add.rn.bf16" => op2::<B>(a, b, |a, b| a + b);
    SubB: "sub.bf16" | "sub.rn.bf16" => op2::<B>(a, b, |a, b| a - b);
    MulB: "mul.bf16" | "mul.rn.bf16" => op2::<B>(a, b, |a, b| a * b);
    AddB2: "add.bf16x2" | "add.rn.bf16x2" => x2(a, b, |a, b| op2::<B>(a, b, |a, b| a + b));
    SubB2: "sub.bf16x2" | "sub.rn.bf16x2" => x2(a, b, |a, b| op2::<B>(a, b, |a, b| a - b));
    MulB2: "mul.bf16x2" | "mul.rn.bf16x2" => x2(a, b, |a, b| op2::<B>(a, b, |a, b| a * b));
    MinB: "min.bf16" => op2::<B>(a, b, h2::min);
    MaxB: "max.bf16" => op2::<B>(a, b, h2::max);
    MinB2: "min.bf16x2" => x2(a, b, |a, b| op2::<B>(a, b, h2::min));
    MaxB2: "max.bf16x2" => x2(a, b, |a, b| op2::<B>(a, b, h2::max));
    MinBnan2: "min.NaN.bf16x2" => x2(a, b, |a, b| op2::<B>(a, b, h2::min_nan));
    MaxBnan2: "max.NaN.bf16x2" => x2(a, b, |a, b| op2::<B>(a, b, h2::max_nan));
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
    Dp4aU: "dp4a.u32.u32" => (0..4).fold(d, |s, i| s.wrapping_add((a >> (8 * i) & 255) * (b >> (8 * i) & 255)));
    Dp4aS: "dp4a.s32.s32" => (0..4).fold(d, |s, i| {
        s.wrapping_add(((a >> (8 * i)) as i8 as i32 * (b >> (8 * i)) as i8 as i32) as u32)
    });
    Fma: "fma.rn.f32" | "mad.rn.f32" => c(f(a).mul_add(f(b), f(d)));
    FmaZ: "fma.rn.ftz.f32" | "mad.rn.ftz.f32" => cz(z(a).mul_add(z(b), z(d)));
    FmaSat: "fma.rn.sat.f32" => sat(f(a).mul_add(f(b), f(d)));
    FmaZsat: "fma.rn.ftz.sat.f32" => sat(f(cz(z(a).mul_add(z(b), z(d)))));
    FmaRm: "fma.rm.f32" => fma_f32(a, b, d, Round::Down);
    FmaRz: "fma.rz.f32" => fma_f32(a, b, d, Round::Zero);
    FmaRp: "fma.rp.f32" => fma_f32(a, b, d, Round::Up);
    FmaRmZ: "fma.rm.ftz.f32" => cz(f(fma_f32(z(a).to_bits(), z(b).to_bits(), z(d).to_bits(), Round::Down)));
    FmaH: "fma.rn.f16" => fma::<H>(a, b, d);
    FmaHsat: "fma.rn.sat.f16" => h2::sat::<H>(fma::<H>(a, b, d));
    FmaHrelu: "fma.rn.relu.f16" => relu::<H>(fma::<H>(a, b, d));
    FmaH2: "fma.rn.f16x2" => x3(a, b, d, fma::<H>);
    FmaHsat2: "fma.rn.sat.f16x2" => x3(a, b, d, |a, b, d| h2::sat::<H>(fma::<H>(a, b, d)));
    FmaHrelu2: "fma.rn.relu.f16x2" => x3(a, b, d, |a, b, d| relu::<H>(fma::<H>(a, b, d)));
    FmaB: "fma.rn.bf16" => fma::<B>(a, b, d);
    FmaBrelu: "fma.rn.relu.bf16" => relu::<B>(fma::<B>(a, b, d));
    FmaB2: "fma.rn.bf16x2" => x3(a, b, d, fma::<B>);
    FmaBrelu2: "fma.rn.relu.bf16x2" => x3(a, b, d, |a, b, d| relu::<B>(fma::<B>(a, b, d)));
}}

/// lop3: any function of three bits, by its truth table.
#[inline(always)]
pub(crate) fn lop3(a: u32, b: u32, c: u32, table: u8) -> u32 {
    let mut out = 0;
    for i in 0..8 {
        if table >> i & 1 == 1 {
            let pick = |v: u32, bit: u8| if i & bit != 0 { v } else { !v };
            out |= pick(a, 4) & pick(b, 2) & pick(c, 1);
        }
    }
    out
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
