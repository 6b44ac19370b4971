//! The parameter update, bit for bit as on the CPU.

use crate::common::{Rng, bits, order};
use crate::lab::{Lab, SEEDS};
use ham_engine::batch::counter;
use ham_engine::gpu::Precision;
use ham_engine::ops::Op;
use ham_engine::ops::update::{Arenas, CleanPass, Ema, Update};
use ham_engine::program::{DType, Shape};

const CLASSES: usize = 3;
/// Without a moving average, and with one.
const DECAYS: [Option<f32>; 3] = [None, Some(0.0), Some(0.993)];

fn lab(seed: u64, capacity: usize) -> Lab {
    Lab::new(Precision::Fp32, seed, capacity, Shape { c: 1, h: 1, w: 1 }, CLASSES, 1, (DType::F32, 1))
}

#[test]
fn update_equals_the_cpu_bit_by_bit() {
    // Live, halted, parameters, statistics: whole blocks and vectors, and not.
    let cases = [
        (1, 0, 5001, 70),
        (4, 0, 2048, 2048),
        (2, 0, 1, 1),
        (3, 0, 2049, 2051),
        (4, 0, 3, 8),
        (0, 0, 70, 70),
        (3, 2, 70, 70),
    ];
    for seed in SEEDS {
        let kinds =
            cases.into_iter().flat_map(|c| DECAYS.map(|d| (c, d))).flat_map(|(c, d)| [(c, d, false), (c, d, true)]);
        for ((live, halted, params, statistics), decay, two_passes) in kinds {
            let mut lab = lab(seed, 4);
            lab.live(&order(live), 4);
            lab.write(lab.stats.counters, counter::BATCHES, &[2u64]);
            lab.write(lab.stats.counters, counter::HALTED, &[halted as u64]);
            let mut rng = Rng(seed);
            let sizes = [params, params, params, statistics, statistics, params, params, statistics];
            let values = sizes.map(|n| rng.f32s(n, -1.0, 1.0));
            let buffers = values.each_ref().map(|v| lab.buffer(v));
            let [params, grads, momenta, running, batch_stats, average, clean_grads, clean_stats] = buffers;
            let lr = lab.buffer(&[9.0, 0.23, 9.0]);
            let arenas = Arenas { params, grads, momenta, running, batch_stats };
            let (batch, stats) = (lab.batch, lab.stats);
            let ema = decay.map(|decay| Ema { params: average, decay });
            let clean = two_passes.then_some(CleanPass { grads: clean_grads, batch_stats: clean_stats });
            let update = Update { arenas, lr, momentum: 0.9, weight_decay: 0.013, ema, clean, batch, stats };
            lab.run([Op::Update(update)]);
            for (i, (buf, before)) in buffers.into_iter().zip(&values).enumerate() {
                let what = format!(
                    "{live} live, halted {halted}, {} elements, average {decay:?}, two {two_passes}, arena {i}",
                    buf.len
                );
                let [cpu, gpu] = lab.read::<f32>(buf);
                assert_eq!(bits(&cpu), bits(&gpu), "{what}");
                let written = live > 0 && halted == 0 && ([0, 2, 3].contains(&i) || i == 5 && decay.is_some());
                assert_eq!(bits(before) != bits(&gpu), written, "{what}");
            }
        }
    }
}
