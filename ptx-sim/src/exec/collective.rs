//! Operations of several lanes of a warp: shuffle, vote, match, reduce.

use super::*;

/// Whether the lanes that an operation names are all here.
pub(super) enum Gathered {
    Yes,
    Wait,
}

impl Launch<'_> {
    /// Checks the member masks (one per lane, in register `members`) against the lanes that execute.
    #[inline(always)]
    pub(super) fn gather(&self, w: &Warp, g: Group, members: u16, mask: u32) -> Step<Gathered> {
        let masks = &w.regs.r[members as usize];
        if mask == !0 && masks.iter().fold(!0, |all, m| all & m) == !0 {
            return Ok(Gathered::Yes);
        }
        let mut all = 0;
        for i in lanes(mask) {
            all |= masks[i];
            if masks[i] >> i & 1 == 0 {
                return Err(Trouble {
                    kind: FaultKind::InactiveLane,
                    detail: format!("lane {i} executes with member mask {:#010x}, which leaves it out", masks[i]),
                    lane: Some(i as u32),
                });
            }
        }
        let missing = all & w.live & !mask;
        if missing == 0 {
            return Ok(Gathered::Yes);
        }
        let skipped = |o: &&Group| o.mask & missing != 0 && !o.blocked && self.skipped(g.pc, o.pc);
        let gone = match w.groups.iter().find(skipped) {
            Some(o) if !w.rotated => o.mask & missing,
            _ => missing & g.mask,
        };
        if gone == 0 {
            return Ok(Gathered::Wait);
        }
        Err(Trouble {
            kind: FaultKind::InactiveLane,
            detail: format!("lanes {gone:#010x} are named in the member mask and left the operation out"),
            lane: Some(gone.trailing_zeros()),
        })
    }
}

/// The lane that each lane of a shuffle takes its value from, by its lane and clamp operands, and the lanes where that
/// is inside.
#[inline(always)]
pub(crate) fn route(mode: ShflMode, b: &[u32; 32], c: &[u32; 32]) -> ([u32; 32], u32) {
    let (mut source, mut inside) = ([0u32; 32], [0u32; 32]);
    // One loop per mode, so that each is plain arithmetic on all lanes.
    let mut find = |up: bool, from: fn(i32, i32, i32, i32) -> i32| {
        for i in 0..32 {
            let (lane, by) = (i as i32, (b[i] & 31) as i32);
            let (limit, seg) = ((c[i] & 31) as i32, (c[i] >> 8 & 31) as i32);
            let (min, max) = (lane & seg, (lane & seg) | (limit & !seg));
            let at = from(lane, by, min, seg);
            let fits = if up { at >= max } else { at <= max };
            source[i] = if fits { at as u32 & 31 } else { i as u32 };
            inside[i] = (fits as u32) << i;
        }
    };
    match mode {
        ShflMode::Up => find(true, |lane, by, _, _| lane - by),
        ShflMode::Down => find(false, |lane, by, _, _| lane + by),
        ShflMode::Bfly => find(false, |lane, by, _, _| lane ^ by),
        ShflMode::Idx => find(false, |_, by, min, seg| min | (by & !seg)),
    }
    (source, inside.iter().fold(0, |v, i| v | i))
}

impl Warp {
    #[inline(always)]
    pub(super) fn shuffle(
        &mut self,
        mode: ShflMode,
        (dst, ok): (u16, Option<u16>),
        (a, lane, clamp, members): (u16, u16, u16, u16),
        mask: u32,
        strict: bool,
    ) -> Step<()> {
        let (source, valid) = route(mode, &self.regs.r[lane as usize], &self.regs.r[clamp as usize]);
        let values = &self.regs.r[a as usize];
        let out: [u32; 32] = each(|i| values[source[i] as usize & 31]);
        let masks = &self.regs.r[members as usize];
        let all = mask == !0 && masks.iter().fold(!0, |all, m| all & m) == !0;
        for i in lanes(if strict && !all { valid & mask } else { 0 }) {
            if mask & masks[i] & 1 << source[i] == 0 {
                return Err(Trouble {
                    kind: FaultKind::InactiveLane,
                    detail: format!("shuffle: lane {i} takes the value of inactive lane {}", source[i]),
                    lane: Some(i as u32),
                });
            }
        }
        blend(&mut self.regs.r[dst as usize], &out, mask);
        if let Some(p) = ok {
            self.regs.set_pred(p, valid, mask);
        }
        Ok(())
    }

    pub(super) fn vote(&mut self, mode: VoteMode, dst: Reg, p: Pred, members: u16, mask: u32) {
        let yes = self.regs.pred(p) & mask;
        let masks = self.regs.r[members as usize];
        for i in lanes(mask) {
            let (ballot, all) = (yes & masks[i], mask & masks[i]);
            let v = match mode {
                VoteMode::Ballot => ballot,
                VoteMode::All => (ballot == all) as u32,
                VoteMode::Any => (ballot != 0) as u32,
                VoteMode::Uni => (ballot == all || ballot == 0) as u32,
            };
            self.regs.set(dst, i, v as u64);
        }
    }

    pub(super) fn match_any(&mut self, dst: u16, a: Reg, members: u16, mask: u32) {
        let masks = self.regs.r[members as usize];
        let mut out = [0; 32];
        for i in lanes(mask) {
            for j in lanes(mask & masks[i]) {
                if self.regs.get(a, i) == self.regs.get(a, j) {
                    out[i] |= 1 << j;
                }
            }
        }
        for i in lanes(mask) {
            self.regs.r[dst as usize][i] = out[i];
        }
    }

    pub(super) fn redux(&mut self, op: ReduxOp, dst: u16, a: u16, members: u16, mask: u32) {
        let (values, masks) = (self.regs.r[a as usize], self.regs.r[members as usize]);
        for i in lanes(mask) {
            let v = lanes(mask & masks[i]).map(|j| values[j]).reduce(|x, y| match op {
                ReduxOp::Add => x.wrapping_add(y),
                ReduxOp::MinS => (x as i32).min(y as i32) as u32,
                ReduxOp::MinU => x.min(y),
                ReduxOp::MaxS => (x as i32).max(y as i32) as u32,
                ReduxOp::MaxU => x.max(y),
                ReduxOp::And => x & y,
                ReduxOp::Or => x | y,
                ReduxOp::Xor => x ^ y,
            });
            self.regs.r[dst as usize][i] = v.unwrap_or(0);
        }
    }
}
