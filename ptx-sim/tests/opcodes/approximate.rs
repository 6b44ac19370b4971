//! Approximations: within the error that the manual documents, and its special values.

use crate::exact::{BF16, F16, F32, F64, Format};
use crate::floats::{self, format};
use crate::harness::{Spec, Want, eval};

pub const MANUAL: &[&str] = &[
    "{rcp,sqrt,rsqrt,ex2,lg2,sin,cos,div}.approx{,.ftz}.f32",
    "div.full{,.ftz}.f32",
    "tanh.approx.{f32,f16,f16x2,bf16,bf16x2}",
    "ex2.approx.{f16,f16x2}",
    "ex2.approx.ftz.{bf16,bf16x2}",
    "{rcp.approx.ftz,rsqrt.approx,rsqrt.approx.ftz}.f64",
];

/// The manual's bounds: absolute and relative, of `op` for an argument.
fn bound(op: &str, f: Format, x: f64, y: f64) -> (f64, f64) {
    let p = f64::exp2;
    match (op, f) {
        ("rcp" | "rsqrt", F64) => (0.0, p(-20.0)),
        ("rcp" | "sqrt", _) => (0.0, p(-23.0)),
        ("rsqrt", _) => (0.0, p(-22.9)),
        ("ex2", F16) => (0.0, p(-9.9)),
        ("ex2", BF16) => (0.0, p(-7.0)),
        ("ex2", _) => (0.0, p(-22.0)),
        // Absolute within (0.5, 2), relative elsewhere.
        ("lg2", _) if x > 0.5 && x < 2.0 => (p(-22.0), 0.0),
        ("lg2", _) => (0.0, p(-22.0)),
        ("sin" | "cos", _) if x.abs() <= std::f64::consts::TAU => (p(-20.5), 0.0),
        ("sin" | "cos", _) if x.abs() <= 50.0 * std::f64::consts::TAU => (p(-14.7), 0.0),
        // Further out the manual promises nothing.
        ("sin" | "cos", _) => (2.0, 0.0),
        ("tanh", F16) => (p(-10.987), 0.0),
        ("tanh", BF16) => (0.0, p(-8.0)),
        ("tanh", _) => (0.0, p(-11.0)),
        // Two units of the last place.
        ("div", _) => (0.0, 2.0 * p(-23.0) * if y == 0.0 { 0.0 } else { 1.0 }),
        _ => panic!("{op}"),
    }
}

