//! The seam between `GpuBackend` and a GPU: the few calls of the CUDA driver API that it needs.

use super::kernels::Kernel;
use crate::Result;
use std::borrow::Cow;

/// An address in the device's memory.
pub type Ptr = u64;

/// An argument of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// A pointer that the kernel only reads from; 0 for none.
    In(Ptr),
    /// A pointer that the kernel writes to; 0 for none.
    Out(Ptr),
    /// A number or a structure, as its bytes.
    Bytes(Vec<u8>),
}

impl Arg {
    /// Its bytes, as the kernel gets them.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Arg::In(ptr) | Arg::Out(ptr) => Cow::Owned(ptr.to_ne_bytes().to_vec()),
            Arg::Bytes(bytes) => Cow::Borrowed(bytes),
        }
    }
}

/// A kernel and all that it is launched with.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The kernel.
    pub kernel: Kernel,
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory of a block.
    pub shared: usize,
    /// The arguments, in the kernel's order.
    pub args: Vec<Arg>,
    /// The shape it works on, for messages and profiles.
    pub shape: String,
}

/// One step of what a device does by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Runs a kernel.
    Launch(Launch),
    /// Opens a named range, which profilers show.
    Push(String),
    /// Closes the innermost range.
    Pop,
}

/// A device and one queue of work on it. Calls take effect in order.
pub trait Driver {
    /// A sequence of commands made ready.
    type Graph;
    /// An allocation, freed when dropped and the queue is done with it.
    type Memory;

    /// The device, as reports name it.
    fn name(&self) -> String;

    /// Bytes of shared memory that a block may have; by default what every chip from compute capability 8.0 on gives.
    fn shared_limit(&self) -> usize {
        99 << 10
    }

    /// Bytes of device memory that could be allocated now.
    ///
    /// # Errors
    /// Where the device fails.
    fn free_memory(&self) -> Result<usize>;

    /// Allocates `bytes` (at least one), all zero, at an address that is a multiple of 256.
    ///
    /// # Errors
    /// Where memory does not suffice.
    fn alloc(&mut self, bytes: usize) -> Result<Self::Memory>;

    /// Where an allocation starts.
    fn address(memory: &Self::Memory) -> Ptr;

    /// Copies to the device.
    ///
    /// # Errors
    /// Where the device fails.
    fn write(&mut self, ptr: Ptr, bytes: &[u8]) -> Result<()>;

    /// Waits for all before it and copies from the device.
    ///
    /// # Errors
    /// Where the device fails, also for what was enqueued earlier.
    fn read(&self, ptr: Ptr, bytes: &mut [u8]) -> Result<()>;

    /// Makes a sequence ready to run: loads its kernels, and captures it where the device can.
    ///
    /// # Errors
    /// Where a kernel can't be loaded or launched with these arguments.
    fn prepare(&mut self, commands: Vec<Command>) -> Result<Self::Graph>;

    /// Enqueues the sequence. With `traced` every launch is issued by itself, inside its ranges.
    ///
    /// # Errors
    /// Where the device fails, also for what was enqueued earlier.
    fn replay(&mut self, graph: &mut Self::Graph, traced: bool) -> Result<()>;

    /// Opens a range that profilers show by this name.
    fn push(&mut self, name: &str);

    /// Closes the innermost range.
    fn pop(&mut self);

    /// Tells a waiting profiler to begin or to end.
    ///
    /// # Errors
    /// Where the device fails, also for what was enqueued earlier.
    fn profile(&mut self, on: bool) -> Result<()>;
}
