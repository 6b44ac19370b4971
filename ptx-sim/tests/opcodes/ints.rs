//! Integer arithmetic and logic in i128, by the manual's formulas.

use crate::harness::{Random, Spec, Want, cross};

/// The manual's integer instructions that do not need a carry, a predicate or an immediate.
pub const MANUAL: &[&str] = &[
    "{add,sub,mul.lo,mul.hi,div,rem,min,max}.{u16,s16,u32,s32,u64,s64}",
    "{add,sub}.sat.s32",
    "{mul,mad}.wide.{u16,s16,u32,s32}",
    "{mad.lo,mad.hi,sad}.{u16,s16,u32,s32,u64,s64}",
    "mad.hi.sat.s32",
    "{mul24,mad24}.{lo,hi}.{u32,s32}",
    "{neg,abs}.{s16,s32,s64}",
    "{and,or,xor,not,cnot,shl}.{b16,b32,b64}",
    "shr.{b16,u16,s16,b32,u32,s32,b64,u64,s64}",
    "{popc,clz,brev}.{b32,b64}",
    "bfind{,.shiftamt}.{u32,s32,u64,s64}",
    "bfe.{u32,s32,u64,s64}",
    "bfi.{b32,b64}",
    "{bmsk.clamp,bmsk.wrap}.b32",
    "{szext.clamp,szext.wrap}.{u32,s32}",
    "prmt.b32",
    "{shf.l,shf.r}.{clamp,wrap}.b32",
    "{dp4a,dp2a.lo,dp2a.hi}.{u32,s32}.{u32,s32}",
    "mov.{b16,u16,s16,b32,u32,s32,f32,b64,u64,s64,f64}",
];

fn bits(ty: &str) -> u32 {
    ty[1..].parse().expect("a width")
}

/// A value of `n` bits, signed or not.
fn value(v: u64, n: u32, signed: bool) -> i128 {
    let v = (v as i128) & ((1 << n) - 1);
    if signed && v >> (n - 1) & 1 == 1 { v - (1 << n) } else { v }
}

/// Bit `i` of a value of any sign.
fn at(v: i128, i: u32) -> i128 {
    v >> i.min(127) & 1
}

fn spread(field: impl Fn(u32) -> i128, n: u32) -> i128 {
    (0..n).map(|i| field(i) << i).sum()
}

