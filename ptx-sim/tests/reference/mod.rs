//! The programs' formulas in plain Rust, in the order of summation that their headers state.
#![allow(dead_code, reason = "each test uses a part of it")]

use half::{bf16, f16};

/// `v` rounded to nearest even with `digits` binary digits, subnormal below 2^`min_exponent`; finite, no overflow.
/// In f64 every step but the rounding is exact, unlike a conversion by way of f32.
pub fn round_to(v: f64, digits: i32, min_exponent: i32) -> f64 {
    if v == 0.0 {
        return v;
    }
    let exponent = ((v.to_bits() >> 52 & 0x7ff) as i32 - 1023).max(min_exponent);
    let unit = 2f64.powi(exponent - digits + 1);
    (v / unit).round_ties_even() * unit
}

/// Nearest f16.
pub fn to_f16(v: f64) -> f16 {
    f16::from_f32(round_to(v, 11, -14) as f32)
}

/// Nearest bf16.
pub fn to_bf16(v: f64) -> bf16 {
    bf16::from_f32(round_to(v, 8, -126) as f32)
}

/// reduction.cu, `reduce_sum`: the block's partial sums.
pub fn reduce_sum(x: &[f32], blocks: usize, threads: usize) -> Vec<f32> {
    (0..blocks)
        .map(|block| {
            let mut sums = vec![0.0f32; 1024];
            for (thread, sum) in sums.iter_mut().enumerate().take(threads) {
                for i in (block * threads + thread..x.len()).step_by(threads * blocks) {
                    *sum += x[i];
                }
            }
            let warps: Vec<f32> = sums.chunks(32).map(tree_sum).collect();
            tree_sum(&warps)
        })
        .collect()
}

/// Lane 0 of a shuffle-down tree over 32 lanes.
fn tree_sum(lanes: &[f32]) -> f32 {
    let mut lanes = lanes.to_vec();
    for offset in [16, 8, 4, 2, 1] {
        for lane in 0..offset {
            lanes[lane] += lanes[lane + offset];
        }
    }
    lanes[0]
}

/// scan.cu: inclusive scan.
pub fn scan(x: &[u32]) -> Vec<u32> {
    x.iter()
        .scan(0u32, |sum, &v| {
            *sum = sum.wrapping_add(v);
            Some(*sum)
        })
        .collect()
}

/// compaction.cu: the indices kept, ascending.
pub fn compact(x: &[f32], threshold: f32) -> Vec<i32> {
    (0..x.len()).filter(|&i| x[i] > threshold).map(|i| i as i32).collect()
}

/// compaction.cu, `peers`: per element its leader's lane and the size of its group.
pub fn peers(keys: &[i32]) -> (Vec<i32>, Vec<i32>) {
    let group = |warp: &[i32], key: i32| {
        let lanes: Vec<usize> = (0..32).filter(|&lane| warp[lane] == key).collect();
        (lanes[0] as i32, lanes.len() as i32)
    };
    keys.chunks(32).flat_map(|warp| warp.iter().map(move |&key| group(warp, key))).unzip()
}

/// gemm_f32.cu.
pub fn gemm_f32(a: &[f32], b: &[f32], m: usize, n: usize, k: usize) -> Vec<f32> {
    let at = |i: usize, j: usize| {
        let sum = (0..k).fold(0.0f32, |sum, p| a[i * k + p].mul_add(b[p * n + j], sum));
        // The last tile's padding adds a positive zero, which turns -0 into 0.
        if k.is_multiple_of(16) { sum } else { sum + 0.0 }
    };
    (0..m * n).map(|i| at(i / n, i % n)).collect()
}

/// A product in f64 and the sum of its terms' magnitudes, for tolerances. `b` by column or by row.
pub fn gemm_f64(a: &[f64], b: &[f64], [m, n, k]: [usize; 3], b_by_column: bool) -> Vec<(f64, f64)> {
    let at = |i: usize, j: usize| {
        (0..k).fold((0.0, 0.0), |(sum, size), p| {
            let term = a[i * k + p] * if b_by_column { b[j * k + p] } else { b[p * n + j] };
            (sum + term, size + term.abs())
        })
    };
    (0..m * n).map(|i| at(i / n, i % n)).collect()
}

/// conv_bf16.cu in f64, and the sum of its terms' magnitudes. The sizes are those of `x` (NHWC) and the number of filters.
pub fn conv3x3(x: &[f64], f: &[f64], [n, h, w, channels, filters]: [usize; 5]) -> Vec<(f64, f64)> {
    let at = |pixel: usize, filter: usize| {
        let (image, row, col) = (pixel / (h * w), pixel / w % h, pixel % w);
        let mut total = (0.0, 0.0);
        for (r, s) in (0..9).map(|tap| (tap / 3, tap % 3)) {
            // One row and column of zeros lies around the image.
            let (y, x0) = ((row + r).wrapping_sub(1), (col + s).wrapping_sub(1));
            if y < h && x0 < w {
                for c in 0..channels {
                    let tap = (filter * 9 + r * 3 + s) * channels;
                    let term: f64 = x[((image * h + y) * w + x0) * channels + c] * f[tap + c];
                    total = (total.0 + term, total.1 + term.abs());
                }
            }
        }
        total
    };
    (0..n * h * w * filters).map(|i| at(i / filters, i % filters)).collect()
}

