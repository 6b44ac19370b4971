//! The programs' launches and what must come of them, over any machine that runs PTX.

pub mod violations;

use crate::reference;
use half::{bf16, f16};

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// Device address.
    Ptr(u64),
    I32(i32),
    U64(u64),
    F32(f32),
}

/// What the cases need of a machine. A module is loaded once: its variables live on between launches.
pub trait Machine {
    /// New 256-byte aligned memory holding `bytes`.
    fn upload(&mut self, bytes: &[u8]) -> u64;
    /// The same, which no kernel may write.
    fn upload_read_only(&mut self, bytes: &[u8]) -> u64;
    /// New memory of `bytes` bytes that nothing has written.
    fn reserve(&mut self, bytes: usize) -> u64;
    fn download(&mut self, address: u64, bytes: usize) -> Vec<u8>;
    /// Runs kernel `kernel` of programs/ptx/`program`.ptx. The error is the name of the
    /// fault's kind, or `Load` or `Launch` where the module or the launch is refused.
    fn launch(&mut self, program: &str, kernel: &str, shape: Shape, args: &[Arg]) -> Result<(), String>;
}

/// Grid, block and dynamic shared bytes.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared: u32,
}

/// A plain-data element, little-endian as on the device.
pub trait Element: Copy + PartialEq + std::fmt::Debug {
    const SIZE: usize;
    fn store(self, out: &mut Vec<u8>);
    fn load(bytes: &[u8]) -> Self;
}

macro_rules! element {
    ($($t:ty),*) => {$(
        impl Element for $t {
            const SIZE: usize = size_of::<$t>();
            fn store(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn load(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("one element"))
            }
        }
    )*};
}
element!(u8, u32, i32, u64, i64, f32, f64, f16, bf16);

fn bytes<T: Element>(data: &[T]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() * T::SIZE);
    data.iter().for_each(|v| v.store(&mut out));
    out
}

fn line(blocks: usize, threads: usize) -> Shape {
    Shape { grid: [blocks as u32, 1, 1], block: [threads as u32, 1, 1], shared: 0 }
}

/// A grid that covers `n` once.
fn cover(n: usize, threads: usize) -> Shape {
    line(n.div_ceil(threads), threads)
}

/// A machine with typed conveniences.
struct Host<'a, M>(&'a mut M);

impl<M: Machine> Host<'_, M> {
    fn input<T: Element>(&mut self, data: &[T]) -> Arg {
        Arg::Ptr(self.0.upload_read_only(&bytes(data)))
    }
    fn inout<T: Element>(&mut self, data: &[T]) -> Arg {
        Arg::Ptr(self.0.upload(&bytes(data)))
    }
    fn output<T: Element>(&mut self, n: usize) -> Arg {
        Arg::Ptr(self.0.reserve(n * T::SIZE))
    }
    fn read<T: Element>(&mut self, arg: Arg, n: usize) -> Vec<T> {
        let Arg::Ptr(address) = arg else { panic!("not a pointer: {arg:?}") };
        self.0.download(address, n * T::SIZE).chunks(T::SIZE).map(T::load).collect()
    }
    fn run(&mut self, program: &str, kernel: &str, shape: Shape, args: &[Arg]) {
        if let Err(fault) = self.0.launch(program, kernel, shape, args) {
            panic!("{program}.{kernel} {shape:?}: {fault}");
        }
    }
}

/// SplitMix64: plenty for test data.
pub struct Random(pub u64);

impl Random {
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }
    /// In [low, high).
    pub fn float(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.word() >> 40) as f32 / 16_777_216.0)
    }
    pub fn floats(&mut self, n: usize, low: f32, high: f32) -> Vec<f32> {
        (0..n).map(|_| self.float(low, high)).collect()
    }
    pub fn words(&mut self, n: usize) -> Vec<u32> {
        (0..n).map(|_| self.word() as u32).collect()
    }
    /// Words of every magnitude, with the edge values in front.
    pub fn edgy(&mut self, n: usize) -> Vec<i32> {
        let edges = [0, 1, -1, i32::MAX, i32::MIN, 7, 32, 31];
        let mut word = || (self.word() as u32 >> (self.word() % 32)) as i32;
        (0..n).map(|i| edges.get(i).copied().unwrap_or_else(&mut word)).collect()
    }
}

