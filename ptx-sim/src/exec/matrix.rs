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
    #[inline(always)]
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
        let (mask, who) = (!0 >> (32 - 8 * regs.len()), w.who(false));
        shared_counts(&mut m.counters, &addrs, mask, 16, false);
        b.load(&addrs, mask, 16, who, &mut w.buf).map_err(at_lane)?;
        for (k, &reg) in regs.iter().enumerate() {
            let words = w.buf.matrix(k);
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

impl Warp {
    /// Executes an mma; returns the floating-point operations done.
    #[inline(always)]
    pub(super) fn mma(&mut self, op: &Mma) -> u64 {
        match op.kind {
            MmaKind::F16 => self.multiply::<H>(op),
            MmaKind::Bf16 => self.multiply::<B>(op),
            MmaKind::Tf32 => self.multiply::<Tf32>(op),
        }
    }
    #[inline(always)]
    fn multiply<E: Element>(&mut self, op: &Mma) -> u64 {
        let r = &self.regs.r;
        // A block of a register has 8 rows of 4 words, so 4 * PACK of the depth.
        let deep = 4 * E::PACK;
        let depth = deep * op.b.len();
        // A as [k][row of 16]; B as [k][column], even columns first: so are the sums' two registers joined.
        let mut a = [[0f32; 16]; 16];
        let mut b = [[0f32; 8]; 16];
        for (i, &reg) in op.a.iter().enumerate() {
            let words = &r[reg as usize];
            for t in 0..4 {
                for k in 0..E::PACK {
                    for row in 0..8 {
                        a[deep * (i / 2) + E::PACK * t + k][8 * (i % 2) + row] = E::wide(words[row * 4 + t], k);
                    }
                }
            }
        }
        for (i, &reg) in op.b.iter().enumerate() {
            let words = &r[reg as usize];
            for t in 0..4 {
                for k in 0..E::PACK {
                    for col in 0..8 {
                        b[deep * i + E::PACK * t + k][col / 2 + 4 * (col % 2)] = E::wide(words[col * 4 + t], k);
                    }
                }
            }
        }
        let c = op.c.map(|reg| &r[reg as usize]);
        let mut out = [[0u32; 32]; 4];
        for row in (0..16).step_by(4) {
            let mut sums: [[f32; 8]; 4] = std::array::from_fn(|i| {
                let (half, at) = ((row + i) / 8 * 2, (row + i) % 8 * 4);
                std::array::from_fn(|j| f32::from_bits(c[half + j / 4][at + j % 4]))
            });
            for k in 0..depth {
                for (i, sum) in sums.iter_mut().enumerate() {
                    for (sum, b) in sum.iter_mut().zip(&b[k]) {
                        *sum = a[k][row + i].mul_add(*b, *sum);
                    }
                }
            }
            for (i, sum) in sums.iter().enumerate() {
                let (half, at) = ((row + i) / 8 * 2, (row + i) % 8 * 4);
                for (j, &v) in sum.iter().enumerate() {
                    out[half + j / 4][at + j % 4] = crate::ops::float::c(v);
                }
            }
        }
        for (&reg, out) in op.d.iter().zip(out) {
            self.regs.r[reg as usize] = out;
        }
        2 * 16 * 8 * depth as u64
    }
}
