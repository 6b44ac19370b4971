//! Loads, stores, atomics, conversions of addresses, packing of registers, lop3 and indexed branches.

use crate::exact::{BF16, F16, F32, F64, Format, Mode};
use crate::harness::{cross, eval, expand, loads};
use crate::ints;

#[test]
fn lop3_of_every_table() {
    let abc = [0xf0u64, 0xcc, 0xaa];
    let mut text = "{ ".to_string();
    for table in 0..256 {
        text += &format!(".reg .b32 %t{table}; lop3.b32 %t{table}, $1, $2, $3, {table}; ");
        text += &format!("xor.b32 %t{table}, %t{table}, {table}; and.b32 %t{table}, %t{table}, 255; ");
        text += if table == 0 { "mov.b32 $0, %t0; " } else { "" };
        text += &format!("or.b32 $0, $0, %t{table}; ");
    }
    // Of these operands the lower byte of the result is the table itself.
    let got = eval(&(text + "}"), &["b32"], &["b32"; 3], &[abc.to_vec()]).expect("it runs");
    assert_eq!(got[0][0], 0);
    assert!(!loads("lop3.b32 $0, $1, $1, $1, 256", &["b32"], &["b32"]), "a table of nine bits");
}

#[test]
fn bit_fields_of_64_bits_and_packing() {
    let cases: Vec<Vec<u64>> = ints::edges(64).into_iter().map(|v| vec![v, v.rotate_left(21)]).collect();
    let text = "{ .reg .b32 %l, %h, %s; .reg .b16 %h0, %h1, %h2, %h3; mov.b64 {%l, %h}, $4; mov.b64 $0, {%h, %l}; \
                mov.b64 {%h0, %h1, %h2, %h3}, $4; mov.b64 $1, {%h3, %h2, %h1, %h0}; mov.b32 {%h0, %h1}, %l; \
                mov.b32 $2, {%h1, %h0}; mov.b64 {_, $3}, $5; }";
    let got = eval(text, &["b64", "b64", "b32", "b32"], &["b64", "b64"], &cases).expect("it runs");
    for (c, got) in cases.iter().zip(got) {
        let v = c[0];
        let quarters = v << 48 | (v << 16 & 0xffff_0000_0000) | (v >> 16 & 0xffff_0000) | v >> 48;
        assert_eq!(got, [v.rotate_left(32), quarters, (v as u32).rotate_left(16) as u64, c[1] >> 32], "{c:x?}");
    }
}

