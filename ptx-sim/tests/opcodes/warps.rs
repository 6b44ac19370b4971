//! Operations of a warp or block: shuffles, votes, matches, reductions, barriers with a result, carries within a thread.

use crate::harness::{Random, cross, eval, expand, loads};
use crate::ints;

const WARPS: usize = 8;

/// Values of whole warps, some of them equal.
fn values(n: u64) -> Vec<Vec<u64>> {
    let mut random = Random(n);
    (0..32 * WARPS).map(|i| vec![(random.next() >> 32) % if i < 64 { 3 } else { n }]).collect()
}

/// The 32 values of the warp that case `i` belongs to.
fn warp(cases: &[Vec<u64>], i: usize) -> Vec<u64> {
    cases[i / 32 * 32..][..32].iter().map(|c| c[0]).collect()
}

#[test]
fn redux_of_every_operation() {
    let cases = values(1 << 32);
    for name in expand("{add.s32,add.u32,min.s32,min.u32,max.s32,max.u32,and.b32,or.b32,xor.b32}") {
        // Two groups of lanes reduce apart.
        let text = format!(
            "{{ .reg .pred %q; .reg .b32 %l, %m; mov.u32 %l, %laneid; setp.lt.u32 %q, %l, 8; \
             selp.b32 %m, 0xff, 0xffffff00, %q; redux.sync.{name} $0, $1, %m; }}"
        );
        let got = eval(&text, &["b32"], &["b32"], &cases).expect("it runs");
        for (i, got) in got.iter().enumerate() {
            let all = warp(&cases, i);
            let mine = if i % 32 < 8 { &all[..8] } else { &all[8..] };
            let signed = mine.iter().map(|v| *v as u32 as i32);
            let want = match name.as_str() {
                "add.s32" | "add.u32" => mine.iter().sum::<u64>(),
                "min.u32" => *mine.iter().min().expect("lanes"),
                "max.u32" => *mine.iter().max().expect("lanes"),
                "min.s32" => signed.min().expect("lanes") as u32 as u64,
                "max.s32" => signed.max().expect("lanes") as u32 as u64,
                "and.b32" => mine.iter().fold(!0, |a, v| a & v),
                "or.b32" => mine.iter().fold(0, |a, v| a | v),
                _ => mine.iter().fold(0, |a, v| a ^ v),
            };
            assert_eq!(got[0], want & 0xffff_ffff, "{name} of thread {i}");
        }
    }
    assert!(!loads("redux.sync.add.f32", &["b32"], &["b32", "b32"]), "redux of floats");
}

#[test]
fn votes_and_matches() {
    let mut cases = values(5);
    cases[96..128].iter_mut().for_each(|c| c[0] = 1);
    cases[128..160].iter_mut().for_each(|c| c[0] = 0);
    let text = "{ .reg .pred %q; setp.eq.u32 %q, $8, 1; vote.sync.ballot.b32 $0, %q, -1; vote.sync.all.pred $1, %q, -1; \
                vote.sync.any.pred $2, %q, -1; vote.sync.uni.pred $3, !%q, -1; match.any.sync.b32 $4, $8, -1; \
                match.all.sync.b32 $5|$6, $8, -1; activemask.b32 $7; }";
    let got =
        eval(text, &["b32", "pred", "pred", "pred", "b32", "b32", "pred", "b32"], &["b32"], &cases).expect("it runs");
    for (i, got) in got.iter().enumerate() {
        let all = warp(&cases, i);
        let mask = |f: &dyn Fn(u64) -> bool| (0..32).map(|k| (f(all[k]) as u64) << k).sum::<u64>();
        let ones = mask(&|v| v == 1);
        let (full, none) = ((ones == 0xffff_ffff) as u64, (ones == 0) as u64);
        let alike = mask(&|v| v == cases[i][0]);
        let same = (alike == 0xffff_ffff) as u64;
        assert_eq!(
            got,
            &[ones, full, 1 - none, full | none, alike, same * 0xffff_ffff, same, 0xffff_ffff],
            "thread {i}"
        );
    }
    let text = "{ match.any.sync.b64 $0, $3, -1; match.all.sync.b64 $1|$2, $3, -1; }";
    let cases: Vec<Vec<u64>> = cases.iter().map(|c| vec![c[0] << 40]).collect();
    for (i, got) in eval(text, &["b32", "b32", "pred"], &["b64"], &cases).expect("it runs").iter().enumerate() {
        let alike = (0..32).map(|k| ((warp(&cases, i)[k] == cases[i][0]) as u64) << k).sum::<u64>();
        let same = (alike == 0xffff_ffff) as u64;
        assert_eq!(got, &[alike, same * 0xffff_ffff, same], "thread {i}");
    }
}

