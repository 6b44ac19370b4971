//! The x86-64 levels of [`super::Simd`]. Every method is one or two intrinsics.
//!
//! SAFETY of all the `unsafe` here: an [`Avx2`] or [`Avx512`] exists only beneath `run_avx2` or `run_avx512`, whose
//! callers have checked the machine, so the instructions exist; pointers are valid by the trait methods' contracts.

use super::{CacheLine, Kernel, Simd};
use std::arch::x86_64::*;

/// Proof of AVX2 and FMA.
#[derive(Clone, Copy)]
pub struct Avx2(());

/// Proof of AVX-512F (and AVX2, FMA).
#[derive(Clone, Copy)]
pub struct Avx512(());

/// Makes the function it is inlined into align its stack to cache lines. Otherwise the compiler may find out that it
/// must spill registers only when it can no longer align the stack; half of the spills then cross cache lines, and a
/// kernel's speed depends on where its caller's frame happens to end.
#[inline(always)]
fn align_stack() {
    std::hint::black_box(&mut CacheLine::default());
}

/// # Safety
/// The machine has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    align_stack();
    kernel.run(Avx2(()))
}

/// # Safety
/// The machine has AVX-512F, AVX2 and FMA.
#[target_feature(enable = "avx512f,avx2,fma")]
pub unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    align_stack();
    kernel.run(Avx512(()))
}

/// Both halves of an AVX2 vector through the same intrinsic.
macro_rules! both {
    ($f:ident $(, $a:expr)*) => {
        // SAFETY: see the module.
        unsafe { ($f($($a.0),*), $f($($a.1),*)) }
    };
}

/// One AVX-512 intrinsic.
macro_rules! one {
    ($e:expr) => {
        // SAFETY: see the module.
        unsafe { $e }
    };
}

/// Lane i (of 8) is the sum of the lanes of `r[i]`.
#[inline(always)]
unsafe fn sums8(r: &[__m256]) -> __m256 {
    one!({
        let a = _mm256_hadd_ps(_mm256_hadd_ps(r[0], r[1]), _mm256_hadd_ps(r[2], r[3]));
        let b = _mm256_hadd_ps(_mm256_hadd_ps(r[4], r[5]), _mm256_hadd_ps(r[6], r[7]));
        _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
    })
}

impl Simd for Avx2 {
    type V = (__m256, __m256);
    type R = __m256;
    const REG: usize = 8;
    // 6 rows x 2 registers of accumulators, 2 of the operand, 1 broadcast: 15 of 16.
    const ROWS: usize = 6;
    const BLOCKS: usize = 1;

