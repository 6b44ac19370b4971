//! SIMD levels chosen at run time, and the small vector vocabulary every CPU kernel is written in.
//!
//! A kernel is written once, generic over [`Simd`], as a struct of its operands that implements [`Kernel`];
//! [`Level::run`] compiles it once for each level and calls the right copy:
//!
//! ```
//! use ham_engine::cpu::simd::{Kernel, Level, Simd};
//!
//! struct Scale<'a> { by: f32, data: &'a mut [[f32; 16]] }
//! impl Kernel for Scale<'_> {
//!     type Output = ();
//!     #[inline(always)]
//!     fn run<S: Simd>(self, s: S) {
//!         let by = s.splat(self.by);
//!         for block in self.data {
//!             // SAFETY: a block is sixteen f32.
//!             unsafe { s.store(block.as_mut_ptr(), s.mul(s.load(block.as_ptr()), by)) };
//!         }
//!     }
//! }
//! let mut data = [[2.0; 16]; 3];
//! Level::detect().run(Scale { by: 3.0, data: &mut data });
//! assert_eq!(data, [[6.0; 16]; 3]);
//! ```
//!
//! The rule that keeps this fast: **everything below `run` that touches a vector is `#[inline(always)]`**. `Level::run`
//! calls one function with `#[target_feature]`, and only what is inlined into it is compiled for the level; one vector
//! passed through a call that is not inlined goes through memory. Closures count as calls: write loops.
//!
//! A value of a `Simd` type is the proof that the machine has the level's instructions: only [`Level::run`] makes them.

use std::fmt;

/// Lanes of a vector [`Simd::V`], the same at every level.
pub const LANES: usize = 16;

/// Sixteen f32 aligned to a cache line: make buffers of these and see them as f32 with [`bytemuck::cast_slice`].
/// Kernels accept any alignment, but a load that crosses a cache line costs twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub struct CacheLine(pub [f32; LANES]);

/// An instruction set the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// x86-64 with AVX-512F: a vector is one register.
    Avx512,
    /// x86-64 with AVX2 and FMA: a vector is two registers.
    Avx2,
    /// Any machine: plain arrays, no fused multiply-add.
    Portable,
}

impl Level {
    /// The fastest level of this machine.
    pub fn detect() -> Level {
        Self::all_supported()[0]
    }

    /// Every level this machine can run, fastest first; `Portable` is always among them.
    pub fn all_supported() -> Vec<Level> {
        [Level::Avx512, Level::Avx2, Level::Portable].into_iter().filter(|l| l.supported()).collect()
    }

    /// Whether this machine can run the level.
    pub fn supported(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => is_x86_feature_detected!("avx512f") && Level::Avx2.supported(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx512 | Level::Avx2 => false,
            Level::Portable => true,
        }
    }

