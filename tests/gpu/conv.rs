//! Convolution fprop and dgrad, epilogues and shortcuts included.

use crate::common::{Rng, bits, sum_tolerance};
use crate::lab::{Lab, Pair, SEEDS, near};
use ham_engine::backend::Backend;
use ham_engine::backend::gpu::GpuBackend;
use ham_engine::gpu::Precision;
use ham_engine::gpu::driver::Command;
use ham_engine::gpu::kernels::MODULES;
use ham_engine::gpu::sim::{SimDriver, SimOptions};
use ham_engine::gpu::tiles::sizes;
use ham_engine::ops::Program;
use ham_engine::ops::conv::cases::{EDGES, LAYERS};
use ham_engine::ops::conv::{Activation, ConvDgrad, ConvFprop, Epilogue};
use ham_engine::ops::prepare_filter::PrepareFilter;
use ham_engine::program::{Affine, Bits, Buffers, Conv, DType, Filter, FilterDecl, Map, Pass, Shape, Span};
use ptx_sim::gpu::RTX_4090;
use std::collections::BTreeSet;

pub const PRECISIONS: [Precision; 2] = [Precision::Fp32, Precision::Bf16];

pub const fn conv(c: usize, k: usize, h: usize, w: usize, filter: usize, stride: usize) -> Conv {
    Conv { c, k, h, w, filter, stride }
}

/// What is added before the result is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Residual {
    None,
    Other,
    InPlace,
}

/// All that may vary besides the geometry. The same fields serve both passes.
#[derive(Clone, Copy, Debug)]
struct Variant {
    /// fprop: the bias. dgrad: the mask.
    first: bool,
    residual: Residual,
    /// fprop: y is stored.
    store: bool,
    /// fprop: an activation, and whether it has an affine and bits.
    act: Option<(bool, bool)>,
    scales: bool,
}

const PLAIN: Variant = Variant { first: false, residual: Residual::None, store: true, act: None, scales: false };
const FULL: Variant =
    Variant { first: true, residual: Residual::Other, store: true, act: Some((true, true)), scales: true };
const IN_PLACE: Variant = Variant { residual: Residual::InPlace, act: Some((false, true)), ..FULL };
const LEAN: Variant = Variant { store: false, residual: Residual::None, act: Some((false, true)), ..FULL };
const NO_BITS: Variant = Variant { first: false, store: false, act: Some((true, false)), ..FULL };
const VARIANTS: [Variant; 5] = [PLAIN, FULL, IN_PLACE, LEAN, NO_BITS];

/// One problem: a convolution, perhaps with the shortcut that is added to it, in a batch.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub conv: Conv,
    pub shortcut: Option<Conv>,
    pub capacity: usize,
    pub live: usize,
}

/// Values of a program that a result is made of.
pub struct Values {
    pub program: Program,
    /// Maps to fill, in the order inputs, residual, outputs.
    maps: Vec<(Map, Shape)>,
    masks: Vec<(Bits, Shape)>,
    pub affines: Vec<(Affine, usize)>,
}

pub fn x_shape(c: &Conv) -> Shape {
    Shape { c: c.c, h: c.h, w: c.w }
}

pub fn y_shape(c: &Conv) -> Shape {
    Shape { c: c.k, h: c.p(), w: c.q() }
}

impl Values {
    pub fn new(lab: &Lab, case: &Case) -> Values {
        let program = Program::new(case.capacity, lab.batch.live);
        Values { program, maps: vec![], masks: vec![], affines: vec![] }
    }

    pub fn map(&mut self, shape: Shape) -> Map {
        let map = self.program.map(shape);
        self.maps.push((map, shape));
        map
    }

    pub fn mask(&mut self, shape: Shape) -> Bits {
        let mask = self.program.mask(shape);
        self.masks.push((mask, shape));
        mask
    }

    pub fn affine(&mut self, channels: usize) -> Affine {
        let affine = self.program.affine(channels);
        self.affines.push((affine, channels));
        affine
    }

    pub fn filter(&mut self, lab: &mut Lab, rng: &mut Rng, conv: Conv, pass: Pass, scales: bool) -> Filter {
        let filter = self.program.filter(FilterDecl { conv, stem: false, pass, exact: true });
        // Weights begin somewhere in the arena.
        let params = lab.buffer(&rng.f32s(conv.filter_len() + 3, -1.0, 1.0));
        let weights = Span { offset: 3, len: conv.filter_len() };
        let (scale_k, scale_c) = match scales {
            true => (Some(self.affine(conv.k)), Some(self.affine(conv.c))),
            false => (None, None),
        };
        let prepare = PrepareFilter { filter, params, weights, scale_k, scale_c, normalisation: None };
        self.program.push(prepare);
        filter
    }

