//! The CUDA programs, compared with plain Rust.

use crate::host::{Host, Random};
use crate::{cases, reference};
use std::iter;

/// A test for each case, under several orders of blocks and warps, and on different data.
macro_rules! cases {
    ($($file:ident: $($case:ident)*;)*) => {$($(
        #[test]
        fn $case() {
            for seed in [1, 2, 3] {
                cases::$file::$case(&mut Host::seeded(seed), seed);
            }
        }
    )*)*};
}

cases! {
    control: control shapes;
    elementwise: axpy halves numbers;
    matrix: gemm_f32 gemm_bf16 conv_bf16 mma;
    parallel: reductions scans compactions histograms softmaxes philox;
}

/// Known answers of the Random123 library.
#[test]
fn philox_reference() {
    assert_eq!(reference::philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    assert_eq!(reference::philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    let pi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
    let key = [0xa4093822, 0x299f31d0];
    assert_eq!(reference::philox(pi, key), [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
}

#[test]
fn rounding_reference() {
    let mut random = Random(1);
    for v in iter::repeat_with(|| random.float(-60_000.0, 60_000.0)).take(10_000) {
        for v in [v, v * 1e-6, v * 1e-9] {
            assert_eq!(reference::to_f16(f64::from(v)), half::f16::from_f32(v), "{v}");
            assert_eq!(reference::to_bf16(f64::from(v)), half::bf16::from_f32(v), "{v}");
        }
    }
    // Just above a tie, by less than f32 can tell: by way of f32 it would round down to even.
    assert_eq!(reference::to_f16(1.0 + 2f64.powi(-11) + 2f64.powi(-40)).to_f32(), 1.0 + 2f32.powi(-10));
}

#[test]
fn small_references() {
    let ones = vec![1.0; 1000];
    assert_eq!(reference::reduce_sum(&ones, 3, 96).iter().sum::<f32>(), 1000.0);
    assert_eq!(reference::scan(&[1, 2, u32::MAX]), [1, 3, 2]);
    assert_eq!([1, 2, 3, 27].map(reference::collatz), [0, 1, 7, 111]);
    assert_eq!(reference::call_twice(48), 24_003);
    assert_eq!(reference::local_array(7 * 7 * 2 + 7 * 5 + 6), 652);
    assert_eq!(reference::gemm_f32(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0], 2, 2, 2), [19.0, 22.0, 43.0, 50.0]);
    assert_eq!(reference::box_sum(&[1.0, 2.0, 4.0], 1), [3.0, 7.0, 6.0]);
    let sums: f64 = reference::softmax(&[0.5, 1.5, -2.0], 3).iter().sum();
    assert!((sums - 1.0).abs() < 1e-15);
}
