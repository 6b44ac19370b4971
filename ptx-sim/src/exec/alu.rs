//! Arithmetic on all lanes of a warp.

// Loops over lanes index several registers at once.
#![allow(clippy::needless_range_loop)]

use super::{Regs, each};
use crate::inst::*;
use crate::ops::all_lanes;
use crate::ops::cmp::Cmp;
use crate::ops::cvt::Cvt;
use crate::ops::half2::fma_bf16x2;
use crate::ops::rare::Rare;
use crate::ops::table32::{Tri32, bfi, lop3};

/// Puts new values into the lanes of a mask.
#[inline(always)]
pub(crate) fn blend<T: Copy>(out: &mut [T; 32], new: &[T; 32], mask: u32) {
    if mask == !0 {
        *out = *new;
        return;
    }
    for i in 0..32 {
        out[i] = select(mask & 1 << i != 0, new[i], out[i]);
    }
}

/// The place of a result, and those of the operands, none of which is the result's.
#[inline(always)]
fn places<T, const N: usize>(file: &mut [[T; 32]], out: u16, from: [u16; N]) -> (&mut [T; 32], [&[T; 32]; N]) {
    debug_assert!(from.iter().all(|&s| s != out && (s as usize) < file.len()) && (out as usize) < file.len());
    let file = file.as_mut_ptr();
    // SAFETY: decoding numbers the registers, and so the places of a file, from zero on. Operands are other places than
    // the result; those that are one place are only read.
    #[allow(unsafe_code)]
    unsafe {
        (&mut *file.add(out as usize), from.map(|s| &*file.add(s as usize)))
    }
}

/// Executes an operation of registers of one class. Its result goes straight to its place, unless lanes are missing or
/// that is an operand's place, too: then it takes the way through the spare one.
macro_rules! within {
    ($w:ident.$file:ident, $mask:ident, $d:expr, [$($a:ident),*], |$out:ident| $e:expr) => {{
        let (d, spare) = (*$d, $w.$file.len() as u16 - 1);
        let direct = $mask == !0 $(&& d != *$a)*;
        {
            let ($out, [$($a),*]) = places(&mut $w.$file, if direct { d } else { spare }, [$(*$a),*]);
            $e;
        }
        if !direct {
            let (out, [new]) = places(&mut $w.$file, d, [spare]);
            blend(out, new, $mask);
        }
    }};
}

/// The same of a result of one class and operands of others.
macro_rules! across {
    ($w:ident.$file:ident, $mask:ident, $d:expr, |$out:ident| $e:expr) => {{
        let (d, spare) = (*$d, $w.$file.len() as u16 - 1);
        let direct = $mask == !0;
        {
            let $out = &mut $w.$file[if direct { d } else { spare } as usize];
            $e;
        }
        if !direct {
            let (out, [new]) = places(&mut $w.$file, d, [spare]);
            blend(out, new, $mask);
        }
    }};
}

/// Of two values that are at hand already, so that no branch and no choice of addresses comes of it.
#[inline(always)]
fn select<T>(yes: bool, a: T, b: T) -> T {
    if yes { a } else { b }
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

/// Executes arithmetic instructions that follow each other, on the lanes of a mask.
#[inline(never)]
pub(super) fn anywhere(code: &[Inst], w: &mut Regs, mask: u32) {
    // On an x86-64 without AVX2, speed is not worth the time to compile all this a second time.
    const FAST: bool = !cfg!(target_arch = "x86_64");
    code.iter().for_each(|inst| run::<FAST>(&inst.op, w, mask));
}

/// The same compiled for AVX2: loops over lanes take eight at a time.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn avx2(code: &[Inst], w: &mut Regs, mask: u32) {
    for inst in code {
        run::<true>(&inst.op, w, mask);
    }
}

/// Not worth a copy for each kind of processor.
#[inline(never)]
fn rare(f: Rare, a: &[u32; 32], b: &[u32; 32], c: &[u32; 32]) -> [u32; 32] {
    each(|i| f.run(a[i], b[i], c[i]))
}

/// As `rare`: most conversions are in tables.
#[inline(never)]
fn convert(c: Cvt, a: &[u64; 32]) -> [u64; 32] {
    each(|i| c.run(a[i]))
}