    /// Records the program and fills what it starts from; slots that aren't live too.
    pub fn start(self, lab: &mut Lab, rng: &mut Rng, case: &Case) -> Pair {
        lab.live(&(0..case.live as u32).collect::<Vec<_>>(), case.capacity);
        let mut pair = lab.compile(self.program);
        let slots = case.capacity.min(case.live + 1);
        for (map, shape) in &self.maps {
            for slot in 0..slots {
                lab.set_map(&mut pair, *map, slot, &rng.f32s(shape.len(), -1.0, 1.0));
            }
        }
        for (mask, shape) in &self.masks {
            for slot in 0..slots {
                let values: Vec<bool> = (0..shape.len()).map(|_| rng.below(2) == 1).collect();
                lab.set_bits(&mut pair, *mask, slot, &values);
            }
        }
        for (affine, channels) in &self.affines {
            lab.set_affine(&mut pair, *affine, &rng.f32s(*channels, -1.0, 1.0), &rng.f32s(*channels, -1.0, 1.0));
        }
        lab.replay(&mut pair);
        pair
    }
}

/// What the rounding of sums of `terms` products, each of at most 1, may come to: those of the f32 sums of both sides, whose
/// parts reach sqrt(terms), and in bf16 that of the filter's elements to 8 bits.
pub fn tolerance(precision: Precision, terms: usize) -> f32 {
    let sqrt = (terms as f64).sqrt();
    let filter = if precision == Precision::Bf16 { 2f64.powi(-9) * sqrt } else { 0.0 };
    (sum_tolerance(terms, 4.0 + sqrt) + filter) as f32
}

/// Half a unit of the last place of a result, with room for a sum on the other side of a rounding's edge.
pub fn relative(precision: Precision) -> f32 {
    match precision {
        Precision::Fp32 => f32::EPSILON,
        Precision::Bf16 => 1.0 / 256.0,
    }
}

pub fn terms(case: &Case, pass: Pass) -> usize {
    let one = |c: &Conv| c.filter * c.filter * if pass == Pass::Fprop { c.c } else { c.k };
    one(&case.conv) + case.shortcut.as_ref().map_or(0, one)
}

/// The kernels that a program launches.
pub fn kernels(pair: &Pair) -> Vec<&'static str> {
    let name = |c: &Command| if let Command::Launch(l) = c { Some(l.kernel.name) } else { None };
    pair.gpu.commands.iter().filter_map(name).collect()
}

