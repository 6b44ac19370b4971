use super::oracle::{self, Maps, Noise, Sums, bit, scaled, with_threads};
use super::*;
use crate::ops::conv::cases::{EDGES, LAYERS};
use proptest::prelude::*;

/// F(4x4, 3x3)'s transforms multiply values by up to 10 x 10 (input) and 19 x 19 (output) and cancel most of it again:
/// about ten times the rounding error of the direct sum, with room for the largest element.
const WINOGRAD: f64 = 20.0;

fn algos(conv: &Conv) -> impl Iterator<Item = Algo> + '_ {
    [Algo::Direct, Algo::Winograd].into_iter().filter(|a| a.supports(conv))
}

/// What a test may vary of a pass besides its geometry.
#[derive(Clone, Copy, Debug)]
struct Variant {
    /// Bias (fprop) or bits (dgrad).
    first: bool,
    residual: bool,
    /// The residual is the output itself.
    in_place: bool,
    store: bool,
    affine: bool,
}

const PLAIN: Variant = Variant { first: false, residual: false, in_place: false, store: true, affine: false };
const FULL: Variant = Variant { first: true, residual: true, in_place: false, store: true, affine: true };
const IN_PLACE: Variant = Variant { in_place: true, ..FULL };

/// One problem: operands as NHWC and as maps, filters packed with scales.
struct Case {
    conv: Conv,
    n: usize,
    x: Vec<f32>,
    dy: Vec<f32>,
    /// The effective filter (scales folded).
    w: Vec<f32>,
    raw: Vec<f32>,
    scale_k: Vec<f32>,
    scale_c: Vec<f32>,
    noise: Noise,
}

impl Case {
    fn new(conv: Conv, n: usize) -> Self {
        let mut noise = Noise((conv.filter_len() * 31 + conv.h * 7 + conv.w + n) as u64);
        let (raw, scale_k, scale_c) = (noise.vec(conv.filter_len()), noise.vec(conv.k), noise.vec(conv.c));
        Case {
            x: noise.vec(n * conv.h * conv.w * conv.c),
            dy: noise.vec(n * conv.p() * conv.q() * conv.k),
            w: scaled(&conv, &raw, &scale_k, &scale_c),
            conv,
            n,
            raw,
            scale_k,
            scale_c,
            noise,
        }
    }

    fn filter(&self, level: Level, pass: Pass, algo: Algo) -> Vec<f32> {
        let mut out = vec![f32::NAN; filter_len(&self.conv, pass, algo)];
        let (k, c) = (Some(&self.scale_k[..]), Some(&self.scale_c[..]));
        pack(level, &self.conv, pass, algo, &self.raw, k, c, &mut out);
        out
    }

    /// Runs fprop and gives (y, a, bits).
    fn fprop(&mut self, level: Level, algo: Algo, v: Variant) -> Fprop {
        let (conv, n, map) = (self.conv, self.n, MapShape::y(&self.conv));
        let filter = self.filter(level, Pass::Fprop, algo);
        let x = Maps::new(MapShape::x(&conv), n, &self.x);
        let residual = self.noise.vec(self.dy.len());
        let bias = self.noise.per_channel(conv.k);
        let (scale, shift) = (self.noise.per_channel(conv.k), self.noise.per_channel(conv.k));
        let mut other = Maps::new(map, n, &residual);
        let mut y = if v.in_place { other.clone() } else { Maps::zero(map, n) };
        let (mut a, mut bits) = (Maps::zero(map, n), vec![0u16; n * map.bits()]);
        let mut scratch = vec![f32::NAN; super::scratch(&conv, algo, n)];
        let y_ptr = y.ptr_mut();
        let residual_ptr = if v.in_place { y_ptr } else { other.ptr_mut() }.cast_const();
        // SAFETY: the maps have `n` examples with zero borders and the scratch its length.
        unsafe {
            fprop(
                level,
                FpropArgs {
                    conv,
                    algo,
                    n,
                    x: x.ptr(),
                    filter: &filter,
                    bias: v.first.then_some(&bias),
                    residual: v.residual.then_some(residual_ptr),
                    y: v.store.then_some(y_ptr),
                    act: Some(Act {
                        a: a.ptr_mut(),
                        affine: v.affine.then_some((&scale, &shift)),
                        bits: Some(bits.as_mut_ptr()),
                    }),
                    scratch: &mut scratch,
                },
            );
        }
        Fprop { y, a, bits, bias, residual, scale, shift }
    }

