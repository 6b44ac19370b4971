//! Formulas of an example's state.

use crate::common::*;
use ham_engine::cpu::simd::Level;
use ham_engine::ops::Op;
use ham_engine::ops::formula::{Formula, confidence, crossed, kappa, label, loss, position, step, tanh};
use ham_engine::ops::select::Select;
use ham_engine::ops::weigh::Weigh;
use ham_engine::program::Buffers;

const CAPACITY: usize = 11;

/// Each operation, by its value at one example: crossed 1, kappa 3, confidence 0.25, loss 1.5, step 0.75, label 1, position 4.
#[test]
fn formulas() {
    let cases: Vec<(&str, Formula, f64)> = vec![
        ("a number", 2.5.into(), 2.5),
        ("crossed", crossed(), 1.0),
        ("kappa", kappa(), 3.0),
        ("confidence", confidence(), 0.25),
        ("loss", loss(), 1.5),
        ("step", step(), 0.75),
        ("label", label(), 1.0),
        ("position", position(), 4.0),
        ("sum", kappa() + 1.0, 4.0),
        ("difference", 1.0 - kappa(), -2.0),
        ("product", kappa() * loss(), 4.5),
        ("quotient", kappa() / 2.0, 1.5),
        ("larger", kappa().max(loss()), 3.0),
        ("larger, the other way", loss().max(kappa()), 3.0),
        ("less", loss().less(kappa()), 1.0),
        ("not less", kappa().less(3.0), 0.0),
        ("more", kappa().more(2.0), 1.0),
        ("not more", kappa().more(3.0), 0.0),
        ("and", crossed().and(kappa().more(5.0)), 0.0),
        ("or", crossed().or(kappa().more(5.0)), 1.0),
        ("not", !crossed(), 0.0),
        ("tanh", tanh(loss()), 1.5f64.tanh()),
        ("left to right", kappa() - 1.0 - 1.0, 1.0),
    ];
    for (what, formula, want) in cases {
        let mut b = Bench::of_state(Level::detect(), CAPACITY, 2, 1);
        b.live(&[4], CAPACITY);
        b.backend.write(b.batch.crossed, 4, &[1u32]).unwrap();
        b.backend.write(b.batch.kappa, 4, &[3u32]).unwrap();
        b.backend.write(b.batch.label, 4, &[1u32]).unwrap();
        for (buf, v) in [(b.batch.confidence, 0.25f32), (b.batch.loss, 1.5), (b.batch.step, 0.75)] {
            b.backend.write(buf, 4, &[v]).unwrap();
        }
        b.run([Op::Select(Select { batch: b.batch, keep: formula.clone(), keep_easy: 0.0 })]);
        assert_eq!(b.u32s(b.batch.keep)[4], u32::from(want != 0.0), "{what}: keep");
        // Weights are relative: a second example weighs 100.
        b.live(&[4, 5], CAPACITY);
        let here = position().less(5.0);
        let weight = here.clone() * (formula + 100.0) + (!here) * 100.0;
        b.run([Op::Weigh(Weigh { batch: b.batch, weight })]);
        let got = b.f32s(b.batch.weight)[4];
        close(what, &[got], &[(want + 100.0) / (want + 200.0)], 1e-6);
    }
}
