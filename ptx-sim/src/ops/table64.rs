//! Instructions with registers of 64 bits.

use super::float::{max64, min64};
use super::lane_ops;

fn f(a: u64) -> f64 {
    f64::from_bits(a)
}

lane_ops! { Un64(a: u64) -> u64 {
    Mov: "mov.b64" | "mov.u64" | "mov.s64" | "mov.f64" => a;
    Neg: "neg.s64" => a.wrapping_neg();
    Not: "not.b64" => !a;
    Abs: "abs.s64" => (a as i64).unsigned_abs();
    Brev: "brev.b64" => a.reverse_bits();
    NegF: "neg.f64" => a ^ 1 << 63;
    AbsF: "abs.f64" => a & !(1 << 63);
    Sqrt: "sqrt.rn.f64" => f(a).sqrt().to_bits();
    Rcp: "rcp.rn.f64" => (1.0 / f(a)).to_bits();
    // The GPU keeps the upper half of the result only; Newton steps follow wherever nvcc emits it.
    RcpApprox: "rcp.approx.ftz.f64" => (1.0 / f(a)).to_bits() & !0xffff_ffff;
    RsqrtApprox: "rsqrt.approx.f64" | "rsqrt.approx.ftz.f64" => (1.0 / f(a).sqrt()).to_bits();
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
    Fma: "fma.rn.f64" | "mad.rn.f64" => f(a).mul_add(f(b), f(d)).to_bits();
}}

lane_ops! { Shift64(a: u64, b: u32) -> u64 {
    Shl: "shl.b64" => if b > 63 { 0 } else { a << b };
    ShrU: "shr.u64" | "shr.b64" => if b > 63 { 0 } else { a >> b };
    ShrS: "shr.s64" => (a as i64 >> b.min(63)) as u64;
}}

lane_ops! { Count64(a: u64) -> u32 {
    Popc: "popc.b64" => a.count_ones();
    Clz: "clz.b64" => a.leading_zeros();
    BfindU: "bfind.u64" => if a == 0 { !0 } else { 63 - a.leading_zeros() };
}}

lane_ops! { Wide2(a: u32, b: u32) -> u64 {
    MulU: "mul.wide.u32" => a as u64 * b as u64;
    MulS: "mul.wide.s32" => (a as i32 as i64 * b as i32 as i64) as u64;
}}

lane_ops! { Wide3(a: u32, b: u32, d: u64) -> u64 {
    MadU: "mad.wide.u32" => (a as u64 * b as u64).wrapping_add(d);
    MadS: "mad.wide.s32" => ((a as i32 as i64 * b as i32 as i64) as u64).wrapping_add(d);
}}
