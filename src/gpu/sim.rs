//! A driver without a GPU: executes the very same PTX on this machine's cores, with every check of `ptx-sim` on.

use super::driver::{Arg, Command, Driver, Launch, Ptr};
use super::kernels::{Kernel, MODULES};
use crate::{Error, Result};
use ptx_sim::gpu::{Gpu, H100_SXM};
use ptx_sim::{Checks, Counters, Device, DeviceOptions, Module, Shape};
use std::cell::{Cell, RefCell};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// Bytes that a simulated device offers.
const MEMORY: usize = 16 << 30;

/// What a driver was asked for, to hold the engine to its promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Allocations.
    pub allocs: usize,
    /// Copies to the device.
    pub writes: usize,
    /// Copies from the device, each of which waits.
    pub reads: usize,
    /// Sequences enqueued.
    pub replays: usize,
    /// Kernels run.
    pub launches: usize,
}

/// Bytes that a launch's arguments lead to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operands {
    /// Of allocations that it only reads.
    pub inputs: usize,
    /// Of allocations that it writes.
    pub outputs: usize,
}

/// How a simulated device behaves.
#[derive(Clone, Copy, Debug)]
pub struct SimOptions {
    /// Seed of the order of blocks and warps; no result depends on it.
    pub seed: u64,
    /// Host threads; 0: one per processor. No result depends on it.
    pub threads: usize,
    /// The GPU whose limits hold.
    pub gpu: &'static Gpu,
    /// What is checked.
    pub checks: Checks,
}

impl Default for SimOptions {
    fn default() -> Self {
        SimOptions { seed: 0, threads: 0, gpu: &H100_SXM, checks: Checks::all() }
    }
}

/// Bytes of the allocations in use, by address.
type Sizes = Rc<RefCell<HashMap<Ptr, usize>>>;

/// Runs kernels on `ptx-sim`.
pub struct SimDriver {
    options: SimOptions,
    device: Rc<RefCell<Device>>,
    modules: HashMap<usize, Module>,
    /// Most dynamic shared memory that a kernel was prepared with.
    shared: HashMap<Kernel, usize>,
    sizes: Sizes,
    calls: Cell<Calls>,
}

impl SimDriver {
    /// A device with no memory in use.
    pub fn new(options: SimOptions) -> SimDriver {
        let SimOptions { seed, threads, gpu, checks } = options;
        let device = DeviceOptions { checks, seed, gpu, threads, ..DeviceOptions::default() };
        SimDriver {
            options,
            device: Rc::new(RefCell::new(Device::new(device))),
            modules: HashMap::new(),
            shared: HashMap::new(),
            sizes: Sizes::default(),
            calls: Cell::default(),
        }
    }

    /// What was asked of it so far.
    pub fn calls(&self) -> Calls {
        self.calls.get()
    }

    fn called(&self, what: impl Fn(&mut Calls)) {
        let mut calls = self.calls.get();
        what(&mut calls);
        self.calls.set(calls);
    }

    /// Bytes of the different allocations that begin at an argument of a launch.
    pub fn operands(&self, launch: &Launch) -> Operands {
        let sum = |wanted: fn(&Arg) -> Option<Ptr>| {
            let pointers: BTreeSet<Ptr> = launch.args.iter().filter_map(wanted).collect();
            pointers.iter().filter_map(|p| self.sizes.borrow().get(p).copied()).sum()
        };
        Operands {
            inputs: sum(|a| if let Arg::In(p) = a { Some(*p) } else { None }),
            outputs: sum(|a| if let Arg::Out(p) = a { Some(*p) } else { None }),
        }
    }

