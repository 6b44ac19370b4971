//! setp, set, selp, testp and the logic of predicates.

use crate::exact::Format;
use crate::floats::format;
use crate::harness::{cross, eval, expand, loads};
use crate::ints;
use std::cmp::Ordering;

const TYPES: [&str; 14] =
    ["b16", "u16", "s16", "b32", "u32", "s32", "b64", "u64", "s64", "f16", "bf16", "f32", "f64", "pred"];
const OPS: [&str; 18] = [
    "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan",
];

/// The manual's comparison operators of a type.
fn fits(op: &str, ty: &str) -> bool {
    match ty {
        "pred" => false,
        t if t.contains('f') => !matches!(op, "lo" | "ls" | "hi" | "hs"),
        t if t.starts_with('b') => matches!(op, "eq" | "ne"),
        t if t.starts_with('s') => matches!(op, "eq" | "ne" | "lt" | "le" | "gt" | "ge"),
        _ => matches!(op, "eq" | "ne" | "lt" | "le" | "gt" | "ge" | "lo" | "ls" | "hi" | "hs"),
    }
}

fn order(ty: &str, ftz: bool, a: u64, b: u64) -> Option<Ordering> {
    let Some(f) = format(ty) else {
        let n: u32 = ty[1..].parse().expect("a width");
        let v = |v: u64| if ty.starts_with('s') { (v << (64 - n)) as i64 as i128 } else { (v << (64 - n)) as i128 };
        return Some(v(a).cmp(&v(b)));
    };
    let clean = |v: u64| {
        let v = if ftz { f.flush(v) } else { v };
        if f.magnitude(v) == 0 { 0 } else { f.order(v) + (f.negative(v) as i128) }
    };
    if f.is_nan(a) || f.is_nan(b) { None } else { Some(clean(a).cmp(&clean(b))) }
}

fn holds(op: &str, ty: &str, ftz: bool, a: u64, b: u64) -> bool {
    let Some(o) = order(ty, ftz, a, b) else {
        return matches!(op, "equ" | "neu" | "ltu" | "leu" | "gtu" | "geu" | "nan");
    };
    match op {
        "eq" | "equ" => o.is_eq(),
        "ne" | "neu" => o.is_ne(),
        "lt" | "ltu" | "lo" => o.is_lt(),
        "le" | "leu" | "ls" => o.is_le(),
        "gt" | "gtu" | "hi" => o.is_gt(),
        "ge" | "geu" | "hs" => o.is_ge(),
        "num" => true,
        _ => false,
    }
}

fn values(ty: &str) -> Vec<u64> {
    match format(ty) {
        Some(f) => f.edges(),
        None => ints::edges(ty[1..].parse().expect("a width")),
    }
}

fn combine(op: &str, a: bool, b: bool) -> bool {
    match op {
        "and" => a && b,
        "or" => a || b,
        "xor" => a != b,
        _ => panic!("{op}"),
    }
}

/// Pairs of values of a type, of packed ones with another pair in the upper half, and a predicate.
fn cases(ty: &str) -> Vec<Vec<u64>> {
    let pairs = cross(&[values(ty.trim_end_matches("x2")), values(ty.trim_end_matches("x2"))]);
    let upper = |i: usize, k: usize| if ty.ends_with("x2") { pairs[(i * 7 + 3) % pairs.len()][k] << 16 } else { 0 };
    pairs.iter().enumerate().map(|(i, c)| vec![c[0] | upper(i, 0), c[1] | upper(i, 1), (i % 3 == 0) as u64]).collect()
}

#[test]
fn setp_of_every_type_and_operator() {
    for (ty, op) in TYPES.iter().flat_map(|t| OPS.map(|o| (*t, o))) {
        for ftz in [false, true] {
            let name = format!("setp.{op}{}.{ty}", if ftz { ".ftz" } else { "" });
            let known = fits(op, ty) && (!ftz || matches!(ty, "f16" | "f32"));
            assert_eq!(loads(&name, &["pred"], &[ty; 2]), known, "{name}");
            if !known {
                continue;
            }
            let cases = cases(ty);
            let got = eval(&format!("{name} $0|$1, $2, $3"), &["pred", "pred"], &[ty, ty, "pred"], &cases);
            for (c, got) in cases.iter().zip(got.unwrap_or_else(|e| panic!("{name}: {e}"))) {
                let yes = holds(op, ty, ftz, c[0], c[1]) as u64;
                assert_eq!(got, [yes, 1 - yes], "{name} {c:x?}");
            }
        }
    }
}

#[test]
fn setp_combined_with_a_predicate() {
    for ty in ["s32", "u64", "f32", "f16"] {
        for (bool_op, not) in [("and", ""), ("or", ""), ("xor", ""), ("and", "!"), ("or", "!"), ("xor", "!")] {
            let text = format!("setp.le.{bool_op}.{ty} $0|$1, $2, $3, {not}$4");
            let cases = cases(ty);
            let got = eval(&text, &["pred", "pred"], &[ty, ty, "pred"], &cases).expect("it runs");
            for (c, got) in cases.iter().zip(got) {
                let (yes, with) = (holds("le", ty, false, c[0], c[1]), (c[2] == 1) == not.is_empty());
                let want = [combine(bool_op, yes, with) as u64, combine(bool_op, !yes, with) as u64];
                assert_eq!(got, want, "{text} {c:x?}");
            }
        }
    }
    for bad in ["setp.lt.and.s32", "setp.lt.nand.s32", "setp.lt.ftz.and.f32", "setp.lt.ftz.ftz.f32"] {
        assert!(!loads(bad, &["pred"], &["b32"; 2]), "{bad}");
    }
}

