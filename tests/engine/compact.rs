//! Compaction moves what is indexed by slot, in order.

use crate::common::*;
use ham_engine::backend::Backend;
use ham_engine::cpu::simd::Level;
use ham_engine::ops::compact::Compact;
use ham_engine::program::{Buffers, DType, Shape};

const CAPACITY: usize = 11;

#[test]
fn compact_moves_positions_images_and_masks() {
    let shape = Shape { c: 19, h: 2, w: 3 };
    let image = Shape { c: 2, h: 3, w: 3 };
    let len = image.len();
    let full: Vec<u32> = order(CAPACITY);
    // Live positions and who of them stays.
    let cases: [(&[u32], &[u32]); 9] = [
        (&[], &[]),
        (&[0], &[0]),
        (&[0], &[]),
        (&[3], &[3]),
        (&[0, 2, 5, 6, 9], &[2, 6, 9]),
        (&[0, 2, 5, 6, 9], &[0, 2, 9]),
        (&full, &full),
        (&full, &[]),
        (&full, &[10]),
    ];
    for (live, stay) in cases {
        let what = format!("live {live:?} stay {stay:?}");
        let mut b = Bench::new(Level::detect(), CAPACITY, image, 2, 1, (DType::F32, 1));
        b.live(live, CAPACITY);
        // Flags of dead examples are set: they must not come back.
        let keep: Vec<u32> = full.iter().map(|p| u32::from(stay.contains(p) || !live.contains(p))).collect();
        b.backend.write(b.batch.keep, 0, &keep).unwrap();
        // Every value tells its position.
        let values = |offset: f32| -> Vec<f32> {
            live.iter().flat_map(|p| (0..len).map(move |i| offset + *p as f32 + i as f32 / 100.0)).collect()
        };
        b.backend.write(b.batch.x, 0, &values(0.0)).unwrap();
        b.backend.write(b.batch.x_adv, 0, &values(1000.0)).unwrap();
        let mut p = b.program();
        let masks = [p.mask(shape), p.mask(Shape { c: 3, h: 1, w: 1 })];
        p.push(Compact { image, batch: b.batch, bits: masks.to_vec() });
        let mut compiled = b.compile(p);
        let mask = |which: usize, p: u32| -> Vec<bool> {
            let mut rng = Rng(p as u64 * 2 + which as u64);
            (0..[shape.len(), 3][which]).map(|_| rng.below(2) == 1).collect()
        };
        for (slot, p) in live.iter().enumerate() {
            (0..2).for_each(|which| compiled.set_bits_values(masks[which], slot, &mask(which, *p)));
        }
        b.backend.replay(&mut compiled).unwrap();
        assert_eq!(b.u32s(b.batch.live), [stay.len() as u32, CAPACITY as u32], "{what}");
        assert_eq!(b.u32s(b.batch.position)[..stay.len()], *stay, "{what}");
        let (x, x_adv) = (b.f32s(b.batch.x), b.f32s(b.batch.x_adv));
        for (slot, p) in stay.iter().enumerate() {
            for i in 0..len {
                let v = *p as f32 + i as f32 / 100.0;
                assert_eq!(
                    (x[slot * len + i], x_adv[slot * len + i]),
                    (v, 1000.0 + *p as f32 + i as f32 / 100.0),
                    "{what}"
                );
            }
            for (which, bits) in masks.iter().enumerate() {
                assert_eq!(compiled.bits_values(*bits, slot), mask(which, *p), "{what} mask {which}");
            }
        }
    }
}
