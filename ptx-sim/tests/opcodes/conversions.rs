//! cvt between all types, against exact arithmetic; and that no other form loads.

use crate::exact::{F32, Format, Mode, Num, TF32};
use crate::floats::format;
use crate::harness::{Random, Spec, Want, check, eval, expand, loads};
use std::collections::BTreeSet;

const TYPES: [&str; 13] = ["u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64", "f16", "bf16", "f32", "f64", "tf32"];

/// The manual's conversions of one value up to sm_80, and those of integers to and from bf16 of sm_90.
fn manual() -> BTreeSet<String> {
    let int = "{u8,s8,u16,s16,u32,s32,u64,s64}";
    let irnd = "{.rni,.rzi,.rmi,.rpi}";
    let frnd = "{.rn,.rz,.rm,.rp}";
    let lists = [
        format!("cvt{{,.sat}}.{int}.{int}"),
        format!("cvt{frnd}{{,.sat}}.{{f16,f64}}.{int}"),
        format!("cvt{frnd}.bf16.{int}"),
        format!("cvt{frnd}{{,.ftz}}{{,.sat}}.f32.{int}"),
        format!("cvt{irnd}{{,.sat}}.{int}.{{f16,bf16,f64}}"),
        format!("cvt{irnd}{{,.ftz}}{{,.sat}}.{int}.f32"),
        "cvt{,.rni,.rzi,.rmi,.rpi}{,.sat}.{f16.f16,f64.f64}".into(),
        "cvt{,.rni,.rzi,.rmi,.rpi}{,.ftz}{,.sat}.f32.f32".into(),
        format!("cvt{frnd}{{,.ftz}}{{,.sat}}.{{f16.f32,f32.f64}}"),
        format!("cvt{frnd}{{,.sat}}.f16.f64"),
        format!("cvt{frnd}.bf16.f64"),
        "cvt{.rn,.rz}.bf16.f32".into(),
        "cvt{.rn,.rz}.relu.{f16,bf16,tf32}.f32".into(),
        "cvt{.rn,.rz,.rna}.tf32.f32".into(),
        "cvt{,.ftz}{,.sat}.{f32.f16,f32.bf16,f64.f32}".into(),
        "cvt{,.sat}.{f64.f16,f64.bf16}".into(),
    ];
    lists.iter().flat_map(|p| expand(p)).collect()
}

fn float(ty: &str) -> Option<Format> {
    if ty == "tf32" { Some(TF32) } else { format(ty) }
}

fn int(ty: &str) -> (u32, bool) {
    (ty[1..].parse().expect("a width"), ty.starts_with('s'))
}

/// To an integral value; exponents of the results are not negative.
fn integral(v: Num, mode: Mode) -> Num {
    let Num::Finite(negative, m, e) = v else { return v };
    if e >= 0 {
        return v;
    }
    let cut = (-e) as u32;
    let (whole, rest) = if cut > 120 { (0, (m != 0) as u128) } else { (m >> cut, m & ((1 << cut) - 1)) };
    let half = if cut > 120 { u128::MAX } else { 1 << (cut - 1) };
    let up = match mode {
        Mode::Near => rest > half || rest == half && whole & 1 == 1,
        Mode::Away => rest >= half,
        Mode::Zero => false,
        Mode::Down => negative && rest > 0,
        Mode::Up => !negative && rest > 0,
    };
    Num::Finite(negative, whole + up as u128, 0)
}

