//! Float arithmetic: what each name of the manual's grammar must give, by `exact`.

use crate::exact::{BF16, F16, F32, F64, Format, Mode};
use crate::harness::{Random, Spec, Want, cross};

/// The manual's exact float instructions up to sm_80 (and those of sm_90 on bf16), of f64 the roundings to nearest only.
pub const MANUAL: &[&str] = &[
    "{add,sub,mul}{,.rn,.rz,.rm,.rp}{,.ftz}{,.sat}.f32",
    "{fma,mad}{.rn,.rz,.rm,.rp}{,.ftz}{,.sat}.f32",
    "{div,rcp,sqrt}{.rn,.rz,.rm,.rp}{,.ftz}.f32",
    "{add,sub,mul}{,.rn}{,.ftz}{,.sat}.{f16,f16x2}",
    "fma.rn{,.ftz}{,.sat,.relu}.{f16,f16x2}",
    "{add,sub,mul}{,.rn}.{bf16,bf16x2}",
    "fma.rn{,.relu}.{bf16,bf16x2}",
    "{min,max}{,.ftz}{,.NaN}.{f32,f16,f16x2}",
    "{min,max}{,.NaN}.{bf16,bf16x2}",
    "{neg,abs}{,.ftz}.{f32,f16,f16x2}",
    "{neg,abs}.{bf16,bf16x2,f64}",
    "{add,sub,mul}{,.rn}.f64",
    "{fma,mad,div,rcp,sqrt}.rn.f64",
    "{min,max}.f64",
    "copysign.{f32,f64}",
];

pub fn format(ty: &str) -> Option<Format> {
    Some(match ty {
        "f16" | "f16x2" => F16,
        "bf16" | "bf16x2" => BF16,
        "f32" => F32,
        "f64" => F64,
        _ => return None,
    })
}

struct Parsed {
    op: String,
    mode: Mode,
    ftz: bool,
    sat: bool,
    relu: bool,
    nan: bool,
}

impl Parsed {
    fn value(&self, f: Format, v: &[u64]) -> u64 {
        let v: Vec<u64> = v.iter().map(|v| if self.ftz { f.flush(*v) } else { *v }).collect();
        let mode = self.mode;
        let out = match self.op.as_str() {
            "add" => f.add(v[0], v[1], mode),
            "sub" => f.sub(v[0], v[1], mode),
            "mul" => f.mul(v[0], v[1], mode),
            "fma" | "mad" => f.fma(v[0], v[1], v[2], mode),
            "div" => f.div(v[0], v[1], mode),
            "rcp" => f.div(f.one(), v[0], mode),
            "sqrt" => f.sqrt(v[0], mode),
            "neg" => v[0] ^ f.zero(true),
            "abs" => f.magnitude(v[0]),
            "copysign" => v[0] & f.zero(true) | f.magnitude(v[1]),
            _ => match (f.is_nan(v[0]), f.is_nan(v[1])) {
                (true, true) => f.nan(),
                (true, _) | (_, true) if self.nan => f.nan(),
                (true, _) => v[1],
                (_, true) => v[0],
                _ => {
                    let first_less = f.order(v[0]) < f.order(v[1]);
                    if first_less == (self.op == "min") { v[0] } else { v[1] }
                }
            },
        };
        let out = if self.ftz { f.flush(out) } else { out };
        match (self.sat, self.relu) {
            (true, _) => f.sat(out),
            (_, true) => f.relu(out),
            _ => out,
        }
    }
}

pub fn spec(name: &str) -> Option<Spec> {
    let tokens: Vec<&str> = name.split('.').collect();
    let [op, mods @ .., ty] = &tokens[..] else { return None };
    let f = format(ty)?;
    let arity = match *op {
        "neg" | "abs" | "rcp" | "sqrt" => 1,
        "add" | "sub" | "mul" | "div" | "min" | "max" | "copysign" => 2,
        "fma" | "mad" => 3,
        _ => return None,
    };
    if mods.iter().any(|m| matches!(*m, "approx" | "full" | "cc")) {
        return None;
    }
    let mode = mods.iter().find_map(|m| Mode::parse(m)).unwrap_or(Mode::Near);
    let has = |m: &str| mods.contains(&m);
    let parsed =
        Parsed { op: op.to_string(), mode, ftz: has("ftz"), sat: has("sat"), relu: has("relu"), nan: has("NaN") };
    let packed = ty.ends_with("x2");
    let cases = cases(f, arity, packed);
    let want = move |v: &[u64]| {
        if packed {
            let half = |at: u32| parsed.value(f, &v.iter().map(|v| v >> at & 0xffff).collect::<Vec<_>>());
            return Want::Bits(half(0) | half(16) << 16);
        }
        let out = parsed.value(f, v);
        // Payloads pass through neg and the like.
        let moves = matches!(parsed.op.as_str(), "neg" | "abs" | "copysign");
        if f == F64 && f.is_nan(out) && !moves { Want::Nan64 } else { Want::Bits(out) }
    };
    Some(Spec { text: name.into(), out: ty.to_string(), ins: vec![ty.to_string(); arity], cases, want: Box::new(want) })
}

/// Edge values in all combinations, and others: anywhere, and so close that sums cancel.
pub fn cases(f: Format, arity: usize, packed: bool) -> Vec<Vec<u64>> {
    let width = f.0 + f.2;
    if arity == 1 && width == 16 && !packed {
        return (0..1 << 16).map(|v| vec![v]).collect();
    }
    let edges: Vec<u64> = f.edges().into_iter().step_by(if arity == 3 { 2 } else { 1 }).collect();
    let mut all = cross(&vec![edges; arity]);
    let mut random = Random(width as u64 * 7 + arity as u64);
    let mask = !0 >> (64 - width);
    for i in 0..6000 {
        let near = i % 2 == 1;
        let case = (0..arity).map(|_| {
            let v = random.next();
            let low = v & ((1 << (f.0 - 1)) - 1);
            // Mantissas of few bits make ties; exponents near one make the operands meet.
            let low = if v >> 62 == 0 { low & !0 << (f.0 / 2) } else { low };
            let exp = (f.one() >> (f.0 - 1)) + (v >> 40) % (f.0 as u64 + 4) - f.0 as u64 / 2 - 2;
            if near { low | exp << (f.0 - 1) | (v >> 63) << (width - 1) } else { v & mask }
        });
        all.push(case.collect());
    }
    if packed {
        // The upper half takes the case before, so that the halves differ.
        let before = all.clone();
        for (i, case) in all.iter_mut().enumerate().skip(1) {
            case.iter_mut().zip(&before[i - 1]).for_each(|(v, u)| *v |= u << 16);
        }
    }
    all
}
