//! Helpers: random numbers, tolerances, a bench for single ops, and small networks.

use ham_engine::attack::Pgd;
use ham_engine::backend::Backend;
use ham_engine::backend::cpu::{Compiled, CpuBackend};
use ham_engine::batch::{Batch, Resident, Stats, control};
use ham_engine::cpu::simd::Level;
use ham_engine::engine::Engine;
use ham_engine::method::{Plan, TrainLoss, Weights as Weighting, drop_easy};
use ham_engine::net::state::{StateDict, Weights};
use ham_engine::net::{Arch, Family};
use ham_engine::ops::head::Loss;
use ham_engine::ops::start::Noise;
use ham_engine::ops::stem::Normalisation;
use ham_engine::ops::{Op, Program};
use ham_engine::program::{Buf, Buffers, DType, Shape};
use std::path::Path;

/// Runs a test once per SIMD level of this machine.
pub fn each_level(test: impl Fn(Level)) {
    Level::all_supported().into_iter().for_each(test);
}

/// SplitMix64: independent of the engine's own random numbers.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn f32(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.next() >> 40) as f32 / (1 << 24) as f32)
    }

    pub fn f32s(&mut self, n: usize, low: f32, high: f32) -> Vec<f32> {
        (0..n).map(|_| self.f32(low, high)).collect()
    }
}

/// Bound of the rounding error of a sum of `terms` f32 products that reach `scale`: each rounds by half an epsilon at most and
/// the errors add up like a random walk, so this is twice what is likely.
pub fn sum_tolerance(terms: usize, scale: f64) -> f64 {
    f32::EPSILON as f64 * (terms as f64).sqrt() * scale
}

pub fn max_abs(v: impl IntoIterator<Item = f64>) -> f64 {
    v.into_iter().fold(0.0, |m, v| m.max(v.abs()))
}

#[track_caller]
pub fn close<T: Copy + Into<f64>>(what: &str, got: &[T], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let g: f64 = (*g).into();
        let off = (g - w).abs();
        assert!(off <= tolerance, "{what}[{i}]: {g}, expected {w}: off by {off:.3e}, allowed {tolerance:.3e}");
    }
}

/// The bits of floats, to compare them exactly.
pub fn bits(v: &[f32]) -> Vec<u32> {
    v.iter().map(|v| v.to_bits()).collect()
}

/// Buffers around single ops: a batch, a data set of f32 images, statistics.
pub struct Bench {
    pub backend: CpuBackend,
    pub image: Shape,
    pub batch: Batch,
    pub data: Resident,
    pub stats: Stats,
}

impl Bench {
    /// `samples` images of `dtype`; `channels` go into the head.
    pub fn new(
        level: Level,
        capacity: usize,
        image: Shape,
        classes: usize,
        channels: usize,
        (dtype, samples): (DType, usize),
    ) -> Bench {
        let mut b = CpuBackend::with_level(2, level).unwrap();
        let batch = Batch::alloc(&mut b, capacity, image, classes, channels).unwrap();
        let data = Resident {
            images: b.alloc(dtype, samples * image.len()).unwrap(),
            labels: b.alloc(DType::U32, samples).unwrap(),
            order: b.alloc(DType::U32, samples).unwrap(),
            control: b.alloc(DType::U32, control::LEN).unwrap(),
        };
        let kappas = 4;
        let counters = b.alloc(DType::U64, Stats::len(classes, kappas)).unwrap();
        let stats = Stats { counters, loss: b.alloc(DType::F64, 1).unwrap(), classes, kappas };
        Bench { backend: b, image, batch, data, stats }
    }

    /// A bench where data set and images don't matter.
    pub fn of_state(level: Level, capacity: usize, classes: usize, channels: usize) -> Bench {
        Bench::new(level, capacity, Shape { c: 1, h: 1, w: 1 }, classes, channels, (DType::F32, 1))
    }

    /// Makes `positions` live, of `loaded` examples.
    pub fn live(&mut self, positions: &[u32], loaded: usize) {
        self.backend.write(self.batch.live, 0, &[positions.len() as u32, loaded as u32]).unwrap();
        self.backend.write(self.batch.position, 0, positions).unwrap();
    }

    pub fn program(&self) -> Program {
        Program::new(self.batch.capacity, self.batch.live)
    }

    pub fn compile(&mut self, p: Program) -> Compiled {
        self.backend.compile(p).unwrap()
    }

    /// Runs ops that use no maps.
    pub fn run(&mut self, ops: impl IntoIterator<Item = Op>) {
        let mut p = self.program();
        ops.into_iter().for_each(|op| p.push(op));
        let mut compiled = self.compile(p);
        self.backend.replay(&mut compiled).unwrap();
    }