/// |a - b| <= tolerance for all; equal infinities and two NaNs agree.
fn assert_close(what: &str, got: &[f32], want: impl IntoIterator<Item = (f64, f64)>) {
    for (i, (&g, (w, tolerance))) in got.iter().zip(want).enumerate() {
        let g = f64::from(g);
        assert!(g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= tolerance, "{what}[{i}]: {g:e}, not {w:e}");
    }
}

const EPS: f64 = 1.0 / (1u64 << 23) as f64;

/// Every case, on data of `seed`.
pub fn all(machine: &mut impl Machine, seed: u64) {
    reductions(machine, seed);
    scans(machine, seed);
    compactions(machine, seed);
    gemm_f32(machine, seed);
    gemm_bf16(machine, seed);
    mma(machine, seed);
    histograms(machine, seed);
    softmaxes(machine, seed);
    philox(machine, seed);
    control(machine, seed);
    halves(machine, seed);
    numbers(machine, seed);
    shapes(machine, seed);
}

pub fn reductions(machine: &mut impl Machine, seed: u64) {
    let (mut host, mut random) = (Host(machine), Random(seed));
    for (n, blocks, threads) in [(0, 1, 32), (1, 1, 32), (31, 2, 64), (1025, 3, 128), (10_007, 5, 1024)] {
        let x = random.floats(n, -1.0, 1.0);
        let (px, partial) = (host.input(&x), host.output::<f32>(blocks));
        host.run("reduction", "reduce_sum", line(blocks, threads), &[px, partial, Arg::I32(n as i32)]);
        assert_eq!(host.read::<f32>(partial, blocks), reference::reduce_sum(&x, blocks, threads), "{n}");

        let mut words = random.words(n.max(1));
        let (px, out) = (host.input(&words), host.inout(&[u32::MAX, 0]));
        let args = [px, out, Arg::I32(words.len() as i32)];
        host.run("reduction", "reduce_minmax", line(blocks, threads), &args);
        let limits = [words.iter().copied().min().expect("one"), words.iter().copied().max().expect("one")];
        assert_eq!(host.read::<u32>(out, 2), limits);

        for (i, word) in words.iter_mut().enumerate() {
            *word *= u32::from(i / threads % 3 == 0 || *word % 3 == 0 && i / threads % 3 == 1);
        }
        let shape = cover(words.len(), threads);
        let blocks = shape.grid[0] as usize;
        let (px, out) = (host.input(&words), host.output::<u32>(3 * blocks));
        host.run("reduction", "any_all", shape, &[px, out, Arg::I32(words.len() as i32)]);
        let want = words.chunks(threads).flat_map(|block| {
            let count = block.iter().filter(|&&v| v != 0).count();
            [u32::from(count > 0), u32::from(count == block.len()), count as u32]
        });
        assert_eq!(host.read::<u32>(out, 3 * blocks), want.collect::<Vec<_>>());
    }
}

pub fn scans(machine: &mut impl Machine, seed: u64) {
    let (mut host, mut random) = (Host(machine), Random(seed));
    for n in [1, 255, 256, 257, 5003] {
        let x = random.words(n);
        let shape = cover(n, 256);
        let tiles = shape.grid[0] as usize;
        for kernel in ["scan_packed", "scan_flags", "scan_fence"] {
            let (px, y) = (host.input(&x), host.output::<u32>(n));
            let mut args = vec![px, y];
            if kernel == "scan_packed" {
                args.push(host.inout(&vec![0u64; tiles]));
            } else {
                args.extend([host.output::<u32>(tiles), host.output::<u32>(tiles), host.inout(&vec![0u32; tiles])]);
            }
            args.extend([host.inout(&[0u32]), Arg::I32(n as i32)]);
            host.run("scan", kernel, shape, &args);
            assert_eq!(host.read::<u32>(y, n), reference::scan(&x), "{kernel} {n}");
        }
    }
}