#[test]
fn shuffles_of_every_mode_width_and_distance() {
    let cases = values(1 << 32);
    for (mode, width, by) in cross(&[vec![0, 1, 2, 3], vec![32, 16, 8, 4, 2, 1], vec![0, 1, 3, 8, 16, 31]])
        .iter()
        .map(|c| (["up", "down", "bfly", "idx"][c[0] as usize], c[1] as i64, c[2] as i64))
    {
        // What __shfl_sync makes of the width.
        let control = (32 - width) << 8 | if mode == "up" { 0 } else { 31 };
        let text = format!("shfl.sync.{mode}.b32 $0|$1, $2, {by}, {control}, -1");
        let got = eval(&text, &["b32", "pred"], &["b32"], &cases).expect("it runs");
        for (i, got) in got.iter().enumerate() {
            let lane = i as i64 % 32;
            let first = lane / width * width;
            let from = match mode {
                "up" => lane - by,
                "down" => lane + by,
                "bfly" => lane ^ by,
                _ => first + by % width,
            };
            let inside = if mode == "up" { from >= first } else { from < first + width };
            let from = if inside { from } else { lane };
            assert_eq!(got, &[warp(&cases, i)[from as usize], inside as u64], "{text} of thread {i}");
        }
    }
}

#[test]
fn barriers_with_a_result() {
    let cases = values(2);
    for (op, of) in [("bar", "bar.red"), ("barrier", "barrier.cta.red"), ("aligned", "barrier.red")] {
        let name = |o: &str, ty: &str| {
            if op == "aligned" { format!("{of}.{o}.aligned.{ty}") } else { format!("{of}.{o}.{ty}") }
        };
        let text = format!(
            "{{ .reg .pred %q; setp.eq.u32 %q, $4, 1; {} $0, 0, %q; {} $1, 1, %q; {} $2, 2, 128, !%q; {} $3, 3, %q; \
             bar.sync 0; barrier.sync 1, 128; barrier.cta.sync.aligned 2; bar.warp.sync -1; membar.cta; fence.sc.gpu; }}",
            name("popc", "u32"),
            name("and", "pred"),
            name("or", "pred"),
            name("or", "pred")
        );
        let got =
            eval(&text, &["b32", "pred", "pred", "pred"], &["b32"], &cases).unwrap_or_else(|e| panic!("{text}: {e}"));
        for (i, got) in got.iter().enumerate() {
            let block: Vec<u64> = cases[i / 128 * 128..][..128].iter().map(|c| c[0]).collect();
            let ones = block.iter().filter(|v| **v == 1).count() as u64;
            assert_eq!(got, &[ones, (ones == 128) as u64, (ones < 128) as u64, (ones > 0) as u64], "thread {i}");
        }
    }
    for bad in
        ["bar.arrive 0, 64", "bar.red.xor.pred $0, 0, $1", "membar.gpu", "fence.proxy.async", "bar.sync.aligned 0"]
    {
        assert!(!loads(bad, &["pred"], &["pred"]), "{bad}");
    }
}

#[test]
fn carries() {
    for (n, ty) in [(32u32, "u32"), (32, "s32"), (64, "u64"), (64, "s64")] {
        let t = if n == 32 { "b32" } else { "b64" };
        let low = (1i128 << n) - 1;
        // The sum of three numbers of two words each; and the difference.
        let lists = [ints::edges(n), ints::edges(n).into_iter().step_by(3).collect()].concat();
        let some: Vec<u64> = lists.iter().copied().step_by(3).collect();
        let cases = cross(&[lists, some.clone(), some.clone(), some]);
        for (op, sign) in [("add", 1), ("sub", -1)] {
            let text = format!("{{ {op}.cc.{ty} $0, $3, $5; {op}c.cc.{ty} $1, $4, $6; {op}c.{ty} $2, 0, 0; }}");
            let got = eval(&text, &[t; 3], &[t; 4], &cases).expect("it runs");
            for (c, got) in cases.iter().zip(got) {
                let v: Vec<i128> = c.iter().map(|v| *v as i128).collect();
                let first = v[0] + sign * v[2];
                let second = v[1] + sign * v[3] + (first >> n);
                let want = [first & low, second & low, (second >> n) & low].map(|v| v as u64);
                assert_eq!(got, want, "{text} {c:x?}");
            }
        }
        // A product of two words and a sum: the way that wider products are made.
        for (half, shift) in [("lo", 0), ("hi", n)] {
            let text = format!(
                "{{ mad.{half}.cc.{ty} $0, $3, $4, $5; madc.{half}.cc.{ty} $1, $3, $4, $6; madc.{half}.{ty} $2, 0, 0, 0; }}"
            );
            let got = eval(&text, &[t; 3], &[t; 4], &cases).expect("it runs");
            for (c, got) in cases.iter().zip(got) {
                let signed =
                    |v: u64| if ty.starts_with('s') { ((v << (64 - n)) as i64 >> (64 - n)) as i128 } else { v as i128 };
                let product = if ty.starts_with('s') {
                    signed(c[0]) * signed(c[1])
                } else {
                    (c[0] as u128 * c[1] as u128) as i128
                };
                let part = (product as u128 >> shift) as i128 & low;
                let first = part + c[2] as i128;
                let second = part + c[3] as i128 + (first >> n);
                assert_eq!(got, [first & low, second & low, second >> n].map(|v| v as u64), "{text} {c:x?}");
            }
        }
    }
}