/// What a pass made, to compare between seeds.
type Result = (Vec<&'static str>, Vec<u32>);

fn fprop(lab: &mut Lab, case: &Case, v: Variant) -> Result {
    let (precision, mut rng) = (lab.precision, Rng(7));
    let (c, mut p) = (case.conv, Values::new(lab, case));
    let filter = p.filter(lab, &mut rng, c, Pass::Fprop, v.scales);
    let x = p.map(x_shape(&c));
    let y = p.map(y_shape(&c));
    let residual = match v.residual {
        Residual::None => None,
        Residual::Other => Some(p.map(y_shape(&c))),
        Residual::InPlace => Some(y),
    };
    let residual = match case.shortcut {
        None => residual,
        Some(s) => {
            let (x, filter) = (p.map(x_shape(&s)), p.filter(lab, &mut rng, s, Pass::Fprop, v.scales));
            // It passes its result on in y, or in a map of its own, which nobody else reads.
            let out = residual.unwrap_or(y);
            let epilogue = Epilogue { y: Some(out), ..Epilogue::default() };
            p.program.push(ConvFprop { conv: s, x, filter, epilogue });
            Some(out)
        }
    };
    let a = v.act.map(|_| p.map(y_shape(&c)));
    let act = v.act.map(|(affine, has_bits)| Activation {
        affine: affine.then(|| p.affine(c.k)),
        a: a.expect("an activation has a map"),
        bits: has_bits.then(|| p.mask(y_shape(&c))),
    });
    let mask = act.as_ref().and_then(|act| act.bits);
    let bias = v.first.then(|| p.affine(c.k));
    let y_stored = v.store.then_some(y);
    let epilogue = Epilogue { bias, residual, y: y_stored, act };
    p.program.push(ConvFprop { conv: c, x, filter, epilogue });
    let pair = p.start(lab, &mut rng, case);
    let names = kernels(&pair);
    assert!(!names[names.len() - 2].starts_with("conv_walk"), "a shortcut is part of the launch: {names:?}");
    let what = format!("fprop {precision:?} {case:?} {v:?} by {}", names[names.len() - 1]);
    let (absolute, relative) = (tolerance(precision, terms(case, Pass::Fprop)), relative(precision));
    let mut made = Vec::new();
    for slot in 0..case.capacity.min(case.live + 1) {
        if let Some(y) = y_stored {
            let values = lab.map(&pair, y, slot);
            near(&format!("{what}, y of {slot}"), &values, absolute, relative);
            made.extend(bits(&values[1]));
        }
        let Some(a) = a else { continue };
        let values = lab.map(&pair, a, slot);
        near(&format!("{what}, a of {slot}"), &values, absolute, relative);
        made.extend(bits(&values[1]));
        let Some(mask) = mask else { continue };
        let [cpu, gpu] = lab.bits(&pair, mask, slot);
        for (i, (c, g)) in cpu.iter().zip(&gpu).enumerate() {
            let [on_cpu, on_gpu] = [values[0][i], values[1][i]];
            assert!(c == g || on_cpu.max(on_gpu) <= absolute, "{what}, bit {i} of {slot}: {g}, a {on_gpu}, {on_cpu}");
            assert!(slot >= case.live || *g == (on_gpu > 0.0), "{what}, bit {i} of {slot}: {g}, a {on_gpu}");
        }
    }
    (names, made)
}

fn dgrad(lab: &mut Lab, case: &Case, v: Variant) -> Result {
    let (precision, mut rng) = (lab.precision, Rng(9));
    let (c, mut p) = (case.conv, Values::new(lab, case));
    let filter = p.filter(lab, &mut rng, c, Pass::Dgrad, v.scales);
    let (dy, dx) = (p.map(y_shape(&c)), p.map(x_shape(&c)));
    let mask = v.first.then(|| p.mask(x_shape(&c)));
    let residual = match v.residual {
        Residual::None => None,
        Residual::Other => Some(p.map(x_shape(&c))),
        Residual::InPlace => Some(dx),
    };
    let second = case.shortcut.map(|s| {
        let (dy, filter) = (p.map(y_shape(&s)), p.filter(lab, &mut rng, s, Pass::Dgrad, v.scales));
        ConvDgrad { conv: s, dy, filter, bits: mask, residual: Some(dx), dx }
    });
    p.program.push(ConvDgrad { conv: c, dy, filter, bits: mask, residual, dx });
    second.into_iter().for_each(|second| p.program.push(second));
    let pair = p.start(lab, &mut rng, case);
    let names = kernels(&pair);
    assert!(!names[names.len() - 2].starts_with("conv_walk"), "a shortcut is part of the launch: {names:?}");
    let what = format!("dgrad {precision:?} {case:?} {v:?} by {}", names[names.len() - 1]);
    let (absolute, relative) = (tolerance(precision, terms(case, Pass::Dgrad)), relative(precision));
    let mut made = Vec::new();
    for slot in 0..case.capacity.min(case.live + 1) {
        let values = lab.map(&pair, dx, slot);
        near(&format!("{what}, dx of {slot}"), &values, absolute, relative);
        made.extend(bits(&values[1]));
    }
    (names, made)
}

/// For each precision a lab of each order of blocks and warps, with room for `LIVE` live slots.
struct Labs(Vec<[Lab; 3]>);

const LIVE: usize = 5;

type Run = fn(&mut Lab, &Case, Variant) -> Result;
const BOTH: [Run; 2] = [fprop, dgrad];

impl Labs {
    fn new() -> Labs {
        Labs(PRECISIONS.map(|p| SEEDS.map(|seed| Lab::of_maps(p, seed, LIVE))).into())
    }

    /// Runs passes in every order; returns the kernels.
    fn check(&mut self, passes: &[Run], case: &Case, v: Variant) -> BTreeSet<&'static str> {
        let mut all = BTreeSet::new();
        for labs in &mut self.0 {
            for pass in passes {
                let results = labs.each_mut().map(|lab| pass(lab, case, v));
                assert!(results.iter().all(|r| *r == results[0]), "{case:?} {v:?}: an order changes the result");
                all.extend(&results[0].0);
            }
        }
        all
    }
}

#[test]
fn shapes_at_the_edges() {
    let mut labs = Labs::new();
    for (i, e) in EDGES.iter().enumerate() {
        let case = Case { conv: e.conv, shortcut: None, capacity: e.n, live: e.n };
        for v in [VARIANTS[i % 5], VARIANTS[(i + 2) % 5]] {
            labs.check(&BOTH, &case, v);
        }
    }
}

