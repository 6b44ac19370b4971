//! The handles of the CUDA driver, each freed in its turn, and the kernels that are loaded.

use super::errors::{Reason, reason};
use crate::gpu::devices::{self, GpuInfo};
use crate::gpu::driver::{Launch, Ptr};
use crate::gpu::kernels::{Kernel, MODULES};
use crate::{Error, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUfunction_attribute, CUjit_option};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_void};
use std::rc::Rc;

/// Dynamic and static shared memory that a block may have without asking.
const PLAIN_SHARED: usize = 48 << 10;
/// Replays that are enqueued before the host waits for them.
const AHEAD: usize = 16;
/// Bytes of the log of the driver's PTX compiler.
const LOG: usize = 4096;

struct Context {
    device: sys::CUdevice,
    raw: sys::CUcontext,
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: no context is valid as the current one, and this one was retained once. What fails is gone anyway.
        let _ =
            unsafe { result::ctx::set_current(std::ptr::null_mut()).and(result::primary_ctx::release(self.device)) };
    }
}

struct Stream(sys::CUstream);

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: created once and destroyed here.
        let _ = unsafe { result::stream::destroy(self.0) };
    }
}

/// A module of kernels that this GPU has loaded.
struct LoadedModule {
    raw: sys::CUmodule,
    functions: HashMap<&'static str, Function>,
}

impl Drop for LoadedModule {
    fn drop(&mut self) {
        // SAFETY: loaded once and unloaded here, after the graphs of its kernels.
        let _ = unsafe { result::module::unload(self.raw) };
    }
}

/// A kernel of a loaded module.
#[derive(Clone, Copy)]
struct Function {
    raw: sys::CUfunction,
    static_shared: usize,
    /// Most threads of a block, by its registers.
    threads: u32,
    /// Most dynamic shared memory that it was allowed.
    shared: usize,
}

/// What was enqueued and not waited for, as messages name it.
pub(super) struct Pending {
    what: Rc<str>,
    /// Whether it is one kernel and nothing else was enqueued.
    exact: bool,
}

/// A kernel with its arguments, ready to enqueue as often as wanted.
pub(super) struct Ready {
    function: sys::CUfunction,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    /// The arguments, each from a new word on, and where they begin.
    words: Vec<u64>,
    starts: Vec<usize>,
    /// Kernel and shape.
    pub(super) what: Rc<str>,
}

/// A GPU with its context, one stream, and the modules loaded so far.
pub(super) struct Device {
    // In this order they are dropped. Graphs and allocations hold the device, so that they are gone by then.
    modules: RefCell<HashMap<usize, LoadedModule>>,
    stream: Stream,
    context: Context,
    info: GpuInfo,
    pending: RefCell<Option<Pending>>,
    /// Replays enqueued since the last wait.
    ahead: Cell<usize>,
    /// Whether to wait after every kernel (CUDA_LAUNCH_BLOCKING), so that what fails is known by name.
    pub(super) blocking: bool,
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.bind().and_then(|()| self.wait("at the end"));
    }
}

impl Device {
    pub(super) fn open(ordinal: u32) -> Result<Device> {
        let info = devices::gpu(ordinal)?;
        let label = info.label();
        if let Some(why) = info.unusable() {
            return Err(Error::Device { what: format!("{label} {why}; use another GPU, or --device cpu") });
        }
        let failed = |e| Error::Device { what: format!("{label}: can't be opened: {}", reason(e)) };
        let device = result::device::get(ordinal as i32).map_err(failed)?;
        // SAFETY: the driver has just given this device.
        let context = Context { device, raw: unsafe { result::primary_ctx::retain(device) }.map_err(failed)? };
        // SAFETY: the context has just been retained.
        unsafe { result::ctx::set_current(context.raw) }.map_err(failed)?;
        // The default stream can't be captured, and this one need not wait for it.
        let stream = Stream(result::stream::create(result::stream::StreamKind::NonBlocking).map_err(failed)?);
        let blocking = std::env::var_os("CUDA_LAUNCH_BLOCKING").is_some_and(|v| !v.is_empty() && v != "0");
        let (modules, pending, ahead) = (RefCell::default(), RefCell::default(), Cell::default());
        Ok(Device { modules, stream, context, info, pending, ahead, blocking })
    }

