//! Named ranges for profilers: the part of NVTX 3's injection protocol that ranges need.
//!
//! A profiler names its library in `NVTX_INJECTION64_PATH`. It is loaded at the first range and puts its functions in our
//! tables; without one a range costs a comparison. (NVTX's older library, libnvToolsExt, is no longer part of CUDA.)

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::transmute;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Functions of each of NVTX's callback modules, by number; all but the ranges of the first are for the profiler to fill
/// and for nobody to call.
const FUNCTIONS: [usize; 7] = [0, 16, 9, 15, 7, 16, 7];
const MOST: usize = 16;
/// The module with ranges of the default domain, and the places in it of `nvtxRangePushA` and `nvtxRangePop`.
const CORE: usize = 1;
const PUSH: usize = 9;
const POP: usize = 11;
/// Numbers of the tables that a profiler asks for, and the version that it is told.
const CALLBACKS: u32 = 1;
const VERSION_INFO: u32 = 3;
const VERSION: u32 = 3;

type Slot = AtomicPtr<c_void>;
/// Where a profiler puts its functions, by module.
static SLOTS: [[Slot; MOST]; FUNCTIONS.len()] = [const { [const { Slot::new(null_mut()) }; MOST] }; FUNCTIONS.len()];

type GetTable = extern "C" fn(u32) -> *const c_void;
type Initialise = unsafe extern "C" fn(GetTable) -> c_int;
type GetFunctions = unsafe extern "C" fn(c_int, *mut *const *const Slot, *mut u32) -> c_int;

#[repr(C)]
struct Callbacks {
    size: usize,
    get_functions: GetFunctions,
}

#[repr(C)]
struct VersionInfo {
    size: usize,
    version: u32,
    reserved: u32,
    set_injection_version: extern "C" fn(u32),
}

/// Gives a profiler the table of a module: pointers to the slots, the first (number 0) and the last null.
///
/// # Safety
/// The places of the answers are null or may be written.
unsafe extern "C" fn get_functions(module: c_int, table: *mut *const *const Slot, len: *mut u32) -> c_int {
    // An option of a reference is a pointer that may be null.
    type Tables = [[Option<&'static Slot>; MOST + 1]; FUNCTIONS.len()];
    static TABLES: OnceLock<Tables> = OnceLock::new();
    let tables = TABLES.get_or_init(|| {
        let mut tables: Tables = Default::default();
        for (module, &n) in FUNCTIONS.iter().enumerate() {
            (1..n).for_each(|i| tables[module][i] = Some(&SLOTS[module][i]));
        }
        tables
    });
    let Some(module) = usize::try_from(module).ok().filter(|m| (1..FUNCTIONS.len()).contains(m)) else { return 0 };
    // SAFETY: promised by the caller for each that is not null.
    unsafe {
        if !table.is_null() {
            *table = tables[module].as_ptr().cast();
        }
        if !len.is_null() {
            *len = FUNCTIONS[module] as u32;
        }
    }
    1
}

extern "C" fn set_injection_version(_version: u32) {}

extern "C" fn get_table(id: u32) -> *const c_void {
    static CALLBACK_TABLE: Callbacks = Callbacks { size: size_of::<Callbacks>(), get_functions };
    static VERSION_TABLE: VersionInfo =
        VersionInfo { size: size_of::<VersionInfo>(), version: VERSION, reserved: 0, set_injection_version };
    match id {
        CALLBACKS => (&raw const CALLBACK_TABLE).cast(),
        VERSION_INFO => (&raw const VERSION_TABLE).cast(),
        _ => std::ptr::null(),
    }
}

/// Loads the profiler's library once; whether one is attached.
fn attached() -> bool {
    static ATTACHED: OnceLock<bool> = OnceLock::new();
    *ATTACHED.get_or_init(|| {
        let Some(path) = std::env::var_os("NVTX_INJECTION64_PATH") else { return false };
        // SAFETY: the user runs the program under that profiler, and so wants its library in it.
        let Ok(library) = (unsafe { libloading::Library::new(path) }) else { return false };
        // SAFETY: NVTX's name and type of an injection's entry point.
        let accepted = match unsafe { library.get::<Initialise>(b"InitializeInjectionNvtx2\0") } {
            // SAFETY: called as NVTX's own header calls it.
            Ok(initialise) => unsafe { initialise(get_table) != 0 },
            Err(_) => false,
        };
        // The slots may point into it from now on.
        std::mem::forget(library);
        accepted
    })
}

fn slot(function: usize) -> Option<*mut c_void> {
    let function = attached().then(|| SLOTS[CORE][function].load(Ordering::Acquire))?;
    (!function.is_null()).then_some(function)
}

/// Opens a range of this thread.
pub fn push(name: &CStr) {
    if let Some(function) = slot(PUSH) {
        // SAFETY: this slot holds what the profiler has for nvtxRangePushA, which has this type.
        let push = unsafe { transmute::<*mut c_void, unsafe extern "C" fn(*const c_char) -> c_int>(function) };
        // SAFETY: a string that ends with a zero; the function does not keep it.
        unsafe { push(name.as_ptr()) };
    }
}

/// Closes the innermost range of this thread.
pub fn pop() {
    if let Some(function) = slot(POP) {
        // SAFETY: this slot holds what the profiler has for nvtxRangePop, which has this type.
        let pop = unsafe { transmute::<*mut c_void, unsafe extern "C" fn() -> c_int>(function) };
        // SAFETY: it has no arguments.
        unsafe { pop() };
    }
}
