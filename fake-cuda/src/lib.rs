#![doc = include_str!("../README.md")]
#![allow(non_snake_case)]
// The callers keep to NVIDIA's manual of each entry point: pointers lead to what it says, or are null.
#![allow(clippy::missing_safety_doc)]

mod codes;
mod nvtx;
mod options;
mod state;

use codes::*;
use ptx_sim::Shape;
use state::{Answer, CURRENT, Handle, Launch, STATE, State, Work};
use std::ffi::{CStr, c_char, c_int, c_void};

/// What must be so before a call.
#[derive(PartialEq)]
enum Needs {
    Nothing,
    Init,
    Context,
    /// A context, and it is also done after an error of a kernel.
    Ending,
}

fn call(name: &str, needs: Needs, body: impl FnOnce(&mut State) -> Answer) -> u32 {
    let mut state = STATE.lock().expect("no panics");
    state.log(name);
    let run = || {
        if needs != Needs::Nothing && !state.initialised {
            return state.refuse(NOT_INITIALIZED, "before cuInit");
        }
        if matches!(needs, Needs::Context | Needs::Ending) {
            state.current()?;
        }
        if needs == Needs::Context && state.broken != SUCCESS {
            return Err(state.broken);
        }
        body(&mut state)?;
        let tell = matches!(needs, Needs::Context | Needs::Ending) && state.broken != SUCCESS;
        if tell { Err(state.broken) } else { Ok(()) }
    };
    run().err().unwrap_or(SUCCESS)
}

