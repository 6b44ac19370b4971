//! Kernels whose threads work together: reductions, scans, compaction, histograms, softmax; and Philox.

use super::EPS;
use super::assert_close;
use crate::args;
use crate::host::{Host, Random, cover, line};
use crate::reference;
use ptx_sim::Arg;

pub fn reductions(host: &mut Host, seed: u64) {
    let mut random = Random(seed);
    for (n, blocks, threads) in [(0, 1, 32), (1, 1, 32), (31, 2, 64), (1025, 3, 128), (10_007, 5, 1024)] {
        let x = random.floats(n, -1.0, 1.0);
        let (px, partial) = (host.input(&x), host.output::<f32>(blocks));
        host.run("reduction", "reduce_sum", line(blocks, threads), &args![px, partial, n as i32]);
        assert_eq!(host.read::<f32>(partial, blocks), reference::reduce_sum(&x, blocks, threads), "{n}");

        let mut words = random.words(n.max(1));
        let (px, out) = (host.input(&words), host.inout(&[u32::MAX, 0]));
        let args = args![px, out, words.len() as i32];
        host.run("reduction", "reduce_minmax", line(blocks, threads), &args);
        let limits = [words.iter().copied().min().expect("one"), words.iter().copied().max().expect("one")];
        assert_eq!(host.read::<u32>(out, 2), limits);

        for (i, word) in words.iter_mut().enumerate() {
            *word *= u32::from(i / threads % 3 == 0 || *word % 3 == 0 && i / threads % 3 == 1);
        }
        let shape = cover(words.len(), threads);
        let blocks = shape.grid[0] as usize;
        let (px, out) = (host.input(&words), host.output::<u32>(3 * blocks));
        host.run("reduction", "any_all", shape, &args![px, out, words.len() as i32]);
        let want = words.chunks(threads).flat_map(|block| {
            let count = block.iter().filter(|&&v| v != 0).count();
            [u32::from(count > 0), u32::from(count == block.len()), count as u32]
        });
        assert_eq!(host.read::<u32>(out, 3 * blocks), want.collect::<Vec<_>>());
    }
}

pub fn scans(host: &mut Host, seed: u64) {
    let mut random = Random(seed);
    for n in [1, 255, 256, 257, 5003] {
        let x = random.words(n);
        let shape = cover(n, 256);
        let tiles = shape.grid[0] as usize;
        for kernel in ["scan_packed", "scan_flags", "scan_fence"] {
            let (px, y) = (host.input(&x), host.output::<u32>(n));
            let ticket = host.inout(&[0u32]);
            let state = if kernel == "scan_packed" {
                vec![host.inout(&vec![0u64; tiles])]
            } else {
                vec![host.output::<u32>(tiles), host.output::<u32>(tiles), host.inout(&vec![0u32; tiles])]
            };
            let state = state.into_iter().map(Arg::from);
            let args: Vec<Arg> = args![px, y].into_iter().chain(state).chain(args![ticket, n as i32]).collect();
            host.run("scan", kernel, shape, &args);
            assert_eq!(host.read::<u32>(y, n), reference::scan(&x), "{kernel} {n}");
        }
    }
}

pub fn compactions(host: &mut Host, seed: u64) {
    let mut random = Random(seed);
    for (n, threads, threshold) in [(1, 32, 0.5), (97, 96, 2.0), (1000, 64, -1.0), (1001, 128, 0.3)] {
        let x = random.floats(n, 0.0, 1.0);
        let want = reference::compact(&x, threshold);
        for kernel in ["compact", "compact_stable", "compact_active"] {
            let stable = kernel == "compact_stable";
            let (px, indices) = (host.input(&x), host.output::<i32>(n));
            let count = if stable { host.output::<i32>(1) } else { host.inout(&[0i32]) };
            let args = args![px, indices, count, threshold, n as i32];
            host.run("compaction", kernel, if stable { line(1, threads) } else { cover(n, threads) }, &args);
            assert_eq!(host.read::<i32>(count, 1), [want.len() as i32], "{kernel} {n}");
            let mut got = host.read::<i32>(indices, want.len());
            if !stable {
                got.sort_unstable();
            }
            assert_eq!(got, want, "{kernel} {n}");
        }
    }
    let keys: Vec<i32> = (0..320).map(|_| (random.word() % 7) as i32).collect();
    let (px, leader, size) = (host.input(&keys), host.output::<i32>(320), host.output::<i32>(320));
    host.run("compaction", "peers", cover(320, 128), &args![px, leader, size, 320]);
    let want = reference::peers(&keys);
    assert_eq!((host.read::<i32>(leader, 320), host.read::<i32>(size, 320)), want);
}

