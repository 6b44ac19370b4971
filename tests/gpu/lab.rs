//! The same ops on both backends, over the same values.

use crate::common::{Rng, order};
use ham_engine::backend::Backend;
use ham_engine::backend::cpu::{Compiled as CpuCompiled, CpuBackend};
use ham_engine::backend::gpu::{Compiled as GpuCompiled, GpuBackend};
use ham_engine::batch::{Batch, Resident, Stats, control};
use ham_engine::gpu::Precision;
use ham_engine::gpu::sim::{SimDriver, SimOptions};
use ham_engine::ops::{Op, Program};
use ham_engine::program::{Affine, Bits, Buf, Buffers, DType, Map, Shape};

/// Orders of blocks and warps that every case runs in.
pub const SEEDS: [u64; 3] = [0, 1, 2];
/// Bins of the kappa histogram.
pub const KAPPAS: usize = 4;

/// Both backends, with a batch, a data set and statistics at the same handles.
pub struct Lab {
    pub cpu: CpuBackend,
    pub gpu: GpuBackend<SimDriver>,
    pub precision: Precision,
    pub batch: Batch,
    pub data: Resident,
    pub stats: Stats,
}

/// A program on both.
pub struct Pair {
    pub cpu: CpuCompiled,
    pub gpu: GpuCompiled<SimDriver>,
}

fn furnish<B: Backend>(
    b: &mut B,
    capacity: usize,
    image: Shape,
    classes: usize,
    channels: usize,
    (dtype, samples): (DType, usize),
) -> (Batch, Resident, Stats) {
    let batch = Batch::alloc(b, capacity, image, classes, channels).unwrap();
    let data = Resident {
        images: b.alloc(dtype, samples * image.len()).unwrap(),
        labels: b.alloc(DType::U32, samples).unwrap(),
        order: b.alloc(DType::U32, samples).unwrap(),
        control: b.alloc(DType::U32, control::LEN).unwrap(),
    };
    let counters = b.alloc(DType::U64, Stats::len(classes, KAPPAS)).unwrap();
    let stats = Stats { counters, loss: b.alloc(DType::F64, 1).unwrap(), classes, kappas: KAPPAS };
    (batch, data, stats)
}

impl Lab {
    /// `samples` images of `dtype` in the data set; `channels` go into the head.
    pub fn new(
        precision: Precision,
        seed: u64,
        capacity: usize,
        image: Shape,
        classes: usize,
        channels: usize,
        data: (DType, usize),
    ) -> Lab {
        let mut cpu = CpuBackend::new(1).unwrap();
        let sim = SimDriver::new(SimOptions { seed, ..SimOptions::default() });
        let mut gpu = GpuBackend::new(sim, precision).unwrap();
        let (batch, data_set, stats) = furnish(&mut cpu, capacity, image, classes, channels, data);
        furnish(&mut gpu, capacity, image, classes, channels, data);
        Lab { cpu, gpu, precision, batch, data: data_set, stats }
    }

    /// A lab for ops on maps: images, data set and classes don't matter.
    pub fn of_maps(precision: Precision, seed: u64, capacity: usize) -> Lab {
        Lab::new(precision, seed, capacity, Shape { c: 1, h: 1, w: 1 }, 2, 1, (DType::F32, 1))
    }

    /// A lab for ops on the examples' state: data set and classes don't matter.
    pub fn of_state(seed: u64, capacity: usize, image: Shape) -> Lab {
        Lab::new(Precision::Fp32, seed, capacity, image, 2, 1, (DType::F32, 1))
    }

    /// Makes `positions` live, of `loaded` examples.
    pub fn live(&mut self, positions: &[u32], loaded: usize) {
        self.write(self.batch.live, 0, &[positions.len() as u32, loaded as u32]);
        self.write(self.batch.position, 0, positions);
    }

    pub fn program(&self) -> Program {
        Program::new(self.batch.capacity, self.batch.live)
    }

    pub fn write<T: bytemuck::Pod>(&mut self, buf: Buf, offset: usize, data: &[T]) {
        self.cpu.write(buf, offset, data).unwrap();
        self.gpu.write(buf, offset, data).unwrap();
    }