/// `op` without its type on values of `n` bits; the shift counts and field positions are unsigned.
fn result(op: &str, n: u32, v: &[i128]) -> Option<i128> {
    let (top, low) = (n - 1, (1i128 << n) - 1);
    let clamp = |x: i128| x.clamp(-(1 << top), (1 << top) - 1);
    let byte = |v: i128, i: u32| v >> (8 * i) & 255;
    Some(match op {
        "mov" => v[0],
        "add" => v[0] + v[1],
        "sub" => v[0] - v[1],
        "add.sat" => clamp(v[0] + v[1]),
        "sub.sat" => clamp(v[0] - v[1]),
        "mul.lo" | "mul.wide" => v[0].wrapping_mul(v[1]),
        "mad.lo" | "mad.wide" => v[0].wrapping_mul(v[1]).wrapping_add(v[2]),
        // Products of two u64 may fill 128 bits.
        "mul.hi" if v[0] > 0 && v[1] > 0 => ((v[0] as u128 * v[1] as u128) >> n) as i128,
        "mul.hi" => (v[0] * v[1]) >> n,
        "mad.hi" => result("mul.hi", n, v)? + v[2],
        "mad.hi.sat" => clamp(result("mul.hi", n, v)? + v[2]),
        "mul24.lo" => v[0] * v[1],
        "mul24.hi" => (v[0] * v[1]) >> 16,
        "mad24.lo" => v[0] * v[1] + v[2],
        "mad24.hi" => ((v[0] * v[1]) >> 16) + v[2],
        "sad" => v[2] + (v[0] - v[1]).abs(),
        // By zero the manual leaves it open; the GPU gives all ones, and the dividend as the rest.
        "div" => v[0].checked_div(v[1]).unwrap_or(-1),
        "rem" => v[0].checked_rem(v[1]).unwrap_or(v[0]),
        "min" => v[0].min(v[1]),
        "max" => v[0].max(v[1]),
        "neg" => -v[0],
        "abs" => v[0].abs(),
        "and" => v[0] & v[1],
        "or" => v[0] | v[1],
        "xor" => v[0] ^ v[1],
        "not" => !v[0],
        "cnot" => (v[0] == 0) as i128,
        "shl" => v[0] << v[1].min(n as i128),
        "shr" => v[0] >> v[1].min(n as i128),
        "popc" => (0..n).map(|i| at(v[0], i)).sum(),
        "clz" => (0..n).rev().take_while(|i| at(v[0], *i) == 0).count() as i128,
        "brev" => spread(|i| at(v[0], top - i), n),
        "bfind" | "bfind.shiftamt" => {
            let wanted = if v[0] < 0 { 0 } else { 1 };
            match (0..n).rev().find(|i| at(v[0], *i) == wanted) {
                Some(i) if op == "bfind" => i as i128,
                Some(i) => (top - i) as i128,
                None => -1,
            }
        }
        "bfe" | "bfe.signed" => {
            let (pos, len) = (v[1] as u32 & 255, v[2] as u32 & 255);
            let fill = if op == "bfe" || len == 0 { 0 } else { at(v[0] & low, (pos + len - 1).min(top)) };
            spread(|i| if i < len && pos + i <= top { at(v[0] & low, pos + i) } else { fill }, n)
        }
        "bfi" => {
            let (pos, len) = (v[2] as u32 & 255, v[3] as u32 & 255);
            spread(|i| if i >= pos && i < pos + len { at(v[0], i - pos) } else { at(v[1], i) }, n)
        }
        "bmsk.clamp" | "bmsk.wrap" => {
            let wrap = op == "bmsk.wrap";
            let (pos, width) = if wrap { (v[0] & 31, v[1] & 31) } else { (v[0], v[1]) };
            spread(|i| ((i as i128) >= pos && (i as i128) < pos + width) as i128, n)
        }
        "szext.clamp" | "szext.wrap" => {
            let width = if op == "szext.wrap" { v[1] & 31 } else { v[1].min(32) } as u32;
            match width {
                0 => 0,
                w => value(v[0] as u64, w, v[2] == 1),
            }
        }
        "prmt" => spread(
            |i| {
                let select = v[2] as u32 >> (4 * (i / 8)) & 15;
                let from = byte(v[0] | v[1] << 32, select & 7);
                at(from, if select & 8 != 0 { 7 } else { i % 8 })
            },
            n,
        ),
        "shf.l.clamp" | "shf.l.wrap" | "shf.r.clamp" | "shf.r.wrap" => {
            let by = if op.ends_with("wrap") { v[2] & 31 } else { v[2].min(32) } as u32;
            let both = v[1] << 32 | v[0];
            if op.starts_with("shf.l") { (both << by) >> 32 } else { both >> by }
        }
        _ => return None,
    })
}

/// Values of `n` bits where arithmetic has edges.
pub fn edges(n: u32) -> Vec<u64> {
    let top = 1u64 << (n - 1);
    let all = top | (top - 1);
    let mut list = vec![0, 1, 2, 7, top - 1, top, top + 1, all, all - 1, all - 6, all / 3, all / 5 * 2 + 1];
    list.extend([all >> (n / 2), (all >> (n / 2)) + 1, top | top >> (n / 2)]);
    list
}

pub fn counts() -> Vec<u64> {
    vec![0, 1, 4, 8, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 100, 255, 256, 0xffff_ffff, 0x8000_0001]
}

fn make(name: &str, out: &str, ins: &[&str], lists: &[Vec<u64>], want: impl Fn(&[u64]) -> u64 + 'static) -> Spec {
    let mut cases = cross(lists);
    let mut random = Random(cases.len() as u64);
    for _ in 0..1000 {
        cases.push(ins.iter().map(|t| random.next() >> (64 - bits(t))).collect());
    }
    let ins = ins.iter().map(|t| t.to_string()).collect();
    Spec { text: name.into(), out: out.into(), ins, cases, want: Box::new(move |v| Want::Bits(want(v))) }
}