pub fn histograms(host: &mut Host, seed: u64) {
    let mut random = Random(seed);
    for (n, blocks, threads) in [(0, 1, 64), (1, 1, 32), (5001, 3, 100), (9999, 4, 256)] {
        let x: Vec<u8> = (0..n).map(|_| (random.word() % 256 * (random.word() % 2)) as u8).collect();
        let (px, bins) = (host.input(&x), host.inout(&[0u32; 256]));
        host.run("histogram", "histogram", line(blocks, threads), &args![px, bins, n]);
        assert_eq!(host.read::<u32>(bins, 256), reference::histogram(&x), "{n}");
    }
    let n = 1001;
    let x: Vec<i32> = (0..n).map(|_| random.word() as i32 >> (random.word() % 32)).collect();
    let out = host.inout(&[0, i32::MIN, i32::MAX, -1, 0, 0, 1, 0]);
    let (sum, wide, last) = (host.inout(&[0.0f32]), host.inout(&[0u64]), host.inout(&[-1i32]));
    let px = host.input(&x);
    host.run("histogram", "atomics", cover(n as usize, 96), &args![px, out, sum, wide, last, n]);
    let want = [
        x.iter().fold(0, |r: i32, &v| r.wrapping_add(v)),
        x.iter().copied().max().expect("some"),
        x.iter().copied().min().expect("some"),
        x.iter().fold(-1, |r, v| r & v),
        x.iter().fold(0, |r, v| r | v),
        x.iter().fold(0, |r, v| r ^ v),
        x.iter().fold(1u32, |r, v| r.wrapping_mul(v.unsigned_abs().wrapping_mul(2).wrapping_add(1))) as i32,
        n % 1000,
    ];
    assert_eq!(host.read::<i32>(out, 8), want);
    assert_eq!(host.read::<f32>(sum, 1), [x.iter().map(|v| v & 255).sum::<i32>() as f32]);
    assert_eq!(host.read::<u64>(wide, 1), [x.iter().map(|&v| u64::from(v as u32)).sum::<u64>()]);
    assert!((0..n).contains(&host.read::<i32>(last, 1)[0]));
}

pub fn softmaxes(host: &mut Host, seed: u64) {
    let mut random = Random(seed);
    for (rows, cols, threads) in [(1, 1, 32), (3, 10, 32), (5, 1000, 96), (2, 257, 256)] {
        let x = random.floats(rows * cols, -8.0, 8.0);
        // Units in the last place: the exponential above and below the line (2; __expf 2 + 1.173 |x|, CUDA guide), the
        // division (1; 2), and an addition each for a thread's elements, the butterfly and the warps.
        for (kernel, units) in [("softmax", 2 * 2 + 1), ("softmax_fast", 2 * (2 + 19) + 2)] {
            let (px, y) = (host.input(&x), host.output::<f32>(rows * cols));
            host.run("softmax", kernel, line(rows, threads), &args![px, y, cols as i32]);
            let units = units + cols.div_ceil(threads) + 5 + threads / 32;
            let want = reference::softmax(&x, cols).into_iter().map(|w| (w, w * units as f64 * EPS));
            assert_close(kernel, &host.read::<f32>(y, rows * cols), want);
        }
    }
}

pub fn philox(host: &mut Host, seed: u64) {
    let mut random = Random(seed);
    let (n, key, offset) = (301u32, random.word(), random.word());
    let word =
        |i: u32| reference::philox([i, 0, offset as u32, (offset >> 32) as u32], [key as u32, (key >> 32) as u32]);
    let want: Vec<u32> = (0..n).flat_map(word).collect();
    let (words, floats) = (host.output::<u32>(want.len()), host.output::<f32>(want.len()));
    for (kernel, out) in [("philox", words), ("philox_uniform", floats)] {
        host.run("philox", kernel, cover(n as usize, 64), &args![out, key, offset, n as i32]);
    }
    assert_eq!(host.read::<u32>(words, want.len()), want);
    let uniform: Vec<f32> = want.iter().map(|w| (w >> 8) as f32 / 16_777_216.0).collect();
    assert_eq!(host.read::<f32>(floats, want.len()), uniform);
}