    pub fn buffer(&mut self, values: &[f32]) -> Buf {
        let buf = self.cpu.alloc(DType::F32, values.len()).unwrap();
        assert_eq!(self.gpu.alloc(DType::F32, values.len()).unwrap(), buf);
        self.write(buf, 0, values);
        buf
    }

    /// A buffer's values on the CPU and on the GPU.
    pub fn read<T: bytemuck::Pod>(&self, buf: Buf) -> [Vec<T>; 2] {
        [self.cpu.read_all(buf).unwrap(), self.gpu.read_all(buf).unwrap()]
    }

    pub fn compile(&mut self, program: Program) -> Pair {
        let cpu = self.cpu.compile_inspectable(program.clone()).unwrap();
        Pair { cpu, gpu: self.gpu.compile(program).unwrap() }
    }

    /// Runs ops that use no maps.
    pub fn run(&mut self, ops: impl IntoIterator<Item = Op>) {
        let mut p = self.program();
        ops.into_iter().for_each(|op| p.push(op));
        let mut pair = self.compile(p);
        self.replay(&mut pair);
    }

    pub fn replay(&mut self, pair: &mut Pair) {
        self.cpu.replay(&mut pair.cpu).unwrap();
        self.gpu.replay(&mut pair.gpu).unwrap();
    }

    /// The value as a map of this precision holds it.
    pub fn rounded(&self, v: f32) -> f32 {
        match self.precision {
            Precision::Fp32 => v,
            Precision::Bf16 => half::bf16::from_f32(v).to_f32(),
        }
    }

    /// Sets a map of one slot to what this precision can hold of `values`, the same on both.
    pub fn set_map(&mut self, pair: &mut Pair, map: Map, slot: usize, values: &[f32]) {
        let values: Vec<f32> = values.iter().map(|v| self.rounded(*v)).collect();
        pair.cpu.set_map_values(map, slot, &values);
        self.gpu.set_map_values(&pair.gpu, map, slot, &values).unwrap();
    }

    /// Fills a map of every slot with random numbers.
    pub fn fill_map(&mut self, pair: &mut Pair, map: Map, shape: Shape, rng: &mut Rng, (low, high): (f32, f32)) {
        for slot in 0..self.batch.capacity {
            let values = rng.f32s(shape.len(), low, high);
            self.set_map(pair, map, slot, &values);
        }
    }

    /// A map of one slot, on the CPU and on the GPU.
    pub fn map(&self, pair: &Pair, map: Map, slot: usize) -> [Vec<f32>; 2] {
        [pair.cpu.map_values(map, slot), self.gpu.map_values(&pair.gpu, map, slot).unwrap()]
    }

    pub fn set_bits(&mut self, pair: &mut Pair, bits: Bits, slot: usize, values: &[bool]) {
        pair.cpu.set_bits_values(bits, slot, values);
        self.gpu.set_bits_values(&pair.gpu, bits, slot, values).unwrap();
    }

    pub fn set_affine(&mut self, pair: &mut Pair, affine: Affine, scale: &[f32], shift: &[f32]) {
        pair.cpu.set_affine(affine, scale, shift);
        self.gpu.set_affine(&pair.gpu, affine, scale, shift).unwrap();
    }

    /// A mask of one slot, on the CPU and on the GPU.
    pub fn bits(&self, pair: &Pair, bits: Bits, slot: usize) -> [Vec<bool>; 2] {
        [pair.cpu.bits_values(bits, slot), self.gpu.bits_values(&pair.gpu, bits, slot).unwrap()]
    }
}

/// Positions of every `every`-th example.
pub fn some(capacity: usize, every: usize) -> Vec<u32> {
    order(capacity).into_iter().step_by(every).collect()
}

/// Whether values are within `absolute + relative*|cpu|` of the CPU's.
#[track_caller]
pub fn near(what: &str, [cpu, gpu]: &[Vec<f32>; 2], absolute: f32, relative: f32) {
    assert_eq!(cpu.len(), gpu.len(), "{what}: length");
    for (i, (c, g)) in cpu.iter().zip(gpu).enumerate() {
        let allowed = absolute + relative * c.abs();
        assert!(
            (c - g).abs() <= allowed,
            "{what}[{i}]: {g}, on the CPU {c}: off by {}, allowed {allowed}",
            (c - g).abs()
        );
    }
}