    pub fn buffer(&mut self, values: &[f32]) -> Buf {
        let buf = self.backend.alloc(DType::F32, values.len()).unwrap();
        self.backend.write(buf, 0, values).unwrap();
        buf
    }

    pub fn f32s(&self, buf: Buf) -> Vec<f32> {
        self.backend.read_all(buf).unwrap()
    }

    pub fn u32s(&self, buf: Buf) -> Vec<u32> {
        self.backend.read_all(buf).unwrap()
    }
}

/// A two-stage network for images of `image`.
pub fn arch(image: Shape, widths: &[usize], classes: usize) -> Arch {
    let normalisation = Normalisation {
        mean: (0..image.c).map(|c| 0.4 + 0.03 * c as f32).collect(),
        std: (0..image.c).map(|c| 0.25 + 0.02 * c as f32).collect(),
    };
    Arch {
        family: Family::PreActResNet,
        image,
        classes,
        widths: widths.to_vec(),
        blocks: vec![1; widths.len()],
        normalisation: Some(normalisation),
    }
}

/// The tiny network of the engine tests.
pub fn tiny() -> Arch {
    arch(Shape { c: 2, h: 5, w: 7 }, &[4, 6], 3)
}

/// Networks that take every way through the two walks: an identity block before and after a shortcut's, several in a row,
/// maps of one pixel, where a shortcut does not change the shape, and a shortcut of stride 1 behind a narrow stem.
pub fn walks() -> Vec<Arch> {
    let deep = Arch { blocks: vec![3, 2], normalisation: None, ..arch(Shape { c: 1, h: 5, w: 4 }, &[3, 4], 4) };
    let family = Family::WideResNet { stem: 3 };
    let wide = Arch { family, blocks: vec![2, 1], ..arch(Shape { c: 2, h: 6, w: 5 }, &[5, 6], 3) };
    vec![tiny(), deep, arch(Shape { c: 3, h: 1, w: 1 }, &[3, 5, 5], 3), wide]
}

/// Random weights for every tensor, of the sizes that training gives them.
pub fn random_dict(arch: &Arch, seed: u64) -> StateDict {
    let net = ham_engine::net::Net::new(arch.clone());
    let mut rng = Rng(seed);
    let tensor = |t: &ham_engine::net::Tensor| {
        let fan_in: usize = t.shape[1..].iter().product();
        let bound = (3.0 / fan_in as f32).sqrt();
        let (low, high) = match &t.name {
            n if t.shape.len() > 1 && (n.starts_with("linear") || n.starts_with("fc")) => (-3.0 * bound, 3.0 * bound),
            _ if t.shape.len() > 1 => (-bound, bound),
            n if n.ends_with("running_var") => (0.5, 2.0),
            n if n.ends_with("weight") => (0.5, 1.5),
            _ => (-0.4, 0.4),
        };
        (t.name.clone(), (t.shape.clone(), rng.f32s(t.span.len, low, high)))
    };
    net.tensors.iter().map(tensor).collect()
}

pub fn engine(arch: &Arch, dict: &StateDict, threads: usize, level: Level) -> Engine<CpuBackend> {
    let mut e = Engine::new(CpuBackend::with_level(threads, level).unwrap(), arch.clone()).unwrap();
    e.set_weights(&Weights::from_state_dict(&e.net, dict, Path::new("test")).unwrap()).unwrap();
    e
}

/// Random images and labels.
pub fn examples(arch: &Arch, n: usize, seed: u64) -> (Vec<f32>, Vec<u32>) {
    let mut rng = Rng(seed ^ 0xABCD);
    let images = rng.f32s(n * arch.image.len(), 0.0, 1.0);
    (images, (0..n).map(|_| rng.below(arch.classes) as u32).collect())
}

/// `0..n`, as the order of an epoch.
pub fn order(n: usize) -> Vec<u32> {
    (0..n as u32).collect()
}

/// PGD on the cross-entropy from a uniform random start.
pub fn pgd(eps: f32, alpha: f32, steps: usize) -> Pgd {
    Pgd { eps, alpha, steps, start: Some(Noise::Uniform(eps)), loss: Loss::CrossEntropy }
}

/// HAM; PGD-AT where nothing is dropped, and standard training without an attack.
pub fn plan(attack: Option<Pgd>, k_drop: &[usize], keep_easy: f32, weights: Weighting) -> Plan {
    let weight = weights.formula(attack.map_or(0, |a| a.steps));
    let checks = drop_easy(k_drop, keep_easy);
    Plan { name: "test", attack, checks, refill: false, weight, loss: TrainLoss::CrossEntropy }
}
