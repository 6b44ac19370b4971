//! A profiler's end of NVTX: ranges go to the log.

use crate::state::STATE;
use std::ffi::{CStr, c_char, c_int, c_void};

type Function = *const c_void;
type GetTable = unsafe extern "C" fn(u32) -> *const c_void;

#[repr(C)]
struct Callbacks {
    size: usize,
    get_functions: unsafe extern "C" fn(c_int, *mut *const *mut Function, *mut u32) -> c_int,
}

/// Attaches to a program that has loaded this library as NVTX's injection.
///
/// # Safety
/// The function answers as NVTX's `nvtxGetExportTable` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn InitializeInjectionNvtx2(get_table: GetTable) -> c_int {
    let (mut table, mut len) = (std::ptr::null(), 0u32);
    // SAFETY: table 1 is that of the callbacks; module 1 is the core, and the answers may be written.
    let found = unsafe {
        let callbacks: *const Callbacks = get_table(1).cast();
        !callbacks.is_null()
            && (*callbacks).size >= size_of::<Callbacks>()
            && ((*callbacks).get_functions)(1, &mut table, &mut len) != 0
    };
    if !found || len != 16 {
        return 0;
    }
    // SAFETY: a table of 16 functions, in which 9 is nvtxRangePushA and 11 nvtxRangePop.
    unsafe {
        **table.add(9) = push as *const c_void;
        **table.add(11) = pop as *const c_void;
    }
    1
}

unsafe extern "C" fn push(name: *const c_char) -> c_int {
    // SAFETY: NVTX's callers pass a string.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    STATE.lock().expect("no panics").log(format!("push {name}"));
    0
}

unsafe extern "C" fn pop() -> c_int {
    STATE.lock().expect("no panics").log("pop");
    0
}