#[test]
fn loads_and_stores_of_every_type() {
    for (ty, n, signed) in [
        ("u8", 8, false),
        ("s8", 8, true),
        ("b8", 8, false),
        ("u16", 16, false),
        ("s16", 16, true),
        ("b16", 16, false),
        ("u32", 32, false),
        ("s32", 32, true),
        ("f32", 32, false),
        ("b32", 32, false),
        ("u64", 64, false),
        ("f64", 64, false),
    ] {
        let cases: Vec<Vec<u64>> = ints::edges(64).into_iter().map(|v| vec![v]).collect();
        // Through local and shared memory, by direct and generic addresses, into a register of 64 bits.
        let declare = "{ .local .align 8 .b8 loc[8]; .shared .align 8 .b8 sh[1024]; .reg .b64 %a, %b; .reg .b32 %t; \
                       mov.u32 %t, %tid.x; mul.wide.u32 %a, %t, 8; mov.u64 %b, sh; add.s64 %a, %a, %b;";
        for (space, setup, there) in [
            ("global", "", "%in"),
            ("shared", "", "%a"),
            ("local", "mov.u64 %b, loc;", "%b"),
            ("", "cvta.shared.u64 %a, %a;", "%a"),
            ("", "mov.u64 %b, loc; cvta.local.u64 %b, %b;", "%b"),
            ("", "cvta.global.u64 %b, %in;", "%b"),
        ] {
            let dot = if space.is_empty() { String::new() } else { format!(".{space}") };
            let text = format!("{declare} {setup} st{dot}.{ty} [{there}], $1; ld{dot}.{ty} $0, [{there}]; }}");
            let got = eval(&text, &["b64"], &["b64"], &cases).unwrap_or_else(|e| panic!("{text}: {e}"));
            for (c, got) in cases.iter().zip(got) {
                let low = c[0] << (64 - n);
                let want = if signed { (low as i64 >> (64 - n)) as u64 } else { low >> (64 - n) };
                assert_eq!(got[0], want, "{text} {c:x?}");
            }
        }
    }
    let vectors = "{ .reg .b32 %l, %h; .reg .b16 %a, %b, %c, %d; ld.global.nc.L1::no_allocate.L2::128B.v2.b32 {%l, %h}, [%in]; \
                   mov.b64 $0, {%h, %l}; ld.global.cg.v4.u16 {%a, %b, %c, %d}, [%in]; st.volatile.global.v2.u32 [%in], {%h, %l}; \
                   ld.relaxed.gpu.global.L1::evict_last.b64 $1, [%in]; mov.b64 $2, {%d, %c, %b, %a}; prefetch.global.L2 [%in]; \
                   nanosleep.u32 20; }";
    let cases: Vec<Vec<u64>> = ints::edges(64).into_iter().map(|v| vec![v]).collect();
    let got = eval(vectors, &["b64"; 3], &["b64"], &cases).expect("it runs");
    for (c, got) in cases.iter().zip(got) {
        let v = c[0];
        let quarters = v << 48 | (v << 16 & 0xffff_0000_0000) | (v >> 16 & 0xffff_0000) | v >> 48;
        assert_eq!(got, [v.rotate_left(32), v.rotate_left(32), quarters]);
    }
    for bad in [
        "ld.global.L1::keep.b32 $0, [%in]",
        "prefetch.shared.L1 [%in]",
        "prefetch.global.L3 [%in]",
        "ld.global.v3.b32 $0, [%in]",
    ] {
        assert!(!loads(bad, &["b32"], &["b32"]), "{bad}");
    }
}

#[test]
fn spaces_of_addresses() {
    let text = "{ .local .b8 loc[4]; .shared .b8 sh[4]; .reg .b64 %l, %s; mov.u64 %l, loc; cvta.local.u64 %l, %l; \
                mov.u64 %s, sh; cvta.shared.u64 %s, %s; isspacep.global $0, %in; isspacep.shared $1, %s; \
                isspacep.local $2, %l; isspacep.global $3, %s; isspacep.shared $4, %l; isspacep.local $5, %in; \
                cvta.to.shared.u64 %s, %s; mov.u64 %l, sh; setp.eq.u64 $6, %s, %l; }";
    let got = eval(text, &["pred"; 7], &["b32"], &[vec![0]]).expect("it runs");
    assert_eq!(got[0], [1, 1, 1, 0, 0, 0, 1]);
}

/// What an atomic leaves of `old`; of floats as memory in `space` has them.
fn atomic(name: &str, old: u64, x: u64, y: u64, global: bool) -> u64 {
    let (op, ty) = name.rsplit_once('.').expect("a type");
    let float = |f: Format, a: u64, b: u64| f.add(a, b, Mode::Near);
    let flush = |v: u64| if global { F32.flush(v) } else { v };
    let pair = |f: Format| float(f, old & 0xffff, x & 0xffff) | float(f, old >> 16, x >> 16) << 16;
    let signed = |v: u64| if ty == "s32" { v as u32 as i32 as i64 } else { v as i64 };
    match (op, ty) {
        ("add", "f32") => flush(float(F32, flush(old), flush(x))),
        ("add", "f64") => float(F64, old, x),
        ("add.noftz", "f16") => float(F16, old, x),
        ("add.noftz", "bf16") => float(BF16, old, x),
        ("add.noftz", "f16x2") => pair(F16),
        ("add.noftz", "bf16x2") => pair(BF16),
        ("add", _) => old.wrapping_add(x),
        ("and", _) => old & x,
        ("or", _) => old | x,
        ("xor", _) => old ^ x,
        ("exch", _) => x,
        ("cas", _) => {
            if old == x {
                y
            } else {
                old
            }
        }
        ("inc", _) => {
            if old >= x {
                0
            } else {
                old + 1
            }
        }
        ("dec", _) => {
            if old == 0 || old > x {
                x
            } else {
                old - 1
            }
        }
        ("min", "s32" | "s64") => {
            if signed(old) < signed(x) {
                old
            } else {
                x
            }
        }
        ("max", "s32" | "s64") => {
            if signed(old) > signed(x) {
                old
            } else {
                x
            }
        }
        ("min", _) => old.min(x),
        _ => old.max(x),
    }
}

