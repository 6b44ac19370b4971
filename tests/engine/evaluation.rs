//! Evaluation: who leaves when, what it costs, and that sequences and restarts go over survivors only.

use crate::common::*;
use ham_engine::attack::Budget;
use ham_engine::backend::cpu::CpuBackend;
use ham_engine::cpu::simd::Level;
use ham_engine::data;
use ham_engine::engine::{Engine, Images};
use ham_engine::eval::warnings::warnings;
use ham_engine::eval::{Examined, Outcome, Threat};
use ham_engine::ops::ball::Norm;
use ham_engine::program::Shape;
use ham_engine::train::checkpoint::Checkpoint;
use std::path::Path;

const N: usize = 40;

/// The trained network of the golden cases, with logits this many times as large, and test images of the embedded set.
fn with(scale: f32, threads: usize) -> (Engine<CpuBackend>, Examined) {
    let path = Path::new("tests/golden/autoattack.net.safetensors");
    let mut checkpoint = Checkpoint::read(path).unwrap();
    let arch = checkpoint.arch((28, 28), None, path).unwrap();
    for name in ["linear.weight", "linear.bias"] {
        checkpoint.dict.get_mut(name).unwrap().1.iter_mut().for_each(|v| *v *= scale);
    }
    let mut e = engine(&arch, &checkpoint.dict, threads, Level::detect());
    let test = data::open("fashion-mnist-mini", None).unwrap().test.subset(&(0..N).collect::<Vec<_>>()).unwrap();
    let examined = Examined::new(&mut e, Images::from(&test), &test.labels).unwrap();
    (e, examined)
}

fn run(threat: Threat, budget: &Budget, threads: usize) -> Outcome {
    let (mut e, examined) = with(1.0, threads);
    examined.evaluate(&mut e, threat, budget, |_| true).unwrap().unwrap()
}

/// A bound in this norm that takes about two thirds of the images down.
fn budget(norm: Norm) -> Budget {
    let (mut e, examined) = with(1.0, 1);
    let mut budget = Budget { norm, ..Budget::new(0.002, 7) };
    loop {
        let outcome = examined.evaluate(&mut e, Threat::Pgd(10), &budget, |_| true).unwrap().unwrap();
        if outcome.accuracy() < 0.35 {
            return budget;
        }
        budget.eps *= 1.4;
        assert!(budget.eps < 5.0, "nothing breaks it");
    }
}

#[test]
fn whoever_is_broken_leaves_and_costs_nothing_more() {
    let budget = budget(Norm::Linf);
    let clean = run(Threat::Clean, &budget, 1);
    let right = clean.parts[0].survivors;
    assert!(right < N as u64 && right > N as u64 / 2, "{right} of {N} are right");
    assert_eq!(clean.parts[0].units, N as u64);
    let pgd = run(Threat::Pgd(23), &budget, 1);
    let left = pgd.parts[0].survivors;
    assert!(left < right && left > 0, "{left} of {right} survive");
    // All have the clean pass; survivors two passes a step and the last one; the others at least one step and at most all but one.
    let (all, broken) = (N as u64 + 47 * left, right - left);
    let units = pgd.parts[0].units;
    assert!(units >= all + broken && units < all + 47 * broken, "{units} units, {left} left, {broken} broken");
    for (i, robust) in pgd.robust.iter().enumerate() {
        assert!(!robust || clean.robust[i], "{i}: robust, but wrong without an attack");
        assert_eq!(*robust, pgd.predicted[i] == pgd.labels[i], "{i}");
    }
    let counts = pgd.counts(10);
    assert_eq!((counts.correct.iter().sum::<u64>(), counts.total.iter().sum::<u64>()), (left, N as u64));
}

#[test]
fn results_depend_on_neither_threads_nor_on_who_else_is_in_the_batch() {
    for norm in [Norm::Linf, Norm::L2] {
        let budget = budget(norm);
        let [ce, t] = [Threat::ApgdCe(15), Threat::ApgdT(12)].map(|threat| run(threat, &budget, 1));
        for (outcome, threat) in [(&ce, Threat::ApgdCe(15)), (&t, Threat::ApgdT(12))] {
            let left = outcome.parts[0].survivors;
            assert!(left > 0 && left < 30, "{threat} in {norm:?}: {left} survive");
            assert_eq!(run(threat, &budget, 2), *outcome, "{threat} in {norm:?}: on two threads");
        }
        // One after another: the second sees the survivors of the first.
        let (mut e, examined) = with(1.0, 2);
        let mut both = examined.outcome();
        for threat in [Threat::ApgdCe(15), Threat::ApgdT(12)] {
            let mut attack = examined.record(&mut e, threat, &budget).unwrap();
            assert!(examined.run(&mut e, &mut attack, &mut both, |_| true).unwrap());
        }
        let expected: Vec<bool> = ce.robust.iter().zip(&t.robust).map(|(a, b)| *a && *b).collect();
        assert_eq!(both.robust, expected, "{norm:?}");
        assert!(both.parts[1].units < t.parts[0].units, "the first has left less to do");
    }
}

#[test]
fn restarts_only_ever_break_more() {
    let budget = budget(Norm::Linf);
    // FAB's first run is always the one from the image.
    for (threat, restarts) in [(Threat::Pgd(5), 3), (Threat::ApgdCe(5), 3), (Threat::FabT, 2)] {
        let once = run(threat, &budget, 2);
        let more = run(threat, &Budget { restarts, ..budget }, 2);
        assert!(once.robust.iter().zip(&more.robust).all(|(once, more)| *once || !more), "{threat}");
        let [once, more] = [&once, &more].map(|o| o.parts[0].units);
        assert!(more > once && more <= restarts as u64 * once, "{threat}: {more} units, {once} for one run");
    }
}

