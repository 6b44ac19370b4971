//! Numbers of the driver API, as in NVIDIA's cuda.h.

pub const SUCCESS: u32 = 0;
pub const INVALID_VALUE: u32 = 1;
pub const OUT_OF_MEMORY: u32 = 2;
pub const NOT_INITIALIZED: u32 = 3;
pub const NO_DEVICE: u32 = 100;
pub const INVALID_DEVICE: u32 = 101;
pub const INVALID_CONTEXT: u32 = 201;
pub const INVALID_PTX: u32 = 218;
pub const INVALID_HANDLE: u32 = 400;
pub const NOT_FOUND: u32 = 500;
pub const ILLEGAL_ADDRESS: u32 = 700;
pub const LAUNCH_OUT_OF_RESOURCES: u32 = 701;
pub const MISALIGNED_ADDRESS: u32 = 716;
pub const LAUNCH_FAILED: u32 = 719;
pub const STREAM_CAPTURE_UNSUPPORTED: u32 = 900;
pub const STREAM_CAPTURE_INVALIDATED: u32 = 901;

pub const ATTRIBUTE_MULTIPROCESSOR_COUNT: i32 = 16;
pub const ATTRIBUTE_CAPABILITY_MAJOR: i32 = 75;
pub const ATTRIBUTE_CAPABILITY_MINOR: i32 = 76;
pub const ATTRIBUTE_SHARED_OPTIN: i32 = 97;

pub const FUNCTION_THREADS: i32 = 0;
pub const FUNCTION_SHARED: i32 = 1;
pub const FUNCTION_DYNAMIC_SHARED: i32 = 8;

pub const JIT_ERROR_LOG: i32 = 5;
pub const JIT_ERROR_LOG_SIZE: i32 = 6;

pub const CAPTURE_THREAD_LOCAL: i32 = 1;