    /// Runs dgrad and gives (dx, bits, residual).
    fn dgrad(&mut self, level: Level, algo: Algo, v: Variant) -> (Maps, Vec<u16>, Vec<f32>) {
        let (conv, n, map) = (self.conv, self.n, MapShape::x(&self.conv));
        let filter = self.filter(level, Pass::Dgrad, algo);
        let dy = Maps::new(MapShape::y(&conv), n, &self.dy);
        let residual = self.noise.vec(self.x.len());
        let bits = self.noise.bits(n * map.bits());
        let other = Maps::new(map, n, &residual);
        // Without a residual every pixel must be written, whatever was there.
        let mut dx = if v.in_place { other.clone() } else { Maps::new(map, n, &vec![7.0; self.x.len()]) };
        let mut scratch = vec![f32::NAN; super::scratch(&conv, algo, n)];
        let dx_ptr = dx.ptr_mut();
        let residual_ptr = if v.in_place { dx_ptr.cast_const() } else { other.ptr() };
        // SAFETY: as in `fprop`.
        unsafe {
            dgrad(
                level,
                DgradArgs {
                    conv,
                    algo,
                    n,
                    dy: dy.ptr(),
                    filter: &filter,
                    bits: v.first.then_some(bits.as_ptr()),
                    residual: v.residual.then_some(residual_ptr),
                    dx: dx_ptr,
                    scratch: &mut scratch,
                },
            );
        }
        (dx, bits, residual)
    }

    fn wgrad(&self, level: Level) -> Vec<f32> {
        let (conv, n) = (self.conv, self.n);
        let (x, dy) = (Maps::new(MapShape::x(&conv), n, &self.x), Maps::new(MapShape::y(&conv), n, &self.dy));
        let mut dw = vec![f32::NAN; conv.filter_len()];
        let mut scratch = vec![f32::NAN; wgrad_scratch(&conv, n)];
        // SAFETY: the maps have `n` examples with zero borders.
        unsafe { wgrad(level, &conv, n, x.ptr(), dy.ptr(), &mut dw, &mut scratch) };
        dw
    }

    /// Every pass against its oracle.
    fn check(&mut self, v: Variant) {
        let (conv, n) = (self.conv, self.n);
        let y = oracle::fprop(&conv, n, &self.x, &self.w);
        let dx = oracle::dgrad(&conv, n, &self.dy, &self.w);
        let dw = oracle::wgrad(&conv, n, &self.x, &self.dy);
        for level in Level::all_supported() {
            for algo in algos(&conv) {
                let what = format!("{level} {algo:?} {conv:?} n={n} {v:?}");
                let exact = |s: &Sums| if algo == Algo::Winograd { s.clone().tilewise() } else { s.clone() };
                let factor = if algo == Algo::Winograd { WINOGRAD } else { 1.0 };
                let got = self.fprop(level, algo, v);
                got.check(&conv, exact(&y), v, factor, &what);
                let (got, bits, residual) = self.dgrad(level, algo, v);
                let mut want = exact(&dx);
                for i in 0..want.value.len() {
                    if v.first && !bit(&bits, &MapShape::x(&conv), i) {
                        (want.value[i], want.magnitude[i]) = (0.0, 0.0);
                    }
                    if v.residual {
                        want.value[i] += f64::from(residual[i]);
                        want.magnitude[i] += f64::from(residual[i].abs());
                    }
                }
                want.check(&got.nhwc(), factor, &format!("dgrad {what}"));
            }
            dw.check(&self.wgrad(level), 1.0, &format!("wgrad {level} {conv:?} n={n}"));
        }
    }
}

