//! Matrix products and a convolution.

use super::{EPS, assert_close};
use crate::args;
use crate::host::{Host, Random, line};
use crate::reference;
use half::{bf16, f16};
use ptx_sim::Shape;

pub fn gemm_f32(host: &mut Host, seed: u64) {
    let mut random = Random(seed);
    for (m, n, k) in [(1, 1, 1), (16, 16, 16), (17, 15, 33), (40, 50, 7)] {
        let (a, b) = (random.floats(m * k, -1.0, 1.0), random.floats(k * n, -1.0, 1.0));
        let (pa, pb, c) = (host.input(&a), host.input(&b), host.output::<f32>(m * n));
        let grid = [n.div_ceil(16) as u32, m.div_ceil(16) as u32, 1];
        let shape = Shape { grid, block: [16, 16, 1], shared: 0 };
        host.run("gemm_f32", "gemm_f32", shape, &args![pa, pb, c, m as i32, n as i32, k as i32]);
        assert_eq!(host.read::<f32>(c, m * n), reference::gemm_f32(&a, &b, m, n, k), "{m} {n} {k}");
    }
}

/// `n` values of bf16. Those that are exact are quarters below 4 in magnitude: their products are multiples of 1/16 below
/// 16, of which 2^16 sum without rounding in any order.
fn values(random: &mut Random, n: usize, exact: bool) -> Vec<f64> {
    let mut value = || {
        let v = random.float(-4.0, 4.0);
        f64::from(bf16::from_f32(if exact { (v * 4.0).round() / 4.0 } else { v }).to_f32())
    };
    (0..n).map(|_| value()).collect()
}

fn narrow(x: &[f64]) -> Vec<bf16> {
    x.iter().map(|&v| bf16::from_f32(v as f32)).collect()
}

/// Sums of `terms` products of bf16, which f32 holds exactly, and of their magnitudes: each of the additions, rounded or
/// cut off, errs by a unit of the running sum at most, which is no larger than the sum of magnitudes.
fn bounded(sums: Vec<(f64, f64)>, terms: usize, exact: bool) -> impl Iterator<Item = (f64, f64)> {
    let unit = if exact { 0.0 } else { terms as f64 * EPS };
    sums.into_iter().map(move |(sum, size)| (sum, unit * size))
}

pub fn gemm_bf16(host: &mut Host, seed: u64) {
    let mut random = Random(seed);
    for [m, n, k] in [[1, 8, 8], [64, 64, 32], [65, 72, 40], [100, 136, 200]] {
        for (kernel, by_column) in [("gemm_bf16_nt", true), ("gemm_bf16_nn", false)] {
            for exact in [true, false] {
                let (a, b) = (values(&mut random, m * k, exact), values(&mut random, k * n, exact));
                let (pa, pb, c) = (host.input(&narrow(&a)), host.input(&narrow(&b)), host.output::<f32>(m * n));
                let grid = [n.div_ceil(64) as u32, m.div_ceil(64) as u32, 1];
                let shape = Shape { grid, block: [128, 1, 1], shared: 0 };
                host.run("gemm_bf16", kernel, shape, &args![pa, pb, c, m as i32, n as i32, k as i32]);
                let want = bounded(reference::gemm_f64(&a, &b, [m, n, k], by_column), k, exact);
                assert_close(kernel, &host.read::<f32>(c, m * n), want);
            }
        }
    }
}

pub fn conv_bf16(host: &mut Host, seed: u64) {
    let mut random = Random(seed);
    let shapes = [(1, 7, 7, 16, 16), (2, 8, 8, 64, 72), (1, 5, 9, 64, 16), (2, 5, 9, 16, 72), (2, 1, 1, 16, 16)];
    for (n, h, w, channels, filters) in shapes {
        for exact in [true, false] {
            let x = values(&mut random, n * h * w * channels, exact);
            let f = values(&mut random, filters * 9 * channels, exact);
            let outputs = n * h * w * filters;
            let (px, pf, y) = (host.input(&narrow(&x)), host.input(&narrow(&f)), host.output::<f32>(outputs));
            let grid = [filters.div_ceil(64) as u32, (n * h * w).div_ceil(64) as u32, 1];
            let shape = Shape { grid, block: [128, 1, 1], shared: 0 };
            let args = args![px, pf, y, n as i32, h as i32, w as i32, channels as i32, filters as i32];
            host.run("conv_bf16", "conv_bf16", shape, &args);
            let want = bounded(reference::conv3x3(&x, &f, [n, h, w, channels, filters]), 9 * channels, exact);
            assert_close("conv_bf16", &host.read::<f32>(y, outputs), want);
        }
    }
}

pub fn mma(host: &mut Host, seed: u64) {
    let mut random = Random(seed);
    for (kernel, k) in [("mma_bf16", 16), ("mma_f16", 16), ("mma_bf16_k8", 8), ("mma_tf32", 8)] {
        // Exact in every type and order, and of many values, so that a misplaced element shows.
        let mut values = |n: usize| (0..n).map(|_| f64::from((random.word() % 33) as i32 - 16)).collect::<Vec<_>>();
        let (a, b, c) = (values(16 * k), values(k * 8), values(128));
        let [pa, pb] = [&a, &b].map(|x| match kernel {
            "mma_f16" => host.input(&x.iter().map(|&v| f16::from_f64(v)).collect::<Vec<_>>()),
            "mma_tf32" => host.input(&x.iter().map(|&v| v as f32).collect::<Vec<_>>()),
            _ => host.input(&narrow(x)),
        });
        let (pc, d) = (host.input(&c.iter().map(|&v| v as f32).collect::<Vec<_>>()), host.output::<f32>(128));
        host.run("mma", kernel, line(1, 32), &args![pa, pb, pc, d]);
        let product = reference::gemm_f64(&a, &b, [16, 8, k], false);
        let want = product.iter().zip(&c).map(|((sum, _), c)| (sum + c, 0.0));
        assert_close(kernel, &host.read::<f32>(d, 128), want);
    }
}