fn want(mods: &[&str], to: &str, from: &str, v: u64) -> Want {
    let has = |m: &str| mods.contains(&m);
    let mode = mods.iter().find_map(|m| Mode::parse(m)).unwrap_or(Mode::Near);
    let value = match float(from) {
        Some(f) => f.open(if has("ftz") && f == F32 { f.flush(v) } else { v }),
        None => {
            let (n, signed) = int(from);
            let v = v as u128 & ((1 << n) - 1);
            let negative = signed && v >> (n - 1) == 1;
            Num::Finite(negative, if negative { (1 << n) - v } else { v }, 0)
        }
    };
    let value = if mods.iter().any(|m| m.ends_with('i')) { integral(value, mode) } else { value };
    if let Some(f) = float(to) {
        let out = f.round(value, mode);
        let out = if has("ftz") && f == F32 { f.flush(out) } else { out };
        let out = if has("sat") { f.sat(out) } else { out };
        let out = if has("relu") { f.relu(out) } else { out };
        return match to {
            "tf32" => Want::Bits(out << 13),
            "f64" if f.is_nan(out) => Want::Nan64,
            _ => Want::Bits(out),
        };
    }
    let (n, signed) = int(to);
    let (low, high) = if signed { (-(1i128 << (n - 1)), (1i128 << (n - 1)) - 1) } else { (0, (1i128 << n) - 1) };
    let clamps = float(from).is_some() || has("sat");
    let whole = match value {
        // As the manual's table says.
        Num::Nan if from == "f64" || n == 64 => 1 << (n - 1),
        Num::Nan => 0,
        Num::Inf(negative) => {
            if negative {
                low
            } else {
                high
            }
        }
        Num::Finite(negative, m, e) => {
            let m = if m == 0 {
                0
            } else if e > 70 {
                i128::MAX
            } else {
                (m << e) as i128
            };
            let v = if negative { -m } else { m };
            if clamps { v.clamp(low, high) } else { v }
        }
    };
    // 8 bits stand in a register of 16, extended by their sign.
    let bits = whole as u64 & !0 >> (64 - n);
    let out = if n == 8 && signed { bits as u8 as i8 as u16 as u64 } else { bits };
    Want::Bits(out)
}

/// Edges of both types, as the source has them, and what lies next to and between them.
fn cases(to: &str, from: &str) -> Vec<u64> {
    let mut random = Random(5);
    let Some(f) = float(from) else {
        let (n, _) = int(from);
        let mut all: Vec<u64> = (0..n).flat_map(|i| [1u64 << i, (1 << i) - 1, (1 << i) + 1]).collect();
        all.extend(all.clone().iter().map(|v| v.wrapping_neg()));
        all.extend((0..300).map(|i| random.next() >> (i % n)));
        // Of 8 bits, what stands above them must not matter.
        return all
            .into_iter()
            .map(|v| if n == 8 { v & 0xffff | (v << 9 & 0xff00) } else { v & !0 >> (64 - n) })
            .collect();
    };
    if matches!(f.0 + f.2, 16) && to == "f32" {
        return (0..1 << 16).collect();
    }
    let mut all = f.edges();
    let mut near = |v: Num| {
        let v = f.round(v, Mode::Near);
        all.extend([v, v.wrapping_add(1), v.wrapping_sub(1)].map(|v| v & !0 >> (64 - f.0 - f.2)));
    };
    if let Some(t) = float(to) {
        let nearby = |v: u64| [v, v.saturating_sub(1), (v + 1) & t.nan()];
        for v in t.edges().into_iter().flat_map(nearby).chain((0..60).map(|_| random.next() & t.nan())) {
            if let Num::Finite(s, m, e) = t.open(v) {
                near(Num::Finite(s, m, e));
                near(Num::Finite(s, 2 * m + 1, e - 1));
            }
        }
    }
    // Integers and what lies half way between them, about each power of two that a type ends at.
    let powers: &[u32] = if float(to).is_some() { &[1, 52] } else { &[0, 1, 2, 6, 7, 8, 15, 16, 31, 32, 63, 64, 65] };
    for &i in powers {
        for m in [1u128 << i, (1 << i) - 1, (1 << i) + 1] {
            for s in [false, true] {
                near(Num::Finite(s, m, 0));
                near(Num::Finite(s, 2 * m + 1, -1));
            }
        }
    }
    all.extend((0..100).map(|_| random.next() & !0 >> (64 - f.0 - f.2)));
    all
}

