//! Arithmetic on all lanes of a warp.

// Loops over lanes index several registers at once.
#![allow(clippy::needless_range_loop)]

use super::Regs;
use crate::inst::*;
use crate::ops::cmp::Cmp;
use crate::ops::table32::{bfi, lop3};

#[inline(always)]
pub(crate) fn blend<T: Copy>(out: &mut [T; 32], new: &[T; 32], mask: u32) {
    if mask == !0 {
        *out = *new;
        return;
    }
    for i in 0..32 {
        if mask >> i & 1 == 1 {
            out[i] = new[i];
        }
    }
}

macro_rules! lanes32 {
    ($w:ident, $mask:ident, $d:expr, |$i:ident| $e:expr) => {{
        let mut t = [0u32; 32];
        for $i in 0..32 {
            t[$i] = $e;
        }
        blend(&mut $w.r[*$d as usize], &t, $mask);
    }};
}

/// Executes an arithmetic instruction; false if it is of another kind.
#[inline(always)]
pub(super) fn run(op: &Op, w: &mut Regs, mask: u32) -> bool {
    let (mut t, mut t64) = ([0u32; 32], [0u64; 32]);
    macro_rules! r {
        ($s:expr) => {
            &w.r[*$s as usize]
        };
    }
    macro_rules! d {
        ($s:expr) => {
            &w.d[*$s as usize]
        };
    }
    macro_rules! put32 {
        ($d:expr) => {
            blend(&mut w.r[*$d as usize], &t, mask)
        };
    }
    macro_rules! put64 {
        ($d:expr) => {
            blend(&mut w.d[*$d as usize], &t64, mask)
        };
    }
    match op {
        Op::A32(f, d, a) => {
            f.run(r!(a), &mut t);
            put32!(d);
        }
        Op::B32(f, d, a, b) => {
            f.run(r!(a), r!(b), &mut t);
            put32!(d);
        }
        Op::C32(f, d, a, b, c) => {
            f.run(r!(a), r!(b), r!(c), &mut t);
            put32!(d);
        }
        Op::A64(f, d, a) => {
            f.run(d!(a), &mut t64);
            put64!(d);
        }
        Op::B64(f, d, a, b) => {
            f.run(d!(a), d!(b), &mut t64);
            put64!(d);
        }
        Op::C64(f, d, a, b, c) => {
            f.run(d!(a), d!(b), d!(c), &mut t64);
            put64!(d);
        }
        Op::Shift64(f, d, a, b) => {
            f.run(d!(a), r!(b), &mut t64);
            put64!(d);
        }
        Op::Count64(f, d, a) => {
            f.run(d!(a), &mut t);
            put32!(d);
        }
        Op::Wide1(f, d, a) => {
            f.run(r!(a), &mut t64);
            put64!(d);
        }
        Op::Rare(f, d, a, b, c) => {
            let (a, b, c) = (*r!(a), *r!(b), *r!(c));
            lanes32!(w, mask, d, |i| f.run(a[i], b[i], c[i]));
        }
        Op::Carry(f, d, a, b, c, flag) => {
            for i in super::lanes(mask) {
                let c = c.map_or(0, |c| w.get(c, i));
                let carry = w.p[*flag as usize] >> i & 1 == 1;
                let (v, out) = f.run(w.get(*a, i), w.get(*b, i), c, carry);
                w.set(*d, i, v);
                if f.leaves {
                    w.set(Reg::P(*flag), i, out as u64);
                }
            }
        }
        Op::Test(test, p, a) => {
            let wide = matches!(a, Reg::D(_));
            for i in super::lanes(mask) {
                let yes = test.run(w.get(*a, i), wide);
                w.set(Reg::P(*p), i, yes as u64);
            }
        }
        Op::Wide2(f, d, a, b) => {
            f.run(r!(a), r!(b), &mut t64);
            put64!(d);
        }
        Op::Wide3(f, d, a, b, c) => {
            f.run(r!(a), r!(b), d!(c), &mut t64);
            put64!(d);
        }
        Op::Lop3(table, d, a, b, c) => {
            let (a, b, c) = (*r!(a), *r!(b), *r!(c));
            lop3(&a, &b, &c, *table, &mut t);
            put32!(d);
        }
        Op::Bfi32(d, a, b, pos, len) => {
            let (a, b, pos, len) = (*r!(a), *r!(b), *r!(pos), *r!(len));
            lanes32!(w, mask, d, |i| bfi(a[i] as u64, b[i] as u64, pos[i], len[i], 32) as u32);
        }
        Op::Bfi64(d, a, b, pos, len) => {
            for i in 0..32 {
                t64[i] = bfi(d!(a)[i], d!(b)[i], r!(pos)[i], r!(len)[i], 64);
            }
            put64!(d);
        }
        Op::Bfe64(signed, d, a, pos, len) => {
            for i in 0..32 {
                let (v, pos, len) = (d!(a)[i], r!(pos)[i] & 255, r!(len)[i] & 255);
                let field =
                    if pos > 63 || len == 0 { 0 } else { v >> pos & if len > 63 { !0 } else { (1 << len) - 1 } };
                let sign = *signed && len > 0 && v >> (pos + len - 1).min(63) & 1 == 1;
                let kept = len.min(64u32.saturating_sub(pos));
                t64[i] = if sign && kept < 64 { field | !0 << kept } else { field };
            }
            put64!(d);
        }
        Op::Cvt(c, d, a) => {
            for i in 0..32 {
                t64[i] = c.run(w.get(*a, i));
            }
            match d {
                Reg::D(d) => put64!(d),
                // Signed results fill the register with their sign; what reads 16 bits ignores the upper half.
                Reg::R(d) => lanes32!(w, mask, d, |i| t64[i] as u32),
                Reg::P(_) => return false,
            }
        }
        Op::CvtPack(c, d, a, b) => {
            let (a, b) = (*r!(a), *r!(b));
            lanes32!(w, mask, d, |i| (c.run(a[i] as u64) as u32) << 16 | c.run(b[i] as u64) as u32);
        }
        Op::Set32(cmp, p, q, a, b, op, with) => set(w, cmp.run32(r!(a), r!(b)), *p, *q, *op, *with, mask),
        Op::Set64(cmp, p, q, a, b, op, with) => set(w, cmp.run64(d!(a), d!(b)), *p, *q, *op, *with, mask),
        Op::SetValue(cmp, yes, d, a, b, op, with) => {
            let m = match (a, b) {
                (Reg::R(a), Reg::R(b)) => cmp.run32(r!(a), r!(b)),
                (Reg::D(a), Reg::D(b)) => cmp.run64(d!(a), d!(b)),
                _ => return false,
            };
            let m = combine(*op, m, w.pred(*with));
            lanes32!(w, mask, d, |i| if m >> i & 1 == 1 { *yes } else { 0 });
        }
        Op::SetHalf2(cmp, yes, d, a, b, op, with) => {
            let (low, high) = halves(*cmp, r!(a), r!(b));
            let with = w.pred(*with);
            let (low, high) = (combine(*op, low, with), combine(*op, high, with));
            let half = |m: u32, i: usize| if m >> i & 1 == 1 { *yes } else { 0 };
            lanes32!(w, mask, d, |i| half(low, i) | half(high, i) << 16);
        }
        Op::SetpHalf2(cmp, p, q, a, b, op, with) => {
            let (low, high) = halves(*cmp, r!(a), r!(b));
            let with = w.pred(*with);
            w.set_pred(*p, combine(*op, low, with), mask);
            w.set_pred(*q, combine(*op, high, with), mask);
        }
        Op::Sel32(d, a, b, p) => {
            let (a, b, m) = (*r!(a), *r!(b), w.pred(*p));
            lanes32!(w, mask, d, |i| if m >> i & 1 == 1 { a[i] } else { b[i] });
        }
        Op::Sel64(d, a, b, p) => {
            let m = w.pred(*p);
            for i in 0..32 {
                t64[i] = if m >> i & 1 == 1 { d!(a)[i] } else { d!(b)[i] };
            }
            put64!(d);
        }
        Op::Logic(op, d, a, b) => {
            let v = combine(*op, w.pred(*a), w.pred(*b));
            w.set_pred(*d, v, mask);
        }
        Op::Pack(to, from) => {
            let bits = if matches!(to, Reg::D(_)) { 64 } else { 32 } / from.len() as u32;
            for i in 0..32 {
                for (k, reg) in from.iter().enumerate() {
                    t64[i] |= (w.get(*reg, i) & ((1 << bits) - 1)) << (bits * k as u32);
                }
            }
            for i in super::lanes(mask) {
                w.set(*to, i, t64[i]);
            }
        }
        Op::Unpack(to, from) => {
            let bits = if matches!(from, Reg::D(_)) { 64 } else { 32 } / to.len() as u32;
            for i in super::lanes(mask) {
                let v = w.get(*from, i);
                for (k, reg) in to.iter().enumerate() {
                    if let Some(reg) = reg {
                        w.set(*reg, i, v >> (bits * k as u32) & ((1 << bits) - 1));
                    }
                }
            }
        }
        _ => return false,
    }
    true
}

/// Comparisons of the lower and of the upper halves.
#[inline(always)]
fn halves(cmp: Cmp, a: &[u32; 32], b: &[u32; 32]) -> (u32, u32) {
    (cmp.run32(a, b), cmp.run32(&super::each(|i| a[i] >> 16), &super::each(|i| b[i] >> 16)))
}

#[inline(always)]
fn combine(op: BoolOp, a: u32, b: u32) -> u32 {
    match op {
        BoolOp::And => a & b,
        BoolOp::Or => a | b,
        BoolOp::Xor => a ^ b,
    }
}

#[inline(always)]
fn set(w: &mut Regs, result: u32, p: u16, q: Option<u16>, op: BoolOp, with: Pred, mask: u32) {
    let with = w.pred(with);
    w.set_pred(p, combine(op, result, with), mask);
    if let Some(q) = q {
        w.set_pred(q, combine(op, !result, with), mask);
    }
}
