//! The data of one memory request, between memory and registers.

// Loops over lanes index several registers at once.
#![allow(clippy::needless_range_loop)]

use super::permute::{join, split};
use super::{Regs, each, lanes};
use crate::inst::Reg;

/// Up to 16 bytes of each lane, lane by lane at the distance of the request's width.
#[repr(align(32))]
pub(crate) struct Buf([u8; 512]);

/// Copies between slices of one length, which is a power of two up to 16, without a call.
#[inline(always)]
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    #[inline(always)]
    fn fixed<const N: usize>(to: &mut [u8], from: &[u8]) {
        let to: &mut [u8; N] = to.try_into().expect("N bytes");
        *to = from.try_into().expect("N bytes");
    }
    match to.len() {
        1 => fixed::<1>(to, from),
        2 => fixed::<2>(to, from),
        4 => fixed::<4>(to, from),
        8 => fixed::<8>(to, from),
        16 => fixed::<16>(to, from),
        _ => to.copy_from_slice(from),
    }
}

impl Default for Buf {
    fn default() -> Buf {
        Buf([0; 512])
    }
}

impl Buf {
    pub fn new() -> Buf {
        Buf::default()
    }

    #[inline(always)]
    pub fn lane(&self, lane: usize, n: usize) -> &[u8] {
        &self.0[lane * n..(lane + 1) * n]
    }

    #[inline(always)]
    pub fn lane_mut(&mut self, lane: usize, n: usize) -> &mut [u8] {
        &mut self.0[lane * n..(lane + 1) * n]
    }

    /// All lanes' bytes in a row.
    #[inline(always)]
    pub fn all(&self, n: usize) -> &[u8] {
        &self.0[..32 * n]
    }

    /// A word of each lane.
    #[inline(always)]
    pub fn words_mut(&mut self) -> &mut [u32; 32] {
        bytemuck::from_bytes_mut(&mut self.0[..128])
    }

    /// All lanes' bytes in a row.
    #[inline(always)]
    pub fn all_mut(&mut self, n: usize) -> &mut [u8] {
        &mut self.0[..32 * n]
    }

    /// Takes `n` bytes a lane from `data`, whose bounds the addresses keep; `run`: one lane's after the other's.
    #[inline(always)]
    pub fn gather(&mut self, data: &[u8], addrs: &[u64; 32], mask: u32, n: usize, run: bool) {
        if run {
            let at = addrs[0] as usize;
            return self.all_mut(n).copy_from_slice(&data[at..at + 32 * n]);
        }
        for lane in lanes(mask) {
            let at = addrs[lane] as usize;
            copy(self.lane_mut(lane, n), &data[at..at + n]);
        }
    }

    /// Puts the elements of the first lane into the registers of all.
    #[inline(always)]
    pub fn splat(&self, regs: &[Option<Reg>], e: usize, signed: bool, w: &mut Regs, mask: u32) {
        for (k, reg) in regs.iter().enumerate() {
            let mut raw = [0; 8];
            copy(&mut raw[..e], &self.0[k * e..(k + 1) * e]);
            let (v, shift) = (u64::from_le_bytes(raw), 64 - 8 * e as u32);
            let v = if signed { ((v << shift) as i64 >> shift) as u64 } else { v };
            match *reg {
                Some(Reg::R(slot)) => super::blend(&mut w.r[slot as usize], &[v as u32; 32], mask),
                Some(Reg::D(slot)) => super::blend(&mut w.d[slot as usize], &[v; 32], mask),
                Some(Reg::P(_)) => unreachable!("decoding loads no predicate"),
                None => {}
            }
        }
    }
}

/// Two words of each lane, those of one lane side by side: the first ones of all lanes, and the second ones.
#[inline(always)]
fn pairs(bytes: &[u8]) -> [[u32; 32]; 2] {
    let words: &[[u8; 4]] = bytemuck::cast_slice(&bytes[..256]);
    let mut out = [[0; 32]; 2];
    // In one loop, both become shuffles of vectors.
    for i in 0..32 {
        for k in 0..2 {
            out[k][i] = u32::from_le_bytes(words[2 * i + k]);
        }
    }
    out
}

