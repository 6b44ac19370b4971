//! mma of halves in AVX2: the same sums as `matrix` in the same order, a few times faster.

use super::Regs;
use crate::inst::{Mma, MmaKind};
use std::arch::x86_64::*;

/// The words of a register of all lanes, eight at a time: two rows of four.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn rows(words: &[u32; 32], pair: usize) -> __m256i {
    let eight: &[u32; 8] = words[8 * pair..8 * pair + 8].try_into().expect("eight words");
    // SAFETY: a reference to 32 bytes, whose alignment does not matter.
    #[allow(unsafe_code)]
    unsafe {
        _mm256_loadu_si256(eight.as_ptr().cast())
    }
}

/// A row of four words as eight f32.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn row(words: &[u32; 32], row: usize, kind: MmaKind) -> __m256 {
    let four: &[u32; 4] = words[4 * row..4 * row + 4].try_into().expect("four words");
    // SAFETY: a reference to 16 bytes, whose alignment does not matter.
    #[allow(unsafe_code)]
    let halves = unsafe { _mm_loadu_si128(four.as_ptr().cast()) };
    match kind {
        MmaKind::Bf16 => _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16)),
        _ => _mm256_cvtph_ps(halves),
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store(words: &mut [u32], v: __m256) {
    let eight: &mut [u32; 8] = words.try_into().expect("eight words");
    // SAFETY: a reference to 32 bytes, whose alignment does not matter.
    #[allow(unsafe_code)]
    unsafe {
        _mm256_storeu_ps(eight.as_mut_ptr().cast(), v);
    }
}

/// The lower or the upper halves of eight words, as f32.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves(words: __m256i, upper: bool, kind: MmaKind) -> __m256 {
    if kind == MmaKind::Bf16 {
        let high = _mm256_set1_epi32(0xffff_0000u32 as i32);
        return _mm256_castsi256_ps(if upper { _mm256_and_si256(words, high) } else { _mm256_slli_epi32(words, 16) });
    }
    let low = if upper { _mm256_srli_epi32(words, 16) } else { _mm256_and_si256(words, _mm256_set1_epi32(0xffff)) };
    // Packing keeps to each half of the register; the permutation puts the two together.
    let packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0b1000);
    _mm256_cvtph_ps(_mm256_castsi256_si128(packed))
}

/// d = a b + c of halves, as `Warp::multiply` says; `K` is 8 or 16.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn multiply<const K: usize>(regs: &mut Regs, op: &Mma) {
    let r = &regs.r;
    // A in blocks of 8x8, by rows.
    let mut a = [[[0u32; 8]; 8]; 4];
    for (block, &reg) in a.iter_mut().zip(&op.a) {
        for (i, to) in block.iter_mut().enumerate() {
            store(to, row(&r[reg as usize], i, op.kind));
        }
    }
    // B: of each word (two of the depth) a vector of the eight columns, even ones first.
    let mut b = [_mm256_setzero_ps(); K];
    for (i, &reg) in op.b.iter().enumerate() {
        let r = &r[reg as usize];
        let (p0, p1, p2, p3) = (rows(r, 0), rows(r, 1), rows(r, 2), rows(r, 3));
        // Each half of the registers is a 4x4 transposition: of columns 0, 2, 4, 6 and of 1, 3, 5, 7.
        let (low01, high01) = (_mm256_unpacklo_epi32(p0, p1), _mm256_unpackhi_epi32(p0, p1));
        let (low23, high23) = (_mm256_unpacklo_epi32(p2, p3), _mm256_unpackhi_epi32(p2, p3));
        let words = [
            _mm256_unpacklo_epi64(low01, low23),
            _mm256_unpackhi_epi64(low01, low23),
            _mm256_unpacklo_epi64(high01, high23),
            _mm256_unpackhi_epi64(high01, high23),
        ];
        for (t, words) in words.into_iter().enumerate() {
            b[8 * i + 2 * t] = halves(words, false, op.kind);
            b[8 * i + 2 * t + 1] = halves(words, true, op.kind);
        }
    }
    let nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fff_ffff));
    let mut out = [[0u32; 32]; 4];
    for half in 0..2 {
        let (c0, c1) = (&r[op.c[2 * half] as usize], &r[op.c[2 * half + 1] as usize]);
        // Eight rows at a time: their sums [even columns, odd columns] stay in registers, and are enough to keep the
        // multipliers busy.
        let mut sums = [_mm256_setzero_ps(); 8];
        for (pair, sums) in sums.chunks_exact_mut(2).enumerate() {
            let (even, odd) = (rows(c0, pair), rows(c1, pair));
            sums[0] = _mm256_castsi256_ps(_mm256_permute2x128_si256(even, odd, 0x20));
            sums[1] = _mm256_castsi256_ps(_mm256_permute2x128_si256(even, odd, 0x31));
        }
        for (k, &b) in b.iter().enumerate() {
            let block = &a[half + 2 * (k / 8)];
            for (sum, row) in sums.iter_mut().zip(block) {
                *sum = _mm256_fmadd_ps(_mm256_set1_ps(f32::from_bits(row[k % 8])), b, *sum);
            }
        }
        for (pair, sums) in sums.chunks_exact_mut(2).enumerate() {
            for sum in &mut *sums {
                *sum = _mm256_blendv_ps(*sum, nan, _mm256_cmp_ps(*sum, *sum, _CMP_UNORD_Q));
            }
            let at = 8 * pair;
            store(&mut out[2 * half][at..at + 8], _mm256_permute2f128_ps(sums[0], sums[1], 0x20));
            store(&mut out[2 * half + 1][at..at + 8], _mm256_permute2f128_ps(sums[0], sums[1], 0x31));
        }
    }
    for (&reg, out) in op.d.iter().zip(out) {
        regs.r[reg as usize] = out;
    }
}
