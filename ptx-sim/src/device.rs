//! The simulated GPU: its memory and launches.

use crate::counters::Counters;
use crate::decode::decode;
use crate::error::{Error, Result};
use crate::exec::{Launch, Machine, fast, run_launch};
use crate::inst::Kernel;
use crate::memory::Global;
use crate::parse::ast::{Ast, Imm, Init, Var, VarSpace};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A loaded PTX text.
#[derive(Debug)]
pub struct Module {
    id: u64,
    kernels: Vec<Kernel>,
    files: HashMap<u32, String>,
    vars: Vec<Var>,
}

/// What a module says of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Sizes in bytes of its parameters.
    pub params: Vec<usize>,
    /// Bytes of static shared memory.
    pub static_shared: usize,
    /// Bytes of local memory of a thread, parameters of inlined calls included.
    pub local: usize,
    /// Most threads of a block (`.maxntid`), if it says so.
    pub max_threads: Option<u32>,
}

impl Module {
    /// Parses and decodes; whatever can't be executed is an error here.
    pub fn load(ptx: &str) -> Result<Module> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let ast: Ast = crate::parse::parse(ptx)?;
        let kernels = ast.funcs.iter().filter(|f| f.entry).map(|f| decode(&ast, f)).collect::<Result<Vec<_>>>()?;
        for v in &ast.vars {
            if v.external && v.space != VarSpace::Shared {
                return Err(Error::Load { line: v.line, message: format!("unsupported external variable {}", v.name) });
            }
        }
        Ok(Module { id: NEXT.fetch_add(1, Ordering::Relaxed), kernels, files: ast.files, vars: ast.vars })
    }

    /// The kernels of the module.
    pub fn entries(&self) -> Vec<Entry> {
        let entry = |k: &Kernel| Entry {
            name: k.name.clone(),
            params: k.params.iter().map(|p| p.1).collect(),
            static_shared: k.static_shared,
            local: k.local_bytes,
            max_threads: k.max_threads,
        };
        self.kernels.iter().map(entry).collect()
    }
}

/// Which checks run. Bounds, alignment, use after free, divergence and shuffles are always checked: without them there
/// is no right result to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Races between threads of a block on shared memory.
    pub shared_races: bool,
    /// Races between blocks on global memory.
    pub global_races: bool,
    /// Reads of memory that nothing has written.
    pub uninitialised: bool,
}

impl Default for Checks {
    fn default() -> Checks {
        Checks { shared_races: true, global_races: true, uninitialised: true }
    }
}

/// How a [`Device`] behaves.
#[derive(Clone, Debug)]
pub struct DeviceOptions {
    /// The checks that run.
    pub checks: Checks,
    /// Whether blocks and warps run in an order drawn from `seed`; otherwise in ascending order.
    pub shuffle: bool,
    /// Seed of the order. The same seed gives the same run.
    pub seed: u64,
    /// Most threads of a block.
    pub max_threads: u32,
    /// Most bytes of shared memory of a block.
    pub max_shared: usize,
    /// Whether kernels opted in to more than 48 KiB of shared memory.
    pub shared_opt_in: bool,
    /// Most blocks under way at once, which those that spin on each other need.
    pub resident_blocks: usize,
    /// Most steps (instructions) of a warp.
    pub step_budget: u64,
}

impl Default for DeviceOptions {
    fn default() -> DeviceOptions {
        DeviceOptions {
            checks: Checks::default(),
            shuffle: true,
            seed: 0,
            max_threads: 1024,
            max_shared: 99 << 10,
            shared_opt_in: false,
            resident_blocks: 16,
            step_budget: 50_000_000,
        }
    }
}

/// A simulated GPU.
pub struct Device {
    options: DeviceOptions,
    global: Global,
    /// Addresses of the variables of the modules that ran here.
    modules: HashMap<u64, Vec<u64>>,
}

impl Device {
    /// A device without allocations.
    pub fn new(options: DeviceOptions) -> Device {
        let mut global = Global::new();
        global.check_races = options.checks.global_races;
        global.check_init = options.checks.uninitialised;
        Device { options, global, modules: HashMap::new() }
    }

    /// The options, to be changed between launches (checks of global memory excepted).
    pub fn options_mut(&mut self) -> &mut DeviceOptions {
        &mut self.options
    }

    /// A new allocation of `bytes`, uninitialised; its address is a multiple of 256.
    pub fn alloc(&mut self, bytes: usize) -> u64 {
        self.global.alloc(bytes)
    }

    /// Frees an allocation.
    pub fn free(&mut self, address: u64) -> Result<()> {
        self.global.free(address)
    }

    /// Forbids or allows kernels to write to the allocation that holds `address`.
    pub fn protect(&mut self, address: u64, read_only: bool) -> Result<()> {
        self.global.host(address, 0)?.0.read_only = read_only;
        Ok(())
    }

