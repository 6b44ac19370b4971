//! ldmatrix and mma. Fragment layouts are those of the PTX manual: with g = lane / 4 and t = lane % 4, register i of a
//! fragment holds rows g or g + 8 and columns (or, of B, rows) 2t, 2t + 1 of each block of 8.
//!
//! So the 32 words of one register, seen as bytes, are a row-major 8x8 block of 16-bit elements: of A (i even: rows 0 to
//! 7, i odd: rows 8 to 15; i / 2: columns), and of B transposed.

use super::data::at_lane;
use super::requests::shared_counts;
use super::*;
use crate::ops::half2::{B, H, Half};

impl Launch<'_> {
    pub(super) fn ldmatrix(
        &self,
        (regs, trans, addr): (&[u16], bool, Addr),
        w: &mut Warp,
        b: &mut Shared,
        m: &mut Worker,
    ) -> Step<()> {
        // Lanes 8k to 8k + 7 point to the rows of matrix k.
        let mut addrs = w.addresses(addr);
        addrs.iter_mut().for_each(|a| *a &= (1 << 56) - 1);
        let mask = !0 >> (32 - 8 * regs.len());
        let mut rows = Buf::new();
        shared_counts(&mut m.counters, &addrs, mask, 16, false);
        b.load(&addrs, mask, 16, w.who(false), &mut rows).map_err(at_lane)?;
        for (k, &reg) in regs.iter().enumerate() {
            let words = rows.matrix(k);
            w.regs.r[reg as usize] = if trans { transposed(&words) } else { words };
        }
        Ok(())
    }
}

/// An 8x8 block of 16-bit elements, transposed.
fn transposed(words: &[u32; 32]) -> [u32; 32] {
    let element = |r: usize, c: usize| words[r * 4 + c / 2] >> (16 * (c % 2)) & 0xffff;
    std::array::from_fn(|i| {
        let (row, col) = (i / 4, i % 4 * 2);
        element(col, row) | element(col + 1, row) << 16
    })
}

/// How an mma reads its 32-bit registers: two halves, or one tf32.
trait Element {
    /// Elements of a register.
    const PACK: usize;
    fn wide(word: u32, k: usize) -> f32;
}

struct Tf32;

impl Element for H {
    const PACK: usize = 2;
    #[inline(always)]
    fn wide(word: u32, k: usize) -> f32 {
        <H as Half>::wide(word >> (16 * k) & 0xffff)
    }
}

impl Element for B {
    const PACK: usize = 2;
    #[inline(always)]
    fn wide(word: u32, k: usize) -> f32 {
        f32::from_bits(if k == 0 { word << 16 } else { word & 0xffff_0000 })
    }
}

impl Element for Tf32 {
    const PACK: usize = 1;
    #[inline(always)]
    fn wide(word: u32, _: usize) -> f32 {
        f32::from_bits(word & !0x1fff)
    }
}

/// Executes an mma; returns the floating-point operations done.
pub(super) fn run(op: &Mma, w: &mut Warp, fast: bool) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if fast {
        // SAFETY: `fast` says that the processor has these features.
        #[allow(unsafe_code)]
        return unsafe { run_avx2(op, w) };
    }
    let _ = fast;
    generic(op, w)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
fn run_avx2(op: &Mma, w: &mut Warp) -> u64 {
    generic(op, w)
}

#[inline(always)]
fn generic(op: &Mma, w: &mut Warp) -> u64 {
    match op.kind {
        MmaKind::F16 => w.multiply::<H>(op),
        MmaKind::Bf16 => w.multiply::<B>(op),
        MmaKind::Tf32 => w.multiply::<Tf32>(op),
    }
}

impl Warp {
    #[inline(always)]
    fn multiply<E: Element>(&mut self, op: &Mma) -> u64 {
        let r = &self.regs.r;
        // A block of a register has 8 rows of 4 words, so 4 * PACK of the depth.
        let deep = 4 * E::PACK;
        let mut a = [[0f32; 16]; 16];
        let mut b = [[0f32; 8]; 16];
        for (i, &reg) in op.a.iter().enumerate() {
            let words = &r[reg as usize];
            for row in 0..8 {
                for k in 0..deep {
                    a[row + 8 * (i % 2)][deep * (i / 2) + k] = E::wide(words[row * 4 + k / E::PACK], k % E::PACK);
                }
            }
        }
        for (i, &reg) in op.b.iter().enumerate() {
            let words = &r[reg as usize];
            for k in 0..deep {
                for col in 0..8 {
                    b[deep * i + k][col] = E::wide(words[col * 4 + k / E::PACK], k % E::PACK);
                }
            }
        }
        let depth = deep * op.b.len();
        let mut out = [[0u32; 32]; 4];
        for half in 0..2 {
            let (c0, c1) = (&r[op.c[2 * half] as usize], &r[op.c[2 * half + 1] as usize]);
            for row in 0..8 {
                let mut sum = [0f32; 8];
                for t in 0..4 {
                    sum[2 * t] = f32::from_bits(c0[row * 4 + t]);
                    sum[2 * t + 1] = f32::from_bits(c1[row * 4 + t]);
                }
                for (k, b) in b[..depth].iter().enumerate() {
                    let x = a[row + 8 * half][k];
                    for (sum, b) in sum.iter_mut().zip(b) {
                        // Products of halves are exact, so this is the same with and without fused multiply-add.
                        *sum += x * b;
                    }
                }
                for t in 0..4 {
                    out[2 * half][row * 4 + t] = crate::ops::float::c(sum[2 * t]);
                    out[2 * half + 1][row * 4 + t] = crate::ops::float::c(sum[2 * t + 1]);
                }
            }
        }
        for (&reg, out) in op.d.iter().zip(out) {
            self.regs.r[reg as usize] = out;
        }
        2 * 16 * 8 * depth as u64
    }
}
