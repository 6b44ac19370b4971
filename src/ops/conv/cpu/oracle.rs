//! The formulas as written, in f64 on plain NHWC arrays, and maps to and from the padded layout: for tests.

use crate::cpu::layout::{LANES, MapShape};
use crate::cpu::simd::CacheLine;
use crate::program::Conv;

/// Values of a small fixed generator, uniform in [-1, 1).
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
    pub fn vec(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.next()).collect()
    }
    /// A per-channel vector, padded with zeros.
    pub fn per_channel(&mut self, c: usize) -> Vec<f32> {
        let mut v = self.vec(c);
        v.resize(c.next_multiple_of(LANES), 0.0);
        v
    }
    pub fn bits(&mut self, len: usize) -> Vec<u16> {
        (0..len).map(|_| (self.next() * 32768.0) as i32 as u16).collect()
    }
}

/// Maps of `n` examples in the padded layout.
#[derive(Clone, PartialEq, Debug)]
pub struct Maps {
    pub shape: MapShape,
    pub n: usize,
    data: Vec<CacheLine>,
}

impl Maps {
    pub fn zero(shape: MapShape, n: usize) -> Self {
        Maps { shape, n, data: vec![CacheLine::default(); n * shape.example() / LANES] }
    }
    pub fn new(shape: MapShape, n: usize, nhwc: &[f32]) -> Self {
        let mut maps = Self::zero(shape, n);
        maps.each(|data, at, i| data[at] = nhwc[i]);
        maps
    }
    pub fn as_slice(&self) -> &[f32] {
        bytemuck::cast_slice(&self.data)
    }
    pub fn ptr(&self) -> *const f32 {
        self.as_slice().as_ptr()
    }
    pub fn ptr_mut(&mut self) -> *mut f32 {
        bytemuck::cast_slice_mut(&mut self.data).as_mut_ptr()
    }
    /// The example `i` alone.
    pub fn example(&self, i: usize) -> Self {
        let len = self.shape.example() / LANES;
        Maps { shape: self.shape, n: 1, data: self.data[i * len..][..len].to_vec() }
    }
    /// The interior, NHWC; panics if anything outside the map is not zero.
    pub fn nhwc(&self) -> Vec<f32> {
        let mut copy = self.clone();
        let mut out = vec![0.0; self.n * self.shape.h * self.shape.w * self.shape.c];
        copy.each(|data, at, i| {
            out[i] = data[at];
            data[at] = 0.0;
        });
        assert!(
            copy.as_slice().iter().all(|&v| v == 0.0),
            "the border or a padding channel was written: {:?}",
            self.shape
        );
        out
    }
    fn each(&mut self, mut f: impl FnMut(&mut [f32], usize, usize)) {
        let s = self.shape;
        let data: &mut [f32] = bytemuck::cast_slice_mut(&mut self.data);
        let mut i = 0;
        for n in 0..self.n {
            for h in 0..s.h {
                for w in 0..s.w {
                    for c in 0..s.c {
                        let at =
                            n * s.example() + c / LANES * s.plane() + (h + 1) * s.row() + (w + 1) * LANES + c % LANES;
                        f(data, at, i);
                        i += 1;
                    }
                }
            }
        }
    }
}

/// Whether the mask of `shape` has a bit at NHWC position `i`.
pub fn bit(bits: &[u16], s: &MapShape, i: usize) -> bool {
    let (c, px) = (i % s.c, i / s.c);
    let (n, px) = (px / (s.h * s.w), px % (s.h * s.w));
    bits[(n * s.blocks() + c / LANES) * s.h * s.w + px] >> (c % LANES) & 1 == 1
}

/// A result and, element by element, the sum of the magnitudes of its terms and their number.
#[derive(Clone)]
pub struct Sums {
    pub value: Vec<f64>,
    pub magnitude: Vec<f64>,
    pub terms: usize,
}

