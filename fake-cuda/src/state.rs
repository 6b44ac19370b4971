//! The GPU behind the entry points.

use crate::codes::*;
use crate::options::Options;
use ptx_sim::gpu::H100_SXM;
use ptx_sim::{Arg, Checks, Device, DeviceOptions, Entry, Error, FaultKind, Module, Shape};
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::sync::{LazyLock, Mutex};

/// Result of a call: an error code otherwise.
pub type Answer<T = ()> = Result<T, u32>;
pub type Handle = usize;

/// The handle of the one context.
pub const CONTEXT: Handle = 0xC0DE;
/// Static and dynamic shared memory that a block has without asking.
const PLAIN_SHARED: usize = 48 << 10;

thread_local! {
    pub static CURRENT: Cell<Handle> = const { Cell::new(0) };
}

#[derive(Clone)]
pub struct Launch {
    pub function: Handle,
    pub shape: Shape,
    pub args: Vec<Vec<u8>>,
}

/// What a stream does in its turn.
pub enum Work {
    Launch(Launch),
    Fill {
        at: u64,
        byte: u8,
        len: usize,
    },
    Write {
        at: u64,
        bytes: Vec<u8>,
    },
    /// To host memory at that address.
    Read {
        at: u64,
        host: usize,
        len: usize,
    },
}

#[derive(Default)]
enum Capture {
    #[default]
    Off,
    On(Vec<Launch>),
    Broken,
}

#[derive(Default)]
pub struct Stream {
    capture: Capture,
    queue: VecDeque<Work>,
}

struct Loaded {
    module: Module,
    functions: HashMap<String, Handle>,
}

struct Function {
    module: Handle,
    entry: Entry,
    /// Dynamic shared memory that it was allowed.
    allowed: usize,
}

pub struct State {
    pub options: Options,
    log: Option<File>,
    device: Device,
    pub initialised: bool,
    retained: usize,
    used: usize,
    allocations: HashMap<u64, usize>,
    streams: HashMap<Handle, Stream>,
    modules: HashMap<Handle, Loaded>,
    functions: HashMap<Handle, Function>,
    graphs: HashMap<Handle, Vec<Launch>>,
    execs: HashMap<Handle, Vec<Launch>>,
    next: Handle,
    launches: usize,
    /// Error of a kernel, which every later call of the context tells.
    pub broken: u32,
}

pub static STATE: LazyLock<Mutex<State>> = LazyLock::new(|| {
    let options = Options::read();
    let log = options.log.as_ref().map(|path| File::options().create(true).append(true).open(path).expect("the log"));
    let device = DeviceOptions { checks: Checks::all(), gpu: &H100_SXM, ..DeviceOptions::default() };
    Mutex::new(State {
        options,
        log,
        device: Device::new(device),
        initialised: false,
        retained: 0,
        used: 0,
        allocations: HashMap::new(),
        streams: HashMap::new(),
        modules: HashMap::new(),
        functions: HashMap::new(),
        graphs: HashMap::new(),
        execs: HashMap::new(),
        next: 0x1000,
        launches: 0,
        broken: SUCCESS,
    })
});

impl State {
    pub fn log(&mut self, line: impl std::fmt::Display) {
        if let Some(log) = &mut self.log {
            writeln!(log, "{line}").expect("the log");
        }
    }

    /// An error that a right program never sees, with its reason for the log.
    pub fn refuse<T>(&mut self, code: u32, why: impl std::fmt::Display) -> Answer<T> {
        self.log(format!("refused: {why}"));
        Err(code)
    }

    fn handle(&mut self) -> Handle {
        self.next += 16;
        self.next
    }

    pub fn ordinal(&mut self, ordinal: i32) -> Answer {
        let exists = (0..self.options.devices).contains(&ordinal);
        if exists { Ok(()) } else { self.refuse(INVALID_DEVICE, format!("device {ordinal}")) }
    }

    pub fn retain(&mut self) -> Answer<Handle> {
        match self.options.context {
            SUCCESS => self.retained += 1,
            code => return Err(code),
        }
        Ok(CONTEXT)
    }

    pub fn release(&mut self) -> Answer {
        if self.retained == 0 {
            return self.refuse(INVALID_CONTEXT, "a context released too often");
        }
        self.retained -= 1;
        if self.retained == 0 {
            let left = format!(
                "left: {} streams, {} allocations, {} modules, {} graphs, {} executable graphs",
                self.streams.len(),
                self.allocations.len(),
                self.modules.len(),
                self.graphs.len(),
                self.execs.len()
            );
            self.log(left);
        }
        Ok(())
    }

