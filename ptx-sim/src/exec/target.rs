//! What the executor is compiled for: any processor, and one with AVX2, whose loops over lanes take eight at a time.

use super::data::Issued;
use super::schedule::Stop;
use super::*;

/// A copy of the executor. The kinds of instructions that move data are functions of their own in each: one function that
/// holds them all takes the compiler minutes.
pub(super) trait Target {
    fn arithmetic(code: &[Inst], w: &mut Regs, mask: u32);
    fn load(l: &Launch, a: &Access, w: &mut Warp, b: &mut Shared, m: &mut Worker, at: Issued) -> Step<()>;
    fn store(l: &Launch, a: &Access, w: &mut Warp, b: &mut Shared, m: &mut Worker, at: Issued) -> Step<()>;
    fn cp_async(l: &Launch, cp: &CpAsync, w: &mut Warp, b: &mut Shared, m: &mut Worker, at: Issued) -> Step<()>;
    fn cp_wait(l: &Launch, pending: Option<u32>, w: &mut Warp, b: &mut Shared, mask: u32);
    fn ldmatrix(
        l: &Launch,
        op: (&[u16], bool, Addr),
        w: &mut Warp,
        b: &mut Shared,
        m: &mut Worker,
        pc: u32,
    ) -> Step<()>;
    fn mma(l: &Launch, op: &Mma, w: &mut Warp) -> u64;
}

/// Defines functions of a target, each compiled apart for its features.
macro_rules! apart {
    (@one [$($feature:meta)?] fn $name:ident($($arg:ident: $kind:ty),*) -> $out:ty { $body:expr }) => {
        #[inline(always)]
        fn $name($($arg: $kind),*) -> $out {
            #[inline(never)]
            $(#[$feature])?
            fn apart($($arg: $kind),*) -> $out {
                $body
            }
            // SAFETY: a target runs only where the processor has its features, says `run_warp`.
            #[allow(unsafe_code, unused_unsafe)]
            unsafe {
                apart($($arg),*)
            }
        }
    };
    ($features:tt $(fn $name:ident($($arg:ident: $kind:ty),*) -> $out:ty { $body:expr })+) => {
        $(apart! { @one $features fn $name($($arg: $kind),*) -> $out { $body } })+
    };
}

/// Defines a target: its name, its arithmetic, and the features it is compiled for.
macro_rules! target {
    ($name:ident, $arithmetic:path $(, $feature:meta)?) => {
        impl Target for $name {
            #[inline(always)]
            fn arithmetic(code: &[Inst], w: &mut Regs, mask: u32) {
                // SAFETY: as in `apart`.
                #[allow(unsafe_code, unused_unsafe)]
                unsafe {
                    $arithmetic(code, w, mask)
                }
            }

            apart! { [$($feature)?]
                fn load(l: &Launch, a: &Access, w: &mut Warp, b: &mut Shared, m: &mut Worker, at: Issued) -> Step<()> {
                    l.load(a, w, b, m, at)
                }
                fn store(l: &Launch, a: &Access, w: &mut Warp, b: &mut Shared, m: &mut Worker, at: Issued) -> Step<()> {
                    l.store(a, w, b, m, at)
                }
                fn cp_async(
                    l: &Launch, cp: &CpAsync, w: &mut Warp, b: &mut Shared, m: &mut Worker, at: Issued
                ) -> Step<()> {
                    l.cp_async(cp, w, b, m, at)
                }
                fn cp_wait(l: &Launch, pending: Option<u32>, w: &mut Warp, b: &mut Shared, mask: u32) -> () {
                    l.cp_wait(pending, w, b, mask)
                }
                fn ldmatrix(
                    l: &Launch, op: (&[u16], bool, Addr), w: &mut Warp, b: &mut Shared, m: &mut Worker, pc: u32
                ) -> Step<()> {
                    l.ldmatrix(op, w, b, m, pc)
                }
                fn mma(l: &Launch, op: &Mma, w: &mut Warp) -> u64 {
                    w.mma(op, l.fast)
                }
            }
        }

        impl $name {
            /// Runs a warp until it exits, arrives at a barrier, or has had its turn. An error comes with the instruction.
            ///
            /// # Safety
            /// The processor has the target's features.
            #[allow(unsafe_code)]
            $(#[$feature])?
            pub(super) unsafe fn run_warp(
                l: &Launch, w: &mut Warp, b: &mut Shared, m: &mut Worker
            ) -> Result<Stop, (u32, Trouble)> {
                l.run_warp_with::<$name>(w, b, m)
            }
        }
    };
}

/// Any processor.
pub(super) struct Anywhere;
target! { Anywhere, alu::anywhere }

/// One with AVX2.
#[cfg(target_arch = "x86_64")]
pub(super) struct Vectors;
#[cfg(target_arch = "x86_64")]
target! { Vectors, alu::avx2, target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt") }

#[cfg(not(target_arch = "x86_64"))]
pub(super) use Anywhere as Vectors;
