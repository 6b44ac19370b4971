//! ldmatrix and mma. Fragment layouts are those of the PTX manual: with g = lane / 4 and t = lane % 4, register i of a
//! fragment holds rows g or g + 8 and columns (or, of B, rows) 2t, 2t + 1 of each block of 8.
//!
//! So the 32 words of one register, seen as bytes, are a row-major 8x8 block of 16-bit elements: of A (i even: rows 0 to
//! 7, i odd: rows 8 to 15; i / 2: columns), and of B transposed.

use super::data::{Issued, at_lane};
use super::requests::{shared_counts, shared_request};
use super::*;
use crate::ops::half2::{B, H, Half};

impl Launch<'_> {
    #[inline(always)]
    pub(super) fn ldmatrix(
        &self,
        (regs, trans, addr): (&[u16], bool, Addr),
        w: &mut Warp,
        b: &mut Shared,
        m: &mut Worker,
        pc: u32,
    ) -> Step<()> {
        // Lanes 8k to 8k + 7 point to the rows of matrix k.
        let (mask, who) = (!0 >> (32 - 8 * regs.len()), w.who(false));
        if let Some((p, base, counters)) = self.pattern((addr, 16), w, m, Issued { pc, mask })
            && let Some(bytes) = b.load_plain(p, base, who, &mut w.buf)
        {
            shared_request(counters, p, false);
            put_rows(bytes, regs, trans, &mut w.regs);
            return Ok(());
        }
        let mut addrs = w.addresses(addr);
        addrs.iter_mut().for_each(|a| *a &= (1 << 56) - 1);
        let at = Request { addrs: &addrs, mask, n: 16, run: false };
        shared_counts(&mut m.counters, at, false);
        b.load(at, who, &mut w.buf).map_err(at_lane)?;
        put_rows(w.buf.all(16), regs, trans, &mut w.regs);
        Ok(())
    }
}

/// Puts the rows of each matrix into a register.
#[inline(always)]
fn put_rows(bytes: &[u8], regs: &[u16], trans: bool, file: &mut Regs) {
    for (&reg, rows) in regs.iter().zip(bytes.chunks_exact(128)) {
        let words = bytemuck::pod_read_unaligned(rows);
        file.r[reg as usize] = if trans { transposed(&words) } else { words };
    }
}

/// An 8x8 block of 16-bit elements, transposed.
#[cfg(not(target_arch = "x86_64"))]
fn transposed(words: &[u32; 32]) -> [u32; 32] {
    let element = |r: usize, c: usize| words[r * 4 + c / 2] >> (16 * (c % 2)) & 0xffff;
    each(|i| {
        let (row, col) = (i / 4, i % 4 * 2);
        element(col, row) | element(col + 1, row) << 16
    })
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transposed(words: &[u32; 32]) -> [u32; 32] {
    // SAFETY: SSE2 is part of every x86-64.
    #[allow(unsafe_code)]
    unsafe {
        transposed_sse2(words)
    }
}

/// As `transposed`: pairs of rows are interleaved by elements, then by pairs, then by fours.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn transposed_sse2(words: &[u32; 32]) -> [u32; 32] {
    use std::arch::x86_64::*;
    let r: [__m128i; 8] = bytemuck::cast(*words);
    let pair = |k: usize| (_mm_unpacklo_epi16(r[k], r[k + 1]), _mm_unpackhi_epi16(r[k], r[k + 1]));
    let four = |a: __m128i, b: __m128i| (_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b));
    let ((a0, a1), (b0, b1), (c0, c1), (d0, d1)) = (pair(0), pair(2), pair(4), pair(6));
    let ((e0, e1), (f0, f1), (g0, g1), (h0, h1)) = (four(a0, b0), four(c0, d0), four(a1, b1), four(c1, d1));
    let rows = [(e0, f0), (e1, f1), (g0, h0), (g1, h1)];
    bytemuck::cast(rows.map(|(a, b)| [_mm_unpacklo_epi64(a, b), _mm_unpackhi_epi64(a, b)]))
}