    /// Whether this thread can use the context.
    pub fn current(&mut self) -> Answer {
        let usable = CURRENT.get() == CONTEXT && self.retained > 0;
        if usable { Ok(()) } else { self.refuse(INVALID_CONTEXT, "no current context") }
    }

    pub fn memory(&self) -> (usize, usize) {
        (self.options.memory - self.used, self.options.memory)
    }

    pub fn alloc(&mut self, bytes: usize) -> Answer<u64> {
        if bytes == 0 {
            return self.refuse(INVALID_VALUE, "an allocation of nothing");
        }
        if bytes > self.memory().0 {
            return Err(OUT_OF_MEMORY);
        }
        let at = self.device.alloc(bytes);
        self.allocations.insert(at, bytes);
        self.used += bytes;
        Ok(at)
    }

    pub fn free(&mut self, at: u64) -> Answer {
        let Some(bytes) = self.allocations.remove(&at) else {
            return self.refuse(INVALID_VALUE, "freed what is no allocation");
        };
        self.used -= bytes;
        self.device.free(at).map_err(|_| INVALID_VALUE)
    }

    pub fn create_stream(&mut self) -> Handle {
        let handle = self.handle();
        self.streams.insert(handle, Stream::default());
        handle
    }

    fn stream(&mut self, stream: Handle) -> Answer<&mut Stream> {
        if !self.streams.contains_key(&stream) {
            return self.refuse(INVALID_HANDLE, "the default stream, or one that was destroyed");
        }
        Ok(self.streams.get_mut(&stream).expect("checked"))
    }

    pub fn destroy_stream(&mut self, stream: Handle) -> Answer {
        self.stream(stream)?;
        self.streams.remove(&stream);
        Ok(())
    }

    /// Appends to a stream's queue, or to what is captured from it.
    pub fn enqueue(&mut self, stream: Handle, work: Work) -> Answer {
        let place = self.stream(stream)?;
        match (&mut place.capture, work) {
            (Capture::Off, work) => place.queue.push_back(work),
            (Capture::On(launches), Work::Launch(launch)) => launches.push(launch),
            (capture, _) => {
                *capture = Capture::Broken;
                return self.refuse(STREAM_CAPTURE_UNSUPPORTED, "a copy within a capture");
            }
        }
        Ok(())
    }

    pub fn begin_capture(&mut self, stream: Handle, mode: i32) -> Answer {
        if mode != CAPTURE_THREAD_LOCAL {
            return self.refuse(INVALID_VALUE, "a capture that other threads can break");
        }
        let place = self.stream(stream)?;
        if !matches!(place.capture, Capture::Off) {
            return self.refuse(INVALID_VALUE, "a capture within a capture");
        }
        place.capture = Capture::On(Vec::new());
        Ok(())
    }

    pub fn end_capture(&mut self, stream: Handle) -> Answer<Handle> {
        match std::mem::take(&mut self.stream(stream)?.capture) {
            Capture::On(launches) => {
                let handle = self.handle();
                self.graphs.insert(handle, launches);
                Ok(handle)
            }
            Capture::Broken => Err(STREAM_CAPTURE_INVALIDATED),
            Capture::Off => self.refuse(INVALID_VALUE, "no capture to end"),
        }
    }

    pub fn instantiate(&mut self, graph: Handle) -> Answer<Handle> {
        let Some(launches) = self.graphs.get(&graph).cloned() else {
            return self.refuse(INVALID_HANDLE, "no such graph");
        };
        let handle = self.handle();
        self.execs.insert(handle, launches);
        Ok(handle)
    }

    pub fn destroy_graph(&mut self, graph: Handle) -> Answer {
        self.graphs.remove(&graph).map(|_| ()).ok_or(INVALID_HANDLE)
    }

    pub fn destroy_exec(&mut self, exec: Handle) -> Answer {
        self.execs.remove(&exec).map(|_| ()).ok_or(INVALID_HANDLE)
    }

    pub fn exec(&mut self, exec: Handle) -> Answer<Vec<Launch>> {
        match self.execs.get(&exec).cloned() {
            Some(launches) => Ok(launches),
            None => self.refuse(INVALID_HANDLE, "no such executable graph"),
        }
    }

    /// A module, or an error code and a text for the log of errors.
    pub fn load(&mut self, ptx: &str) -> Result<Handle, (u32, String)> {
        if let Some(refusal) = self.options.load.clone() {
            return Err(refusal);
        }
        let module = Module::load(ptx).map_err(|e| (INVALID_PTX, e.to_string()))?;
        let handle = self.handle();
        let mut functions = HashMap::new();
        for entry in module.entries() {
            let function = self.handle();
            functions.insert(entry.name.clone(), function);
            self.functions.insert(function, Function { module: handle, entry, allowed: 0 });
        }
        self.modules.insert(handle, Loaded { module, functions });
        Ok(handle)
    }

