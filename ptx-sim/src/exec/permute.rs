//! Words of all lanes put in another order.

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

/// Of four words of each lane, one lane's after the other's, the first ones of all lanes, the second ones and so on. `fast`
/// as in `Launch`.
#[inline(always)]
pub(super) fn split(bytes: &[u8; 512], fast: bool) -> [[u32; 32]; 4] {
    #[cfg(target_arch = "x86_64")]
    if fast {
        // SAFETY: `fast` says that the processor has AVX2.
        #[allow(unsafe_code)]
        return unsafe { split_avx2(bytes) };
    }
    let _ = fast;
    let words: &[[u8; 4]; 128] = bytemuck::cast_ref(bytes);
    let mut out = [[0; 32]; 4];
    for i in 0..32 {
        for k in 0..4 {
            out[k][i] = u32::from_le_bytes(words[4 * i + k]);
        }
    }
    out
}

/// Eight lanes at a time. A vector holds two lanes: first lanes four apart are put together, then each half of the
/// vectors is a 4x4 transposition.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn split_avx2(bytes: &[u8; 512]) -> [[u32; 32]; 4] {
    use std::arch::x86_64::*;
    let mut out = [[0; 32]; 4];
    // SAFETY: each pointer is to 32 bytes in an array of bytes or words; alignment does not matter.
    #[allow(unsafe_code)]
    unsafe {
        for eight in 0..4 {
            let load = |k: usize| _mm256_loadu_si256(bytes.as_ptr().add(128 * eight + 32 * k).cast());
            let (v0, v1, v2, v3) = (load(0), load(1), load(2), load(3));
            let (a, b) = (_mm256_permute2x128_si256(v0, v2, 0x20), _mm256_permute2x128_si256(v0, v2, 0x31));
            let (c, d) = (_mm256_permute2x128_si256(v1, v3, 0x20), _mm256_permute2x128_si256(v1, v3, 0x31));
            let (ab0, ab1) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
            let (cd0, cd1) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
            let mut store = |k: usize, v| _mm256_storeu_si256(out[k].as_mut_ptr().add(8 * eight).cast(), v);
            store(0, _mm256_unpacklo_epi64(ab0, cd0));
            store(1, _mm256_unpackhi_epi64(ab0, cd0));
            store(2, _mm256_unpacklo_epi64(ab1, cd1));
            store(3, _mm256_unpackhi_epi64(ab1, cd1));
        }
    }
    out
}

/// The other way than `split`.
#[inline(always)]
pub(super) fn join(words: [&[u32; 32]; 4], bytes: &mut [u8; 512], fast: bool) {
    #[cfg(target_arch = "x86_64")]
    if fast {
        // SAFETY: `fast` says that the processor has AVX2.
        #[allow(unsafe_code)]
        return unsafe { join_avx2(words, bytes) };
    }
    let _ = fast;
    let to: &mut [[u8; 4]; 128] = bytemuck::cast_mut(bytes);
    for i in 0..32 {
        for k in 0..4 {
            to[4 * i + k] = words[k][i].to_le_bytes();
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn join_avx2(words: [&[u32; 32]; 4], bytes: &mut [u8; 512]) {
    use std::arch::x86_64::*;
    // SAFETY: as in `split_avx2`.
    #[allow(unsafe_code)]
    unsafe {
        for eight in 0..4 {
            let load = |k: usize| _mm256_loadu_si256(words[k].as_ptr().add(8 * eight).cast());
            let (r0, r1, r2, r3) = (load(0), load(1), load(2), load(3));
            let (ab0, ab1) = (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1));
            let (cd0, cd1) = (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3));
            let (a, b) = (_mm256_unpacklo_epi64(ab0, cd0), _mm256_unpackhi_epi64(ab0, cd0));
            let (c, d) = (_mm256_unpacklo_epi64(ab1, cd1), _mm256_unpackhi_epi64(ab1, cd1));
            let mut store = |k: usize, v| _mm256_storeu_si256(bytes.as_mut_ptr().add(128 * eight + 32 * k).cast(), v);
            store(0, _mm256_permute2x128_si256(a, b, 0x20));
            store(1, _mm256_permute2x128_si256(c, d, 0x20));
            store(2, _mm256_permute2x128_si256(a, b, 0x31));
            store(3, _mm256_permute2x128_si256(c, d, 0x31));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lane_gets_what_it_names() {
        let words: [u32; 32] = std::array::from_fn(|i| 100 + i as u32);
        for seed in 0..100u32 {
            let from: [u32; 32] = std::array::from_fn(|i| (i as u32 * (2 * seed + 1) + seed * seed) % 32);
            let expected: [u32; 32] = from.map(|k| 100 + k);
            assert_eq!(permute(&words, &from, false), expected);
            assert_eq!(permute(&words, &from, crate::exec::fast()), expected);
        }
    }

    #[test]
    fn words_of_lanes_are_split_and_joined() {
        let mut bytes = [0; 512];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = (i * 7 + i / 256) as u8;
        }
        let word = |i: usize| u32::from_le_bytes(bytes[4 * i..4 * i + 4].try_into().expect("four bytes"));
        let expected: [[u32; 32]; 4] = std::array::from_fn(|k| std::array::from_fn(|i| word(4 * i + k)));
        for fast in [false, crate::exec::fast()] {
            let words = split(&bytes, fast);
            assert_eq!(words, expected);
            let mut back = [0; 512];
            join(words.each_ref(), &mut back, fast);
            assert_eq!(back, bytes);
        }
    }
}
