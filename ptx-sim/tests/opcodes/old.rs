//! Each opcode on edge values, through a PTX text of its own; expectations are literals or plain Rust.

use ptx_sim::{Arg, Device, DeviceOptions, Error, Module, Shape};

const HEAD: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

/// Runs `op d, a, b, ...` on one thread; `types` are those of d and the operands, operands their bits.
fn run(op: &str, types: &[&str], inputs: &[u64]) -> Result<u64, Error> {
    let class = |t: &str| match t {
        "pred" => ("pred", "p"),
        t if t.ends_with("16") => ("b16", "h"),
        t if t.ends_with("64") => ("b64", "d"),
        _ => ("b32", "r"),
    };
    let mut ptx = format!("{HEAD}.visible .entry k(.param .u64 out");
    for (i, t) in types[1..].iter().enumerate() {
        ptx += &format!(", .param .{} a{i}", class(t).0);
    }
    ptx += ")\n{\n.reg .pred %p<9>;\n.reg .b16 %h<9>;\n.reg .b32 %r<9>;\n.reg .b64 %d<9>;\n.reg .b64 %out;\n";
    ptx += "ld.param.u64 %out, [out];\n";
    let mut names = vec![format!("%{}8", class(types[0]).1)];
    for (i, t) in types[1..].iter().enumerate() {
        let (ty, reg) = class(t);
        ptx += &format!("ld.param.{ty} %{reg}{i}, [a{i}];\n");
        names.push(format!("%{reg}{i}"));
    }
    ptx += &format!("{op} {};\n", names.join(", "));
    let (ty, reg) = class(types[0]);
    ptx += &match ty {
        "pred" => "selp.b32 %r8, 1, 0, %p8;\nst.global.b32 [%out], %r8;\n".to_string(),
        _ => format!("st.global.{ty} [%out], %{reg}8;\n"),
    };
    ptx += "ret;\n}\n";
    let module = Module::load(&ptx)?;
    let mut device = Device::new(DeviceOptions::default());
    let out = device.alloc(8);
    device.write(out, &[0; 8])?;
    let size = |t: &str| match class(t).0 {
        "b16" => 2,
        "b64" => 8,
        _ => 4,
    };
    let raw: Vec<Vec<u8>> = std::iter::once(out.to_le_bytes().to_vec())
        .chain(inputs.iter().zip(&types[1..]).map(|(v, t)| v.to_le_bytes()[..size(t)].to_vec()))
        .collect();
    let args: Vec<Arg> = raw.iter().map(|r| Arg::bytes(r)).collect();
    device.launch(&module, "k", Shape::line(1, 1), &args)?;
    let mut bytes = [0; 8];
    device.read(out, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Cases of one opcode whose operands are all of the type that it ends with.
fn same(op: &str, cases: &[(&[u64], u64)]) {
    let ty = op.rsplit('.').next().expect("a type");
    for (inputs, want) in cases {
        check(op, &vec![ty; inputs.len() + 1], inputs, *want);
    }
}

fn check(op: &str, types: &[&str], inputs: &[u64], want: u64) {
    let got = run(op, types, inputs).unwrap_or_else(|e| panic!("{op}: {e}"));
    assert_eq!(got, want, "{op} {inputs:x?}: {got:#x}, not {want:#x}");
}

const MIN: u64 = 0x8000_0000;
const ALL: u64 = 0xffff_ffff;

fn f(x: f32) -> u64 {
    x.to_bits() as u64
}

fn g(x: f64) -> u64 {
    x.to_bits()
}

const NAN: u64 = 0x7fff_ffff;
const QNAN: u64 = 0xffc0_1234;
const INF: u64 = 0x7f80_0000;
const TINY: u64 = 1;
const NEG0: u64 = MIN;

#[test]
fn integers_of_32_bits() {
    same("add.s32", &[(&[ALL, 1], 0), (&[0x7fff_ffff, 1], MIN)]);
    same("add.sat.s32", &[(&[0x7fff_ffff, 1], 0x7fff_ffff), (&[MIN, ALL], MIN)]);
    same("sub.u32", &[(&[0, 1], ALL)]);
    same("mul.lo.s32", &[(&[0x1_0001, 0x1_0001], 0x2_0001), (&[MIN, ALL], MIN)]);
    same("mul.hi.u32", &[(&[ALL, ALL], 0xffff_fffe)]);
    same("mul.hi.s32", &[(&[ALL, ALL], 0), (&[MIN, MIN], 0x4000_0000)]);
    same("mad.lo.s32", &[(&[3, 5, ALL], 14)]);
    same("div.s32", &[(&[MIN, ALL], MIN), (&[(-7i32) as u32 as u64, 2], (-3i32) as u32 as u64), (&[7, 0], ALL)]);
    same("div.u32", &[(&[ALL, 2], 0x7fff_ffff), (&[7, 0], ALL)]);
    same("rem.s32", &[(&[MIN, ALL], 0), (&[(-7i32) as u32 as u64, 2], ALL), (&[7, 0], 7)]);
    same("rem.u32", &[(&[7, 4], 3)]);
    same("neg.s32", &[(&[MIN], MIN), (&[1], ALL)]);
    same("abs.s32", &[(&[MIN], MIN), (&[ALL], 1)]);
    same("and.b32", &[(&[0xff00, 0x0ff0], 0x0f00)]);
    same("or.b32", &[(&[0xff00, 0x0ff0], 0xfff0)]);
    same("xor.b32", &[(&[0xff00, 0x0ff0], 0xf0f0)]);
    same("not.b32", &[(&[0], ALL)]);
    same("shl.b32", &[(&[1, 31], MIN), (&[1, 32], 0), (&[1, ALL], 0)]);
    same("shr.u32", &[(&[MIN, 31], 1), (&[MIN, 32], 0)]);
    same("shr.s32", &[(&[MIN, 31], ALL), (&[MIN, 99], ALL), (&[1, 99], 0)]);
    same("min.s32", &[(&[MIN, 1], MIN)]);
    same("min.u32", &[(&[MIN, 1], 1)]);
    same("max.s32", &[(&[MIN, 1], 1)]);
    same("max.u32", &[(&[MIN, 1], MIN)]);
    same("popc.b32", &[(&[ALL], 32), (&[0], 0)]);
    same("clz.b32", &[(&[0], 32), (&[1], 31)]);
    same("brev.b32", &[(&[1], MIN)]);
    same("bfind.u32", &[(&[0], ALL), (&[MIN], 31)]);
    same("bfind.s32", &[(&[ALL], ALL), (&[MIN], 30)]);
    same("bfe.u32", &[(&[0xabcd, 4, 8], 0xbc), (&[ALL, 0, 32], ALL), (&[ALL, 3, 0], 0), (&[ALL, 40, 4], 0)]);
    same(
        "bfe.s32",
        &[(&[0xabcd, 4, 8], 0xffff_ffbc), (&[0x70, 4, 4], 7), (&[MIN, 28, 8], 0xffff_fff8), (&[MIN, 40, 4], ALL)],
    );
    same("bfi.b32", &[(&[0xff, 0, 4, 4], 0xf0), (&[0xff, 7, 32, 4], 7), (&[0, ALL, 8, 8], 0xffff_00ff)]);
    same("prmt.b32", &[(&[0x3322_1100, 0x7766_5544, 0x7410], 0x7744_1100), (&[0x80, 0, 0x8888], ALL)]);
    same("shf.l.wrap.b32", &[(&[MIN, 1, 1], 3), (&[5, 7, 32], 7)]);
    same("shf.r.wrap.b32", &[(&[2, 1, 1], MIN | 1)]);
    same("shf.l.clamp.b32", &[(&[5, 7, 32], 5)]);
    same("shf.r.clamp.b32", &[(&[5, 7, 40], 7)]);
    for (table, want) in [(0x80u32, 0xf0 & 0xcc & 0xaa), (0xfe, 0xfe), (0x96, 0xf0 ^ 0xcc ^ 0xaa), (0xe8, 0xe8)] {
        // The comment drops the operands that `run` appends.
        let got = run(&format!("lop3.b32 %r8, %r0, %r1, %r2, {table}; //"), &["b32"; 4], &[0xf0, 0xcc, 0xaa]);
        assert_eq!(got.expect("it runs"), want, "lop3 {table:#x}");
    }
}

#[test]
fn integers_of_other_widths() {
    same("add.s16", &[(&[0xffff, 1], 0)]);
    same("mul.lo.s16", &[(&[0x101, 0x101], 0x201)]);
    same("min.s16", &[(&[0x8000, 1], 0x8000)]);
    same("max.u16", &[(&[0x8000, 1], 0x8000)]);
    same("add.s64", &[(&[u64::MAX, 1], 0)]);
    same("mul.lo.s64", &[(&[1 << 40, 1 << 30], 0)]);
    same("mul.hi.u64", &[(&[u64::MAX, u64::MAX], u64::MAX - 1)]);
    same("div.s64", &[(&[1 << 63, u64::MAX], 1 << 63), (&[7, 0], u64::MAX)]);
    same("rem.u64", &[(&[7, 4], 3)]);
    same("max.s64", &[(&[1 << 63, 1], 1)]);
    check("shl.b64", &["b64", "b64", "b32"], &[1, 63], 1 << 63);
    check("shl.b64", &["b64", "b64", "b32"], &[1, 64], 0);
    check("shr.s64", &["b64", "b64", "b32"], &[1 << 63, 200], u64::MAX);
    check("shr.u64", &["b64", "b64", "b32"], &[1 << 63, 63], 1);
    check("mul.wide.s32", &["b64", "b32", "b32"], &[MIN, MIN], 1 << 62);
    check("mul.wide.u32", &["b64", "b32", "b32"], &[ALL, ALL], 0xffff_fffe_0000_0001);
    check("mad.wide.s32", &["b64", "b32", "b32", "b64"], &[ALL, 3, 1], (-2i64) as u64);
    check("mul.wide.u16", &["b32", "b16", "b16"], &[0xffff, 0xffff], 0xfffe_0001);
    check("popc.b64", &["b32", "b64"], &[u64::MAX], 64);
    check("clz.b64", &["b32", "b64"], &[0], 64);
}

#[test]
fn floats_of_32_bits() {
    same("add.f32", &[(&[f(1.0), f(2.0)], f(3.0)), (&[INF, INF | MIN], NAN), (&[QNAN, 0], NAN), (&[NEG0, NEG0], NEG0)]);
    same("add.ftz.f32", &[(&[TINY, TINY], 0), (&[TINY | MIN, NEG0], NEG0)]);
    same("sub.f32", &[(&[f(1.0), f(1.0)], 0)]);
    same("mul.f32", &[(&[INF, 0], NAN), (&[f(1e-30), f(1e-10)], f(1e-30 * 1e-10))]);
    same("mul.ftz.f32", &[(&[f(1e-30), f(1e-10)], 0)]);
    for (op, down) in [("mul.rz.f32", true), ("mul.rm.f32", true), ("mul.rp.f32", false)] {
        let (x, exact) = (1.3f32, 1.3f32 as f64 * 1.3f32 as f64);
        let near = exact as f32;
        let step = |wrong: bool| if wrong { 1 } else { 0 };
        let want = if down { f(near) - step(near as f64 > exact) } else { f(near) + step((near as f64) < exact) };
        same(op, &[(&[f(x), f(x)], want)]);
    }
    same("add.sat.f32", &[(&[f(3.0), f(1.0)], f(1.0)), (&[QNAN, 0], 0), (&[f(-3.0), 0], 0)]);
    same(
        "fma.rn.f32",
        &[(&[f(1.0 + 2f32.powi(-12)), f(1.0 + 2f32.powi(-12)), f(-1.0)], f(2f32.powi(-11) + 2f32.powi(-24)))],
    );
    same("fma.rm.f32", &[(&[f(1.0), f(1.0), f(-1e-20)], f(1.0) - 1), (&[f(1.0), f(-1.0), f(1.0)], NEG0)]);
    same("fma.rp.f32", &[(&[f(1.0), f(1.0), f(1e-20)], f(1.0) + 1)]);
    same("fma.rz.f32", &[(&[f(-1.0), f(1.0), f(1e-20)], f(-1.0) - 1)]);
    same(
        "div.rn.f32",
        &[(&[f(1.0), 0], INF), (&[0, 0], NAN), (&[f(1.0), NEG0], INF | MIN), (&[f(1.0), f(3.0)], f(1.0 / 3.0))],
    );
    same("min.f32", &[(&[QNAN, f(2.0)], f(2.0)), (&[0, NEG0], NEG0), (&[NEG0, 0], NEG0), (&[QNAN, QNAN], NAN)]);
    same("max.f32", &[(&[f(2.0), QNAN], f(2.0)), (&[0, NEG0], 0), (&[NEG0, 0], 0)]);
    same("max.NaN.f32", &[(&[f(2.0), QNAN], NAN)]);
    same("neg.f32", &[(&[0], NEG0)]);
    same("abs.f32", &[(&[f(-2.0)], f(2.0))]);
    same("sqrt.rn.f32", &[(&[f(2.0)], f(2f32.sqrt())), (&[f(-1.0)], NAN), (&[NEG0], NEG0)]);
    same("rcp.rn.f32", &[(&[0], INF), (&[INF | MIN], NEG0)]);
    same("ex2.approx.f32", &[(&[f(3.0)], f(8.0)), (&[INF | MIN], 0), (&[f(-140.0)], 1 << 9)]);
    same("ex2.approx.ftz.f32", &[(&[f(-140.0)], 0)]);
    same("lg2.approx.f32", &[(&[f(8.0)], f(3.0)), (&[0], INF | MIN), (&[f(-1.0)], NAN)]);
    same("rsqrt.approx.f32", &[(&[f(4.0)], f(0.5)), (&[0], INF), (&[NEG0], INF | MIN)]);
    same("copysign.f32", &[(&[f(-1.0), f(2.0)], f(-2.0))]);
}

#[test]
fn floats_of_other_widths() {
    same("fma.rn.f64", &[(&[g(1.5), g(2.0), g(0.25)], g(3.25))]);
    same("div.rn.f64", &[(&[g(1.0), g(3.0)], g(1.0 / 3.0))]);
    same("min.f64", &[(&[g(f64::NAN), g(1.0)], g(1.0)), (&[g(0.0), g(-0.0)], g(-0.0))]);
    same("add.f16", &[(&[0x3c00, 0x3c00], 0x4000), (&[0x7bff, 0x7bff], 0x7c00), (&[0x7e01, 0], 0x7fff)]);
    same("fma.rn.f16", &[(&[0x3c03, 0x3c03, 0xbc00], 0x1e02), (&[0x7bff, 0x4000, 0xfc00], 0xfc00)]);
    same("fma.rn.bf16", &[(&[0x3f80, 0x3f80, 0x3f80], 0x4000)]);
    same("max.f16x2", &[(&[0x8000_3c00, 0x0000_7e00], 0x0000_3c00)]);
    same("add.f16x2", &[(&[0x3c00_4000, 0x3c00_4000], 0x4000_4400)]);
    same("neg.f16x2", &[(&[0x3c00_0000], 0xbc00_8000)]);
}

#[test]
fn comparisons() {
    for (op, a, b, want) in [
        ("lt.s32", MIN, 1, 1),
        ("lt.u32", MIN, 1, 0),
        ("hi.u32", MIN, 1, 1),
        ("eq.b32", 5, 5, 1),
        ("lt.f32", QNAN, 0, 0),
        ("ltu.f32", QNAN, 0, 1),
        ("eq.f32", 0, NEG0, 1),
        ("ne.f32", QNAN, QNAN, 0),
        ("neu.f32", QNAN, QNAN, 1),
        ("num.f32", 0, 0, 1),
        ("nan.f32", 0, QNAN, 1),
        ("gt.ftz.f32", TINY, 0, 0),
        ("gt.f32", TINY, 0, 1),
    ] {
        check(&format!("setp.{op}"), &["pred", "b32", "b32"], &[a, b], want);
    }
    check("setp.lt.s64", &["pred", "b64", "b64"], &[1 << 63, 1], 1);
    check("setp.lt.s16", &["pred", "b16", "b16"], &[0x8000, 1], 1);
    check("setp.gt.f16", &["pred", "b16", "b16"], &[0x3c00, 0x8000], 1);
}

#[test]
fn conversions() {
    for (op, a, want) in [
        ("rzi.s32.f32", f(-1.9), (-1i32) as u32 as u64),
        ("rni.s32.f32", f(2.5), 2),
        ("rmi.s32.f32", f(-1.1), (-2i32) as u32 as u64),
        ("rpi.s32.f32", f(1.1), 2),
        ("rzi.s32.f32", f(1e20), 0x7fff_ffff),
        ("rzi.s32.f32", QNAN, 0),
        ("rzi.u32.f32", f(-5.0), 0),
        ("rn.f32.s32", ALL, f(-1.0)),
        ("rn.f32.u32", ALL, f(4294967296.0)),
        ("rz.f32.u32", ALL, f(4294967040.0)),
        ("sat.f32.f32", QNAN, 0),
        ("sat.f32.f32", f(1.5), f(1.0)),
        ("rni.f32.f32", f(2.5), f(2.0)),
        ("u32.u8", 0x1ff, 0xff),
        ("s32.s8", 0x80, 0xffff_ff80),
        ("u8.u32", 0x1ff, 0xff),
        ("sat.u8.s32", 300, 255),
        ("rna.tf32.f32", 0x3f80_1000, 0x3f80_2000),
    ] {
        check(&format!("cvt.{op}"), &["b32", "b32"], &[a], want);
    }
    for (op, a, want) in [
        ("rn.f16.f32", f(1.0), 0x3c00),
        ("rn.f16.f32", f(65520.0), 0x7c00),
        ("rz.f16.f32", f(65520.0), 0x7bff),
        ("rn.f16.f32", f(2f32.powi(-25)), 0),
        ("rn.f16.f32", f(2f32.powi(-25) * 1.01), 1),
        ("rn.bf16.f32", 0x3f80_8000, 0x3f80),
        ("rn.bf16.f32", 0x3f81_8000, 0x3f82),
        ("rn.bf16.f32", QNAN, 0x7fff),
        ("rn.relu.f16.f32", f(-1.0), 0),
    ] {
        check(&format!("cvt.{op}"), &["b16", "b32"], &[a], want);
    }
    check("cvt.f32.f16", &["b32", "b16"], &[0x0001], f(2f32.powi(-24)));
    check("cvt.s64.s32", &["b64", "b32"], &[MIN], 0xffff_ffff_8000_0000);
    check("cvt.u64.u32", &["b64", "b32"], &[MIN], MIN);
    check("cvt.u32.u64", &["b32", "b64"], &[u64::MAX], ALL);
    check("cvt.rn.f32.f64", &["b32", "b64"], &[g(1.0 + 2f64.powi(-24))], f(1.0));
    check("cvt.rn.f64.u64", &["b64", "b64"], &[u64::MAX], g(18446744073709551616.0));
    check("cvt.rn.f32.s64", &["b32", "b64"], &[(1 << 40) + (1 << 16) + 1], f(((1i64 << 40) + (1 << 16) + 1) as f32));
    check("cvt.rn.f16x2.f32", &["b32", "b32", "b32"], &[f(1.0), f(2.0)], 0x3c00_4000);
}

#[test]
fn what_is_not_executed_is_refused() {
    for op in ["wgmma.fence", "tex.2d", "add.q32", "fma.rn.f32.x", "cvt.f16.f32", "ld.global.b128", "mul.s32"] {
        match run(op, &["b32", "b32", "b32"], &[0, 0]) {
            Err(Error::Load { line, message }) => {
                assert!(line == 14 && message.contains("unsupported"), "{op}: {message} at {line}");
            }
            other => panic!("{op}: {other:?}"),
        }
    }
}
