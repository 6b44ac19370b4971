//! Words of all lanes, each taken from any of 32.

use super::each;

/// Word `from[i] % 32` for each lane `i`. `fast` as in `Launch`.
#[inline(always)]
pub(crate) fn permute(words: &[u32; 32], from: &[u32; 32], fast: bool) -> [u32; 32] {
    #[cfg(target_arch = "x86_64")]
    if fast {
        // SAFETY: `fast` says that the processor has AVX2.
        #[allow(unsafe_code)]
        return unsafe { avx2(words, from) };
    }
    let _ = fast;
    each(|i| words[from[i] as usize % 32])
}

/// Eight lanes at a time: what each of the four vectors of words has for them, and of that by the upper bits of `from`.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn avx2(words: &[u32; 32], from: &[u32; 32]) -> [u32; 32] {
    use std::arch::x86_64::*;
    let mut out = [0; 32];
    // SAFETY: each pointer is to one of the four parts of an array; alignment does not matter.
    #[allow(unsafe_code)]
    unsafe {
        let load = |a: &[u32; 32], k: usize| _mm256_loadu_si256(a.as_ptr().add(8 * k).cast());
        for k in 0..4 {
            let from = load(from, k);
            let part = |k: usize| _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(load(words, k), from));
            let (bit3, bit4) = (_mm256_slli_epi32(from, 28), _mm256_slli_epi32(from, 27));
            let (bit3, bit4) = (_mm256_castsi256_ps(bit3), _mm256_castsi256_ps(bit4));
            let (low, high) = (_mm256_blendv_ps(part(0), part(1), bit3), _mm256_blendv_ps(part(2), part(3), bit3));
            _mm256_storeu_ps(out.as_mut_ptr().add(8 * k).cast(), _mm256_blendv_ps(low, high, bit4));
        }
    }
    out
}