pub fn spec(name: &str) -> Option<Spec> {
    let tokens: Vec<&str> = name.strip_prefix("cvt.")?.split('.').collect();
    let [mods @ .., to, from] = &tokens[..] else { return None };
    let (mods, to, from): (Vec<String>, String, String) =
        (mods.iter().map(|m| m.to_string()).collect(), to.to_string(), from.to_string());
    if to.ends_with("x2") {
        let one = to.trim_end_matches("x2").to_string();
        let list = cases(&one, &from);
        // Each value meets another one.
        let cases = list.iter().zip(list.iter().cycle().skip(7)).map(|(a, b)| vec![*a, *b]).collect();
        let half = move |v: u64| {
            let mods: Vec<&str> = mods.iter().map(String::as_str).collect();
            match want(&mods, &one, "f32", v) {
                Want::Bits(v) => v,
                other => panic!("{other:?}"),
            }
        };
        let want = move |v: &[u64]| Want::Bits(half(v[0]) << 16 | half(v[1]));
        return Some(Spec { text: name.into(), out: to, ins: vec![from; 2], cases, want: Box::new(want) });
    }
    let cases = cases(&to, &from).into_iter().map(|v| vec![v]).collect();
    let (out, ins) = (to.clone(), vec![from.clone()]);
    let want = move |v: &[u64]| {
        let mods: Vec<&str> = mods.iter().map(String::as_str).collect();
        want(&mods, &to, &from, v[0])
    };
    Some(Spec { text: name.into(), out, ins, cases, want: Box::new(want) })
}

/// Whether `all_conversions` runs the name.
pub fn is_tested(name: &str) -> bool {
    names().contains(name)
}

fn names() -> BTreeSet<String> {
    manual().into_iter().chain(expand("cvt{.rn,.rz}{,.relu}.{f16x2,bf16x2}.f32")).collect()
}

#[test]
fn all_conversions() {
    for name in names() {
        check(&spec(&name).expect("a conversion"));
    }
}

#[test]
fn no_other_conversion_loads() {
    let manual = manual();
    let pattern = "cvt{,.rn,.rz,.rm,.rp,.rna,.rni,.rzi,.rmi,.rpi}{,.ftz}{,.sat,.relu}";
    for head in expand(pattern) {
        for to in TYPES {
            for from in TYPES {
                let name = format!("{head}.{to}.{from}");
                assert_eq!(loads(&name, &[to], &[from]), manual.contains(&name), "{name}");
            }
        }
    }
    for name in ["cvt.sat.rn.f16.f32", "cvt.rn.rn.f16.f32", "cvt.rn.satfinite.f16.f32", "cvt.rn.bf16.f8"] {
        assert!(!loads(name, &["f16"], &["f32"]), "{name}");
    }
}

#[test]
fn registers_wider_than_the_type() {
    for (name, out, from, v, want) in [
        ("cvt.s8.s32", "b32", "b32", 0x1234_5680, 0xffff_ff80),
        ("cvt.u8.s32", "b64", "b32", 0xffff_ff80, 0x80),
        ("cvt.s16.s64", "b64", "b64", 0x8000, 0xffff_ffff_ffff_8000),
        ("cvt.u32.u16", "b64", "b64", 0xffff_ffff, 0xffff),
        ("cvt.rn.f32.s8", "b32", "b64", 0x7780, (-128f32).to_bits() as u64),
        ("cvt.s64.s8", "b64", "b32", 0x7780, 0xffff_ffff_ffff_ff80),
    ] {
        let got = eval(name, &[out], &[from], &[vec![v]]).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(got[0][0], want, "{name}: {:#x}", got[0][0]);
    }
    for (name, out, from) in [("cvt.s64.s32", "b32", "b32"), ("cvt.rn.f32.f64", "b32", "b32")] {
        assert!(!loads(name, &[out], &[from]), "{name} into a register too narrow");
    }
}
