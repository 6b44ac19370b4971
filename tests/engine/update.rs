//! The parameter update.

use crate::common::*;
use ham_engine::batch::counter;
use ham_engine::cpu::simd::Level;
use ham_engine::ops::Op;
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