/// What fprop gave, and the operands the oracle needs besides.
struct Fprop {
    y: Maps,
    a: Maps,
    bits: Vec<u16>,
    bias: Vec<f32>,
    residual: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Fprop {
    fn check(&self, conv: &Conv, mut want: Sums, v: Variant, factor: f64, what: &str) {
        for i in 0..want.value.len() {
            for (on, add) in [(v.first, self.bias[i % conv.k]), (v.residual, self.residual[i])] {
                if on {
                    want.value[i] += f64::from(add);
                    want.magnitude[i] += f64::from(add.abs());
                }
            }
        }
        if v.store {
            want.check(&self.y.nhwc(), factor, &format!("fprop y {what}"));
        } else if !v.in_place {
            assert!(self.y.as_slice().iter().all(|&y| y == 0.0), "y was not asked for: {what}");
        }
        if v.affine {
            for i in 0..want.value.len() {
                let (s, t) = (f64::from(self.scale[i % conv.k]), f64::from(self.shift[i % conv.k]));
                want.value[i] = want.value[i] * s + t;
                want.magnitude[i] = want.magnitude[i] * s.abs() + t.abs();
            }
        }
        let a = self.a.nhwc();
        for (i, a) in a.iter().enumerate() {
            assert_eq!(*a > 0.0, bit(&self.bits, &MapShape::y(conv), i), "bit {i} of {what}");
            want.value[i] = want.value[i].max(0.0);
        }
        want.check(&a, factor, &format!("fprop a {what}"));
        let set: u32 = self.bits.iter().map(|b| b.count_ones()).sum();
        assert_eq!(set as usize, a.iter().filter(|&&a| a > 0.0).count(), "bits beyond K: {what}");
    }
}

#[test]
fn edges_match_the_oracle() {
    for case in EDGES {
        for v in [PLAIN, FULL, IN_PLACE, Variant { store: false, affine: false, ..FULL }] {
            Case::new(case.conv, case.n).check(v);
        }
    }
}

#[test]
fn layers_match_the_oracle() {
    // The real channels; planes as large as an f64 oracle has time for.
    for case in LAYERS.iter().filter(|c| c.conv.c * c.conv.k <= 64 * 128) {
        let conv = Conv { h: case.conv.h.min(10), w: case.conv.w.min(14), ..case.conv };
        Case::new(conv, 2).check(FULL);
    }
}

#[test]
fn many_channels_match_the_oracle() {
    // Beyond eight blocks Winograd's products are blocked in another way.
    Case::new(Conv { c: 144, k: 150, h: 4, w: 4, filter: 3, stride: 1 }, 3).check(FULL);
    Case::new(Conv { c: 260, k: 17, h: 2, w: 5, filter: 3, stride: 1 }, 1).check(PLAIN);
}

#[test]
fn no_examples_is_no_work() {
    for case in EDGES {
        let mut p = Case::new(case.conv, 0);
        for level in Level::all_supported() {
            for algo in algos(&case.conv) {
                p.fprop(level, algo, FULL);
                p.dgrad(level, algo, FULL);
            }
            assert!(p.wgrad(level).iter().all(|&v| v == 0.0), "the sum over nothing is zero");
        }
    }
}

#[test]
fn an_example_does_not_depend_on_its_tile() {
    for case in LAYERS.iter().chain(EDGES).filter(|c| c.conv.c * c.conv.k <= 64 * 64) {
        let (conv, n) = (Conv { h: case.conv.h.min(14), w: case.conv.w.min(15), ..case.conv }, 5);
        for level in Level::all_supported() {
            for algo in algos(&conv) {
                let mut all = Case::new(conv, n);
                let (y, dx) = (all.fprop(level, algo, PLAIN).y, all.dgrad(level, algo, PLAIN).0);
                for i in 0..n {
                    let mut one = Case::new(conv, n);
                    one.x = one.x[i * one.x.len() / n..(i + 1) * one.x.len() / n].to_vec();
                    one.dy = one.dy[i * one.dy.len() / n..(i + 1) * one.dy.len() / n].to_vec();
                    one.n = 1;
                    assert_eq!(one.fprop(level, algo, PLAIN).y, y.example(i), "fprop {level} {algo:?} {conv:?}");
                    assert_eq!(one.dgrad(level, algo, PLAIN).0, dx.example(i), "dgrad {level} {algo:?} {conv:?}");
                }
            }
        }
    }
}

#[test]
fn wgrad_does_not_depend_on_the_threads() {
    for (conv, n) in [
        (Conv { c: 16, k: 16, h: 9, w: 10, filter: 3, stride: 1 }, 37),
        (Conv { c: 17, k: 40, h: 7, w: 7, filter: 3, stride: 2 }, 5),
        (Conv { c: 64, k: 64, h: 5, w: 5, filter: 3, stride: 1 }, 7),
        (Conv { c: 32, k: 32, h: 6, w: 6, filter: 1, stride: 2 }, 9),
    ] {
        let p = Case::new(conv, n);
        for level in Level::all_supported() {
            let one = with_threads(1, || p.wgrad(level));
            for threads in [2, 3] {
                assert_eq!(with_threads(threads, || p.wgrad(level)), one, "{level} {conv:?} on {threads} threads");
            }
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn geometry() -> impl Strategy<Value = (Conv, usize)> {
    (1..40usize, 1..40usize, 1..12usize, 1..12usize, prop::bool::ANY, 1..3usize, 1..4usize)
        .prop_map(|(c, k, h, w, three, stride, n)| (Conv { c, k, h, w, filter: if three { 3 } else { 1 }, stride }, n))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_shapes_match_the_oracle(
        (conv, n) in geometry(),
        (first, residual, in_place, store, affine) in prop::array::uniform5(prop::bool::ANY).prop_map(|[a, b, c, d, e]| (a, b, c, d, e)),
    ) {
        Case::new(conv, n).check(Variant { first, residual, in_place, store, affine });
    }

    /// <fprop(x), dy> = <x, dgrad(dy)> = <w, wgrad(x, dy)>.
    #[test]
    fn passes_are_adjoint((conv, n) in geometry()) {
        for level in Level::all_supported() {
            for algo in algos(&conv) {
                let mut p = Case::new(conv, n);
                let y = dot(&p.fprop(level, algo, PLAIN).y.nhwc(), &p.dy);
                let x = dot(&p.dgrad(level, algo, PLAIN).0.nhwc(), &p.x);
                let w = dot(&p.wgrad(level), &p.w);
                let terms = (n * conv.macs()) as f64;
                // A random sum of `terms` products grows as their root, and so does its rounding error.
                let tolerance = 100.0 * f64::from(f32::EPSILON) * terms.sqrt().max(1.0);
                prop_assert!((y - x).abs() <= tolerance && (y - w).abs() <= tolerance, "{level} {algo:?} {conv:?}: {y} {x} {w}");
            }
        }
    }
}