#[test]
fn confidence_is_that_of_the_end_of_an_attack() {
    let budget = budget(Norm::Linf);
    let mean = |o: &Outcome| o.confidence.iter().sum::<f32>() / N as f32;
    let clean = run(Threat::Clean, &budget, 1);
    let pgd = run(Threat::Pgd(10), &budget, 1);
    assert!(mean(&pgd) < mean(&clean), "{} and {}", mean(&pgd), mean(&clean));
    assert!(pgd.survivors().iter().all(|i| pgd.confidence[*i as usize] < clean.confidence[*i as usize]));
    for outcome in [&clean, &pgd] {
        for (robust, p) in outcome.robust.iter().zip(&outcome.confidence) {
            // The likeliest of ten classes has a tenth or more, any other less than half.
            assert!(if *robust { *p >= 0.1 && *p <= 1.0 } else { *p >= 0.0 && *p <= 0.5 }, "{robust}: {p}");
        }
        let bins = outcome.confidence_per_class(10);
        let sums: Vec<u64> = bins.iter().map(|b| b.iter().sum()).collect();
        assert_eq!(sums, outcome.counts(10).total);
        let low = outcome.confidence.iter().filter(|p| **p < 0.1).count() as u64;
        assert_eq!(bins.iter().map(|b| b[0]).sum::<u64>(), low);
    }
    // The lowest of several runs.
    let thrice = run(Threat::Pgd(10), &Budget { restarts: 3, ..budget }, 1);
    let survivors: Vec<usize> = thrice.survivors().iter().map(|i| *i as usize).collect();
    assert!(survivors.iter().all(|i| thrice.confidence[*i] <= pgd.confidence[*i]));
    assert!(survivors.iter().any(|i| thrice.confidence[*i] < pgd.confidence[*i]));
    // FAB ends where it pleases, so survivors have that of their image.
    let small = Budget { eps: budget.eps / 2.0, ..budget };
    let fab = run(Threat::FabT, &small, 2);
    let survivors = fab.survivors();
    assert!(survivors.len() > 3, "{} survive", survivors.len());
    assert!(survivors.iter().all(|i| fab.confidence[*i as usize] == clean.confidence[*i as usize]));
}

#[test]
fn the_norm_of_the_bound_matters_to_steps_along_the_gradient() {
    let budget = budget(Norm::L2);
    let left = |times: f32, threat| run(threat, &Budget { eps: times * budget.eps, ..budget }, 1).parts[0].survivors;
    for threat in [Threat::Fgsm, Threat::Pgd(10), Threat::Cw(10)] {
        let [none, little, much] = [0.0, 0.4, 3.0].map(|times| left(times, threat));
        assert!(none >= little && little > much, "{threat}: {none}, {little}, {much}");
        assert_eq!(none, run(Threat::Clean, &budget, 1).parts[0].survivors, "{threat}");
    }
}

#[test]
fn an_evaluation_that_is_stopped_says_so() {
    let (mut e, examined) = with(1.0, 1);
    let mut looks = 0;
    let outcome = examined.evaluate(&mut e, Threat::Pgd(30), &Budget::new(0.001, 7), |at| {
        looks += 1;
        assert!(at.done <= at.total && at.total == N && at.name == "pgd-30");
        looks < 2
    });
    assert!(outcome.unwrap().is_none() && looks == 2);
}

/// Logits far apart have probabilities of exactly 0 and 1: cross-entropy has no gradient then, and margins have.
#[test]
fn vanishing_gradients_are_noticed_and_break_the_attacks_that_need_them() {
    let budget = budget(Norm::Linf);
    let (mut e, examined) = with(1.0, 1);
    let fine = examined.diagnose(&mut e).unwrap();
    assert!(fine.flat == 0 && fine.right > N / 2 && !fine.random, "{fine:?}");
    let (mut e, examined) = with(1e5, 1);
    let masked = examined.diagnose(&mut e).unwrap();
    assert!(masked.flat > masked.right / 2 && masked.right == fine.right, "{masked:?}");
    let results = [Threat::Pgd(10), Threat::Cw(10)]
        .map(|threat| (threat, examined.evaluate(&mut e, threat, &budget, |_| true).unwrap().unwrap()));
    assert!(results[0].1.accuracy() > results[1].1.accuracy() + 0.1, "the margin breaks more");
    let lines = warnings(Some(&masked), &results);
    assert!(lines.iter().any(|l| l.starts_with("zero gradients")), "{lines:?}");
}

#[test]
fn the_targeted_loss_needs_four_classes() {
    let arch = arch(Shape { c: 1, h: 4, w: 4 }, &[4], 3);
    let mut e = engine(&arch, &random_dict(&arch, 1), 1, Level::detect());
    let (images, labels) = examples(&arch, 4, 3);
    let examined = Examined::new(&mut e, Images::F32(&images), &labels).unwrap();
    let error = examined.evaluate(&mut e, Threat::ApgdT(5), &Budget::new(0.1, 7), |_| true).unwrap_err().to_string();
    assert!(error.contains("takes 4 classes, the network has 3; use apgd-ce"), "{error}");
}