    /// Runs one prepared launch.
    ///
    /// # Errors
    /// If the kernel fails.
    pub fn run(&mut self, launch: &Launch) -> Result<Counters> {
        let mut device = self.device.borrow_mut();
        let outputs: Vec<Ptr> =
            launch.args.iter().filter_map(|a| if let Arg::Out(p) = a { Some(*p) } else { None }).collect();
        // What is both read and written may be written.
        let args: Vec<ptx_sim::Arg> = launch
            .args
            .iter()
            .map(|arg| match arg {
                Arg::In(p) if *p == 0 || outputs.contains(p) => (*p).into(),
                Arg::In(p) => ptx_sim::Arg::read_only(*p),
                Arg::Out(p) => (*p).into(),
                Arg::Bytes(bytes) => ptx_sim::Arg::bytes(bytes),
            })
            .collect();
        let shape = Shape { grid: launch.grid, block: launch.block, shared: launch.shared };
        let counters = device
            .launch(&self.modules[&launch.kernel.module], launch.kernel.name, shape, &args)
            .map_err(|e| device_error(launch, e))?;
        self.called(|c| c.launches += 1);
        Ok(counters)
    }
}

fn device_error(launch: &Launch, e: ptx_sim::Error) -> Error {
    Error::Device { what: format!("{} ({}): {e}", launch.kernel.name, launch.shape) }
}

fn memory_error(e: ptx_sim::Error) -> Error {
    Error::Device { what: e.to_string() }
}

/// An allocation of a simulated device.
pub struct SimMemory {
    ptr: Ptr,
    device: Rc<RefCell<Device>>,
    sizes: Sizes,
}

impl Drop for SimMemory {
    fn drop(&mut self) {
        self.device.borrow_mut().free(self.ptr).expect("allocated here and freed once");
        self.sizes.borrow_mut().remove(&self.ptr);
    }
}

impl Driver for SimDriver {
    type Graph = Vec<Command>;
    type Memory = SimMemory;

    fn name(&self) -> String {
        format!("sim ({})", self.options.gpu.name)
    }

    fn shared_limit(&self) -> usize {
        self.options.gpu.shared_per_block_optin as usize
    }

    fn free_memory(&self) -> Result<usize> {
        Ok(MEMORY.saturating_sub(self.sizes.borrow().values().sum()))
    }

    fn alloc(&mut self, bytes: usize) -> Result<SimMemory> {
        self.called(|c| c.allocs += 1);
        let bytes = bytes.max(1);
        let mut device = self.device.borrow_mut();
        let ptr = device.alloc(bytes);
        device.write(ptr, &vec![0; bytes]).map_err(memory_error)?;
        self.sizes.borrow_mut().insert(ptr, bytes);
        Ok(SimMemory { ptr, device: self.device.clone(), sizes: self.sizes.clone() })
    }

    fn address(memory: &SimMemory) -> Ptr {
        memory.ptr
    }

    fn write(&mut self, ptr: Ptr, bytes: &[u8]) -> Result<()> {
        self.called(|c| c.writes += 1);
        self.device.borrow_mut().write(ptr, bytes).map_err(memory_error)
    }

    fn read(&self, ptr: Ptr, bytes: &mut [u8]) -> Result<()> {
        self.called(|c| c.reads += 1);
        self.device.borrow_mut().read(ptr, bytes).map_err(memory_error)
    }

    fn prepare(&mut self, commands: Vec<Command>) -> Result<Self::Graph> {
        for command in &commands {
            let Command::Launch(launch) = command else { continue };
            let module = launch.kernel.module;
            if let Entry::Vacant(place) = self.modules.entry(module) {
                place.insert(Module::load(MODULES[module].ptx).map_err(|e| device_error(launch, e))?);
            }
            let most = self.shared.entry(launch.kernel).or_default();
            if launch.shared > *most {
                *most = launch.shared;
                let mut device = self.device.borrow_mut();
                let allowed = device.allow_shared(&self.modules[&module], launch.kernel.name, launch.shared);
                allowed.map_err(|e| device_error(launch, e))?;
            }
        }
        Ok(commands)
    }

    fn replay(&mut self, graph: &mut Self::Graph, _traced: bool) -> Result<()> {
        self.called(|c| c.replays += 1);
        for command in graph.iter() {
            if let Command::Launch(launch) = command {
                self.run(launch)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, _name: &str) {}

    fn pop(&mut self) {}

    fn profile(&mut self, _on: bool) -> Result<()> {
        Ok(())
    }
}