fn exact(op: &str, x: f64, y: f64) -> f64 {
    match op {
        "rcp" => 1.0 / x,
        "sqrt" => x.sqrt(),
        "rsqrt" => 1.0 / x.sqrt(),
        "ex2" => x.exp2(),
        "lg2" => x.log2(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tanh" => x.tanh(),
        _ => x / y,
    }
}

fn one(op: &str, full: bool, ftz: bool, f: Format, v: &[u64]) -> Want {
    let v: Vec<u64> = v.iter().map(|v| if ftz { f.flush(*v) } else { *v }).collect();
    let (x, y) = (f.value(v[0]), v.get(1).map_or(0.0, |v| f.value(*v)));
    // Divisors above 2^126: zero, or NaN of infinity.
    if op == "div" && !full && y.is_finite() && y.abs() > 2f64.powi(126) {
        let negative = f.negative(v[0]) != f.negative(v[1]);
        return Want::Bits(if x.is_finite() { f.zero(negative) } else { f.nan() });
    }
    let want = exact(op, x, y);
    if want.is_nan() {
        return if f == F64 { Want::Nan64 } else { Want::Bits(f.nan()) };
    }
    if want.is_infinite() || want == 0.0 {
        return Want::Bits(if want == 0.0 { f.zero(want.is_sign_negative()) } else { f.inf(want < 0.0) });
    }
    let (absolute, relative) = bound(op, f, x, y);
    let least = f.value(1);
    // A result that is subnormal rounds to a multiple of the least one, or is flushed; one too large is infinite.
    let smallest = 2f64.powi(f.1);
    let slack = match (want.abs() < smallest * 1.01, ftz) {
        (true, true) => smallest * 1.01,
        (true, false) => least,
        _ => 0.0,
    };
    if want.abs() > 1.01 * 2f64.powi(2 - f.1) {
        return Want::Bits(f.inf(want < 0.0));
    }
    near(f, want, absolute.max(slack), relative)
}

fn near(format: Format, value: f64, absolute: f64, relative: f64) -> Want {
    Want::Near { value, absolute, relative, format }
}

pub fn spec(name: &str) -> Option<Spec> {
    let tokens: Vec<&str> = name.split('.').collect();
    let [op, kind @ ("approx" | "full"), mods @ .., ty] = &tokens[..] else { return None };
    let f = format(ty)?;
    let (op, full, ftz, packed) = (op.to_string(), *kind == "full", mods.contains(&"ftz"), ty.ends_with("x2"));
    let arity = if op == "div" { 2 } else { 1 };
    let mut cases = floats::cases(f, arity, packed);
    if arity == 1 && f == F32 {
        // Arguments as functions get them, evenly from -150 to 150.
        cases.extend((-15_000..15_000).map(|i| vec![(i as f32 * 0.010_003).to_bits() as u64]));
    }
    let want = move |v: &[u64]| {
        if !packed {
            return one(&op, full, ftz, f, v);
        }
        // Halves are looked at where the single instruction is; here both must be what that gives, so exactly rounded.
        let half = |at: u32| rounded(&op, ftz, f, v[0] >> at & 0xffff);
        Want::Bits(half(0) | half(16) << 16)
    };
    Some(Spec { text: name.into(), out: ty.to_string(), ins: vec![ty.to_string(); arity], cases, want: Box::new(want) })
}

/// A half's function rounded to nearest, which is more than the manual promises.
fn rounded(op: &str, ftz: bool, f: Format, v: u64) -> u64 {
    let v = if ftz { f.flush(v) } else { v };
    let y = exact(op, f.value(v), 0.0) as f32;
    let y = f.round(F32.open(y.to_bits() as u64), crate::exact::Mode::Near);
    if ftz { f.flush(y) } else { y }
}

#[test]
fn special_values_of_the_manuals_tables() {
    let (inf, n0, sub) = (f32::INFINITY, -0.0, f32::from_bits(1));
    let nan = f32::from_bits(0x7fff_ffff);
    let tables: &[(&str, &[(f32, f32)])] = &[
        (
            "ex2.approx.f32",
            &[(-inf, 0.0), (n0, 1.0), (0.0, 1.0), (inf, inf), (nan, nan), (-sub, 1.0), (-126.0, 1.175_494_4e-38)],
        ),
        ("ex2.approx.ftz.f32", &[(-inf, 0.0), (-sub, 1.0), (sub, 1.0), (inf, inf), (nan, nan), (-127.0, 0.0)]),
        ("lg2.approx.f32", &[(-inf, nan), (n0, -inf), (0.0, -inf), (inf, inf), (nan, nan), (sub, -149.0), (-1.0, nan)]),
        ("lg2.approx.ftz.f32", &[(-inf, nan), (-sub, -inf), (sub, -inf), (inf, inf), (nan, nan), (1.0, 0.0)]),
        ("rcp.approx.ftz.f32", &[(-inf, n0), (-sub, -inf), (n0, -inf), (0.0, inf), (sub, inf), (inf, 0.0), (nan, nan)]),
        ("sqrt.approx.f32", &[(-inf, nan), (-1.0, nan), (n0, n0), (0.0, 0.0), (inf, inf), (nan, nan)]),
        ("sqrt.approx.ftz.f32", &[(-sub, n0), (sub, 0.0)]),
        ("rsqrt.approx.f32", &[(-inf, nan), (-1.0, nan), (n0, -inf), (0.0, inf), (inf, 0.0), (nan, nan)]),
        ("rsqrt.approx.ftz.f32", &[(-sub, -inf), (sub, inf)]),
        ("sin.approx.f32", &[(-inf, nan), (n0, n0), (0.0, 0.0), (inf, nan), (nan, nan)]),
        ("sin.approx.ftz.f32", &[(-sub, n0), (sub, 0.0)]),
        ("cos.approx.ftz.f32", &[(-inf, nan), (-sub, 1.0), (n0, 1.0), (0.0, 1.0), (sub, 1.0), (inf, nan), (nan, nan)]),
        ("tanh.approx.f32", &[(-inf, -1.0), (n0, n0), (0.0, 0.0), (inf, 1.0), (nan, nan)]),
    ];
    for (name, rows) in tables {
        let cases: Vec<Vec<u64>> = rows.iter().map(|r| vec![r.0.to_bits() as u64]).collect();
        let got = eval(name, &["f32"], &["f32"], &cases).expect("it runs");
        for (row, got) in rows.iter().zip(got) {
            assert_eq!(got[0], row.1.to_bits() as u64, "{name} {:?}", row.0);
        }
    }
}
