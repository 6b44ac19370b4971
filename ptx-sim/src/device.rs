//! The simulated GPU: its memory and launches.

use crate::counters::Counters;
use crate::decode::decode;
use crate::error::{Error, FaultKind, Result};
use crate::exec::{Launch, fast, run_launch};
use crate::gpu::{Gpu, RTX_3060, occupancy};
use crate::inst::Kernel;
use crate::launch::{Arg, Checks, Shape};
use crate::memory::Global;
use crate::parse::ast::{Ast, Imm, Init, Loc, Var, VarSpace};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// A loaded PTX text.
#[derive(Debug)]
pub struct Module {
    id: u64,
    kernels: Vec<Kernel>,
    files: HashMap<u32, String>,
    locs: Vec<Loc>,
    vars: Vec<Var>,
}

/// What a module says of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its parameters, in order.
    pub params: Vec<Param>,
    /// Bytes of static shared memory.
    pub static_shared: usize,
    /// Bytes of local memory of a thread, parameters of inlined calls included.
    pub local: usize,
    /// Most threads of a block (`.maxntid`), if it says so.
    pub max_threads: Option<u32>,
}

/// A parameter of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name in the PTX.
    pub name: String,
    /// Offset in bytes among the parameters.
    pub at: usize,
    /// Bytes.
    pub size: usize,
    /// Whether it is a float; None for a structure or untyped bits.
    pub float: Option<bool>,
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
        Ok(Module {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            kernels,
            files: ast.files,
            locs: ast.locs,
            vars: ast.vars,
        })
    }

    fn kernel(&self, entry: &str) -> Result<&Kernel> {
        let found = self.kernels.iter().find(|k| k.name == entry);
        found.ok_or_else(|| Error::Launch(format!("{entry}: no such kernel in the module")))
    }

    /// The kernels of the module.
    pub fn entries(&self) -> Vec<Entry> {
        let entry = |k: &Kernel| Entry {
            name: k.name.clone(),
            params: k.params.clone(),
            static_shared: k.static_shared,
            local: k.local_bytes,
            max_threads: k.max_threads,
        };
        self.kernels.iter().map(entry).collect()
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
    /// The GPU whose limits of threads, registers and shared memory hold.
    pub gpu: &'static Gpu,
    /// Host threads that blocks may run on at once; 0: one per processor. No result depends on it.
    pub threads: usize,
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
            gpu: &RTX_3060,
            threads: 0,
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
    /// What the host said of kernels, by module and name.
    attributes: HashMap<(u64, String), Attributes>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Attributes {
    dynamic_shared: Option<usize>,
    registers: Option<u32>,
}

impl Device {
    /// A device without allocations.
    pub fn new(options: DeviceOptions) -> Device {
        let mut global = Global::new();
        global.check_races = options.checks.has(FaultKind::GlobalRace);
        global.check_read_only = options.checks.has(FaultKind::ReadOnly);
        global.check_init = options.checks.has(FaultKind::Uninitialised);
        Device { options, global, modules: HashMap::new(), attributes: HashMap::new() }
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
        a.bytes()[at..at + bytes.len()].copy_from_slice(bytes);
        a.set_init(at, bytes.len());
        Ok(())
    }

    /// Copies from the device. Bytes that nothing has written are an error while that check is on.
    pub fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<()> {
        let check = self.options.checks.has(FaultKind::Uninitialised);
        let (a, at) = self.global.host(address, bytes.len())?;
        if check && let Some(i) = a.first_uninitialised(at, bytes.len()) {
            return Err(Error::Memory(format!("byte {i} of the allocation was never written")));
        }
        bytes.copy_from_slice(&a.bytes()[at..at + bytes.len()]);
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

    /// Lets a kernel have up to `bytes` of dynamic shared memory, beyond the 48 KiB that static and dynamic may take
    /// together otherwise; an error if the GPU has less. (The attribute
    /// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES` of the driver.)
    pub fn allow_shared(&mut self, module: &Module, entry: &str, bytes: usize) -> Result<()> {
        let kernel = module.kernel(entry)?;
        let most = self.options.gpu.shared_per_block_optin as usize;
        if kernel.static_shared + bytes > most {
            return Err(Error::Launch(format!(
                "{entry}: {} bytes of static and {bytes} of dynamic shared memory, {most} allowed on {}",
                kernel.static_shared, self.options.gpu.name
            )));
        }
        self.attributes.entry((module.id, entry.into())).or_default().dynamic_shared = Some(bytes);
        Ok(())
    }

    /// Tells how many registers a thread of a kernel takes, which ptxas decides and PTX does not say: launches are then
    /// held to the GPU's limit.
    pub fn set_registers(&mut self, module: &Module, entry: &str, registers: u32) -> Result<()> {
        module.kernel(entry)?;
        self.attributes.entry((module.id, entry.into())).or_default().registers = Some(registers);
        Ok(())
    }

    /// Refuses a block that the GPU could not run.
    fn check_limits(&self, module: &Module, kernel: &Kernel, shape: Shape) -> Result<()> {
        let refuse = |message: String| Err(Error::Launch(format!("{}: {message}", kernel.name)));
        let gpu = self.options.gpu;
        let product = |d: [u32; 3]| d.iter().map(|&x| x as u128).product::<u128>();
        let (threads, blocks) = (product(shape.block), product(shape.grid));
        let most = gpu.threads_per_block.min(kernel.max_threads.unwrap_or(u32::MAX));
        if threads == 0 || threads > most as u128 || shape.block[2] > 64 {
            return refuse(format!("block {:?} of {threads} threads, 1 to {most} allowed (64 along z)", shape.block));
        }
        if kernel.required.is_some_and(|r| r != shape.block) {
            return refuse(format!("block {:?} is not the one that the kernel requires", shape.block));
        }
        if blocks == 0 || blocks >= 1 << 28 || shape.grid[1] > 65535 || shape.grid[2] > 65535 {
            return refuse(format!("grid {:?} is empty or too large", shape.grid));
        }
        let attributes = self.attributes.get(&(module.id, kernel.name.clone())).copied().unwrap_or_default();
        let all = kernel.static_shared + shape.shared;
        let plain = gpu.shared_per_block as usize;
        if all > plain && attributes.dynamic_shared.is_none_or(|most| shape.shared > most) {
            let most = attributes.dynamic_shared.unwrap_or(plain.saturating_sub(kernel.static_shared));
            return refuse(format!(
                "{} bytes of dynamic shared memory beside {} static, {most} allowed (see Device::allow_shared)",
                shape.shared, kernel.static_shared
            ));
        }
        if let Some(registers) = attributes.registers {
            let fits = occupancy(gpu, threads as u32, registers, all as u32).blocks_per_sm > 0;
            if registers > gpu.registers_per_thread || !fits {
                return refuse(format!("{threads} threads of {registers} registers do not fit an SM of {}", gpu.name));
            }
        }
        Ok(())
    }

    /// Runs a kernel to its end.
    pub fn launch(&mut self, module: &Module, entry: &str, shape: Shape, args: &[Arg]) -> Result<Counters> {
        let refuse = |message: String| Err(Error::Launch(format!("{entry}: {message}")));
        let kernel = module.kernel(entry)?;
        if args.len() != kernel.params.len() {
            return refuse(format!("{} arguments for {} parameters", args.len(), kernel.params.len()));
        }
        let mut params = vec![0; kernel.param_bytes];
        for (i, (arg, p)) in args.iter().zip(&kernel.params).enumerate() {
            if arg.bytes.len() != p.size {
                return refuse(format!("argument {i} has {} bytes, the parameter {}", arg.bytes.len(), p.size));
            }
            if let (Some(given), Some(wanted)) = (arg.float, p.float)
                && given != wanted
            {
                let kind = |float| if float { "a float" } else { "an integer or a pointer" };
                return refuse(format!("argument {i} is {}, the parameter {}", kind(given), kind(wanted)));
            }
            params[p.at..p.at + p.size].copy_from_slice(&arg.bytes);
        }
        self.check_limits(module, kernel, shape)?;
        let globals = self.instantiate(module)?;
        let mut protected = Vec::new();
        for address in args.iter().filter_map(|a| a.read_only) {
            let alloc = self.global.host(address, 0)?.0;
            if !std::mem::replace(&mut alloc.read_only, true) {
                protected.push(address);
            }
        }
        let options = self.options.clone();
        let launch = Launch {
            kernel,
            options: &options,
            params: &params,
            globals: &globals,
            files: &module.files,
            locs: &module.locs,
            grid: shape.grid,
            block: shape.block,
            shared_bytes: kernel.static_shared + shape.shared,
            dynamic_shared: shape.shared,
            fast: fast(),
        };
        let result = run_launch(&launch, &mut self.global);
        for address in protected {
            self.protect(address, false)?;
        }
        Ok(result?)
    }
}
