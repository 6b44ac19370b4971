//! The driver of real GPUs: CUDA's driver API, loaded at run time, through `cudarc`.
//!
//! Of `cudarc` it uses the bindings and their thin wrappers. The safe layer tracks accesses with events, which breaks the
//! capture of graphs, and panics where libcuda is missing; here all work goes to one stream, and ownership does the rest:
//! graphs and memory hold the device, which owns modules, stream and context and drops them in this order.
//!
//! With `CUDA_LAUNCH_BLOCKING=1` in the environment kernels are launched and waited for one by one, so that an error names
//! the kernel.

mod device;
pub(crate) mod errors;

pub use device::CudaMemory;

use super::driver::{Command, Driver, Ptr};
use super::nvtx;
use crate::Result;
use cudarc::driver::{result, sys};
use device::{Device, Exec, Ready};
use std::ffi::CString;
use std::rc::Rc;

/// A GPU and a stream on it.
pub struct CudaDriver {
    device: Rc<Device>,
}

impl CudaDriver {
    /// The GPU of that number, as CUDA counts them.
    ///
    /// # Errors
    /// One line each: no libcuda, no such GPU, a driver or a GPU that is too old, a GPU that is taken.
    pub fn open(ordinal: u32) -> Result<CudaDriver> {
        Ok(CudaDriver { device: Rc::new(Device::open(ordinal)?) })
    }
}

/// A command made ready to be issued.
enum Issue {
    Launch(Ready),
    Push(CString),
    Pop,
}

/// A captured sequence, and its parts to trace it.
pub struct CudaGraph {
    exec: Exec,
    issues: Vec<Issue>,
    device: Rc<Device>,
    /// The sequence as messages name it.
    what: Rc<str>,
}

impl CudaGraph {
    fn one_by_one(&self) -> Result<()> {
        for issue in &self.issues {
            match issue {
                Issue::Push(name) => nvtx::push(name),
                Issue::Pop => nvtx::pop(),
                Issue::Launch(ready) => {
                    self.device.enqueued(&ready.what, true);
                    self.device.launch(ready)?;
                    if self.device.blocking {
                        self.device.wait(&ready.what)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The kernels of a sequence.
fn launches(issues: &[Issue]) -> impl Iterator<Item = &Ready> {
    issues.iter().filter_map(|issue| if let Issue::Launch(ready) = issue { Some(ready) } else { None })
}

/// A range's name as C has it: a zero within ends it.
fn range_name(name: &str) -> CString {
    CString::new(name.split('\0').next().unwrap_or_default()).unwrap_or_default()
}

fn describe(issues: &[Issue]) -> Rc<str> {
    let kernels: Vec<&str> = launches(issues).map(|ready| &*ready.what).collect();
    match &kernels[..] {
        [] => "a sequence of no kernels".into(),
        [one] => (*one).into(),
        [first, .., last] => format!("one of {} kernels from {first} to {last}", kernels.len()).into(),
    }
}

impl Driver for CudaDriver {
    type Graph = CudaGraph;
    type Memory = CudaMemory;

    fn name(&self) -> String {
        self.device.label()
    }

    fn free_memory(&self) -> Result<usize> {
        self.device.bind()?;
        let (free, _) = result::mem_get_info().map_err(|e| self.device.failed("asking for free memory", e))?;
        Ok(free)
    }

    fn shared_limit(&self) -> usize {
        self.device.shared_limit()
    }

    fn alloc(&mut self, bytes: usize) -> Result<CudaMemory> {
        CudaMemory::new(&self.device, bytes.max(1))
    }

    fn address(memory: &CudaMemory) -> Ptr {
        memory.address()
    }

    fn write(&mut self, ptr: Ptr, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.device.bind()?;
        // SAFETY: the driver refuses what is no device memory, and the bytes stay until the wait below is over.
        unsafe { result::memcpy_htod_async(ptr, bytes, self.device.stream()) }
            .map_err(|e| self.device.failed("copying to the GPU", e))?;
        self.device.wait("copying to the GPU")
    }

    fn read(&self, ptr: Ptr, bytes: &mut [u8]) -> Result<()> {
        self.device.bind()?;
        if !bytes.is_empty() {
            // SAFETY: the driver refuses what is no device memory, and the bytes stay until the wait below is over.
            unsafe { result::memcpy_dtoh_async(bytes, ptr, self.device.stream()) }
                .map_err(|e| self.device.failed("copying from the GPU", e))?;
        }
        self.device.wait("copying from the GPU")
    }

    fn prepare(&mut self, commands: Vec<Command>) -> Result<CudaGraph> {
        self.device.bind()?;
        let ready = |command| match command {
            Command::Launch(launch) => self.device.ready(launch).map(Issue::Launch),
            Command::Push(name) => Ok(Issue::Push(range_name(&name))),
            Command::Pop => Ok(Issue::Pop),
        };
        let issues = commands.into_iter().map(ready).collect::<Result<Vec<Issue>>>()?;
        let exec = Exec::capture(&self.device, launches(&issues))?;
        Ok(CudaGraph { exec, what: describe(&issues), issues, device: self.device.clone() })
    }

    fn replay(&mut self, graph: &mut CudaGraph, traced: bool) -> Result<()> {
        graph.device.bind()?;
        if traced || graph.device.blocking {
            return graph.one_by_one();
        }
        graph.device.make_room()?;
        graph.exec.launch(&graph.what)
    }

    fn push(&mut self, name: &str) {
        nvtx::push(&range_name(name));
    }

    fn pop(&mut self) {
        nvtx::pop();
    }

    /// For `nsys profile --capture-range=cudaProfilerApi`. Waits for what was enqueued, so that this is where the range begins
    /// or ends.
    fn profile(&mut self, on: bool) -> Result<()> {
        self.device.bind()?;
        self.device.wait("waiting for the GPU")?;
        // SAFETY: the context is current.
        let done = unsafe { if on { sys::cuProfilerStart() } else { sys::cuProfilerStop() } };
        done.result().map_err(|e| self.device.failed("profiling", e))
    }
}