impl Sums {
    fn zero(len: usize, terms: usize) -> Self {
        Sums { value: vec![0.0; len], magnitude: vec![0.0; len], terms }
    }
    fn add(&mut self, i: usize, v: f64) {
        self.value[i] += v;
        self.magnitude[i] += v.abs();
    }

    /// Asserts `|got - value| <= (4 + sqrt(terms)) * eps * magnitude * factor`.
    ///
    /// The rounding errors of a sum of R terms are R random numbers of at most eps/2 times a partial sum, which is at
    /// most `magnitude`, so they add up as sqrt(R); 4 covers scales, bias and residual.
    pub fn check(&self, got: &[f32], factor: f64, what: &str) {
        assert_eq!(got.len(), self.value.len(), "{what}");
        let c = (4.0 + (self.terms as f64).sqrt()) * f64::from(f32::EPSILON) * factor;
        for (i, &g) in got.iter().enumerate() {
            let (v, m) = (self.value[i], self.magnitude[i]);
            assert!((f64::from(g) - v).abs() <= c * m, "{what}: element {i} is {g}, not {v} (within {})", c * m);
        }
    }

    /// Replaces every magnitude by the largest. In Winograd's algorithm a pixel's error comes from its whole tile.
    pub fn tilewise(mut self) -> Self {
        let max = self.magnitude.iter().fold(0.0f64, |a, &b| a.max(b));
        self.magnitude.fill(max);
        self
    }
}

/// Calls `f(y index, x index, w index)` for each product of the convolution.
fn products(conv: &Conv, n: usize, mut f: impl FnMut(usize, usize, usize)) {
    let (p, q, pad) = (conv.p(), conv.q(), conv.pad());
    for i in 0..n * p * q {
        let (n, y, x) = (i / (p * q), i / q % p, i % q);
        for t in 0..conv.filter * conv.filter {
            let (h, w) = (y * conv.stride + t / conv.filter, x * conv.stride + t % conv.filter);
            if h < pad || w < pad || h - pad >= conv.h || w - pad >= conv.w {
                continue;
            }
            let px = (n * conv.h + h - pad) * conv.w + w - pad;
            for k in 0..conv.k {
                for c in 0..conv.c {
                    f(i * conv.k + k, px * conv.c + c, (k * conv.filter * conv.filter + t) * conv.c + c);
                }
            }
        }
    }
}

pub fn fprop(conv: &Conv, n: usize, x: &[f32], w: &[f32]) -> Sums {
    let mut y = Sums::zero(n * conv.p() * conv.q() * conv.k, conv.filter * conv.filter * conv.c);
    products(conv, n, |yi, xi, wi| y.add(yi, f64::from(x[xi]) * f64::from(w[wi])));
    y
}

pub fn dgrad(conv: &Conv, n: usize, dy: &[f32], w: &[f32]) -> Sums {
    let mut dx = Sums::zero(n * conv.h * conv.w * conv.c, conv.filter * conv.filter * conv.k);
    products(conv, n, |yi, xi, wi| dx.add(xi, f64::from(dy[yi]) * f64::from(w[wi])));
    dx
}

pub fn wgrad(conv: &Conv, n: usize, x: &[f32], dy: &[f32]) -> Sums {
    let mut dw = Sums::zero(conv.filter_len(), n * conv.p() * conv.q());
    products(conv, n, |yi, xi, wi| dw.add(wi, f64::from(dy[yi]) * f64::from(x[xi])));
    dw
}

/// The filter with its folded scales.
pub fn scaled(conv: &Conv, w: &[f32], k: &[f32], c: &[f32]) -> Vec<f32> {
    let taps = conv.filter * conv.filter;
    w.iter().enumerate().map(|(i, w)| w * k[i / (taps * conv.c)] * c[i % conv.c]).collect()
}

/// Runs `f` in a pool of `threads`.
pub fn with_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool").install(f)
}