/// histogram.cu, `histogram`.
pub fn histogram(x: &[u8]) -> Vec<u32> {
    let mut bins = vec![0; 256];
    for &v in x {
        bins[usize::from(v)] += 1;
    }
    bins
}

/// softmax.cu in f64.
pub fn softmax(x: &[f32], cols: usize) -> Vec<f64> {
    x.chunks(cols)
        .flat_map(|row| {
            let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let exps: Vec<f64> = row.iter().map(|&v| f64::from(v - top).exp()).collect();
            let sum: f64 = exps.iter().sum();
            exps.into_iter().map(move |v| v / sum)
        })
        .collect()
}

/// philox.cu: Philox4x32-10 of one counter and key.
pub fn philox(mut c: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let p0 = u64::from(c[0]) * 0xD251_1F53;
        let p1 = u64::from(c[2]) * 0xCD9E_8D57;
        c = [(p1 >> 32) as u32 ^ c[1] ^ key[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ key[1], p0 as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// control.cu, `collatz`.
pub fn collatz(mut v: u32) -> u32 {
    let mut steps = 0;
    while v != 1 && steps < 1000 {
        v = if v & 1 == 1 { v.wrapping_mul(3).wrapping_add(1) } else { v >> 1 };
        steps += 1;
    }
    steps
}

/// control.cu, `nested`.
pub fn nested(x: u32) -> u32 {
    let mut sum = 0;
    for j in 0..x {
        if j % 3 == 1 {
            continue;
        }
        if sum > 50 {
            break;
        }
        sum += (0..j).take_while(|k| k * k <= 2 * j).filter(|k| (k ^ j) & 1 == 1).count() as u32;
    }
    sum
}

/// control.cu, `early`, over blocks of 64.
pub fn early(x: &[i32]) -> Vec<i32> {
    x.chunks(64)
        .flat_map(|block| {
            let sum: i32 = block.iter().filter(|&&v| v >= 0).sum();
            block.iter().map(move |&v| if v < 0 { -1 } else { sum })
        })
        .collect()
}

/// control.cu, `dense_switch` of element `i`.
pub fn dense_switch(i: u32, v: u32) -> u32 {
    match v & 31 {
        0 => v.wrapping_add(1),
        1 => v.wrapping_mul(3),
        2 => v ^ 0x5555_5555,
        3 => v.reverse_bits(),
        4 => v.leading_zeros(),
        5 => v / 7,
        6 => v.count_ones().wrapping_mul(v),
        7 => (0..).find(|r| r * r >= (v >> 5 & 1023)).expect("32 squared is 1024"),
        8 => v << (v >> 5 & 7),
        9 => (i ^ v).wrapping_mul(5).wrapping_add(3),
        10 => i.wrapping_mul(5).wrapping_add(3),
        11 => 11,
        12 => v % 1000,
        13 => (0..v >> 5 & 15).fold(i, |r, k| r.wrapping_mul(31).wrapping_add(k)),
        14 => !v,
        15 => v >> 3,
        _ => 0xdead_beef,
    }
}

/// control.cu, `sparse_switch`.
pub fn sparse_switch(v: u32) -> u32 {
    match v {
        3 => 11,
        77 => 7,
        78 => 3,
        1000 => (9 << 3) ^ 0xf0,
        100_000 => (1 << 3) ^ 0xf0,
        0xffff_ffff => 1 ^ 0xf0,
        _ => 0,
    }
}

/// control.cu, `jump_table`.
pub fn jump_table(v: u32) -> u32 {
    match v & 3 {
        0 => v.wrapping_add(100),
        1 => v.wrapping_mul(3),
        2 => !v,
        _ => v / 2 + 100,
    }
}

/// control.cu, `device_call` of element `i`.
pub fn device_call(i: usize, v: f32) -> f32 {
    let kind = i & 3;
    let s = (kind + 1) as f32;
    let r = v.mul_add(v.mul_add(v.mul_add(0.125 * s, 0.25 * s), 0.5 * s), s);
    if kind & 1 == 1 { -r } else { r }
}

/// control.cu, `call_twice`.
pub fn call_twice(x: u32) -> u32 {
    let (mut a, mut b, mut count) = (x, 360, 0);
    while b != 0 {
        (a, b) = (b, a % b);
        count += 1;
    }
    a.wrapping_mul(1000).wrapping_add(count)
}

/// control.cu, `local_array`.
pub fn local_array(mut v: u32) -> u32 {
    let mut digits = Vec::new();
    while v != 0 {
        digits.push(v % 7);
        v /= 7;
    }
    digits.sort_unstable_by(|a, b| b.cmp(a));
    digits.into_iter().fold(0u32, |r, d| r.wrapping_mul(10).wrapping_add(d))
}

/// control.cu, `warp_rotate`.
pub fn warp_rotate(x: &[i32]) -> Vec<i32> {
    let lane =
        |warp: &[i32], lane: usize| warp[(lane * 5 + 3) & 31].wrapping_add(if lane > 0 { warp[lane - 1] } else { 0 });
    x.chunks(32).flat_map(|warp| (0..32).map(move |l| lane(warp, l))).collect()
}

/// elementwise.cu, `half_ops` and `bf16_ops` of one element, before rounding; the sum of exact f64 operations is right
/// for values whose exponents lie within 2^-12 and 2^12.
pub fn half_ops(x: f64, y: f64) -> [f64; 8] {
    [x + y, x - y, x * y, x * y + x, x.max(y), x.min(y), x.clamp(0.0, 1.0), if x > y { x.abs() } else { -x }]
}

/// elementwise.cu, `pgd_step`.
pub fn pgd_step(adv: f32, x: f32, g: f32, alpha: f32, eps: f32) -> f32 {
    let sign = if g > 0.0 {
        1.0
    } else if g < 0.0 {
        -1.0
    } else {
        0.0
    };
    alpha.mul_add(sign, adv).max(x - eps).min(x + eps).clamp(0.0, 1.0)
}

/// elementwise.cu, `integers`.
pub fn integers(x: i32, y: i32) -> [u32; 16] {
    let (u, v) = (x as u32, y as u32);
    let wide = (i64::from(x) * i64::from(y)) >> 32;
    let bytes = (u64::from(v) << 32 | u64::from(u)).to_le_bytes();
    let permuted = (0..4).map(|i| u32::from(bytes[(v >> (4 * i) & 7) as usize]) << (8 * i)).sum();
    let first_set = if x == 0 { 0 } else { x.trailing_zeros() + 1 };
    [
        u.wrapping_add(v),
        u.wrapping_mul(v).wrapping_sub(v),
        wide as u32,
        ((u64::from(u) * u64::from(v)) >> 32) as u32,
        x.checked_div(y).map_or(7, |q| q as u32),
        x.checked_rem(y).map_or(7, |r| r as u32),
        u.checked_div(v).unwrap_or(7),
        (x >> (y & 31)) as u32,
        u >> (v & 31) | v << 3,
        ((u64::from(v) << 32 | u64::from(u)) << (u & 31) >> 32) as u32,
        permuted,
        u.count_ones() + 100 * v.leading_zeros() + 10_000 * first_set,
        u.reverse_bits() ^ !v,
        (x.min(y).max(-100) as u32).wrapping_add(u.max(v)),
        x.unsigned_abs().wrapping_sub(u32::from(x < y)).wrapping_add(u32::from(u < v) * 2),
        (u & 0xff00_ff00) | ((v & u) ^ 0x1234),
    ]
}

/// elementwise.cu, `wide`.
pub fn wide(x: i64, y: i64) -> [u64; 6] {
    let (u, v) = (x as u64, y as u64);
    [
        u.wrapping_add(v),
        u.wrapping_mul(v),
        (x >> (y & 63)) as u64 ^ (u << (y & 63)),
        ((i128::from(x) * i128::from(y)) >> 64) as u64,
        (x.max(y) as u64).wrapping_sub(u64::from(x < y)),
        u64::from(u.count_ones()) + 100 * u64::from(v.leading_zeros()) + (u & 0xffff_ffff),
    ]
}

/// elementwise.cu, `math`, in f64.
pub fn math(v: f32, w: f32) -> [f64; 12] {
    let (x, y) = (f64::from(v), f64::from(w));
    [
        x.sqrt(),
        1.0 / x,
        1.0 / x.sqrt(),
        x / y,
        x.exp(),
        x.ln(),
        x.sin(),
        x.tanh(),
        x.floor(),
        x.round_ties_even(),
        x.trunc(),
        x % y,
    ]
}

/// shapes.cu, `box_sum`.
pub fn box_sum(x: &[f32], r: usize) -> Vec<f32> {
    let at = |j: isize| usize::try_from(j).ok().and_then(|j| x.get(j)).copied().unwrap_or(0.0);
    let r = r as isize;
    (0..x.len() as isize).map(|i| (i - r..=i + r).fold(0.0, |sum, j| sum + at(j))).collect()
}

/// shapes.cu, `volume`.
pub fn volume(x: &[f32], nx: usize, ny: usize, nz: usize) -> Vec<f32> {
    let at = |i: usize, j: usize, k: usize| x[((k + 3) % nz * ny + (j + 2) % ny) * nx + (i + 1) % nx];
    (0..x.len()).map(|p| at(p % nx, p / nx % ny, p / (nx * ny))).collect()
}

/// shapes.cu, `big_shared`.
pub fn big_shared(words: u32, threads: u32) -> Vec<u32> {
    let word = |i: u32| (words - 1 - i).wrapping_mul(words - 1 - i);
    (0..threads).map(|t| (t..words).step_by(threads as usize).fold(0, |r, i| r ^ word(i))).collect()
}