#[inline(always)]
fn put_words(words: &[[u32; 32]], regs: &[Option<Reg>], w: &mut Regs, mask: u32) {
    for (reg, words) in regs.iter().zip(words) {
        if let Some(Reg::R(slot)) = *reg {
            super::blend(&mut w.r[slot as usize], words, mask);
        }
    }
}

/// One element of `E` bytes of each lane, at an offset in the `n` bytes of the lane.
#[inline(always)]
fn elements<const E: usize>(bytes: &[u8], at: usize, n: usize) -> [u64; 32] {
    each(|i| {
        let mut raw = [0; 8];
        raw[..E].copy_from_slice(&bytes[i * n + at..i * n + at + E]);
        u64::from_le_bytes(raw)
    })
}

/// Puts the bytes of all lanes, one lane's after the other's, into registers: elements of `e` bytes each.
#[inline(always)]
pub(super) fn put(bytes: &[u8], regs: &[Option<Reg>], e: usize, signed: bool, w: &mut Regs, mask: u32) {
    let n = e * regs.len();
    if e == 4 && regs.iter().all(|r| !matches!(r, Some(Reg::D(_)))) {
        return match regs.len() {
            1 => put_words(&[bytemuck::pod_read_unaligned(&bytes[..128])], regs, w, mask),
            2 => put_words(&pairs(bytes), regs, w, mask),
            _ => put_words(&split(bytes[..512].try_into().expect("512 bytes"), w.fast), regs, w, mask),
        };
    }
    for (k, reg) in regs.iter().enumerate() {
        let t = match *reg {
            None => continue,
            _ => match e {
                1 => elements::<1>(bytes, k, n),
                2 => elements::<2>(bytes, 2 * k, n),
                4 => elements::<4>(bytes, 4 * k, n),
                _ => elements::<8>(bytes, 8 * k, n),
            },
        };
        let shift = if signed { 64 - 8 * e as u32 } else { 0 };
        let t: [u64; 32] = each(|i| ((t[i] << shift) as i64 >> shift) as u64);
        match *reg {
            Some(Reg::R(slot)) => super::blend(&mut w.r[slot as usize], &each(|i| t[i] as u32), mask),
            Some(Reg::D(slot)) => super::blend(&mut w.d[slot as usize], &t, mask),
            _ => unreachable!("decoding loads no predicate"),
        }
    }
}

/// The values of a store: elements of `e` bytes each. No closure, for those are not always inlined.
pub(crate) struct Values<'a> {
    pub regs: &'a [Option<Reg>],
    pub e: usize,
    pub file: &'a Regs,
}

impl Values<'_> {
    /// Bytes of a lane.
    #[inline(always)]
    pub fn bytes(&self) -> usize {
        self.e * self.regs.len()
    }

    /// Puts the bytes of all lanes, one lane's after the other's, into `to`; no register stands for zero.
    #[inline(always)]
    pub fn put(&self, to: &mut [u8]) {
        let Values { regs, e, file } = *self;
        let n = e * regs.len();
        if e == 4 && regs.iter().all(|r| !matches!(r, Some(Reg::D(_)))) {
            let mut from = [&[0; 32]; 4];
            for (from, reg) in from.iter_mut().zip(regs) {
                if let Some(Reg::R(slot)) = *reg {
                    *from = &file.r[slot as usize];
                }
            }
            match regs.len() {
                1 => to[..128].copy_from_slice(bytemuck::bytes_of(from[0])),
                2 => {
                    let words: &mut [[u8; 4]] = bytemuck::cast_slice_mut(&mut to[..256]);
                    for i in 0..32 {
                        for k in 0..2 {
                            words[2 * i + k] = from[k][i].to_le_bytes();
                        }
                    }
                }
                _ => join(from, (&mut to[..512]).try_into().expect("512 bytes"), file.fast),
            }
            return;
        }
        for (k, reg) in regs.iter().enumerate() {
            for i in 0..32 {
                let v = reg.map_or(0, |reg| file.get(reg, i)).to_le_bytes();
                copy(&mut to[i * n + k * e..i * n + (k + 1) * e], &v[..e]);
            }
        }
    }
}