pub fn spec(name: &str) -> Option<Spec> {
    let (op, ty) = name.rsplit_once('.')?;
    let kind = ty.chars().next()?;
    if !matches!(kind, 'u' | 's' | 'b') && op != "mov" || ty.contains('x') || ty.starts_with("bf") {
        return None;
    }
    if op.starts_with("dp") {
        return dot(name);
    }
    let (n, signed) = (bits(ty), kind == 's');
    // A wide product has operands of half its width, a count or position is always of 32 bits.
    let wide = match n {
        16 => "b32",
        _ => "b64",
    };
    let (out, ins, fields): (&str, Vec<&str>, usize) = match op {
        "mul.wide" => (wide, vec![ty; 2], 0),
        "mad.wide" => (wide, vec![ty, ty, wide], 0),
        "popc" | "clz" | "bfind" | "bfind.shiftamt" => ("b32", vec![ty], 0),
        "mov" | "neg" | "abs" | "not" | "cnot" | "brev" => (ty, vec![ty], 0),
        "shl" | "shr" | "szext.clamp" | "szext.wrap" => (ty, vec![ty, "b32"], 1),
        "bmsk.clamp" | "bmsk.wrap" => (ty, vec!["b32"; 2], 2),
        "bfe" => (ty, vec![ty, "b32", "b32"], 2),
        "bfi" => (ty, vec![ty, ty, "b32", "b32"], 2),
        "shf.l.clamp" | "shf.l.wrap" | "shf.r.clamp" | "shf.r.wrap" => (ty, vec![ty, ty, "b32"], 1),
        "mad.lo" | "mad.hi" | "mad.hi.sat" | "mad24.lo" | "mad24.hi" | "sad" | "prmt" => (ty, vec![ty; 3], 0),
        _ => (ty, vec![ty; 2], 0),
    };
    let plain = ins.len() - fields;
    let mut lists: Vec<Vec<u64>> = ins.iter().map(|t| edges(bits(t))).collect();
    lists[plain..].fill(counts());
    if op == "prmt" {
        lists[2] = vec![0x7654, 0x3210, 0xfedc, 0x0a91, 0x8888, 0xffff, 0x1234_0246, 0xba98];
    }
    let (op, ins_bits): (String, Vec<u32>) = (op.into(), ins.iter().map(|t| bits(t)).collect());
    let narrow24 = op.contains("24");
    let out_bits = bits(out);
    result(&op, n, &[0; 4])?;
    Some(make(name, out, &ins, &lists, move |v| {
        let mut v: Vec<i128> =
            v.iter().zip(&ins_bits).enumerate().map(|(i, (v, n))| value(*v, *n, signed && i < plain)).collect();
        if narrow24 {
            v[..2].iter_mut().for_each(|v| *v = value(*v as u64, 24, signed));
        }
        let op = if op == "bfe" && signed { "bfe.signed" } else { &op };
        v.push(signed as i128);
        result(op, n, &v).expect("known") as u64 & !0 >> (64 - out_bits)
    }))
}

/// dp4a and dp2a: their two types are those of a and b.
fn dot(name: &str) -> Option<Spec> {
    let t: Vec<&str> = name.split('.').collect();
    let (op, sa, sb) = (t[..t.len() - 2].join("."), t[t.len() - 2] == "s32", t[t.len() - 1] == "s32");
    let (width, from) = match op.as_str() {
        "dp4a" => (8, 0),
        "dp2a.lo" => (16, 0),
        "dp2a.hi" => (16, 2),
        _ => return None,
    };
    let lists = vec![vec![0, 0x7f80_ff01, 0x8080_8080, 0x7fff_8000, 0xffff_ffff, 0x1234_5678]; 3];
    Some(make(name, "b32", &["b32"; 3], &lists, move |v| {
        let term = |i: u32| value(v[0] >> (width * i), width, sa) * value(v[1] >> (8 * (from + i)), 8, sb);
        ((0..32 / width).map(term).sum::<i128>() + v[2] as i128) as u64 & 0xffff_ffff
    }))
}
