//! Convolution wgrad against the CPU.

use crate::common::{Rng, bits, max_abs, order, sum_tolerance};
use crate::lab::{Lab, SEEDS, near};
use ham_engine::backend::Backend;
use ham_engine::gpu::Precision;
use ham_engine::ops::conv::ConvWgrad;
use ham_engine::program::{Conv, Shape, Span};

const CAPACITY: usize = 4;
const LIVE: [usize; 4] = [0, 1, 3, CAPACITY];

const fn conv(c: usize, k: usize, h: usize, w: usize, filter: usize, stride: usize) -> Conv {
    Conv { c, k, h, w, filter, stride }
}

/// One pixel; rows; several images and a part of one in a tile; tiles +-1; chunks of channels +-8; both filters and strides, odd
/// and even sizes.
const CONVS: [Conv; 14] = [
    conv(1, 1, 1, 1, 3, 1),
    conv(1, 1, 1, 1, 1, 2),
    conv(3, 5, 1, 7, 3, 2),
    conv(8, 16, 4, 4, 3, 1),
    conv(64, 64, 8, 8, 3, 1),
    conv(72, 56, 7, 9, 3, 1),
    conv(16, 24, 2, 70, 3, 1),
    conv(33, 40, 9, 9, 3, 2),
    conv(16, 72, 16, 16, 3, 2),
    conv(20, 12, 11, 6, 3, 2),
    conv(9, 17, 5, 5, 1, 1),
    conv(64, 8, 9, 8, 1, 1),
    conv(40, 33, 9, 7, 1, 2),
    conv(16, 32, 8, 8, 1, 2),
];

/// The bits of the gradients, once they match the CPU's.
fn run(precision: Precision, seed: u64, capacity: usize, conv: Conv, live: usize) -> Vec<u32> {
    let mut lab = Lab::of_maps(precision, seed, capacity);
    let mut p = lab.program();
    let (x_shape, dy_shape) =
        (Shape { c: conv.c, h: conv.h, w: conv.w }, Shape { c: conv.k, h: conv.p(), w: conv.q() });
    let (x, dy) = (p.map(x_shape), p.map(dy_shape));
    // An arena with something before and after, and gradients that are overwritten.
    let grads = lab.buffer(&vec![0.5; conv.filter_len() + 5]);
    let weights = Span { offset: 3, len: conv.filter_len() };
    p.push(ConvWgrad { conv, x, dy, grads, weights });
    let mut pair = lab.compile(p);
    let mut rng = Rng((conv.k * 31 + conv.w) as u64);
    lab.fill_map(&mut pair, x, x_shape, &mut rng, (-1.0, 1.0));
    lab.fill_map(&mut pair, dy, dy_shape, &mut rng, (-1.0, 1.0));
    if live == 1 {
        // Sums of an earlier replay count for nothing.
        lab.live(&order(capacity), capacity);
        lab.replay(&mut pair);
    }
    lab.live(&order(live), capacity);
    lab.replay(&mut pair);
    let both = lab.read::<f32>(grads);
    // Both sides round a sum of products of up to 1 by its partial sums; what they multiply is the same in both precisions.
    let scale = max_abs(both[0].iter().map(|v| f64::from(*v))).max(1.0);
    let allowed = 2.0 * sum_tolerance(live * conv.p() * conv.q(), scale);
    near(&format!("{precision:?} {conv:?}, {live} live"), &both, allowed as f32, 0.0);
    bits(&both[1])
}

#[test]
fn wgrad_matches_the_cpu() {
    for precision in [Precision::Fp32, Precision::Bf16] {
        for conv in CONVS {
            for live in LIVE {
                let first = run(precision, SEEDS[0], CAPACITY, conv, live);
                for seed in SEEDS.into_iter().skip(1).filter(|_| live == 3) {
                    assert!(run(precision, seed, CAPACITY, conv, live) == first, "{conv:?}: the order of blocks shows");
                }
            }
        }
    }
}

/// So many blocks for the channels that each adds up several tiles, an odd and an even number of them.
#[test]
fn wgrad_of_many_tiles_matches_the_cpu() {
    for (precision, c, k) in [(Precision::Bf16, 320, 320), (Precision::Fp32, 160, 160)] {
        for (filter, stride) in [(3, 1), (3, 2), (1, 2)] {
            for live in [4, 5] {
                run(precision, SEEDS[1], 6, conv(c, k, 12, 16, filter, stride), live);
            }
        }
    }
}

#[test]
fn rows_that_are_too_wide_are_refused_in_a_line() {
    let conv = conv(1, 1, 1, 1 << 19, 3, 1);
    let mut lab = Lab::of_maps(Precision::Fp32, 0, 1);
    let mut p = lab.program();
    let shape = Shape { c: 1, h: 1, w: 1 << 19 };
    let (x, dy) = (p.map(shape), p.map(shape));
    let grads = lab.buffer(&[0.0; 9]);
    p.push(ConvWgrad { conv, x, dy, grads, weights: Span { offset: 0, len: 9 } });
    let error = lab.gpu.compile(p).err().expect("a row that no table can count").to_string();
    assert!(error.contains("too wide") && error.lines().count() == 1, "{error}");
}
