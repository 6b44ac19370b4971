//! The parameter update and the counters.

use crate::common::*;
use ham_engine::batch::{BINS, counter};
use ham_engine::cpu::simd::Level;
use ham_engine::ops::Op;
use ham_engine::ops::statistics::{CountBatch, CountPass, Counts, NetPass, Part};
use ham_engine::ops::update::{Arenas, CleanPass, Ema, Update};
use ham_engine::program::{Buf, Buffers};

/// Longer than the part a thread takes, and no multiple of it.
const PARAMS: usize = 5001;
const RUNNING: usize = 70;

struct SgdStep {
    bench: Bench,
    arenas: Arenas,
    ema: Buf,
    clean: Option<CleanPass>,
    before: [Vec<f32>; 6],
    lr: Buf,
}

impl SgdStep {
    fn new(level: Level) -> SgdStep {
        let mut bench = Bench::of_state(level, 4, 3, 1);
        let mut rng = Rng(8);
        let before = [PARAMS, PARAMS, PARAMS, RUNNING, RUNNING, PARAMS].map(|n| rng.f32s(n, -1.0, 1.0));
        let [params, grads, momenta, running, batch_stats, ema] = before.each_ref().map(|v| bench.buffer(v));
        let lr = bench.buffer(&[9.0, 0.25, 9.0]);
        SgdStep { bench, arenas: Arenas { params, grads, momenta, running, batch_stats }, ema, clean: None, before, lr }
    }

    /// Runs the update of the second mini-batch of an epoch, with a moving average of this decay if there is one.
    fn run(&mut self, live: usize, halted: u64, decay: Option<f32>) {
        let b = &mut self.bench;
        b.live(&order(live), 4);
        b.backend.write(b.stats.counters, counter::BATCHES, &[2u64]).unwrap();
        b.backend.write(b.stats.counters, counter::HALTED, &[halted]).unwrap();
        let (arenas, lr, batch, stats) = (self.arenas, self.lr, b.batch, b.stats);
        let ema = decay.map(|decay| Ema { params: self.ema, decay });
        let clean = self.clean;
        b.run([Op::Update(Update { arenas, lr, momentum: 0.9, weight_decay: 0.01, ema, clean, batch, stats })]);
    }

    fn after(&self) -> [Vec<f32>; 6] {
        let a = &self.arenas;
        [a.params, a.grads, a.momenta, a.running, a.batch_stats, self.ema].map(|buf| self.bench.f32s(buf))
    }
}

#[test]
fn update_is_sgd_with_momentum_and_decay() {
    each_level(|level| {
        let mut step = SgdStep::new(level);
        step.run(1, 0, None);
        let [w, g, v, r, b, _] = step.before.each_ref().map(|v| v.iter().map(|v| *v as f64).collect::<Vec<_>>());
        let [w_after, g_after, v_after, r_after, b_after, ema_after] = step.after();
        let v_want: Vec<f64> = (0..PARAMS).map(|i| 0.9 * v[i] + g[i] + 0.01 * w[i]).collect();
        let w_want: Vec<f64> = (0..PARAMS).map(|i| w[i] - 0.25 * v_want[i]).collect();
        let r_want: Vec<f64> = r.iter().zip(&b).map(|(r, b)| 0.9 * r + 0.1 * b).collect();
        // Three roundings, each half an epsilon of values below 2.1; the rates 0.9 and 0.1 are rounded as well.
        let ulps = 4.0 * f32::EPSILON as f64;
        close(&format!("{level} momenta"), &v_after, &v_want, ulps);
        close(&format!("{level} params"), &w_after, &w_want, ulps);
        close(&format!("{level} running"), &r_after, &r_want, ulps);
        assert_eq!((&g_after, &b_after), (&step.before[1], &step.before[4]), "{level}: inputs were written");
        assert_eq!(ema_after, step.before[5], "{level}: an average moved that is not kept");
    });
}

/// Of two passes: the sum of their gradients, and running statistics that move to the clean one's first.
#[test]
fn update_of_two_passes() {
    each_level(|level| {
        let mut step = SgdStep::new(level);
        let mut rng = Rng(9);
        let [clean_g, clean_b] = [PARAMS, RUNNING].map(|n| rng.f32s(n, -1.0, 1.0));
        let (grads, batch_stats) = (step.bench.buffer(&clean_g), step.bench.buffer(&clean_b));
        step.clean = Some(CleanPass { grads, batch_stats });
        step.run(1, 0, None);
        let [w, g, v, r, b, _] = step.before.each_ref().map(|v| v.iter().map(|v| *v as f64).collect::<Vec<_>>());
        let [w_after, _, v_after, r_after, ..] = step.after();
        let v_want: Vec<f64> = (0..PARAMS).map(|i| 0.9 * v[i] + g[i] + clean_g[i] as f64 + 0.01 * w[i]).collect();
        let w_want: Vec<f64> = (0..PARAMS).map(|i| w[i] - 0.25 * v_want[i]).collect();
        let r_want: Vec<f64> =
            (0..RUNNING).map(|i| 0.9 * (0.9 * r[i] + 0.1 * clean_b[i] as f64) + 0.1 * b[i]).collect();
        let ulps = 8.0 * f32::EPSILON as f64;
        close(&format!("{level} momenta"), &v_after, &v_want, ulps);
        close(&format!("{level} params"), &w_after, &w_want, ulps);
        close(&format!("{level} running"), &r_after, &r_want, ulps);
    });
}

#[test]
fn the_average_moves_to_the_new_weights() {
    each_level(|level| {
        for decay in [0.0f32, 0.3, 0.75, 0.999] {
            let mut step = SgdStep::new(level);
            step.run(1, 0, Some(decay));
            let ([w, .., ema], d) = (step.after(), decay as f64);
            let want: Vec<f64> =
                step.before[5].iter().zip(&w).map(|(e, w)| d * *e as f64 + (1.0 - d) * *w as f64).collect();
            // Three roundings of values below 2, and that of 1 - decay.
            close(&format!("{level} average, decay {decay}"), &ema, &want, 2.0 * f32::EPSILON as f64);
            let mut without = SgdStep::new(level);
            without.run(1, 0, None);
            assert_eq!(step.after()[..5], without.after()[..5], "{level} decay {decay}: the step itself changed");
        }
    });
}

#[test]
fn update_is_skipped_when_nothing_is_live_or_the_run_halted() {
    for (live, halted) in [(0, 0), (3, 2), (0, 1)] {
        let mut step = SgdStep::new(Level::detect());
        step.run(live, halted, Some(0.5));
        assert_eq!(step.after(), step.before, "live {live} halted {halted}");
    }
}

/// Histograms of three classes with an example in each of these bins.
pub fn bins(examples: &[(usize, usize)]) -> Vec<Vec<u64>> {
    let mut bins = vec![vec![0; BINS]; 3];
    examples.iter().for_each(|(class, bin)| bins[*class][*bin] += 1);
    bins
}

/// Two mini-batches: of 4 loaded with 2 kept, and of 3 loaded with none.
#[test]
fn account_counts() {
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
