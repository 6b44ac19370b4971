//! Named shapes, shared by the tests and the benchmark.

use crate::program::Conv;

/// A convolution with a name and the number of images it is usually called with.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Where the shape comes from.
    pub name: &'static str,
    /// Images of a call.
    pub n: usize,
    /// The convolution.
    pub conv: Conv,
}

const fn case(name: &'static str, n: usize, c: usize, k: usize, hw: usize, filter: usize, stride: usize) -> Case {
    Case { name, n, conv: Conv { c, k, h: hw, w: hw, filter, stride } }
}

/// The layers of the small pre-activation net (widths 16, 32, 64 on 28x28) and of PreActResNet-18 (on 32x32).
pub const LAYERS: &[Case] = &[
    case("small 1", 8, 16, 16, 28, 3, 1),
    case("small 2 down", 8, 16, 32, 28, 3, 2),
    case("small 2 shortcut", 8, 16, 32, 28, 1, 2),
    case("small 2", 8, 32, 32, 14, 3, 1),
    case("small 3 down", 8, 32, 64, 14, 3, 2),
    case("small 3 shortcut", 8, 32, 64, 14, 1, 2),
    case("small 3", 8, 64, 64, 7, 3, 1),
    case("resnet18 1", 4, 64, 64, 32, 3, 1),
    case("resnet18 2 down", 4, 64, 128, 32, 3, 2),
    case("resnet18 2 shortcut", 4, 64, 128, 32, 1, 2),
    case("resnet18 2", 8, 128, 128, 16, 3, 1),
    case("resnet18 3", 16, 256, 256, 8, 3, 1),
    case("resnet18 4", 32, 512, 512, 4, 3, 1),
];

const fn odd(c: usize, k: usize, h: usize, w: usize, filter: usize, stride: usize) -> Case {
    Case { name: "odd", n: 3, conv: Conv { c, k, h, w, filter, stride } }
}

/// Shapes at the edges of blocks, tiles and strides: one pixel, one channel, one more than a block or a tile.
pub const EDGES: &[Case] = &[
    odd(1, 1, 1, 1, 3, 1),
    odd(1, 1, 1, 1, 3, 2),
    odd(1, 1, 1, 1, 1, 2),
    odd(16, 16, 4, 4, 3, 1),
    odd(17, 15, 5, 3, 3, 1),
    odd(3, 33, 7, 9, 3, 1),
    odd(33, 3, 1, 8, 3, 1),
    odd(20, 20, 8, 5, 3, 2),
    odd(16, 32, 7, 7, 3, 2),
    odd(5, 48, 2, 9, 3, 2),
    odd(16, 16, 1, 6, 3, 2),
    odd(16, 40, 6, 6, 1, 1),
    odd(17, 16, 3, 1, 1, 1),
    odd(32, 16, 9, 4, 1, 2),
    odd(2, 18, 2, 2, 1, 2),
    odd(48, 64, 14, 13, 3, 1),
];