#[test]
fn setp_of_packed_halves() {
    for name in expand("{eq,ne,lt,le,gt,ge,equ,neu,ltu,leu,gtu,geu,num,nan}.{f16x2,bf16x2}") {
        let (op, ty) = name.split_once('.').expect("two parts");
        let one = ty.trim_end_matches("x2");
        let cases = cases(ty);
        let text = format!("setp.{op}.or.{ty} $0|$1, $2, $3, $4");
        let got = eval(&text, &["pred", "pred"], &[ty, ty, "pred"], &cases).expect("it runs");
        for (c, got) in cases.iter().zip(got) {
            let half = |at: u32| (holds(op, one, false, c[0] >> at & 0xffff, c[1] >> at & 0xffff) || c[2] == 1) as u64;
            assert_eq!(got, [half(0), half(16)], "{text} {c:x?}");
        }
    }
    assert!(!loads("setp.eq.f16x2", &["pred"], &["f16x2"; 2]), "one predicate for two halves");
}

/// The manual's forms of set up to sm_80: destination and source types.
fn set_fits(to: &str, from: &str) -> bool {
    match to {
        "u32" | "s32" => true,
        "f32" => !from.ends_with("x2"),
        "u16" | "s16" => matches!(from, "f16" | "bf16"),
        "f16" => !from.ends_with("x2"),
        "bf16" => from == "bf16",
        _ => from == to,
    }
}

#[test]
fn set_of_every_type() {
    let from: Vec<&str> = TYPES[..13].iter().copied().chain(["f16x2", "bf16x2"]).collect();
    for (to, from) in ["u32", "s32", "u16", "s16", "f32", "f16", "bf16", "f16x2", "bf16x2", "u64"]
        .iter()
        .flat_map(|t| from.iter().map(move |f| (*t, *f)))
    {
        for (op, mods) in [("le", ""), ("ne", ""), ("gtu", ""), ("hi", ""), ("lt", ".xor"), ("eq", ".and.ftz")] {
            let one = from.trim_end_matches("x2");
            let ftz = mods.ends_with("ftz");
            let known = to != "u64" && set_fits(to, from) && fits(op, one) && (!ftz || matches!(one, "f16" | "f32"));
            let text = format!("set.{op}{mods}.{to}.{from} $0, $1, $2{}", if mods.is_empty() { "" } else { ", !$3" });
            assert_eq!(loads(&text, &[to], &[from, from, "pred"]), known, "{text}");
            if !known {
                continue;
            }
            let yes = match to {
                "u32" | "s32" if !from.ends_with("x2") => 0xffff_ffff,
                "u32" | "s32" | "u16" | "s16" => 0xffff,
                t => format(t).map(Format::one).expect("a float"),
            };
            let cases = cases(from);
            let got = eval(&text, &[to], &[from, from, "pred"], &cases).unwrap_or_else(|e| panic!("{text}: {e}"));
            for (c, got) in cases.iter().zip(got) {
                let half = |at: u32| {
                    let m = if from.ends_with("x2") { 0xffff } else { !0 };
                    let base = holds(op, one, ftz, c[0] >> at & m, c[1] >> at & m);
                    let with = c[2] == 0;
                    let v = match mods {
                        "" => base,
                        ".xor" => base != with,
                        _ => base && with,
                    };
                    if v { yes } else { 0 }
                };
                let want = if from.ends_with("x2") { half(0) | half(16) << 16 } else { half(0) };
                assert_eq!(got[0], want, "{text} {c:x?}");
            }
        }
    }
}

#[test]
fn selp_testp_and_predicates() {
    for ty in ["b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64"] {
        for not in ["", "!"] {
            let cases = cases(ty);
            let got =
                eval(&format!("selp.{ty} $0, $1, $2, {not}$3"), &[ty], &[ty, ty, "pred"], &cases).expect("it runs");
            for (c, got) in cases.iter().zip(got) {
                assert_eq!(got[0], if (c[2] == 1) == not.is_empty() { c[0] } else { c[1] }, "selp.{ty} {c:x?}");
            }
        }
    }
    assert!(!loads("selp.f16", &["b16"], &["b16", "b16", "pred"]), "selp.f16");
    for name in expand("testp.{finite,infinite,number,notanumber,normal,subnormal}.{f32,f64}") {
        let ty = &name[name.len() - 3..];
        let f = format(ty).expect("a float");
        let cases: Vec<Vec<u64>> = f.edges().into_iter().map(|v| vec![v]).collect();
        let got = eval(&name, &["pred"], &[ty], &cases).expect("it runs");
        for (c, got) in cases.iter().zip(got) {
            let (m, inf) = (f.magnitude(c[0]), f.inf(false));
            let want = match name.split('.').nth(1).expect("a test") {
                "finite" => m < inf,
                "infinite" => m == inf,
                "number" => m <= inf,
                "notanumber" => m > inf,
                "normal" => m < inf && m != 0 && !f.is_subnormal(c[0]),
                _ => f.is_subnormal(c[0]),
            };
            assert_eq!(got[0], want as u64, "{name} {c:x?}");
        }
    }
    let all = cross(&[vec![0, 1], vec![0, 1]]);
    for (text, want) in [
        ("and.pred $0, $1, $2", [0, 0, 0, 1]),
        ("or.pred $0, $1, $2", [0, 1, 1, 1]),
        ("xor.pred $0, $1, $2", [0, 1, 1, 0]),
        ("and.pred $0, $1, !$2", [0, 0, 1, 0]),
        ("not.pred $0, $1", [1, 1, 0, 0]),
        ("mov.pred $0, $2", [0, 1, 0, 1]),
        ("mov.pred $0, 1", [1; 4]),
    ] {
        let got = eval(text, &["pred"], &["pred", "pred"], &all).expect("it runs");
        assert_eq!(got.concat(), want, "{text}");
    }
}