#[test]
fn atomics_of_every_operation() {
    let names = [
        expand("{and,or,xor,exch,cas}.{b32,b64}"),
        expand("add.{u32,s32,u64,f32,f64}"),
        expand("add.noftz.{f16,f16x2,bf16,bf16x2}"),
        expand("{min,max}.{u32,s32,u64,s64}"),
        vec!["inc.u32".into(), "dec.u32".into(), "cas.b16".into()],
    ];
    for name in names.concat() {
        let ty = name.rsplit('.').next().expect("a type");
        let n: usize = if ty.ends_with("64") {
            64
        } else if ty.ends_with("16") {
            16
        } else {
            32
        };
        let values = match crate::floats::format(ty) {
            Some(f) => f.edges(),
            None => ints::edges(n as u32),
        };
        let values: Vec<u64> = values.iter().map(|v| if ty.ends_with("x2") { v | v << 16 } else { *v }).collect();
        let cases: Vec<Vec<u64>> = cross(&[values.clone(), values.clone(), vec![values[3], values[5]]]);
        let cas = name.starts_with("cas");
        let (reg, third) = (["b16", "b32", "b64"][n / 32], if cas { ", $4" } else { "" });
        for global in [true, false] {
            let (space, at) = if global { ("global", "%in") } else { ("shared", "%a") };
            let text = format!(
                "{{ .shared .align 8 .b8 sh[2048]; .reg .b64 %a, %b; .reg .b32 %t; mov.u32 %t, %tid.x; mul.wide.u32 %a, %t, 16; \
                 mov.u64 %b, sh; add.s64 %a, %a, %b; st.{space}.{reg} [{at}], $2; atom.{space}.{name} $1, [{at}], $3{third}; \
                 ld.{space}.{reg} $0, [{at}]; }}"
            );
            let got = eval(&text, &[reg; 2], &[reg; 3], &cases).unwrap_or_else(|e| panic!("{text}: {e}"));
            for (c, got) in cases.iter().zip(&got) {
                let want = atomic(&name, c[0], c[1], c[2], global) & !0 >> (64 - n);
                let nan = ty == "f64" && F64.is_nan(want) && F64.is_nan(got[0]);
                assert!(got[1] == c[0] && (got[0] == want || nan), "{name} {space} {c:x?}: {got:x?}, not {want:x}");
            }
            let red =
                text.replace(&format!("atom.{space}.{name} $1,"), &format!("mov.{reg} $1, $2; red.{space}.{name} "));
            if !matches!(name.split('.').next(), Some("cas" | "exch")) {
                assert_eq!(eval(&red, &[reg; 2], &[reg; 3], &cases).expect("it runs"), got, "{red}");
            }
        }
    }
    for bad in
        expand("atom.global.{add.f16,add.noftz.f32,add.s64,min.f32,cas.f32,exch.b128,inc.s32,sub.u32} $0, [%in], $1")
    {
        assert!(!loads(&bad, &["b32"], &["b32"]), "{bad}");
    }
}

#[test]
fn branches_by_index() {
    let text = "{ .reg .pred %q; targets: .branchtargets A, B, C; setp.gt.u32 %q, $1, 2; mov.u32 $0, 9; @%q bra D; \
                brx.idx $1, targets; A: mov.u32 $0, 10; bra D; B: mov.u32 $0, 11; bra.uni D; C: mov.u32 $0, 12; D: }";
    let cases: Vec<Vec<u64>> = (0..64).map(|i| vec![i % 4]).collect();
    let got = eval(text, &["b32"], &["b32"], &cases).expect("it runs");
    for (c, got) in cases.iter().zip(got) {
        assert_eq!(got[0], [10, 11, 12, 9][c[0] as usize]);
    }
}
