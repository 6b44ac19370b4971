//! ldmatrix and mma. Fragment layouts are those of the PTX manual: with g = lane / 4 and t = lane % 4, register i of a
//! fragment holds rows g or g + 8 and columns (or, of B, rows) 2t, 2t + 1 of each block of 8.

use super::data::{BlockParts, Request};
use super::*;
use crate::ops::half2::{B, H, Half};

impl Launch<'_> {
    pub(super) fn ldmatrix(
        &self,
        regs: &[u16],
        trans: bool,
        addr: Addr,
        w: &mut Warp,
        b: &mut BlockParts,
        m: &mut Machine,
    ) -> Step<()> {
        let mut out = [[0u32; 32]; 4];
        for (k, out) in out[..regs.len()].iter_mut().enumerate() {
            let mut rows = [[0u8; 16]; 8];
            let mut request = Request::new();
            for (r, row) in rows.iter_mut().enumerate() {
                let lane = k * 8 + r;
                let at = w.address(addr, lane);
                let at = if at >> 56 == 1 { at - SHARED_WINDOW } else { at };
                *row = b.shared.read(at, 16, w.who(lane, b.epoch, false)).map_err(at_lane(lane))?;
                request.add(Space::Shared, at, r);
            }
            let before = m.counters.shared_load_requests;
            request.count(&mut m.counters, false, 16);
            m.counters.shared_load_requests = before;
            for (lane, out) in out.iter_mut().enumerate() {
                let element = |r: usize, c: usize| u16::from_le_bytes([rows[r][2 * c], rows[r][2 * c + 1]]) as u32;
                let (g, t) = (lane / 4, lane % 4 * 2);
                *out = if trans {
                    element(t, g) | element(t + 1, g) << 16
                } else {
                    element(g, t) | element(g, t + 1) << 16
                };
            }
        }
        m.counters.shared_load_requests += 1;
        for (reg, out) in regs.iter().zip(out) {
            w.regs.r[*reg as usize] = out;
        }
        Ok(())
    }
}

impl Warp {
    pub(super) fn mma(&mut self, kind: MmaKind, d: &[u16; 4], a: &[u16], b: &[u16], c: &[u16; 4]) -> u64 {
        let depth = match kind {
            MmaKind::F16K16 | MmaKind::Bf16K16 => 16,
            MmaKind::F16K8 | MmaKind::Bf16K8 | MmaKind::Tf32K8 => 8,
            MmaKind::Tf32K4 => 4,
        };
        let tf32 = matches!(kind, MmaKind::Tf32K8 | MmaKind::Tf32K4);
        let wide = |v: u32| match kind {
            MmaKind::F16K16 | MmaKind::F16K8 => H::wide(v & 0xffff),
            _ => B::wide(v & 0xffff),
        };
        let mut ma = [[0f32; 16]; 16];
        let mut mb = [[0f32; 8]; 16];
        for lane in 0..32 {
            let (g, t) = (lane / 4, lane % 4);
            for (i, &reg) in a.iter().enumerate() {
                let v = self.regs.r[reg as usize][lane];
                let (row, block) = (g + 8 * (i % 2), i / 2);
                if tf32 {
                    ma[row][4 * block + t] = f32::from_bits(v & !0x1fff);
                } else {
                    ma[row][8 * block + 2 * t] = wide(v);
                    ma[row][8 * block + 2 * t + 1] = wide(v >> 16);
                }
            }
            for (i, &reg) in b.iter().enumerate() {
                let v = self.regs.r[reg as usize][lane];
                if tf32 {
                    mb[4 * i + t][g] = f32::from_bits(v & !0x1fff);
                } else {
                    mb[8 * i + 2 * t][g] = wide(v);
                    mb[8 * i + 2 * t + 1][g] = wide(v >> 16);
                }
            }
        }
        let mut sum = [[0f32; 8]; 16];
        for lane in 0..32 {
            let (g, t) = (lane / 4, lane % 4);
            for (i, &reg) in c.iter().enumerate() {
                sum[g + 8 * (i / 2)][2 * t + i % 2] = f32::from_bits(self.regs.r[reg as usize][lane]);
            }
        }
        for (row, sum) in sum.iter_mut().enumerate() {
            for k in 0..depth {
                for n in 0..8 {
                    sum[n] += ma[row][k] * mb[k][n];
                }
            }
        }
        for lane in 0..32 {
            let (g, t) = (lane / 4, lane % 4);
            for (i, &reg) in d.iter().enumerate() {
                self.regs.r[reg as usize][lane] = crate::ops::float::c(sum[g + 8 * (i / 2)][2 * t + i % 2]);
            }
        }
        2 * 16 * 8 * depth as u64
    }
}
