//! A simulated GPU with the CUDA programs on it, as the tests and benches drive it.
#![allow(dead_code, reason = "each test and bench uses a part of it")]

#[path = "../nvcc/mod.rs"]
pub mod nvcc;

use half::{bf16, f16};
use ptx_sim::{Arg, Counters, Device, DeviceOptions, Error, Module, Shape};
use std::collections::HashMap;

/// Memory of the device.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    pub address: u64,
    /// Whether kernels must not write it.
    input: bool,
}

impl From<Buffer> for Arg {
    fn from(buffer: Buffer) -> Arg {
        if buffer.input { Arg::read_only(buffer.address) } else { buffer.address.into() }
    }
}

/// Arguments of a launch: buffers and numbers.
#[macro_export]
macro_rules! args {
    ($($arg:expr),* $(,)?) => { [$(ptx_sim::Arg::from($arg)),*] };
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
element!(u8, u16, u32, i32, u64, i64, f32, f64, f16, bf16);

/// A device, and the programs that it has loaded. A program is loaded once: its variables live on between launches.
pub struct Host {
    pub device: Device,
    modules: HashMap<String, Module>,
}

impl Host {
    pub fn new(options: DeviceOptions) -> Host {
        Host { device: Device::new(options), modules: HashMap::new() }
    }

    pub fn seeded(seed: u64) -> Host {
        Host::new(DeviceOptions { seed, ..DeviceOptions::default() })
    }

    /// Memory that no kernel may write.
    pub fn input<T: Element>(&mut self, data: &[T]) -> Buffer {
        Buffer { input: true, ..self.inout(data) }
    }

    /// Memory that kernels may read and write.
    pub fn inout<T: Element>(&mut self, data: &[T]) -> Buffer {
        let mut bytes = Vec::with_capacity(data.len() * T::SIZE);
        data.iter().for_each(|v| v.store(&mut bytes));
        let buffer = self.output::<u8>(bytes.len());
        self.device.write(buffer.address, &bytes).expect("it fits");
        buffer
    }

    /// Memory that nothing has written.
    pub fn output<T: Element>(&mut self, n: usize) -> Buffer {
        Buffer { address: self.device.alloc(n * T::SIZE), input: false }
    }

    pub fn read<T: Element>(&mut self, buffer: Buffer, n: usize) -> Vec<T> {
        let mut bytes = vec![0; n * T::SIZE];
        self.device.read(buffer.address, &mut bytes).expect("all of it was written");
        bytes.chunks(T::SIZE).map(T::load).collect()
    }

    /// The module of programs/`program`.cu, and the device.
    pub fn load(&mut self, program: &str) -> Result<(&mut Device, &Module), Error> {
        if !self.modules.contains_key(program) {
            self.modules.insert(program.to_owned(), Module::load(&nvcc::ptx(program))?);
        }
        Ok((&mut self.device, &self.modules[program]))
    }

    pub fn launch(&mut self, program: &str, kernel: &str, shape: Shape, args: &[Arg]) -> Result<Counters, Error> {
        let (device, module) = self.load(program)?;
        device.launch(module, kernel, shape, args)
    }

    /// A launch that must succeed.
    pub fn run(&mut self, program: &str, kernel: &str, shape: Shape, args: &[Arg]) -> Counters {
        self.launch(program, kernel, shape, args).unwrap_or_else(|e| panic!("{program}.{kernel} {shape:?}: {e}"))
    }
}

pub fn line(blocks: usize, threads: usize) -> Shape {
    Shape::line(blocks as u32, threads as u32)
}

/// A grid that covers `n` once.
pub fn cover(n: usize, threads: usize) -> Shape {
    line(n.div_ceil(threads), threads)
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
}
