//! Which examples stay.

use crate::common::*;
use ham_engine::cpu::simd::Level;
use ham_engine::ops::Op;
use ham_engine::ops::formula::crossed;
use ham_engine::ops::select::Select;
use ham_engine::program::Buffers;

const CAPACITY: usize = 11;

/// The keep flags after a selection among the live `positions`.
fn select(positions: &[u32], wrong: &[u32], confidence: &[f32], keep_easy: f32) -> Vec<u32> {
    let mut b = Bench::of_state(Level::detect(), CAPACITY, 2, 1);
    b.live(positions, CAPACITY);
    b.backend.write(b.batch.crossed, 0, wrong).unwrap();
    b.backend.write(b.batch.confidence, 0, confidence).unwrap();
    // Dead examples keep whatever flag they had.
    b.backend.write(b.batch.keep, 0, &[7u32; CAPACITY]).unwrap();
    b.run([Op::Select(Select { batch: b.batch, keep: crossed(), keep_easy })]);
    b.u32s(b.batch.keep)
}

#[test]
fn select_keeps_the_crossed_and_a_share_of_the_easy() {
    let all: Vec<u32> = order(CAPACITY);
    let crossed = [1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0];
    let confidence = [0.1, 0.5, 0.9, 0.2, 0.7, 0.7, 0.3, 0.7, 0.4, 0.6, 0.8];
    // The eight easy ones by confidence, ties by slot.
    let easy = [2, 10, 4, 5, 7, 9, 1, 6];
    for (share, kept) in [(0.0, 0), (0.1, 0), (0.124, 0), (0.125, 1), (0.3, 2), (0.5, 4), (0.6, 4), (0.99, 7), (1.0, 8)]
    {
        let mut want: Vec<u32> = crossed.to_vec();
        easy[..kept].iter().for_each(|&i| want[i] = 1);
        assert_eq!(select(&all, &crossed, &confidence, share), want, "share {share}");
    }
}

#[test]
fn select_looks_at_live_examples_only() {
    let live = [1, 4, 5, 8, 9];
    let crossed = [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    let confidence = [0.99, 0.5, 0.99, 0.99, 0.6, 0.7, 0.99, 0.99, 0.1, 0.2, 0.99];
    let want = [7, 0, 7, 7, 1, 1, 7, 7, 1, 0, 7];
    assert_eq!(select(&live, &crossed, &confidence, 0.5), want);
    assert_eq!(select(&[], &crossed, &confidence, 0.5), [7; CAPACITY]);
}

#[test]
fn select_breaks_ties_by_slot() {
    let live: Vec<u32> = order(CAPACITY);
    let want = |n: usize| (0..CAPACITY).map(|i| u32::from(i < n)).collect::<Vec<_>>();
    assert_eq!(select(&live, &[0; CAPACITY], &[0.5; CAPACITY], 0.5), want(5));
}