/// Writes an answer.
///
/// # Safety
/// The place may be written, or is null.
unsafe fn put<T>(at: *mut T, value: T) -> Answer {
    if at.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: promised by the caller.
    unsafe { at.write(value) };
    Ok(())
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuInit(_flags: u32) -> u32 {
    call("cuInit", Needs::Nothing, |s| match s.options {
        ref o if o.init != SUCCESS => Err(o.init),
        ref o if o.devices == 0 => Err(NO_DEVICE),
        _ => {
            s.initialised = true;
            Ok(())
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> u32 {
    // SAFETY: as the manual has it.
    call("cuDriverGetVersion", Needs::Nothing, |s| unsafe { put(version, s.options.driver) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> u32 {
    // SAFETY: as the manual has it.
    call("cuDeviceGetCount", Needs::Init, |s| unsafe { put(count, s.options.devices) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> u32 {
    call("cuDeviceGet", Needs::Init, |s| {
        s.ordinal(ordinal)?;
        // SAFETY: as the manual has it.
        unsafe { put(device, ordinal) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, len: c_int, device: c_int) -> u32 {
    call("cuDeviceGetName", Needs::Init, |s| {
        s.ordinal(device)?;
        let text = c"Fake H100".to_bytes_with_nul();
        if (len as usize) < text.len() {
            return s.refuse(INVALID_VALUE, "too short a place for the name");
        }
        // SAFETY: the place has `len` bytes.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr().cast(), name, text.len()) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) -> u32 {
    call("cuDeviceTotalMem_v2", Needs::Init, |s| {
        s.ordinal(device)?;
        // SAFETY: as the manual has it.
        unsafe { put(bytes, s.options.memory) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: c_int) -> u32 {
    call("cuDeviceGetAttribute", Needs::Init, |s| {
        s.ordinal(device)?;
        let answer = match attribute {
            ATTRIBUTE_MULTIPROCESSOR_COUNT => 132,
            ATTRIBUTE_CAPABILITY_MAJOR => s.options.capability.0,
            ATTRIBUTE_CAPABILITY_MINOR => s.options.capability.1,
            ATTRIBUTE_SHARED_OPTIN => s.options.shared,
            _ => return s.refuse(INVALID_VALUE, format!("device attribute {attribute}")),
        };
        // SAFETY: as the manual has it.
        unsafe { put(value, answer) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut Handle, device: c_int) -> u32 {
    call("cuDevicePrimaryCtxRetain", Needs::Init, |s| {
        s.ordinal(device)?;
        let handle = s.retain()?;
        // SAFETY: as the manual has it.
        unsafe { put(context, handle) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> u32 {
    call("cuDevicePrimaryCtxRelease_v2", Needs::Init, |s| {
        s.ordinal(device)?;
        s.release()
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxSetCurrent(context: Handle) -> u32 {
    call("cuCtxSetCurrent", Needs::Init, |_| {
        CURRENT.set(context);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> u32 {
    call("cuMemGetInfo_v2", Needs::Context, |s| {
        let (f, t) = s.memory();
        // SAFETY: as the manual has it.
        unsafe { put(free, f).and(put(total, t)) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAlloc_v2(at: *mut u64, bytes: usize) -> u32 {
    call("cuMemAlloc_v2", Needs::Context, |s| {
        let address = s.alloc(bytes)?;
        // SAFETY: as the manual has it.
        unsafe { put(at, address) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemFree_v2(at: u64) -> u32 {
    call("cuMemFree_v2", Needs::Ending, |s| s.free(at))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemsetD8Async(at: u64, byte: u8, len: usize, stream: Handle) -> u32 {
    call("cuMemsetD8Async", Needs::Context, |s| s.enqueue(stream, Work::Fill { at, byte, len }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyHtoDAsync_v2(at: u64, host: *const u8, len: usize, stream: Handle) -> u32 {
    call("cuMemcpyHtoDAsync_v2", Needs::Context, |s| {
        // SAFETY: the manual asks for `len` bytes there.
        let bytes = unsafe { std::slice::from_raw_parts(host, len) }.to_vec();
        s.enqueue(stream, Work::Write { at, bytes })
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoHAsync_v2(host: *mut u8, at: u64, len: usize, stream: Handle) -> u32 {
    call("cuMemcpyDtoHAsync_v2", Needs::Context, |s| s.enqueue(stream, Work::Read { at, host: host as usize, len }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreate(stream: *mut Handle, _flags: u32) -> u32 {
    call("cuStreamCreate", Needs::Context, |s| {
        let handle = s.create_stream();
        // SAFETY: as the manual has it.
        unsafe { put(stream, handle) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamDestroy_v2(stream: Handle) -> u32 {
    call("cuStreamDestroy_v2", Needs::Ending, |s| s.destroy_stream(stream))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamSynchronize(stream: Handle) -> u32 {
    call("cuStreamSynchronize", Needs::Context, |s| s.synchronise(stream))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamBeginCapture_v2(stream: Handle, mode: c_int) -> u32 {
    call("cuStreamBeginCapture_v2", Needs::Context, |s| s.begin_capture(stream, mode))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamEndCapture(stream: Handle, graph: *mut Handle) -> u32 {
    call("cuStreamEndCapture", Needs::Context, |s| {
        let handle = s.end_capture(stream)?;
        // SAFETY: as the manual has it.
        unsafe { put(graph, handle) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphInstantiateWithFlags(exec: *mut Handle, graph: Handle, _flags: u64) -> u32 {
    call("cuGraphInstantiateWithFlags", Needs::Context, |s| {
        let handle = s.instantiate(graph)?;
        // SAFETY: as the manual has it.
        unsafe { put(exec, handle) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphUpload(exec: Handle, _stream: Handle) -> u32 {
    call("cuGraphUpload", Needs::Context, |s| s.exec(exec).map(|_| ()))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphLaunch(exec: Handle, stream: Handle) -> u32 {
    call("cuGraphLaunch", Needs::Context, |s| {
        let launches = s.exec(exec)?;
        launches.into_iter().try_for_each(|launch| s.enqueue(stream, Work::Launch(launch)))
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphExecDestroy(exec: Handle) -> u32 {
    call("cuGraphExecDestroy", Needs::Ending, |s| s.destroy_exec(exec))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphDestroy(graph: Handle) -> u32 {
    call("cuGraphDestroy", Needs::Ending, |s| s.destroy_graph(graph))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut Handle,
    image: *const c_char,
    n: u32,
    options: *const c_int,
    values: *const *mut c_char,
) -> u32 {
    call("cuModuleLoadDataEx", Needs::Context, |s| {
        // SAFETY: the manual asks for text that ends with a zero.
        let ptx = unsafe { CStr::from_ptr(image) }.to_string_lossy();
        let (code, text) = match s.load(&ptx) {
            // SAFETY: as the manual has it.
            Ok(handle) => return unsafe { put(module, handle) },
            Err(refused) => refused,
        };
        let (mut log, mut size) = (std::ptr::null_mut::<c_char>(), 0);
        for i in 0..n as usize {
            // SAFETY: there are `n` options and as many values.
            let (option, value) = unsafe { (*options.add(i), *values.add(i)) };
            match option {
                JIT_ERROR_LOG => log = value,
                JIT_ERROR_LOG_SIZE => size = value as usize,
                _ => {}
            }
        }
        if !log.is_null() && size > 0 {
            let len = text.len().min(size - 1);
            // SAFETY: the log has `size` bytes.
            unsafe {
                std::ptr::copy_nonoverlapping(text.as_ptr().cast(), log, len);
                log.add(len).write(0);
            }
        }
        Err(code)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleUnload(module: Handle) -> u32 {
    call("cuModuleUnload", Needs::Ending, |s| s.unload(module))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetFunction(function: *mut Handle, module: Handle, name: *const c_char) -> u32 {
    call("cuModuleGetFunction", Needs::Context, |s| {
        // SAFETY: the manual asks for text that ends with a zero.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let handle = s.function(module, &name)?;
        // SAFETY: as the manual has it.
        unsafe { put(function, handle) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuFuncGetAttribute(value: *mut c_int, attribute: c_int, function: Handle) -> u32 {
    call("cuFuncGetAttribute", Needs::Context, |s| {
        let entry = s.entry(function)?;
        let answer = match attribute {
            FUNCTION_THREADS => entry.max_threads.unwrap_or(1024) as i32,
            FUNCTION_SHARED => entry.static_shared as i32,
            _ => return s.refuse(INVALID_VALUE, format!("function attribute {attribute}")),
        };
        // SAFETY: as the manual has it.
        unsafe { put(value, answer) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuFuncSetAttribute(function: Handle, attribute: c_int, value: c_int) -> u32 {
    call("cuFuncSetAttribute", Needs::Context, |s| match (attribute, usize::try_from(value)) {
        (FUNCTION_DYNAMIC_SHARED, Ok(bytes)) => s.allow_shared(function, bytes),
        _ => s.refuse(INVALID_VALUE, format!("function attribute {attribute} = {value}")),
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    shared: u32,
    stream: Handle,
    params: *const *const u8,
    _extra: *const c_void,
) -> u32 {
    let shape = Shape { grid: [grid_x, grid_y, grid_z], block: [block_x, block_y, block_z], shared: shared as usize };
    call("cuLaunchKernel", Needs::Context, |s| {
        s.check(function, shape)?;
        let sizes: Vec<usize> = s.entry(function)?.params.iter().map(|p| p.size).collect();
        // SAFETY: the manual asks for a pointer to each parameter of the kernel.
        let bytes = |(i, size): (usize, usize)| unsafe { std::slice::from_raw_parts(*params.add(i), size) }.to_vec();
        let args = sizes.into_iter().enumerate().map(bytes).collect();
        s.enqueue(stream, Work::Launch(Launch { function, shape, args }))
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorString(code: u32, text: *mut *const c_char) -> u32 {
    let words = match code {
        SUCCESS => c"no error",
        INVALID_VALUE => c"invalid argument",
        INVALID_CONTEXT => c"invalid device context",
        INVALID_HANDLE => c"invalid resource handle",
        _ => c"an error",
    };
    // SAFETY: as the manual has it.
    call("cuGetErrorString", Needs::Nothing, |_| unsafe { put(text, words.as_ptr()) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuProfilerStart() -> u32 {
    call("cuProfilerStart", Needs::Context, |_| Ok(()))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuProfilerStop() -> u32 {
    call("cuProfilerStop", Needs::Context, |_| Ok(()))
}
