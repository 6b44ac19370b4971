//! What a fault must say of itself.

use crate::host::nvcc;
use ptx_sim::{Error, Fault, FaultKind};
use std::fmt::Debug;
use std::path::Path;

/// The orders of blocks and warps under which a fault must be reported.
pub const SEEDS: [u64; 3] = [1, 2, 3];

/// The fault of a launch that must have one of those kinds.
pub fn fault<T: Debug>(result: Result<T, Error>, kinds: &[FaultKind]) -> Fault {
    match result {
        Err(Error::Fault(fault)) if kinds.contains(&fault.kind) => *fault,
        other => panic!("{kinds:?} was expected, not {other:?}"),
    }
}

/// The message must have the kernel, the block, the thread where it is one's fault, the line of the PTX (an instruction of
/// that kernel) and that of the source.
pub fn assert_place(fault: &Fault, program: &str, kernel: &str) {
    let text = fault.to_string();
    let ptx = nvcc::ptx(program);
    let (entry, instruction) = ptx.lines().take(fault.line as usize).fold(("", ""), |(entry, _), line| {
        let name = line.split(".entry ").nth(1).and_then(|rest| rest.split('(').next());
        (name.unwrap_or(entry), line.trim())
    });
    assert_eq!(entry, kernel, "{text}");
    assert!(instruction.contains(';') && !instruction.starts_with('.'), "{instruction}: {text}");
    let (file, line) = fault.source.as_ref().expect("line info");
    // Not a header of the toolkit, where its intrinsics come from.
    assert_eq!(Path::new(file).parent(), Some(nvcc::programs().as_path()), "{text}");
    let parts =
        [format!("in kernel {kernel} "), format!("block {:?}", fault.block), format!("PTX line {}", fault.line)];
    for part in parts.into_iter().chain([format!("({file}:{line})")]) {
        assert!(text.contains(&part), "{part}: {text}");
    }
    use FaultKind::{Deadlock, Divergence, StepBudget};
    match fault.thread {
        Some(thread) => assert!(text.contains(&format!("thread {thread:?}")), "{text}"),
        None => assert!(matches!(fault.kind, Deadlock | Divergence | StepBudget), "no thread: {text}"),
    }
}