    pub(super) fn label(&self) -> String {
        self.info.label()
    }

    /// Most bytes of shared memory of a block.
    pub(super) fn shared_limit(&self) -> usize {
        self.info.shared_memory
    }

    pub(super) fn stream(&self) -> sys::CUstream {
        self.stream.0
    }

    /// Makes this thread's calls go to this GPU.
    pub(super) fn bind(&self) -> Result<()> {
        // SAFETY: the context is retained as long as the device lives.
        unsafe { result::ctx::set_current(self.context.raw) }.map_err(|e| self.failed("can't be used", e))
    }

    /// An error of this GPU: of what is pending if a kernel failed while it ran, of `doing` otherwise.
    pub(super) fn failed(&self, doing: &str, e: DriverError) -> Error {
        let Reason { cause, remedy, kernel } = reason(e);
        let what = match &*self.pending.borrow() {
            Some(Pending { what, exact: true }) if kernel => format!("{what}: {cause}; {remedy}"),
            Some(Pending { what, exact: false }) if kernel => {
                format!("{what} or earlier: {cause}; {remedy}; CUDA_LAUNCH_BLOCKING=1 tells which kernel it was")
            }
            _ => format!("{doing}: {cause}; {remedy}"),
        };
        Error::Device { what: format!("{}: {what}", self.label()) }
    }

    /// Remembers what was enqueued.
    pub(super) fn enqueued(&self, what: &Rc<str>, one_kernel: bool) {
        let mut pending = self.pending.borrow_mut();
        *pending = Some(Pending { what: what.clone(), exact: one_kernel && pending.is_none() });
    }

    /// Waits for all that was enqueued.
    pub(super) fn wait(&self, doing: &str) -> Result<()> {
        // SAFETY: the stream lives.
        unsafe { result::stream::synchronize(self.stream()) }.map_err(|e| self.failed(doing, e))?;
        *self.pending.borrow_mut() = None;
        self.ahead.set(0);
        Ok(())
    }

    /// Waits if the host is far ahead of the GPU: a wish to stop would else be heard an epoch later.
    pub(super) fn make_room(&self) -> Result<()> {
        if self.ahead.get() >= AHEAD {
            self.wait("waiting for the GPU")?;
        }
        self.ahead.set(self.ahead.get() + 1);
        Ok(())
    }

    /// Loads what a launch needs, and checks that the GPU can run it.
    pub(super) fn ready(&self, launch: Launch) -> Result<Ready> {
        let what: Rc<str> = format!("{} ({})", launch.kernel.name, launch.shape).into();
        let refuse = |why: String| Err(Error::Device { what: format!("{}: {what}: {why}", self.label()) });
        let mut modules = self.modules.borrow_mut();
        let module = match modules.entry(launch.kernel.module) {
            std::collections::hash_map::Entry::Occupied(place) => place.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => place.insert(self.load(launch.kernel)?),
        };
        let function = module.function(launch.kernel).map_err(|e| self.failed(&what, e))?;
        let threads: u32 = launch.block.iter().product();
        if threads > function.threads {
            return refuse(format!("blocks of {threads} threads, {} fit this GPU; report this line", function.threads));
        }
        let (all, most) = (function.static_shared + launch.shared, self.info.shared_memory);
        if all > most {
            return refuse(format!(
                "takes {} KiB of shared memory, a block of this GPU has {}; use another GPU, or --device cpu",
                all.div_ceil(1024),
                most >> 10
            ));
        }
        if all > PLAIN_SHARED && launch.shared > function.shared {
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: a function of a module that is loaded.
            unsafe { result::function::set_function_attribute(function.raw, attribute, launch.shared as i32) }
                .map_err(|e| self.failed(&what, e))?;
            function.shared = launch.shared;
        }
        let raw = function.raw;
        // The driver reads as many bytes as the kernel has declared.
        let given: Vec<usize> = launch.args.iter().map(|a| a.bytes().len()).collect();
        if launch.kernel.params != given {
            return refuse(format!("arguments of {given:?} bytes don't fit the kernel; report this line"));
        }
        let (mut words, mut starts) = (Vec::new(), Vec::new());
        for arg in &launch.args {
            starts.push(words.len());
            words.extend(arg.bytes().chunks(8).map(|chunk| {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                u64::from_ne_bytes(word)
            }));
        }
        let (grid, block, shared) = (launch.grid, launch.block, launch.shared as u32);
        Ok(Ready { function: raw, grid, block, shared, words, starts, what })
    }