    pub fn unload(&mut self, module: Handle) -> Answer {
        let loaded = self.modules.remove(&module).ok_or(INVALID_HANDLE)?;
        self.functions.retain(|_, f| f.module != module);
        drop(loaded);
        Ok(())
    }

    pub fn function(&mut self, module: Handle, name: &str) -> Answer<Handle> {
        let loaded = self.modules.get(&module).ok_or(INVALID_HANDLE)?;
        loaded.functions.get(name).copied().ok_or(NOT_FOUND)
    }

    pub fn entry(&mut self, function: Handle) -> Answer<Entry> {
        match self.functions.get(&function) {
            Some(f) => Ok(f.entry.clone()),
            None => self.refuse(INVALID_HANDLE, "no such function"),
        }
    }

    pub fn allow_shared(&mut self, function: Handle, bytes: usize) -> Answer {
        let entry = self.entry(function)?;
        if entry.static_shared + bytes > self.options.shared as usize {
            return self.refuse(INVALID_VALUE, format!("{bytes} bytes of shared memory for {}", entry.name));
        }
        let f = self.functions.get_mut(&function).expect("just seen");
        f.allowed = bytes;
        let module = &self.modules[&f.module].module;
        self.device.allow_shared(module, &entry.name, bytes).map_err(|_| INVALID_VALUE)
    }

    /// What a launch is refused for before it runs.
    pub fn check(&mut self, function: Handle, shape: Shape) -> Answer {
        let entry = self.entry(function)?;
        let threads: u32 = shape.block.iter().product();
        if threads == 0 || threads > entry.max_threads.unwrap_or(1024) || shape.grid.contains(&0) {
            return self.refuse(INVALID_VALUE, format!("{}: {shape:?}", entry.name));
        }
        let all = entry.static_shared + shape.shared;
        if all > PLAIN_SHARED && shape.shared > self.functions[&function].allowed {
            return self.refuse(INVALID_VALUE, format!("{}: {all} bytes of shared memory not allowed", entry.name));
        }
        Ok(())
    }

    /// Does what is queued.
    pub fn synchronise(&mut self, stream: Handle) -> Answer {
        if !matches!(self.stream(stream)?.capture, Capture::Off) {
            self.stream(stream)?.capture = Capture::Broken;
            return self.refuse(STREAM_CAPTURE_UNSUPPORTED, "a wait within a capture");
        }
        while let Some(work) = self.stream(stream)?.queue.pop_front() {
            if let Err(code) = self.work(work) {
                self.broken = code;
                self.stream(stream)?.queue.clear();
            }
        }
        Ok(())
    }

    fn work(&mut self, work: Work) -> Answer {
        let done = match work {
            Work::Launch(launch) => return self.launch(launch),
            Work::Fill { at, byte, len } => self.device.write(at, &vec![byte; len]),
            Work::Write { at, bytes } => self.device.write(at, &bytes),
            Work::Read { at, host, len } => {
                let mut bytes = vec![0; len];
                let read = self.device.read(at, &mut bytes);
                // SAFETY: who enqueued the copy promised that the place stays until the stream has been waited for.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), host as *mut u8, len) };
                read
            }
        };
        done.or_else(|e| self.refuse(ILLEGAL_ADDRESS, e))
    }

    fn launch(&mut self, launch: Launch) -> Answer {
        self.launches += 1;
        if let Some((n, code)) = self.options.fault
            && n == self.launches
        {
            return Err(code);
        }
        let Some(function) = self.functions.get(&launch.function) else {
            return self.refuse(ILLEGAL_ADDRESS, "a kernel whose module was unloaded");
        };
        let args: Vec<Arg> = launch.args.iter().map(|bytes| Arg::bytes(bytes)).collect();
        let module = &self.modules[&function.module].module;
        let e = match self.device.launch(module, &function.entry.name, launch.shape, &args) {
            Ok(_) => return Ok(()),
            Err(e) => e,
        };
        let code = match &e {
            Error::Fault(fault) => match fault.kind {
                FaultKind::OutOfBounds | FaultKind::UseAfterFree => ILLEGAL_ADDRESS,
                FaultKind::Misaligned => MISALIGNED_ADDRESS,
                _ => LAUNCH_FAILED,
            },
            _ => LAUNCH_OUT_OF_RESOURCES,
        };
        self.refuse(code, e)
    }
}
