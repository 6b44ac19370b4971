//! The GPU backend: turns a program into kernel launches, over any [`Driver`].
//!
//! Layouts in device memory, all of `capacity` slots, where `cp` is the number of channels rounded up to a multiple of 8:
//!
//! - a feature map is NHWC `[slot, h, w, cp]` of f32 or bf16 ([`Precision`]); channels from `c` to `cp` are zero;
//! - a bit mask is `[slot, h, w, cp/8]` bytes; bit i of byte j is channel `8*j + i`; bits from `c` on are zero;
//! - an affine is f32 `scale[cp]`, then `shift[cp]`, zero from `c` on;
//! - a filter is what its op's launcher makes of it (`src/ops/<op>/gpu.rs`).
//!
//! Everything a kernel adds up in parts goes through the program's workspace and is added in a fixed order.

pub mod cuda;
pub mod devices;
pub mod driver;
pub mod fuse;
pub mod inspect;
pub mod kernels;
mod nvtx;
pub mod profile;
pub mod ptxas;
pub mod record;
pub mod sim;
pub mod tiles;

use crate::backend::Backend;
use crate::program::{Buf, DType, Phase, Program};
use crate::{Error, Result};
use bytemuck::Pod;
use driver::{Driver, Ptr};
use record::Recorded;
use std::time::Duration;
use tiles::TileSize;

crate::named::named! {
    /// Element type of activations, their gradients and the filters that meet them; sums are f32, master weights too.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Precision {
        /// Single precision.
        Fp32 = "fp32",
        /// bfloat16, on tensor cores.
        Bf16 = "bf16",
    }
}

impl Precision {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Precision::Fp32 => 4,
            Precision::Bf16 => 2,
        }
    }

    /// How the names of its kernels end.
    pub fn suffix(self) -> &'static str {
        match self {
            Precision::Fp32 => "f32",
            Precision::Bf16 => "bf16",
        }
    }
}

/// Runs programs on the device of a driver.
pub struct GpuBackend<D: Driver> {
    /// The device.
    pub driver: D,
    precision: Precision,
    bufs: Vec<D::Memory>,
    /// Bytes of them.
    bytes: u64,
    /// u64 `[phases, last mark]`: nanoseconds by phase, and when the last mark was passed.
    times: D::Memory,
    /// Launches are issued one by one, inside their ranges.
    traced: bool,
    /// The tile that convolutions take, to try it; none for the one that the table says.
    pub tile: Option<TileSize>,
}

impl<D: Driver> GpuBackend<D> {
    /// A backend on that device.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn new(mut driver: D, precision: Precision) -> Result<Self> {
        let times = driver.alloc(record::TIMES * 8)?;
        Ok(GpuBackend { driver, precision, bufs: Vec::new(), bytes: 0, times, traced: false, tile: None })
    }

    fn address<T: Pod>(&self, buf: Buf, offset: usize, len: usize) -> Ptr {
        assert_eq!(size_of::<T>(), buf.dtype.size(), "a buffer of {:?} accessed as another type", buf.dtype);
        assert!(offset + len <= buf.len, "elements {offset}+{len} of a buffer of {}", buf.len);
        D::address(&self.bufs[buf.id as usize]) + (offset * size_of::<T>()) as u64
    }
}

impl<D: Driver> Backend for GpuBackend<D> {
    type Recorded = Recorded<D>;

    fn name(&self) -> String {
        format!("{}, {}", self.driver.name(), self.precision.suffix())
    }

    fn kernels(&self) -> Option<&'static str> {
        Some(kernels::SOURCES)
    }

    fn alloc(&mut self, dtype: DType, len: usize) -> Result<Buf> {
        self.bufs.push(self.driver.alloc(len * dtype.size())?);
        self.bytes += (len * dtype.size()) as u64;
        Ok(Buf { id: self.bufs.len() as u32 - 1, dtype, len })
    }

    fn write<T: Pod>(&mut self, buf: Buf, offset: usize, data: &[T]) -> Result<()> {
        let address = self.address::<T>(buf, offset, data.len());
        self.driver.write(address, bytemuck::cast_slice(data))
    }

    fn read<T: Pod>(&self, buf: Buf, offset: usize, out: &mut [T]) -> Result<()> {
        let address = self.address::<T>(buf, offset, out.len());
        self.driver.read(address, bytemuck::cast_slice_mut(out))
    }

    fn record(&mut self, program: Program) -> Result<Recorded<D>> {
        let bufs: Vec<Ptr> = self.bufs.iter().map(D::address).collect();
        Recorded::new(program, self.precision, &bufs, D::address(&self.times), self.tile, &mut self.driver)
    }

    fn replay(&mut self, recorded: &mut Recorded<D>) -> Result<()> {
        self.driver.replay(&mut recorded.graph, self.traced)
    }

    fn memory(&self, recorded: &Recorded<D>) -> u64 {
        self.bytes + recorded.bytes
    }

    fn enter(&mut self, name: &str) {
        self.driver.push(name);
    }

    fn leave(&mut self) {
        self.driver.pop();
    }

    fn profile(&mut self, on: bool) -> Result<()> {
        self.traced = on;
        self.driver.profile(on)
    }

    fn take_time(&mut self, phase: Phase) -> Result<Duration> {
        let at = D::address(&self.times) + 8 * phase as u64;
        let mut nanoseconds = [0u64];
        self.driver.read(at, bytemuck::cast_slice_mut(&mut nanoseconds))?;
        self.driver.write(at, &[0; 8])?;
        Ok(Duration::from_nanos(nanoseconds[0]))
    }
}

/// An [`Error::Op`] for a shape that a kernel does not support.
pub fn unsupported(op: &'static str, what: impl Into<String>) -> Error {
    Error::Op { op, what: what.into() }
}