    /// `avx512`, `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self {
            Level::Avx512 => "avx512",
            Level::Avx2 => "avx2",
            Level::Portable => "portable",
        }
    }

    /// Runs `kernel` as compiled for this level.
    ///
    /// # Panics
    /// If the machine lacks the level (see [`Level::supported`]).
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        assert!(self.supported(), "this machine has no {self}");
        match self {
            // SAFETY: the machine has the level's instructions, checked above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { x86::run_avx512(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { x86::run_avx2(kernel) },
            _ => kernel.run(Portable(())),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A computation compiled for every level: its operands are the fields of the type that implements it.
pub trait Kernel {
    /// What it returns; not a vector.
    type Output;
    /// The computation. Mark the implementation `#[inline(always)]`.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// Vectors of sixteen f32, and the registers they are made of.
///
/// `V` is what kernels use. `R` is one register (an AVX2 vector is two): kernels that keep many values at once, such as
/// the Winograd transforms, work on one register's share of the lanes at a time so that the values fit.
pub trait Simd: Copy {
    /// Sixteen f32.
    type V: Copy;
    /// One register of [`Simd::REG`] f32.
    type R: Copy;
    /// Lanes of a register; divides 16.
    const REG: usize;
    /// Rows of accumulators a register tile holds: `ROWS * BLOCKS` vectors, `BLOCKS` operands and a broadcast fit the
    /// register file. At most [`MAX_ROWS`].
    const ROWS: usize;
    /// Channel blocks (columns of sixteen) of a register tile: 1 or 2.
    const BLOCKS: usize;

    /// All lanes zero.
    fn zero(self) -> Self::V;
    /// All lanes `a`.
    fn splat(self, a: f32) -> Self::V;
    /// Sixteen f32 from memory.
    /// # Safety
    /// `p` is valid for reading sixteen f32 (any alignment of f32).
    unsafe fn load(self, p: *const f32) -> Self::V;
    /// Sixteen f32 to memory.
    /// # Safety
    /// `p` is valid for writing sixteen f32 (any alignment of f32).
    unsafe fn store(self, p: *mut f32, a: Self::V);
    /// `a + b`
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, with one rounding except on `Portable`.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `if a > b { a } else { b }`, so `b` where either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `if a < b { a } else { b }`, so `b` where either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// Bit i is `a[i] > 0`.
    fn positive(self, a: Self::V) -> u16;
    /// `a[i]` where bit i is set, else 0.
    fn mask(self, bits: u16, a: Self::V) -> Self::V;
    /// The sum of the lanes, in an order that is fixed for the level.
    fn sum(self, a: Self::V) -> f32;
    /// Lane i is the sum of the lanes of `rows[i]`, in an order that is fixed for the level and the same for every i.
    fn sums(self, rows: &[Self::V; 16]) -> Self::V;

    /// A register from memory.
    /// # Safety
    /// `p` is valid for reading [`Simd::REG`] f32.
    unsafe fn r_load(self, p: *const f32) -> Self::R;
    /// A register to memory.
    /// # Safety
    /// `p` is valid for writing [`Simd::REG`] f32.
    unsafe fn r_store(self, p: *mut f32, a: Self::R);
    /// All lanes `a`.
    fn r_splat(self, a: f32) -> Self::R;
    /// `a + b`
    fn r_add(self, a: Self::R, b: Self::R) -> Self::R;
    /// `a - b`
    fn r_sub(self, a: Self::R, b: Self::R) -> Self::R;
    /// `a * b + c`
    fn r_fma(self, a: Self::R, b: Self::R, c: Self::R) -> Self::R;
    /// Lane i is the sum of the lanes of `rows[i]`, for the first [`Simd::REG`] rows, in an order that is fixed for the
    /// level and the same for every i.
    fn r_sums(self, rows: &[Self::R; 16]) -> Self::R;

    /// The first `len` lanes from memory, zeros after them; nothing is read beyond.
    /// # Safety
    /// `p` is valid for reading `len` f32; `len <= 16`.
    #[inline(always)]
    unsafe fn load_part(self, p: *const f32, len: usize) -> Self::V {
        let mut a = [0.0; LANES];
        // SAFETY: `len` f32 can be read by the caller's promise and fit `a`.
        unsafe {
            std::ptr::copy_nonoverlapping(p, a.as_mut_ptr(), len);
            self.load(a.as_ptr())
        }
    }

    /// The first `len` lanes to memory; nothing is written beyond.
    /// # Safety
    /// `p` is valid for writing `len` f32; `len <= 16`.
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, a: Self::V, len: usize) {
        let mut t = [0.0; LANES];
        // SAFETY: `len` f32 can be written by the caller's promise and `t` has sixteen.
        unsafe {
            self.store(t.as_mut_ptr(), a);
            std::ptr::copy_nonoverlapping(t.as_ptr(), p, len);
        }
    }
}

/// The largest [`Simd::ROWS`] of any level.
pub const MAX_ROWS: usize = 12;

/// The level that runs anywhere.
#[derive(Clone, Copy)]
pub struct Portable(());

/// Lane by lane, in a loop the compiler unrolls to whatever vectors the target's baseline has.
macro_rules! lanes {
    ($n:expr, $i:ident => $e:expr) => {{
        let mut out = [0.0; $n];
        for $i in 0..$n {
            out[$i] = $e;
        }
        out
    }};
}

impl Simd for Portable {
    type V = [f32; 16];
    type R = [f32; 4];
    const REG: usize = 4;
    // SSE2 has sixteen registers, so 2 x 4 of accumulators leave room for an operand.
    const ROWS: usize = 2;
    const BLOCKS: usize = 1;

    #[inline(always)]
    fn zero(self) -> Self::V {
        [0.0; 16]
    }
    #[inline(always)]
    fn splat(self, a: f32) -> Self::V {
        [a; 16]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::V {
        // SAFETY: readable by the caller's promise.
        unsafe { p.cast::<[f32; 16]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, a: Self::V) {
        // SAFETY: writable by the caller's promise.
        unsafe { p.cast::<[f32; 16]>().write_unaligned(a) }
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(16, i => a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(16, i => a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(16, i => a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(16, i => a[i] / b[i])
    }
    // `f32::mul_add` would call libm where the target has no FMA, a hundred times slower.
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        lanes!(16, i => a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(16, i => if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        lanes!(16, i => if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn positive(self, a: Self::V) -> u16 {
        let mut bits = 0;
        for (i, &v) in a.iter().enumerate() {
            bits |= u16::from(v > 0.0) << i;
        }
        bits
    }
    #[inline(always)]
    fn mask(self, bits: u16, a: Self::V) -> Self::V {
        lanes!(16, i => if bits >> i & 1 == 1 { a[i] } else { 0.0 })
    }
    #[inline(always)]
    fn sum(self, a: Self::V) -> f32 {
        let (b, mut half) = (a, 8);
        let mut b = b;
        while half > 0 {
            for i in 0..half {
                b[i] += b[i + half];
            }
            half /= 2;
        }
        b[0]
    }
    #[inline(always)]
    fn sums(self, rows: &[Self::V; 16]) -> Self::V {
        lanes!(16, i => self.sum(rows[i]))
    }
    #[inline(always)]
    unsafe fn r_load(self, p: *const f32) -> Self::R {
        // SAFETY: readable by the caller's promise.
        unsafe { p.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn r_store(self, p: *mut f32, a: Self::R) {
        // SAFETY: writable by the caller's promise.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(a) }
    }
    #[inline(always)]
    fn r_splat(self, a: f32) -> Self::R {
        [a; 4]
    }
    #[inline(always)]
    fn r_add(self, a: Self::R, b: Self::R) -> Self::R {
        lanes!(4, i => a[i] + b[i])
    }
    #[inline(always)]
    fn r_sub(self, a: Self::R, b: Self::R) -> Self::R {
        lanes!(4, i => a[i] - b[i])
    }
    #[inline(always)]
    fn r_fma(self, a: Self::R, b: Self::R, c: Self::R) -> Self::R {
        lanes!(4, i => a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn r_sums(self, rows: &[Self::R; 16]) -> Self::R {
        lanes!(4, i => (rows[i][0] + rows[i][2]) + (rows[i][1] + rows[i][3]))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;
