//! The counters of an epoch.

use crate::common::*;
use ham_engine::batch::{BINS, counter};
use ham_engine::cpu::simd::Level;
use ham_engine::ops::Op;
use ham_engine::ops::statistics::{CountBatch, CountPass, Counts, NetPass, Part};
use ham_engine::program::Buffers;

/// Histograms of three classes with an example in each of these bins.
pub fn bins(examples: &[(usize, usize)]) -> Vec<Vec<u64>> {
    let mut bins = vec![vec![0; BINS]; 3];
    examples.iter().for_each(|(class, bin)| bins[*class][*bin] += 1);
    bins
}

/// Two mini-batches: of 4 loaded with 2 kept, and of 3 loaded with none.
#[test]
fn count_batch_counts() {
    let mut b = Bench::of_state(Level::detect(), 4, 3, 1);
    let (batch, data, stats) = (b.batch, b.data, b.stats);
    let account = || Op::CountBatch(CountBatch { part: Part::Whole, batch, data, stats });
    let tally = |pass| Op::CountPass(CountPass { pass, step: None, stats });
    let step = |step| Op::CountPass(CountPass { pass: Dgrad, step: Some(step), stats });
    b.backend.write(data.control, 0, &[10u32, 100, 1]).unwrap();
    b.backend.write(batch.label, 0, &[0u32, 2, 2, 1]).unwrap();
    // Four bins: 9 counts in the last.
    b.backend.write(batch.kappa, 0, &[0u32, 3, 9, 1]).unwrap();
    b.backend.write(batch.crossed, 0, &[1u32, 0, 1, 1]).unwrap();
    b.backend.write(batch.weight, 0, &[9.0f32, 0.25, 9.0, 0.75]).unwrap();
    b.backend.write(batch.loss, 0, &[9.0f32, 2.0, 9.0, 4.0]).unwrap();
    b.backend.write(batch.confidence, 0, &[0.99f32, 0.1, 1.0, 0.55]).unwrap();
    b.live(&[1, 3], 4);
    use NetPass::*;
    // Steps 0 and 2 of three; the fourth has no counter.
    b.run([tally(Fprop), step(0), tally(Fprop), tally(Wgrad), tally(Fprop), step(2), step(3), account()]);
    let read = |b: &Bench| {
        let mut loss = [0.0];
        b.backend.read(stats.loss, 0, &mut loss).unwrap();
        Counts::from_raw(&b.backend.read_all::<u64>(stats.counters).unwrap(), loss[0], 3)
    };
    let mut want = Counts {
        examples: 4,
        kept: 2,
        batches: 1,
        skipped: 0,
        fprop: 6,
        dgrad: 6,
        wgrad: 2,
        halted: 0,
        // Two examples with a mean loss of 0.25*2 + 0.75*4.
        loss: 7.0,
        class_examples: vec![1, 1, 2],
        class_kept: vec![0, 1, 1],
        class_correct: vec![0, 0, 1],
        class_kappa: vec![vec![1, 0, 0, 0], vec![0, 1, 0, 0], vec![0, 0, 0, 2]],
        live: vec![2, 0, 2],
        class_confidence: bins(&[(1, 5), (2, 1)]),
        class_dropped_confidence: bins(&[(0, 9), (2, 9)]),
    };
    assert_eq!(read(&b), want);
    assert_eq!(b.u32s(data.control)[..3], [14, 100, 1]);
    assert_eq!((want.units(), want.kept_share(), want.mean_loss()), (14, 0.5, 3.5));

    b.live(&[], 3);
    b.run([tally(Fprop), account()]);
    (want.examples, want.batches, want.skipped) = (7, 2, 1);
    want.class_examples = vec![2, 1, 4];
    want.class_kappa = vec![vec![2, 0, 0, 0], vec![0, 1, 0, 0], vec![0, 0, 0, 4]];
    want.class_dropped_confidence = bins(&[(0, 9), (0, 9), (2, 9), (2, 9), (2, 1)]);
    assert_eq!(read(&b), want);
    assert_eq!(b.u32s(data.control)[..3], [17, 100, 1]);

    // A program beyond the epoch's end loads nothing and counts nothing.
    b.live(&[], 0);
    b.run([account()]);
    assert_eq!(read(&b), want);

    let (raw, loss) = want.to_raw();
    assert_eq!(Counts::from_raw(&raw, loss, 3), want);
}

#[test]
fn a_loss_that_is_not_finite_marks_its_batch() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut b = Bench::of_state(Level::detect(), 4, 3, 1);
        let (batch, data, stats) = (b.batch, b.data, b.stats);
        b.backend.write(batch.weight, 0, &[0.5f32, 0.5]).unwrap();
        b.backend.write(batch.loss, 0, &[1.0f32, 1.0]).unwrap();
        b.live(&[0, 1], 2);
        b.run([Op::CountBatch(CountBatch { part: Part::Whole, batch, data, stats })]);
        assert_eq!(b.backend.read_all::<u64>(stats.counters).unwrap()[counter::HALTED], 0);
        b.backend.write(batch.loss, 0, &[1.0f32, bad]).unwrap();
        b.run([Op::CountBatch(CountBatch { part: Part::Whole, batch, data, stats })]);
        assert_eq!(b.backend.read_all::<u64>(stats.counters).unwrap()[counter::HALTED], 2);
    }
}