#[inline(always)]
fn run<const FAST: bool>(op: &Op, w: &mut Regs, mask: u32) {
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
        ($d:expr, $t:expr) => {{
            let t = $t;
            blend(&mut w.r[*$d as usize], &t, mask)
        }};
    }
    macro_rules! put64 {
        ($d:expr, $t:expr) => {{
            let t = $t;
            blend(&mut w.d[*$d as usize], &t, mask)
        }};
    }
    match op {
        Op::A32(f, d, a) => within!(w.r, mask, d, [a], |out| f.run::<FAST>(out, a)),
        Op::B32(f, d, a, b) => within!(w.r, mask, d, [a, b], |out| f.run::<FAST>(out, a, b)),
        Op::C32(Tri32::FmaB2, d, a, b, c) if FAST => {
            within!(w.r, mask, d, [a, b, c], |out| fma_bf16x2(out, a, b, c))
        }
        Op::C32(f, d, a, b, c) => within!(w.r, mask, d, [a, b, c], |out| f.run::<FAST>(out, a, b, c)),
        Op::A64(f, d, a) => within!(w.d, mask, d, [a], |out| f.run::<FAST>(out, a)),
        Op::B64(f, d, a, b) => within!(w.d, mask, d, [a, b], |out| f.run::<FAST>(out, a, b)),
        Op::C64(f, d, a, b, c) => within!(w.d, mask, d, [a, b, c], |out| f.run::<FAST>(out, a, b, c)),
        Op::Shift64(f, d, a, b) => within!(w.d, mask, d, [a], |out| f.run::<FAST>(out, a, r!(b))),
        Op::Count64(f, d, a) => across!(w.r, mask, d, |out| f.run::<FAST>(out, d!(a))),
        Op::Wide1(f, d, a) => across!(w.d, mask, d, |out| f.run::<FAST>(out, r!(a))),
        Op::Rare(f, d, a, b, c) => {
            let t = rare(*f, r!(a), r!(b), r!(c));
            put32!(d, t);
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
        Op::Wide2(f, d, a, b) => across!(w.d, mask, d, |out| f.run::<FAST>(out, r!(a), r!(b))),
        Op::Wide3(f, d, a, b, c) => within!(w.d, mask, d, [c], |out| f.run::<FAST>(out, r!(a), r!(b), c)),
        Op::Lop3(table, d, a, b, c) => within!(w.r, mask, d, [a, b, c], |out| lop3(out, a, b, c, *table)),
        Op::Bfi32(d, a, b, pos, len) => {
            let (a, b, pos, len) = (*r!(a), *r!(b), *r!(pos), *r!(len));
            lanes32!(w, mask, d, |i| bfi(a[i] as u64, b[i] as u64, pos[i], len[i], 32) as u32);
        }
        Op::Bfi64(d, a, b, pos, len) => {
            put64!(d, each(|i| bfi(d!(a)[i], d!(b)[i], r!(pos)[i], r!(len)[i], 64)));
        }
        Op::Bfe64(signed, d, a, pos, len) => {
            let extract = |i: usize| {
                let (v, pos, len) = (d!(a)[i], r!(pos)[i] & 255, r!(len)[i] & 255);
                let field =
                    if pos > 63 || len == 0 { 0 } else { v >> pos & if len > 63 { !0 } else { (1 << len) - 1 } };
                let sign = *signed && len > 0 && v >> (pos + len - 1).min(63) & 1 == 1;
                let kept = len.min(64u32.saturating_sub(pos));
                if sign && kept < 64 { field | !0 << kept } else { field }
            };
            put64!(d, each(extract));
        }
        // Signed results fill the register with their sign; what reads 16 bits ignores the upper half.
        Op::Cvt(c, d, a) => {
            let a = read(w, *a);
            write(w, *d, &convert(*c, &a), mask);
        }
        Op::CvtPack(c, d, a, b) => {
            let (a, b) = (convert(*c, &read(w, Reg::R(*a))), convert(*c, &read(w, Reg::R(*b))));
            lanes32!(w, mask, d, |i| (a[i] as u32) << 16 | b[i] as u32);
        }
        Op::Set32(cmp, p, q, a, b, op, with) => set(w, cmp.run32(r!(a), r!(b)), *p, *q, *op, *with, mask),
        Op::Set64(cmp, p, q, a, b, op, with) => set(w, cmp.run64(d!(a), d!(b)), *p, *q, *op, *with, mask),
        Op::SetValue(cmp, yes, d, a, b, op, with) => {
            let m = match (a, b) {
                (Reg::R(a), Reg::R(b)) => cmp.run32(r!(a), r!(b)),
                (Reg::D(a), Reg::D(b)) => cmp.run64(d!(a), d!(b)),
                _ => unreachable!("decoding compares registers of one class"),
            };
            let m = combine(*op, m, w.pred(*with));
            across!(w.r, mask, d, |out| all_lanes!(out, |i| if m & 1 << i != 0 { *yes } else { 0 }));
        }
        Op::SetHalf2(cmp, yes, d, a, b, op, with) => {
            let (low, high) = halves(*cmp, r!(a), r!(b));
            let with = w.pred(*with);
            let (low, high) = (combine(*op, low, with), combine(*op, high, with));
            let half = |m: u32, i: usize| if m & 1 << i != 0 { *yes } else { 0 };
            across!(w.r, mask, d, |out| all_lanes!(out, |i| half(low, i) | half(high, i) << 16));
        }
        Op::SetpHalf2(cmp, p, q, a, b, op, with) => {
            let (low, high) = halves(*cmp, r!(a), r!(b));
            let with = w.pred(*with);
            w.set_pred(*p, combine(*op, low, with), mask);
            w.set_pred(*q, combine(*op, high, with), mask);
        }
        Op::Sel32(d, a, b, p) => {
            let m = w.pred(*p);
            within!(w.r, mask, d, [a, b], |out| all_lanes!(out, |i| select(m & 1 << i != 0, a[i], b[i])));
        }
        Op::Sel64(d, a, b, p) => {
            let m = w.pred(*p);
            within!(w.d, mask, d, [a, b], |out| all_lanes!(out, |i| select(m & 1 << i != 0, a[i], b[i])));
        }
        Op::Logic(op, d, a, b) => {
            let v = combine(*op, w.pred(*a), w.pred(*b));
            w.set_pred(*d, v, mask);
        }
        Op::Moves(list) => {
            for to_from in list {
                match to_from {
                    (Reg::R(d), Reg::R(a)) => within!(w.r, mask, d, [a], |out| *out = *a),
                    (Reg::D(d), Reg::D(a)) => within!(w.d, mask, d, [a], |out| *out = *a),
                    _ => unreachable!("decoding moves registers of one class"),
                }
            }
        }
        Op::Pack(Reg::R(d), from) => {
            let [Reg::R(a), Reg::R(b)] = &from[..] else { unreachable!("decoding joins two halves") };
            within!(w.r, mask, d, [a, b], |out| all_lanes!(out, |i| a[i] & 0xffff | b[i] << 16));
        }
        Op::Pack(to, from) => {
            let bits = if matches!(to, Reg::D(_)) { 64 } else { 32 } / from.len() as u32;
            let mut all = [0; 32];
            for (k, reg) in from.iter().enumerate() {
                let part = read(w, *reg);
                for i in 0..32 {
                    all[i] |= (part[i] & ((1 << bits) - 1)) << (bits * k as u32);
                }
            }
            write(w, *to, &all, mask);
        }
        Op::Unpack(to, Reg::R(a)) => {
            let a = *r!(a);
            for (k, reg) in to.iter().enumerate() {
                let Some(Reg::R(d)) = reg else { continue };
                across!(w.r, mask, d, |out| all_lanes!(out, |i| a[i] >> (16 * k) & 0xffff));
            }
        }
        Op::Unpack(to, from) => {
            let bits = if matches!(from, Reg::D(_)) { 64 } else { 32 } / to.len() as u32;
            let all = read(w, *from);
            for (k, reg) in to.iter().enumerate() {
                if let Some(reg) = reg {
                    write(w, *reg, &each(|i| all[i] >> (bits * k as u32) & ((1 << bits) - 1)), mask);
                }
            }
        }
        _ => unreachable!("`Op::is_arithmetic` tells"),
    }
}

/// A register of any class, each lane in 64 bits.
#[inline(always)]
fn read(w: &Regs, reg: Reg) -> [u64; 32] {
    match reg {
        Reg::R(s) => each(|i| w.r[s as usize][i] as u64),
        Reg::D(s) => w.d[s as usize],
        Reg::P(s) => each(|i| (w.p[s as usize] >> i & 1) as u64),
    }
}

#[inline(always)]
fn write(w: &mut Regs, reg: Reg, values: &[u64; 32], mask: u32) {
    match reg {
        Reg::R(s) => blend(&mut w.r[s as usize], &each(|i| values[i] as u32), mask),
        Reg::D(s) => blend(&mut w.d[s as usize], values, mask),
        reg => super::lanes(mask).for_each(|i| w.set(reg, i, values[i])),
    }
}

/// Comparisons of the lower and of the upper halves.
#[inline(always)]
fn halves(cmp: Cmp, a: &[u32; 32], b: &[u32; 32]) -> (u32, u32) {
    (cmp.run32(a, b), cmp.run32(&each(|i| a[i] >> 16), &each(|i| b[i] >> 16)))
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