#[test]
fn channels_beyond_a_chunk_or_a_tile() {
    let mut labs = Labs::new();
    for (i, c) in [
        conv(72, 8, 3, 5, 3, 1),
        conv(136, 65, 3, 3, 3, 1),
        conv(65, 136, 4, 3, 3, 2),
        conv(200, 24, 2, 5, 1, 1),
        conv(24, 200, 5, 2, 1, 2),
        conv(129, 17, 9, 2, 3, 2),
    ]
    .into_iter()
    .enumerate()
    {
        labs.check(&BOTH, &Case { conv: c, shortcut: None, capacity: 3, live: 2 }, VARIANTS[i % 5]);
    }
}

#[test]
fn any_number_of_live_slots() {
    let mut labs = Labs::new();
    for live in [0, 1, 3, 4, 5] {
        for c in [conv(12, 20, 5, 5, 3, 1), conv(12, 20, 5, 6, 3, 2)] {
            labs.check(&BOTH, &Case { conv: c, shortcut: None, capacity: 5, live }, FULL);
        }
        labs.check(&[fprop], &Case { conv: conv(16, 16, 18, 17, 3, 1), shortcut: None, capacity: 5, live }, PLAIN);
    }
}

#[test]
fn shortcuts_ride_in_the_sum() {
    let mut labs = Labs::new();
    // Channels, height and width of a block's input, channels of its output.
    for (i, (c, h, w, k)) in [(10, 7, 6, 24), (136, 3, 5, 16), (64, 8, 8, 72), (3, 1, 1, 9)].into_iter().enumerate() {
        let (conv1, shortcut) = (conv(c, k, h, w, 3, 2), conv(c, k, h, w, 1, 2));
        let conv2 = conv(k, k, conv1.p(), conv1.q(), 3, 1);
        let case = |c| Case { conv: c, shortcut: Some(shortcut), capacity: 3, live: 3 - i % 2 };
        labs.check(&[fprop], &case(conv2), VARIANTS[i % 3]);
        labs.check(&BOTH, &case(conv1), VARIANTS[(i + 1) % 3]);
    }
}

#[test]
fn every_kernel_runs() {
    let mut all = BTreeSet::new();
    for precision in PRECISIONS {
        for tile in sizes(precision) {
            let lab = |seed| {
                let mut lab = Lab::of_maps(precision, seed, LIVE);
                lab.gpu.tile = Some(tile);
                lab
            };
            let (mut labs, k) = (Labs(vec![SEEDS.map(lab)]), tile.channels);
            // dgrad has as many output channels where C and K change places.
            let passes: [(Run, Conv); 2] = [(fprop, conv(20, k, 8, 8, 3, 1)), (dgrad, conv(k, 72, 8, 8, 3, 1))];
            for (pass, conv) in passes {
                all.extend(labs.check(&[pass], &Case { conv, shortcut: None, capacity: 6, live: 3 }, LEAN));
            }
        }
    }
    let ours = |e: &&str| {
        let walk = e.starts_with("conv_walk") && !e.starts_with("conv_walk_moments");
        walk || e.starts_with("prepare_filter")
    };
    let entries = MODULES.iter().flat_map(|m| m.entries.iter().map(|e| e.name)).filter(ours).collect();
    assert_eq!(all, entries);
}

/// Chips differ in shared memory: the launcher finds tiles for the layers of the networks on the smallest too.
#[test]
fn layers_fit_the_smallest_chip() {
    for precision in PRECISIONS {
        for layer in LAYERS {
            let sim = SimDriver::new(SimOptions { gpu: &RTX_4090, ..SimOptions::default() });
            let mut gpu = GpuBackend::new(sim, precision).unwrap();
            let c = layer.conv;
            let mut p = Program::new(2 * layer.n, gpu.alloc(DType::U32, 2).unwrap());
            let filters =
                [Pass::Fprop, Pass::Dgrad].map(|pass| p.filter(FilterDecl { conv: c, stem: false, pass, exact: true }));
            let (x, y) = (p.map(x_shape(&c)), p.map(y_shape(&c)));
            let epilogue = Epilogue { y: Some(y), ..Epilogue::default() };
            p.push(ConvFprop { conv: c, x, filter: filters[0], epilogue });
            p.push(ConvDgrad { conv: c, dy: y, filter: filters[1], bits: None, residual: None, dx: x });
            gpu.compile(p).unwrap();
        }
    }
}