/// Elements of an mma's inputs: two to a register, or one.
trait Element {
    /// Elements of a register of one lane.
    const PACK: usize;
    /// The elements of 4 * PACK columns and 8 rows, row by row.
    fn rows(words: &[u32; 32]) -> [f32; 64];
    /// Element `k` of a word.
    fn wide(word: u32, k: usize) -> f32;
}

struct Tf32;

macro_rules! half_element {
    ($t:ident) => {
        impl Element for $t {
            const PACK: usize = 2;
            #[inline(always)]
            fn rows(words: &[u32; 32]) -> [f32; 64] {
                let halves = bytemuck::cast::<[u32; 32], [u16; 64]>(*words);
                let mut out = [0.0; 64];
                for (out, &v) in out.iter_mut().zip(&halves) {
                    *out = <$t as Half>::wide(v as u32);
                }
                out
            }
            #[inline(always)]
            fn wide(word: u32, k: usize) -> f32 {
                <$t as Half>::wide(word >> (16 * k) & 0xffff)
            }
        }
    };
}
half_element!(H);
half_element!(B);

impl Element for Tf32 {
    const PACK: usize = 1;
    #[inline(always)]
    fn rows(words: &[u32; 32]) -> [f32; 64] {
        let mut out = [0.0; 64];
        for (out, &w) in out.iter_mut().zip(words) {
            *out = Self::wide(w, 0);
        }
        out
    }
    #[inline(always)]
    fn wide(word: u32, _: usize) -> f32 {
        f32::from_bits(word & !0x1fff)
    }
}

/// The words of 8 rows of 4, column by column, of each the even rows first.
#[inline(always)]
fn columns(words: &[u32; 32]) -> [[u32; 8]; 4] {
    let mut out = [[0; 8]; 4];
    for (i, rows) in words.chunks_exact(8).enumerate() {
        for (t, out) in out.iter_mut().enumerate() {
            (out[i], out[i + 4]) = (rows[t], rows[t + 4]);
        }
    }
    out
}

impl Warp {
    /// Executes an mma; returns the floating-point operations done. `fast` as in `Launch`.
    #[inline(always)]
    pub(super) fn mma(&mut self, op: &Mma, fast: bool) -> u64 {
        #[cfg(target_arch = "x86_64")]
        if fast && op.kind != MmaKind::Tf32 {
            // SAFETY: `fast` says that the processor has these features.
            #[allow(unsafe_code)]
            unsafe {
                if op.b.len() == 2 {
                    super::mma_avx2::multiply::<16>(&mut self.regs, op);
                } else {
                    super::mma_avx2::multiply::<8>(&mut self.regs, op);
                }
            }
            return 2 * 16 * 8 * 8 * op.b.len() as u64;
        }
        let _ = fast;
        self.regs.mma(op)
    }
}

impl Regs {
    /// The same on any processor.
    #[inline(always)]
    fn mma(&mut self, op: &Mma) -> u64 {
        match op.kind {
            MmaKind::F16 if op.b.len() == 2 => self.multiply::<H, 16>(op),
            MmaKind::F16 => self.multiply::<H, 8>(op),
            MmaKind::Bf16 if op.b.len() == 2 => self.multiply::<B, 16>(op),
            MmaKind::Bf16 => self.multiply::<B, 8>(op),
            MmaKind::Tf32 if op.b.len() == 2 => self.multiply::<Tf32, 8>(op),
            MmaKind::Tf32 => self.multiply::<Tf32, 4>(op),
        }
    }

