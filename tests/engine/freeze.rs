//! Frozen examples come back.

use crate::common::*;
use ham_engine::cpu::simd::Level;
use ham_engine::ops::Op;
use ham_engine::ops::freeze::{Freeze, Thaw};
use ham_engine::program::{Buffers, DType, Shape};

const CAPACITY: usize = 11;

#[test]
fn the_frozen_come_back() {
    let image = Shape { c: 1, h: 2, w: 2 };
    let mut b = Bench::new(Level::detect(), CAPACITY, image, 2, 1, (DType::F32, 1));
    let image_of = |p: u32| vec![p as f32; 4];
    // Three live of five that were loaded, position 4 is to be frozen; 0 and 3 were before.
    b.live(&[1, 2, 4], 5);
    b.backend.write(b.batch.x_adv, 0, &[image_of(1), image_of(2), image_of(4)].concat()).unwrap();
    b.backend
        .write(b.batch.frozen, 0, &[vec![70.0f32; 4], vec![9.0; 8], vec![73.0; 4], vec![9.0; 4]].concat())
        .unwrap();
    b.backend.write(b.batch.keep, 0, &[0u32, 1, 1, 0, 0]).unwrap();
    b.run([Op::Freeze(Freeze { image, batch: b.batch, all: false })]);
    let frozen = |b: &Bench| b.f32s(b.batch.frozen).chunks(4).take(5).map(|i| i[3]).collect::<Vec<_>>();
    assert_eq!(frozen(&b), [70.0, 9.0, 9.0, 73.0, 4.0]);
    b.run([Op::Freeze(Freeze { image, batch: b.batch, all: true }), Op::Thaw(Thaw { batch: b.batch })]);
    assert_eq!(frozen(&b), [70.0, 1.0, 2.0, 73.0, 4.0]);
    assert_eq!(b.u32s(b.batch.live), [5, 5]);
    assert_eq!(b.u32s(b.batch.position)[..5], [0, 1, 2, 3, 4]);
}