    /// Copies to the device.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        let (a, at) = self.global.host(address, bytes.len())?;
        a.data[at..at + bytes.len()].copy_from_slice(bytes);
        a.init.set_range(at, bytes.len());
        Ok(())
    }

    /// Copies from the device. Bytes that nothing has written are an error while that check is on.
    pub fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<()> {
        let check = self.options.checks.uninitialised;
        let (a, at) = self.global.host(address, bytes.len())?;
        if check && let Some(i) = (at..at + bytes.len()).find(|&i| !a.init.all(i, 1)) {
            return Err(Error::Memory(format!("byte {i} of the allocation was never written")));
        }
        bytes.copy_from_slice(&a.data[at..at + bytes.len()]);
        Ok(())
    }

    /// Address and size of a module's `.global` or `.const` variable.
    pub fn symbol(&mut self, module: &Module, name: &str) -> Result<(u64, usize)> {
        let addresses = self.instantiate(module)?;
        let found = module.vars.iter().position(|v| v.name == name && v.space != VarSpace::Shared);
        let Some(i) = found else { return Err(Error::Launch(format!("no variable {name}"))) };
        Ok((addresses[i], module.vars[i].size))
    }

    /// Allocates and initialises a module's variables on first use.
    fn instantiate(&mut self, module: &Module) -> Result<Vec<u64>> {
        if let Some(addresses) = self.modules.get(&module.id) {
            return Ok(addresses.clone());
        }
        let addresses: Vec<u64> = module
            .vars
            .iter()
            .map(|v| if v.space == VarSpace::Shared { 0 } else { self.global.alloc(v.size) })
            .collect();
        for (v, &address) in module.vars.iter().zip(&addresses).filter(|v| v.0.space != VarSpace::Shared) {
            // Without an initialiser, variables are zero.
            let mut bytes = vec![0; v.size];
            let n = v.ty.bytes();
            for (i, init) in v.init.iter().enumerate() {
                let value = match init {
                    Init::Value(Imm::Int(x)) => *x as u64,
                    Init::Value(Imm::F32(x)) => *x as u64,
                    Init::Value(Imm::F64(x)) => *x,
                    Init::Address(name, offset) => {
                        let Some(k) = module.vars.iter().position(|v| v.name == *name) else {
                            return Err(Error::Launch(format!("initialiser names unknown {name}")));
                        };
                        addresses[k].wrapping_add(*offset as u64)
                    }
                };
                bytes[i * n..(i + 1) * n].copy_from_slice(&value.to_le_bytes()[..n]);
            }
            self.write(address, &bytes)?;
            self.protect(address, v.space == VarSpace::Const)?;
        }
        self.modules.insert(module.id, addresses.clone());
        Ok(addresses)
    }

    /// Runs a kernel to its end. `args` are the bytes of each parameter.
    pub fn launch(
        &mut self,
        module: &Module,
        entry: &str,
        grid: [u32; 3],
        block: [u32; 3],
        dynamic_shared: usize,
        args: &[&[u8]],
    ) -> Result<Counters> {
        let refuse = |message: String| Err(Error::Launch(format!("{entry}: {message}")));
        let Some(kernel) = module.kernels.iter().find(|k| k.name == entry) else {
            return refuse("no such kernel".into());
        };
        if args.len() != kernel.params.len() {
            return refuse(format!("{} arguments for {} parameters", args.len(), kernel.params.len()));
        }
        let mut params = vec![0; kernel.param_bytes];
        for (i, (arg, &(at, size))) in args.iter().zip(&kernel.params).enumerate() {
            if arg.len() != size {
                return refuse(format!("argument {i} has {} bytes, the parameter {size}", arg.len()));
            }
            params[at..at + size].copy_from_slice(arg);
        }
        let product = |d: [u32; 3]| d.iter().map(|&x| x as u128).product::<u128>();
        let (threads, blocks) = (product(block), product(grid));
        let most = self.options.max_threads.min(kernel.max_threads.unwrap_or(u32::MAX));
        if threads == 0 || threads > most as u128 {
            return refuse(format!("{threads} threads in a block, 1 to {most} allowed"));
        }
        if kernel.required.is_some_and(|r| r != block) {
            return refuse(format!("block {block:?} is not the one that the kernel requires"));
        }
        if blocks == 0 || blocks >= 1 << 24 || grid[1] > 65535 || grid[2] > 65535 {
            return refuse(format!("grid {grid:?} is empty or too large"));
        }
        let shared_bytes = kernel.static_shared + dynamic_shared;
        let limit = if self.options.shared_opt_in { self.options.max_shared } else { 48 << 10 };
        if shared_bytes > limit {
            return refuse(format!("{shared_bytes} bytes of shared memory, {limit} allowed"));
        }
        let globals = self.instantiate(module)?;
        self.global.begin(blocks as usize);
        let options = self.options.clone();
        let launch = Launch {
            kernel,
            options: &options,
            params: &params,
            globals: &globals,
            files: &module.files,
            grid,
            block,
            shared_bytes,
            dynamic_shared,
            fast: fast(),
        };
        let mut machine = Machine { global: &mut self.global, counters: Counters::default(), clock: 0 };
        run_launch(&launch, &mut machine)?;
        let mut counters = machine.counters;
        (counters.unique_load_sectors, counters.unique_store_sectors, counters.unique_bytes) = self.global.touched();
        Ok(counters)
    }
}