    /// `K`: the depth.
    #[inline(always)]
    fn multiply<E: Element, const K: usize>(&mut self, op: &Mma) -> u64 {
        let r = &self.r;
        // A block of a register has 8 rows of 4 words, so 4 * PACK of the depth.
        let deep = 4 * E::PACK;
        // A as [row][k]; B as [k][column], even columns first, as in the two registers of a sum.
        let mut a = [[0f32; K]; 16];
        let mut b = [[0f32; 8]; K];
        for (i, &reg) in op.a.iter().enumerate() {
            let block = E::rows(&r[reg as usize]);
            for row in 0..8 {
                for k in 0..deep {
                    a[8 * (i % 2) + row][deep * (i / 2) + k] = block[deep * row + k];
                }
            }
        }
        for (i, &reg) in op.b.iter().enumerate() {
            for (t, words) in columns(&r[reg as usize]).iter().enumerate() {
                for k in 0..E::PACK {
                    b[deep * i + E::PACK * t + k] = each(|j| E::wide(words[j], k));
                }
            }
        }
        let mut out = [[0u32; 32]; 4];
        for half in 0..2 {
            let (c0, c1) = (&r[op.c[2 * half] as usize], &r[op.c[2 * half + 1] as usize]);
            for group in 0..2 {
                // Four rows at a time, so that their sums stay in registers.
                let at = |i: usize| (4 * group + i) * 4;
                let sum = |i: usize| -> [f32; 8] {
                    each(|j| f32::from_bits(if j < 4 { c0[at(i) + j] } else { c1[at(i) + j - 4] }))
                };
                let (mut s0, mut s1, mut s2, mut s3) = (sum(0), sum(1), sum(2), sum(3));
                let rows = &a[8 * half + 4 * group..8 * half + 4 * group + 4];
                for k in 0..K {
                    for j in 0..8 {
                        s0[j] = rows[0][k].mul_add(b[k][j], s0[j]);
                        s1[j] = rows[1][k].mul_add(b[k][j], s1[j]);
                        s2[j] = rows[2][k].mul_add(b[k][j], s2[j]);
                        s3[j] = rows[3][k].mul_add(b[k][j], s3[j]);
                    }
                }
                for (i, s) in [s0, s1, s2, s3].iter().enumerate() {
                    for j in 0..8 {
                        out[2 * half + j / 4][at(i) + j % 4] = crate::ops::float::c(s[j]);
                    }
                }
            }
        }
        for (&reg, out) in op.d.iter().zip(out) {
            self.r[reg as usize] = out;
        }
        2 * 16 * 8 * K as u64
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// Halves of every kind: any bits, and often zeros, infinities, NaN and subnormals of either sign.
    fn registers(seed: u64) -> Vec<[u32; 32]> {
        let mut state = seed;
        let mut random = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u32
        };
        let special = [0, 0x8000, 0x7c00, 0xfc00, 0x7f80, 0xff80, 0x7e00, 0x7fc1, 1, 0x8001, 0x3c00, 0x3f80];
        let mut half = || match random() % 24 {
            i @ 0..12 if seed.is_multiple_of(2) => special[i as usize],
            _ => 0x3000 + random() % 0x1000 + ((random() & 1) << 15),
        };
        (0..14).map(|_| std::array::from_fn(|_| half() << 16 | half())).collect()
    }

    #[test]
    fn both_ways_agree() {
        if !super::super::fast() {
            return;
        }
        for seed in 0..400 {
            for (kind, b) in [(MmaKind::F16, 2), (MmaKind::F16, 1), (MmaKind::Bf16, 2), (MmaKind::Bf16, 1)] {
                let a = if b == 2 { vec![0, 1, 2, 3] } else { vec![0, 1] };
                // The sums are overwritten, as compilers like to do.
                let op = Mma { kind, d: [10, 11, 12, 13], a, b: (4..4 + b).collect(), c: [10, 11, 12, 13] };
                let file = || Regs { fast: false, r: registers(seed), d: Vec::new(), p: Vec::new() };
                let (mut plain, mut fast) = (file(), file());
                let flops = plain.mma(&op);
                assert_eq!(flops, 2 * 16 * 8 * 8 * b as u64);
                // SAFETY: checked above.
                #[allow(unsafe_code)]
                unsafe {
                    match b {
                        2 => super::super::mma_avx2::multiply::<16>(&mut fast, &op),
                        _ => super::super::mma_avx2::multiply::<8>(&mut fast, &op),
                    }
                }
                assert_eq!(plain.r, fast.r, "{kind:?}, {b} registers of b, seed {seed}");
            }
        }
    }
}