    /// Enqueues a kernel, or adds it to the graph that is being captured.
    pub(super) fn launch(&self, ready: &Ready) -> Result<()> {
        let [gx, gy, gz] = ready.grid;
        let [bx, by, bz] = ready.block;
        let mut params: Vec<*mut c_void> =
            ready.starts.iter().map(|at| (&raw const ready.words[*at]).cast_mut().cast()).collect();
        // SAFETY: the function's module is loaded as long as the device lives; each pointer leads to as many bytes as
        // the parameter has, which were compared in `ready`, and the driver copies them before it returns.
        let launched = unsafe {
            result::launch_kernel(ready.function, (gx, gy, gz), (bx, by, bz), ready.shared, self.stream(), &mut params)
        };
        launched.map_err(|e| {
            let Ready { what, grid, block, shared, .. } = ready;
            self.failed(&format!("{what}, grid {grid:?}, block {block:?}, {shared} bytes of shared memory"), e)
        })
    }

    /// Compiles a module's PTX for this GPU.
    fn load(&self, kernel: Kernel) -> Result<LoadedModule> {
        let source = &MODULES[kernel.module];
        let refused = |why: String| Error::Device {
            what: format!("{}: kernels/{}.cu can't be loaded: {why}", self.label(), source.name),
        };
        let ptx = CString::new(source.ptx).map_err(|e| refused(e.to_string()))?;
        let mut log = [0u8; LOG];
        let mut options = [
            CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
            CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
            // Profilers then show the lines of the CUDA source.
            CUjit_option::CU_JIT_GENERATE_LINE_INFO,
        ];
        let number = std::ptr::without_provenance_mut::<c_void>;
        let mut values = [log.as_mut_ptr().cast(), number(LOG - 1), number(1)];
        let mut raw = std::ptr::null_mut();
        // SAFETY: the PTX ends with a zero; there are as many values as options, of the kinds that these take; the log
        // is one byte longer than said, so that it ends with a zero whatever is written.
        let loaded = unsafe {
            sys::cuModuleLoadDataEx(
                &mut raw,
                ptx.as_ptr().cast(),
                options.len() as u32,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        loaded.result().map_err(|e| {
            let log = CStr::from_bytes_until_nul(&log).unwrap_or_default().to_string_lossy();
            let mut lines = log.lines().map(str::trim).filter(|line| !line.is_empty());
            let said = lines.next().map_or(String::new(), |line| format!(": {line}"));
            let Reason { cause, remedy, .. } = reason(e);
            refused(format!("{cause}{said}; {remedy}"))
        })?;
        Ok(LoadedModule { raw, functions: HashMap::new() })
    }
}

impl LoadedModule {
    fn function(&mut self, kernel: Kernel) -> std::result::Result<&mut Function, DriverError> {
        if !self.functions.contains_key(kernel.name) {
            let name = CString::new(kernel.name).map_err(|_| DriverError(sys::CUresult::CUDA_ERROR_NOT_FOUND))?;
            // SAFETY: the module is loaded.
            let raw = unsafe { result::module::get_function(self.raw, name) }?;
            // Asking loads the code, which drivers would otherwise put off to the first launch.
            // SAFETY: a function of a module that is loaded.
            let ask = |attribute| unsafe { result::function::get_function_attribute(raw, attribute) };
            let function = Function {
                raw,
                static_shared: ask(CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)? as usize,
                threads: ask(CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)? as u32,
                shared: 0,
            };
            self.functions.insert(kernel.name, function);
        }
        Ok(self.functions.get_mut(kernel.name).expect("inserted above"))
    }
}

/// Device memory.
pub struct CudaMemory {
    ptr: Ptr,
    device: Rc<Device>,
}

impl CudaMemory {
    pub(super) fn new(device: &Rc<Device>, bytes: usize) -> Result<CudaMemory> {
        device.bind()?;
        // SAFETY: the context is current.
        let ptr = unsafe { result::malloc_sync(bytes) }.map_err(|e| {
            let free = result::mem_get_info().map_or(0, |(free, _)| free);
            device.failed(&format!("{} MiB asked for, {} free", bytes.div_ceil(1 << 20), free >> 20), e)
        })?;
        let memory = CudaMemory { ptr, device: device.clone() };
        // SAFETY: all of the allocation, and nothing reads it before the stream gets there.
        unsafe { result::memset_d8_async(ptr, 0, bytes, device.stream()) }
            .map_err(|e| device.failed("clearing memory", e))?;
        Ok(memory)
    }

    pub(super) fn address(&self) -> Ptr {
        self.ptr
    }
}

impl Drop for CudaMemory {
    fn drop(&mut self) {
        // The stream may still use it. What fails here is told by the next call that can.
        let _ = self.device.bind().and_then(|()| self.device.wait("freeing memory"));
        // SAFETY: allocated once and freed here.
        let _ = unsafe { result::free_sync(self.ptr) };
    }
}

/// An executable CUDA graph.
pub(super) struct Exec {
    raw: sys::CUgraphExec,
    device: Rc<Device>,
}

impl Exec {
    /// Captures launches.
    pub(super) fn capture<'a>(device: &Rc<Device>, mut launches: impl Iterator<Item = &'a Ready>) -> Result<Exec> {
        let failed = |e| device.failed("capturing a graph", e);
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives, is not the default one, and is not being captured.
        unsafe { result::stream::begin_capture(device.stream(), mode) }.map_err(failed)?;
        let launched = launches.try_for_each(|ready| device.launch(ready));
        // SAFETY: the capture was begun above. Where a launch failed, it ends here all the same.
        let ended = unsafe { result::stream::end_capture(device.stream()) };
        let graph = Graph(launched.and(ended.map_err(failed))?);
        // SAFETY: the graph has just been captured.
        let raw = unsafe { result::graph::instantiate(graph.0, sys::CUgraphInstantiate_flags(0)) }.map_err(failed)?;
        let exec = Exec { raw, device: device.clone() };
        // SAFETY: graph and stream live.
        unsafe { result::graph::upload(exec.raw, device.stream()) }.map_err(failed)?;
        Ok(exec)
    }

    /// Enqueues it.
    pub(super) fn launch(&self, what: &Rc<str>) -> Result<()> {
        self.device.enqueued(what, false);
        // SAFETY: graph and stream live, and the modules of its kernels with the device.
        unsafe { result::graph::launch(self.raw, self.device.stream()) }.map_err(|e| self.device.failed(what, e))
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        // Older drivers want it at rest.
        let _ = self.device.bind().and_then(|()| self.device.wait("freeing a graph"));
        // SAFETY: instantiated once and destroyed here.
        let _ = unsafe { result::graph::exec_destroy(self.raw) };
    }
}

/// What was captured; no longer needed once it is instantiated.
struct Graph(sys::CUgraph);

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: captured once and destroyed here.
        let _ = unsafe { result::graph::destroy(self.0) };
    }
}