pub fn compactions(machine: &mut impl Machine, seed: u64) {
    let (mut host, mut random) = (Host(machine), Random(seed));
    for (n, threads, threshold) in [(1, 32, 0.5), (97, 96, 2.0), (1000, 64, -1.0), (1001, 128, 0.3)] {
        let x = random.floats(n, 0.0, 1.0);
        let want = reference::compact(&x, threshold);
        for kernel in ["compact", "compact_stable", "compact_active"] {
            let stable = kernel == "compact_stable";
            let (px, indices) = (host.input(&x), host.output::<i32>(n));
            let count = if stable { host.output::<i32>(1) } else { host.inout(&[0i32]) };
            let args = [px, indices, count, Arg::F32(threshold), Arg::I32(n as i32)];
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
    host.run("compaction", "peers", cover(320, 128), &[px, leader, size, Arg::I32(320)]);
    let want = reference::peers(&keys);
    assert_eq!((host.read::<i32>(leader, 320), host.read::<i32>(size, 320)), want);
}

pub fn gemm_f32(machine: &mut impl Machine, seed: u64) {
    let (mut host, mut random) = (Host(machine), Random(seed));
    for (m, n, k) in [(1, 1, 1), (16, 16, 16), (17, 15, 33), (40, 50, 7)] {
        let (a, b) = (random.floats(m * k, -1.0, 1.0), random.floats(k * n, -1.0, 1.0));
        let args = [host.input(&a), host.input(&b), host.output::<f32>(m * n)];
        let c = args[2];
        let sizes = [m, n, k].map(|v| Arg::I32(v as i32));
        let grid = [n.div_ceil(16) as u32, m.div_ceil(16) as u32, 1];
        let shape = Shape { grid, block: [16, 16, 1], shared: 0 };
        host.run("gemm_f32", "gemm_f32", shape, &[&args[..], &sizes].concat());
        assert_eq!(host.read::<f32>(c, m * n), reference::gemm_f32(&a, &b, m, n, k), "{m} {n} {k}");
    }
}

pub fn gemm_bf16(machine: &mut impl Machine, seed: u64) {
    let (mut host, mut random) = (Host(machine), Random(seed));
    for [m, n, k] in [[1, 8, 8], [64, 64, 32], [65, 72, 40], [100, 136, 200]] {
        for (kernel, by_column) in [("gemm_bf16_nt", true), ("gemm_bf16_nn", false)] {
            for exact in [true, false] {
                // Small multiples of a quarter sum exactly in any order; others to a tolerance: each of the k additions
                // may drop bits below one unit of the running sum, and the products are exact.
                let mut value = || {
                    let v = random.float(-4.0, 4.0);
                    f64::from(bf16::from_f32(if exact { (v * 4.0).round() / 4.0 } else { v }).to_f32())
                };
                let a: Vec<f64> = (0..m * k).map(|_| value()).collect();
                let b: Vec<f64> = (0..k * n).map(|_| value()).collect();
                let narrow = |x: &[f64]| x.iter().map(|&v| bf16::from_f32(v as f32)).collect::<Vec<_>>();
                let c = host.output::<f32>(m * n);
                let [pa, pb] = [&a, &b].map(|x| host.input(&narrow(x)));
                let [m_arg, n_arg, k_arg] = [m, n, k].map(|v| Arg::I32(v as i32));
                let grid = [n.div_ceil(64) as u32, m.div_ceil(64) as u32, 1];
                let shape = Shape { grid, block: [128, 1, 1], shared: 0 };
                host.run("gemm_bf16", kernel, shape, &[pa, pb, c, m_arg, n_arg, k_arg]);
                let unit = if exact { 0.0 } else { k as f64 * EPS };
                let want = reference::gemm_f64(&a, &b, [m, n, k], by_column);
                let want = want.into_iter().map(|(sum, size)| (sum, unit * size));
                assert_close(kernel, &host.read::<f32>(c, m * n), want);
            }
        }
    }
}

pub fn mma(machine: &mut impl Machine, seed: u64) {
    let (mut host, mut random) = (Host(machine), Random(seed));
    for (kernel, k) in [("mma_bf16", 16), ("mma_f16", 16), ("mma_bf16_k8", 8), ("mma_tf32", 8)] {
        // Exact in every type and order, and all different, so that a misplaced element shows.
        let mut values = |n: usize| (0..n).map(|_| f64::from((random.word() % 33) as i32 - 16)).collect::<Vec<_>>();
        let (a, b, c) = (values(16 * k), values(k * 8), values(128));
        let [pa, pb] = [&a, &b].map(|x| match kernel {
            "mma_f16" => host.input(&x.iter().map(|&v| f16::from_f64(v)).collect::<Vec<_>>()),
            "mma_tf32" => host.input(&x.iter().map(|&v| v as f32).collect::<Vec<_>>()),
            _ => host.input(&x.iter().map(|&v| bf16::from_f64(v)).collect::<Vec<_>>()),
        });
        let (pc, d) = (host.input(&c.iter().map(|&v| v as f32).collect::<Vec<_>>()), host.output::<f32>(128));
        host.run("mma", kernel, line(1, 32), &[pa, pb, pc, d]);
        let product = reference::gemm_f64(&a, &b, [16, 8, k], false);
        let want = product.iter().zip(&c).map(|((sum, _), c)| (sum + c, 0.0));
        assert_close(kernel, &host.read::<f32>(d, 128), want);
    }
}

pub fn histograms(machine: &mut impl Machine, seed: u64) {
    let (mut host, mut random) = (Host(machine), Random(seed));
    for (n, blocks, threads) in [(0, 1, 64), (1, 1, 32), (5001, 3, 100), (9999, 4, 256)] {
        let x: Vec<u8> = (0..n).map(|_| (random.word() % 256 * (random.word() % 2)) as u8).collect();
        let (px, bins) = (host.input(&x), host.inout(&[0u32; 256]));
        host.run("histogram", "histogram", line(blocks, threads), &[px, bins, Arg::I32(n)]);
        assert_eq!(host.read::<u32>(bins, 256), reference::histogram(&x), "{n}");
    }
    let n = 1001;
    let x: Vec<i32> = (0..n).map(|_| random.word() as i32 >> (random.word() % 32)).collect();
    let args = [
        host.input(&x),
        host.inout(&[0, i32::MIN, i32::MAX, -1, 0, 0, 1, 0]),
        host.inout(&[0.0f32]),
        host.inout(&[0u64]),
        host.inout(&[-1i32]),
        Arg::I32(n),
    ];
    host.run("histogram", "atomics", cover(n as usize, 96), &args);
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
    assert_eq!(host.read::<i32>(args[1], 8), want);
    assert_eq!(host.read::<f32>(args[2], 1), [x.iter().map(|v| v & 255).sum::<i32>() as f32]);
    assert_eq!(host.read::<u64>(args[3], 1), [x.iter().map(|&v| u64::from(v as u32)).sum::<u64>()]);
    assert!((0..n).contains(&host.read::<i32>(args[4], 1)[0]));
}

pub fn softmaxes(machine: &mut impl Machine, seed: u64) {
    let (mut host, mut random) = (Host(machine), Random(seed));
    for (rows, cols, threads) in [(1, 1, 32), (3, 10, 32), (5, 1000, 96), (2, 257, 256)] {
        let x = random.floats(rows * cols, -8.0, 8.0);
        // Units in the last place: the exponential above and below the line (2; __expf 2 + 1.173 |x|, CUDA guide), the
        // division (1; 2), and an addition each for a thread's elements, the butterfly and the warps.
        for (kernel, units) in [("softmax", 2 * 2 + 1), ("softmax_fast", 2 * (2 + 19) + 2)] {
            let (px, y) = (host.input(&x), host.output::<f32>(rows * cols));
            host.run("softmax", kernel, line(rows, threads), &[px, y, Arg::I32(cols as i32)]);
            let units = units + cols.div_ceil(threads) + 5 + threads / 32;
            let want = reference::softmax(&x, cols).into_iter().map(|w| (w, w * units as f64 * EPS));
            assert_close(kernel, &host.read::<f32>(y, rows * cols), want);
        }
    }
}

pub fn philox(machine: &mut impl Machine, seed: u64) {
    let (mut host, mut random) = (Host(machine), Random(seed));
    let (n, key, offset) = (301u32, random.word(), random.word());
    let word =
        |i: u32| reference::philox([i, 0, offset as u32, (offset >> 32) as u32], [key as u32, (key >> 32) as u32]);
    let want: Vec<u32> = (0..n).flat_map(word).collect();
    let (words, floats) = (host.output::<u32>(want.len()), host.output::<f32>(want.len()));
    for (kernel, out) in [("philox", words), ("philox_uniform", floats)] {
        host.run("philox", kernel, cover(n as usize, 64), &[out, Arg::U64(key), Arg::U64(offset), Arg::I32(n as i32)]);
    }
    assert_eq!(host.read::<u32>(words, want.len()), want);
    let uniform: Vec<f32> = want.iter().map(|w| (w >> 8) as f32 / 16_777_216.0).collect();
    assert_eq!(host.read::<f32>(floats, want.len()), uniform);
}

pub fn control(machine: &mut impl Machine, seed: u64) {
    let (mut host, mut random) = (Host(machine), Random(seed));
    let n = 333;
    let small = |random: &mut Random, below: u64| (0..n).map(|_| (random.word() % below) as u32).collect::<Vec<_>>();
    let any = random.edgy(n).into_iter().map(|v| v as u32).collect::<Vec<_>>();
    let cases = [3, 77, 78, 1000, 100_000, u32::MAX, 5];
    let scattered: Vec<u32> = (0..n).map(|_| cases[(random.word() % 7) as usize]).collect();
    let starts: Vec<u32> = small(&mut random, 10_000).iter().map(|v| v + 1).collect();
    type Formula = fn((usize, &u32)) -> u32;
    let kernels: [(&str, &[u32], Formula); 8] = [
        ("collatz", &starts, |(_, &v)| reference::collatz(v)),
        ("nested", &small(&mut random, 40), |(_, &v)| reference::nested(v)),
        ("dense_switch", &random.words(n), |(i, &v)| reference::dense_switch(i as u32, v)),
        ("dense_switch", &small(&mut random, 3), |(i, &v)| reference::dense_switch(i as u32, v)),
        ("sparse_switch", &scattered, |(_, &v)| reference::sparse_switch(v)),
        ("jump_table", &any, |(_, &v)| reference::jump_table(v)),
        ("call_twice", &any, |(_, &v)| reference::call_twice(v)),
        ("local_array", &any, |(_, &v)| reference::local_array(v)),
    ];
    for (kernel, x, formula) in kernels {
        let (px, y) = (host.input(x), host.output::<u32>(n));
        host.run("control", kernel, cover(n, 96), &[px, y, Arg::I32(n as i32)]);
        assert_eq!(host.read::<u32>(y, n), x.iter().enumerate().map(formula).collect::<Vec<_>>(), "{kernel}");
    }

    let x = random.floats(n, -2.0, 2.0);
    let (px, y) = (host.input(&x), host.output::<f32>(n));
    host.run("control", "device_call", cover(n, 96), &[px, y, Arg::I32(n as i32)]);
    let want: Vec<f32> = x.iter().enumerate().map(|(i, &v)| reference::device_call(i, v)).collect();
    assert_eq!(host.read::<f32>(y, n), want);

    let mut x: Vec<i32> = (0..320).map(|_| (random.word() % 200) as i32 - 100).collect();
    x.iter_mut().step_by(32).for_each(|v| *v = v.abs());
    let (px, y) = (host.input(&x), host.output::<i32>(320));
    host.run("control", "early", cover(320, 64), &[px, y]);
    assert_eq!(host.read::<i32>(y, 320), reference::early(&x));
    let (px, y) = (host.input(&x), host.output::<i32>(320));
    host.run("control", "warp_rotate", cover(320, 128), &[px, y, Arg::I32(320)]);
    assert_eq!(host.read::<i32>(y, 320), reference::warp_rotate(&x));
}

pub fn halves(machine: &mut impl Machine, seed: u64) {
    let (mut host, mut random) = (Host(machine), Random(seed));
    let pairs = 101;
    // Magnitudes between 2^-6 and 8: every result is exact in f64 before its one rounding.
    let mut values = || {
        let mut value = || f64::from(random.float(0.016, 8.0)) * if random.word() & 1 == 0 { 1.0 } else { -1.0 };
        (0..2 * pairs).map(|_| value()).collect::<Vec<_>>()
    };
    let (x, y) = (values(), values());
    pair_ops(&mut host, "half_ops", reference::to_f16, |h: f16| f64::from(h.to_f32()), &x, &y);
    pair_ops(&mut host, "bf16_ops", reference::to_bf16, |b: bf16| f64::from(b.to_f32()), &x, &y);

    let n = 203;
    let x = Random(seed + 1).floats(n, -70.0, 70.0);
    let integers: Vec<i32> = (0..n as i32).map(|i| (i - 100) * 37).collect();
    let (px, pi) = (host.input(&x), host.input(&integers));
    let out = [host.output::<f16>(n), host.output::<bf16>(n), host.output::<f32>(2 * n)];
    let (down, up) = (host.output::<i32>(n), host.output::<f16>(n));
    let args = [px, pi, out[0], out[1], out[2], down, up, Arg::I32(n as i32)];
    host.run("elementwise", "half_convert", cover(n, 64), &args);
    let h: Vec<f16> = x.iter().map(|&v| reference::to_f16(f64::from(v))).collect();
    let b: Vec<bf16> = x.iter().map(|&v| reference::to_bf16(f64::from(v))).collect();
    assert_eq!(host.read::<f16>(out[0], n), h);
    assert_eq!(host.read::<bf16>(out[1], n), b);
    let back: Vec<f32> = h.iter().zip(&b).flat_map(|(h, b)| [h.to_f32(), b.to_f32()]).collect();
    assert_eq!(host.read::<f32>(out[2], 2 * n), back);
    assert_eq!(host.read::<i32>(down, n), h.iter().map(|h| h.to_f32() as i32).collect::<Vec<_>>());
    let want: Vec<f16> = integers.iter().map(|&i| reference::to_f16(f64::from(i))).collect();
    assert_eq!(host.read::<f16>(up, n), want);
}

fn pair_ops<M: Machine, T: Element>(
    host: &mut Host<'_, M>,
    kernel: &str,
    narrow: fn(f64) -> T,
    widen: fn(T) -> f64,
    x: &[f64],
    y: &[f64],
) {
    let [x, y] = [x, y].map(|v| v.iter().map(|&v| narrow(v)).collect::<Vec<_>>());
    let pairs = x.len() / 2;
    let (px, py, out) = (host.input(&x), host.input(&y), host.output::<T>(16 * pairs));
    host.run("elementwise", kernel, cover(pairs, 64), &[px, py, out, Arg::I32(pairs as i32)]);
    let got = host.read::<T>(out, 16 * pairs);
    for i in 0..2 * pairs {
        let want = reference::half_ops(widen(x[i]), widen(y[i])).map(narrow);
        let mine: Vec<T> = (0..8).map(|op| got[i / 2 * 16 + op * 2 + i % 2]).collect();
        assert_eq!(mine, want, "{kernel} {:?} {:?}", x[i], y[i]);
    }
}

pub fn numbers(machine: &mut impl Machine, seed: u64) {
    let (mut host, mut random) = (Host(machine), Random(seed));
    let n = 164;
    let count = Arg::I32(n as i32);
    let [x, mut adv] = [0.0, 0.03].map(|by| random.floats(n, -by, 1.0 + by));
    let g: Vec<f32> = (0..n).map(|i| if i % 7 == 0 { 0.0 } else { random.float(-1.0, 1.0) }).collect();
    let (pa, px, pg) = (host.inout(&adv), host.input(&x), host.input(&g));
    let (alpha, eps) = (2.0 / 255.0, 8.0 / 255.0);
    host.run("elementwise", "pgd_step", cover(n / 4, 32), &[pa, px, pg, Arg::F32(alpha), Arg::F32(eps), count]);
    adv.iter_mut().zip(x.iter().zip(&g)).for_each(|(a, (&x, &g))| *a = reference::pgd_step(*a, x, g, alpha, eps));
    assert_eq!(host.read::<f32>(pa, n), adv);

    let (x, mut y) = (random.edgy(n), random.edgy(n));
    y.rotate_left(3);
    let (px, py, out) = (host.input(&x), host.input(&y), host.output::<u32>(16 * n));
    host.run("elementwise", "integers", cover(n, 96), &[px, py, out, count]);
    let got = host.read::<u32>(out, 16 * n);
    for ((&x, &y), got) in x.iter().zip(&y).zip(got.chunks(16)) {
        assert_eq!(got, reference::integers(x, y), "{x} {y}");
    }

    let mut longs = || (0..n).map(|_| random.word() as i64 >> (random.word() % 64)).collect::<Vec<_>>();
    let (x, y) = (longs(), longs());
    let (px, py, out) = (host.input(&x), host.input(&y), host.output::<u64>(6 * n));
    host.run("elementwise", "wide", cover(n, 96), &[px, py, out, count]);
    let got = host.read::<u64>(out, 6 * n);
    for ((&x, &y), got) in x.iter().zip(&y).zip(got.chunks(6)) {
        assert_eq!(got, reference::wide(x, y), "{x} {y}");
    }

    let [x, y] = [0, 1].map(|_| (0..n).map(|_| f64::from(random.float(-9.0, 9.0)) / 3.0).collect::<Vec<_>>());
    let (px, py, out) = (host.input(&x), host.input(&y), host.output::<f64>(5 * n));
    host.run("elementwise", "doubles", cover(n, 96), &[px, py, out, count]);
    let got = host.read::<f64>(out, 5 * n);
    for ((&x, &y), got) in x.iter().zip(&y).zip(got.chunks(5)) {
        assert_eq!(got, [x + y, x * y, x.mul_add(y, x), f64::from(x as f32), f64::from(y as i32)]);
    }

    let [x, y] = [0.05, 0.4].map(|low| random.floats(n, low, 20.0));
    let (px, py, out) = (host.input(&x), host.input(&y), host.output::<f32>(12 * n));
    host.run("elementwise", "math", cover(n, 96), &[px, py, out, count]);
    let got = host.read::<f32>(out, 12 * n);
    // Units in the last place by the CUDA guide; half a unit where the result is correctly rounded, 0 where it is exact.
    let units = [0.5, 0.5, 2.0, 0.5, 2.0, 1.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0];
    for ((&x, &y), got) in x.iter().zip(&y).zip(got.chunks(12)) {
        let want = reference::math(x, y).into_iter().zip(units);
        // One unit is at most EPS times the value, and absolute near the zeros of log and sin.
        assert_close(&format!("math({x}, {y})"), got, want.map(|(w, u)| (w, u * EPS * w.abs().max(1e-30))));
    }

    let x: Vec<u8> = (0..4 * n).map(|_| random.word() as u8).collect();
    let (px, y) = (host.input(&x), host.output::<u8>(4 * n));
    host.run("elementwise", "bytes", cover(n, 96), &[px, y, count]);
    let want: Vec<u8> = x.chunks(4).flat_map(|c| [255 - c[3], 255 - c[2], 255 - c[1], 255 - c[0]]).collect();
    assert_eq!(host.read::<u8>(y, 4 * n), want);

    let table = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3];
    for bias in [1000, -5] {
        // The first value is the variable's own; the second a kernel sets.
        if bias != 1000 {
            host.run("elementwise", "set_bias", line(1, 1), &[Arg::I32(bias)]);
        }
        let (px, y) = (host.input(&x_indices(n)), host.output::<i32>(n));
        host.run("elementwise", "constants", cover(n, 96), &[px, y, count]);
        let want: Vec<i32> = x_indices(n).iter().map(|&i| table[(i & 15) as usize] + bias).collect();
        assert_eq!(host.read::<i32>(y, n), want);
    }
    // As found, for a case that runs again on the same module.
    host.run("elementwise", "set_bias", line(1, 1), &[Arg::I32(1000)]);
}

fn x_indices(n: usize) -> Vec<i32> {
    (0..n as i32).map(|i| i * 7 - 50).collect()
}

pub fn shapes(machine: &mut impl Machine, seed: u64) {
    let (mut host, mut random) = (Host(machine), Random(seed));
    for (grid, block) in
        [([3, 1, 1], [33, 1, 1]), ([2, 3, 1], [5, 7, 1]), ([2, 1, 3], [3, 4, 5]), ([1, 2, 2], [1, 1, 64])]
    {
        let size = block.iter().product::<u32>();
        let total = (size * grid.iter().product::<u32>()) as usize;
        let out = host.output::<u32>(8 * total);
        host.run("shapes", "coordinates", Shape { grid, block, shared: 0 }, &[out]);
        let got = host.read::<u32>(out, 8 * total);
        for (i, got) in (0..).zip(got.chunks(8)) {
            let split = |v: u32, [x, y, _]: [u32; 3]| [v % x, v / x % y, v / (x * y)];
            let ([tx, ty, tz], [bx, by, bz]) = (split(i % size, block), split(i / size, grid));
            assert_eq!(got, [tx, ty, tz, bx, by, bz, i % size % 32, size]);
        }
    }

    for (rows, cols) in [(1, 1), (32, 32), (33, 65), (70, 31)] {
        let x = random.floats(rows * cols, -1.0, 1.0);
        let (px, y) = (host.input(&x), host.output::<f32>(rows * cols));
        let grid = [cols.div_ceil(32) as u32, rows.div_ceil(32) as u32, 1];
        let args = [px, y, Arg::I32(rows as i32), Arg::I32(cols as i32)];
        host.run("shapes", "transpose", Shape { grid, block: [32, 8, 1], shared: 0 }, &args);
        let want: Vec<f32> = (0..rows * cols).map(|p| x[p % rows * cols + p / rows]).collect();
        assert_eq!(host.read::<f32>(y, rows * cols), want, "{rows} {cols}");
    }

    for (n, r, threads) in [(1, 0, 32), (100, 3, 32), (1001, 40, 96)] {
        let x = random.floats(n, -1.0, 1.0);
        let mut shape = cover(n, threads);
        shape.shared = ((threads + 2 * r) * 4) as u32;
        let blocks = shape.grid[0] as usize;
        let (px, y, counts) = (host.input(&x), host.output::<f32>(n), host.output::<i32>(blocks));
        host.run("shapes", "box_sum", shape, &[px, y, counts, Arg::I32(r as i32), Arg::I32(n as i32)]);
        assert_eq!(host.read::<f32>(y, n), reference::box_sum(&x, r));
        let want: Vec<i32> = (0..blocks).map(|b| threads.min(n - b * threads) as i32).collect();
        assert_eq!(host.read::<i32>(counts, blocks), want);
    }

    let [nx, ny, nz] = [13usize, 7, 5];
    let x = random.floats(nx * ny * nz, -1.0, 1.0);
    let (px, y) = (host.input(&x), host.output::<f32>(x.len()));
    let shape = Shape { grid: [2, 2, 3], block: [8, 4, 2], shared: 0 };
    host.run("shapes", "volume", shape, &[px, y, Arg::I32(13), Arg::I32(7), Arg::I32(5)]);
    assert_eq!(host.read::<f32>(y, x.len()), reference::volume(&x, nx, ny, nz));

    // Up to the 48 KiB that need no opting in.
    for (words, threads) in [(1, 32), (1000, 96), (12_288, 256)] {
        let out = host.output::<u32>(threads as usize);
        let shape = Shape { shared: 4 * words, ..line(1, threads as usize) };
        host.run("shapes", "big_shared", shape, &[out, Arg::I32(words as i32)]);
        assert_eq!(host.read::<u32>(out, threads as usize), reference::big_shared(words, threads));
    }
}
