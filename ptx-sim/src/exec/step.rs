//! One instruction of one group of lanes.

use super::collective::Gathered;
use super::data::Issued;
use super::schedule::Flow;
use super::target::Target;
use super::*;
use std::time::{SystemTime, UNIX_EPOCH};

impl Launch<'_> {
    /// All lanes of the warp must be at `pc`; false if they may still come, or exit on a way of their own.
    fn aligned(&self, w: &Warp, pc: u32, mask: u32, what: &str) -> Step<bool> {
        if mask == w.live {
            return Ok(true);
        }
        let mut others = w.groups.iter().filter(|g| !g.blocked).peekable();
        if others.peek().is_some() && (w.rotated || !others.any(|o| self.skipped(pc, o.pc))) {
            return Ok(false);
        }
        let missing = w.live & !mask;
        Err(Trouble {
            kind: FaultKind::Divergence,
            detail: format!("{what} reached without lanes {missing:#010x} of the warp"),
            lane: Some(missing.trailing_zeros()),
        })
    }

    /// Whether lanes at `pc` have gone past `at`, into code that lanes there would execute after it: they left it out.
    /// Lanes that only exit did not.
    pub(super) fn skipped(&self, at: u32, pc: u32) -> bool {
        let (way, after) = (self.kernel.reachable(pc), self.kernel.reachable(at + 1));
        let exit = |i: usize| matches!(self.kernel.code[i].op, Op::Exit);
        !way[at as usize] && (0..way.len()).any(|i| way[i] && after[i] && !exit(i))
    }

    /// Executes an instruction that is no arithmetic, by lanes `mask` of group `g`.
    #[inline(always)]
    pub(super) fn step<T: Target>(
        &self,
        w: &mut Warp,
        g: Group,
        mask: u32,
        b: &mut Shared,
        m: &mut Worker,
    ) -> Step<Flow> {
        let inst = &self.kernel.code[g.pc as usize];
        let op = &inst.op;
        // A branch that no lane takes is still one that the warp met.
        if mask == 0 && !matches!(op, Op::Bra(_)) {
            return Ok(Flow::Next);
        }
        let at = Issued { pc: g.pc, mask };
        m.slot = g.pc as usize % RECENT;
        let c = &mut m.counters;
        match op {
            Op::Bra(target) => {
                let guarded = self.kernel.code[g.pc as usize].guard.0 != 0;
                c.branches += guarded as u64;
                if mask == g.mask {
                    return Ok(Flow::Jump(*target));
                }
                if mask == 0 {
                    return Ok(Flow::Next);
                }
                c.divergent_branches += 1;
                return Ok(Flow::Split(vec![Group { pc: *target, mask, blocked: false }]));
            }
            Op::Brx(index, table) => {
                let mut out: Vec<Group> = Vec::new();
                for i in lanes(mask) {
                    let k = w.regs.r[*index as usize][i];
                    let Some(&pc) = table.get(k as usize) else {
                        let detail = format!("branch index {k} of a table of {}", table.len());
                        return Err(Trouble { kind: FaultKind::Undefined, detail, lane: Some(i as u32) });
                    };
                    match out.iter_mut().find(|o| o.pc == pc) {
                        Some(o) => o.mask |= 1 << i,
                        None => out.push(Group { pc, mask: 1 << i, blocked: false }),
                    }
                }
                c.branches += 1;
                c.divergent_branches += (out.len() > 1) as u64;
                return Ok(Flow::Split(out));
            }
            Op::Exit => return Ok(Flow::Exit),
            Op::Trap => {
                let lane = Some(mask.trailing_zeros());
                return Err(Trouble { kind: FaultKind::Trap, detail: "trap executed".into(), lane });
            }
            Op::Nop => {}
            Op::Bar(id, count, reduce) => {
                if !self.aligned(w, g.pc, mask, "barrier")? {
                    return Ok(Flow::Wait);
                }
                let lane = mask.trailing_zeros() as usize;
                let (id, count) = (w.regs.r[*id as usize][lane], count.map(|s| w.regs.r[s as usize][lane]));
                if id > 15 || count.is_some_and(|n| n == 0 || n % 32 != 0) {
                    return trouble(FaultKind::Undefined, format!("barrier {id} of {count:?} threads"));
                }
                let votes = reduce.map_or(0, |r| w.regs.pred(r.2) & mask);
                w.arrival = Some(Arrival { id, count, pc: g.pc, mask, votes });
                c.barriers += 1;
                return Ok(Flow::Barrier);
            }
            Op::WarpSync(members) => match self.gather(w, g, *members, mask)? {
                Gathered::Wait => return Ok(Flow::Wait),
                Gathered::Yes => {
                    // Lanes may execute it for different parts of the warp.
                    let masks = &w.regs.r[*members as usize];
                    let mut left = mask;
                    while left != 0 {
                        let part = left & masks[left.trailing_zeros() as usize];
                        b.warp_barrier(w.index, part, w.time);
                        left &= !part;
                    }
                    w.time += 1;
                }
            },
            Op::Shfl { dst, ok, a, route: Some(route), .. } if mask == !0 => {
                w.regs.r[*dst as usize] = permute(&w.regs.r[*a as usize], &route.0, self.fast);
                if let Some(ok) = ok {
                    w.regs.p[*ok as usize] = route.1;
                }
            }
            Op::Shfl { members, .. } | Op::Vote(.., members) | Op::MatchAny(.., members) | Op::Redux(.., members) => {
                if let Gathered::Wait = self.gather(w, g, *members, mask)? {
                    return Ok(Flow::Wait);
                }
                let strict = self.options.checks.has(FaultKind::InactiveLane);
                match op {
                    Op::Shfl { mode, dst, ok, a, lane, clamp, members, .. } => {
                        w.shuffle(*mode, (*dst, *ok), (*a, *lane, *clamp, *members), mask, strict)?
                    }
                    Op::Vote(mode, dst, p, members) => w.vote(*mode, *dst, *p, *members, mask),
                    Op::MatchAny(d, a, members) => w.match_any(*d, *a, *members, mask),
                    Op::Redux(op, d, a, members) => w.redux(*op, *d, *a, *members, mask),
                    _ => unreachable!("the four of the outer arm"),
                }
            }
            Op::ActiveMask(d) => lanes(mask).for_each(|i| w.regs.r[*d as usize][i] = mask),
            Op::Clock(d) => lanes(mask).for_each(|i| w.regs.set(*d, i, w.now)),
            Op::Timer(d) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_nanos() as u64);
                lanes(mask).for_each(|i| w.regs.set(*d, i, now));
            }
            Op::Ld(a) => T::load(self, a, w, b, m, at)?,
            Op::St(a) => T::store(self, a, w, b, m, at)?,
            Op::Atom(a) => self.atom(a, w, b, m, mask)?,
            Op::CpAsync(cp) => T::cp_async(self, cp, w, b, m, at)?,
            Op::CpCommit => lanes(mask).for_each(|i| w.committed[i] += 1),
            Op::CpWait(n) => T::cp_wait(self, *n, w, b, mask),
            Op::Fence(wide) => {
                if let Some(order) = m.order.as_mut().filter(|_| *wide) {
                    order.fence(m.block);
                }
            }
            Op::LdMatrix(regs, trans, addr) => {
                if !self.whole(w, g.pc, mask, "ldmatrix")? {
                    return Ok(Flow::Wait);
                }
                T::ldmatrix(self, (regs, *trans, *addr), w, b, m, g.pc)?
            }
            Op::Mma(op) => {
                if !self.whole(w, g.pc, mask, "mma")? {
                    return Ok(Flow::Wait);
                }
                m.counters.mma_instructions += 1;
                m.counters.mma_flops += T::mma(self, op, w);
            }
            _ => return trouble(FaultKind::Undefined, "instruction without an executor"),
        }
        Ok(Flow::Next)
    }

    /// ldmatrix and mma take all 32 lanes, exited ones included.
    fn whole(&self, w: &Warp, pc: u32, mask: u32, what: &str) -> Step<bool> {
        if !self.aligned(w, pc, mask, what)? {
            return Ok(false);
        }
        if mask != !0 {
            return trouble(FaultKind::Divergence, format!("{what} by a warp of which only lanes {mask:#010x} live"));
        }
        Ok(true)
    }
}