    #[inline(always)]
    fn zero(self) -> Self::V {
        one!((_mm256_setzero_ps(), _mm256_setzero_ps()))
    }
    #[inline(always)]
    fn splat(self, a: f32) -> Self::V {
        one!((_mm256_set1_ps(a), _mm256_set1_ps(a)))
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::V {
        one!((_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))))
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, a: Self::V) {
        one!({
            _mm256_storeu_ps(p, a.0);
            _mm256_storeu_ps(p.add(8), a.1)
        })
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        both!(_mm256_add_ps, a, b)
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        both!(_mm256_sub_ps, a, b)
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        both!(_mm256_mul_ps, a, b)
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        both!(_mm256_div_ps, a, b)
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        both!(_mm256_fmadd_ps, a, b, c)
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        both!(_mm256_max_ps, a, b)
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        both!(_mm256_min_ps, a, b)
    }
    #[inline(always)]
    fn positive(self, a: Self::V) -> u16 {
        one!({
            let z = _mm256_setzero_ps();
            let lo = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a.0, z));
            let hi = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a.1, z));
            (lo | hi << 8) as u16
        })
    }
    #[inline(always)]
    fn mask(self, bits: u16, a: Self::V) -> Self::V {
        one!({
            let b = _mm256_set1_epi32(i32::from(bits));
            let lo = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let hi = _mm256_slli_epi32::<8>(lo);
            let lo = _mm256_cmpeq_epi32(_mm256_and_si256(b, lo), lo);
            let hi = _mm256_cmpeq_epi32(_mm256_and_si256(b, hi), hi);
            (_mm256_and_ps(a.0, _mm256_castsi256_ps(lo)), _mm256_and_ps(a.1, _mm256_castsi256_ps(hi)))
        })
    }
    #[inline(always)]
    fn sum(self, a: Self::V) -> f32 {
        one!({
            let r = _mm256_add_ps(a.0, a.1);
            let r = _mm256_hadd_ps(r, r);
            let r = _mm256_hadd_ps(r, r);
            _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(r), _mm256_extractf128_ps::<1>(r)))
        })
    }
    #[inline(always)]
    fn sums(self, rows: &[Self::V; 16]) -> Self::V {
        let mut r = [rows[0].0; 16];
        for i in 0..16 {
            r[i] = self.r_add(rows[i].0, rows[i].1);
        }
        one!((sums8(&r[..8]), sums8(&r[8..])))
    }
    #[inline(always)]
    unsafe fn r_load(self, p: *const f32) -> Self::R {
        one!(_mm256_loadu_ps(p))
    }
    #[inline(always)]
    unsafe fn r_store(self, p: *mut f32, a: Self::R) {
        one!(_mm256_storeu_ps(p, a))
    }
    #[inline(always)]
    fn r_splat(self, a: f32) -> Self::R {
        one!(_mm256_set1_ps(a))
    }
    #[inline(always)]
    fn r_add(self, a: Self::R, b: Self::R) -> Self::R {
        one!(_mm256_add_ps(a, b))
    }
    #[inline(always)]
    fn r_sub(self, a: Self::R, b: Self::R) -> Self::R {
        one!(_mm256_sub_ps(a, b))
    }
    #[inline(always)]
    fn r_fma(self, a: Self::R, b: Self::R, c: Self::R) -> Self::R {
        one!(_mm256_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn r_sums(self, rows: &[Self::R; 16]) -> Self::R {
        one!(sums8(&rows[..8]))
    }
}

impl Simd for Avx512 {
    type V = __m512;
    type R = __m512;
    const REG: usize = 16;
    // 12 rows x 2 blocks of accumulators and 2 of the operand leave 6 of 32 for broadcasts; twelve row pointers are as
    // many as the general registers hold.
    const ROWS: usize = 12;
    const BLOCKS: usize = 2;

    #[inline(always)]
    fn zero(self) -> Self::V {
        one!(_mm512_setzero_ps())
    }
    #[inline(always)]
    fn splat(self, a: f32) -> Self::V {
        one!(_mm512_set1_ps(a))
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> Self::V {
        one!(_mm512_loadu_ps(p))
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, a: Self::V) {
        one!(_mm512_storeu_ps(p, a))
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        one!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        one!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        one!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        one!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        one!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        one!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        one!(_mm512_min_ps(a, b))
    }
    #[inline(always)]
    fn positive(self, a: Self::V) -> u16 {
        one!(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, _mm512_setzero_ps()))
    }
    #[inline(always)]
    fn mask(self, bits: u16, a: Self::V) -> Self::V {
        one!(_mm512_maskz_mov_ps(bits, a))
    }
    #[inline(always)]
    fn sum(self, a: Self::V) -> f32 {
        one!(_mm512_reduce_add_ps(a))
    }
    #[inline(always)]
    fn sums(self, rows: &[Self::V; 16]) -> Self::V {
        let mut t = [0.0; 16];
        for i in 0..16 {
            t[i] = self.sum(rows[i]);
        }
        one!(self.load(t.as_ptr()))
    }
    #[inline(always)]
    unsafe fn r_load(self, p: *const f32) -> Self::R {
        one!(_mm512_loadu_ps(p))
    }
    #[inline(always)]
    unsafe fn r_store(self, p: *mut f32, a: Self::R) {
        one!(_mm512_storeu_ps(p, a))
    }
    #[inline(always)]
    fn r_splat(self, a: f32) -> Self::R {
        one!(_mm512_set1_ps(a))
    }
    #[inline(always)]
    fn r_add(self, a: Self::R, b: Self::R) -> Self::R {
        one!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn r_sub(self, a: Self::R, b: Self::R) -> Self::R {
        one!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn r_fma(self, a: Self::R, b: Self::R, c: Self::R) -> Self::R {
        one!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn r_sums(self, rows: &[Self::R; 16]) -> Self::R {
        self.sums(rows)
    }
}
