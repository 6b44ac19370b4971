//! Each opcode on edge values against oracles that share nothing with the crate: integers in i128, floats in exact
//! arithmetic, approximations within the manual's error.

mod approximate;
mod comparisons;
mod conversions;
mod exact;
mod floats;
mod harness;
mod ints;
mod memory;
mod warps;

use harness::{Spec, check, expand, loads};
use std::collections::BTreeSet;

fn spec(name: &str) -> Option<Spec> {
    floats::spec(name)
        .or_else(|| ints::spec(name))
        .or_else(|| conversions::spec(name))
        .or_else(|| approximate::spec(name))
}

fn manual(lists: &[&[&str]]) -> BTreeSet<String> {
    lists.concat().iter().flat_map(|p| expand(p)).collect()
}

/// Runs every name of the manual's grammar.
fn run(lists: &[&[&str]]) {
    for name in manual(lists) {
        check(&spec(&name).unwrap_or_else(|| panic!("no cases for {name}")));
    }
}

#[test]
fn integers() {
    run(&[ints::MANUAL]);
}

#[test]
fn floats_are_rounded_exactly() {
    run(&[floats::MANUAL]);
}

#[test]
fn approximations_keep_the_manuals_error() {
    run(&[approximate::MANUAL]);
}

/// A name that a table gains is either in the manual's grammar above, and so tested, or an error here.
#[test]
fn each_table_entry_has_cases() {
    let known = manual(&[ints::MANUAL, floats::MANUAL, approximate::MANUAL]);
    let names = ptx_sim::opcodes();
    for name in &names {
        assert!(known.contains(*name) || conversions::is_tested(name), "no cases for {name}");
    }
    let set: BTreeSet<_> = names.iter().collect();
    assert_eq!(set.len(), names.len(), "a name stands in two tables");
}

/// Float instructions with any modifiers load exactly where the grammar has them.
#[test]
fn no_other_arithmetic_loads() {
    let known = manual(&[floats::MANUAL, approximate::MANUAL]);
    let pattern = "{add,sub,mul,fma,mad,div,rcp,sqrt,min,max,neg,abs,copysign}{,.rn,.rz,.rm,.rp,.approx,.full}{,.ftz}\
                   {,.sat,.relu,.NaN}.{f16,f16x2,bf16,bf16x2,f32,f64}";
    for name in expand(pattern) {
        let ty = name.rsplit('.').next().expect("a type");
        let arity = match name.split('.').next().expect("an opcode") {
            "fma" | "mad" => 3,
            "rcp" | "sqrt" | "neg" | "abs" => 1,
            _ => 2,
        };
        assert_eq!(loads(&name, &[ty], &vec![ty; arity]), known.contains(&name), "{name}");
    }
    let ops = "{add,sub,mul,mul.lo,mul.hi,mul.wide,mad.lo,div,rem,min,max,neg,abs,popc,brev,bfe,bfind,mov,and,shl,shr}";
    let known = manual(&[ints::MANUAL]);
    for name in
        expand(&format!("{ops}{{,.sat,.ftz,.rn}}.{{b8,b16,b32,b64,u8,u16,u32,s8,s16,s32,u64,s64,f16,bf16,q32}}"))
    {
        if let Some(spec) = known.contains(&name).then(|| spec(&name)).flatten() {
            let ins: Vec<&str> = spec.ins.iter().map(String::as_str).collect();
            assert!(loads(&name, &[&spec.out], &ins), "{name}");
        } else if floats::spec(&name).is_none() {
            let ty = name.rsplit('.').next().expect("a type");
            assert!((1..4).all(|n| !loads(&name, &[ty], &vec![ty; n])), "{name} loads");
        }
    }
}

#[test]
fn what_is_not_executed_is_refused_with_its_line() {
    for text in [
        "wgmma.fence.sync.aligned",
        "tex.2d.v4.f32.s32 $0, $1",
        "add.q32 $0, $1, $1",
        "mul.s32 $0, $1, $1",
        "vabsdiff4.u32.u32.u32 $0, $1, $1, $1",
        "elect.sync $0, $1",
        "fns.b32 $0, $1, $1, $1",
        "prmt.b32.f4e $0, $1, $1, $1",
        "discard.global.L2 [%in], 128; // $0",
        "applypriority.global.L2::evict_normal [%in], 128; // $0",
        "atom.global.exch.b128 $0, [%in], $1",
        "ld.global.b128 $0, [%in]",
        "ld.global.L2::cache_hint.b32 $0, [%in], %in",
        "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {$0}, {$1}, {$1}, {$1}",
        "mov.f16 $0, $1",
        "exit.now",
    ] {
        let ptx = harness::kernel(text, &["b32"], &["b32"]);
        let at =
            ptx.lines().position(|l| l.starts_with(text.split(' ').next().expect("a word"))).expect("it stands there");
        match ptx_sim::Module::load(&ptx) {
            Err(ptx_sim::Error::Load { line, message }) => {
                assert!(line as usize == at + 1 && message.contains("unsupported"), "{text}: {message} at {line}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}
