//! Who runs when: blocks one after the other unless they must wait for each other, warps to their next barrier, groups
//! of lanes by lowest instruction.

use super::collective::Gathered;
use super::data::BlockParts;
use super::*;
use crate::error::Fault;
use std::collections::VecDeque;

/// Steps after which a warp gives way to the others of its block, and a block to others.
const TURN: u32 = 100_000;

enum Stop {
    Exited,
    Barrier,
    Turn,
}

/// A small generator for the order of blocks and warps.
struct Rng(u64);

impl Rng {
    fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            list.swap(i, (self.0 >> 33) as usize % (i + 1));
        }
    }
}

pub(crate) fn run_launch(launch: &Launch, machine: &mut Machine) -> Result<(), Box<Fault>> {
    let total: u64 = launch.grid.iter().map(|&g| g as u64).product();
    let mut order: Vec<u32> = (0..total as u32).collect();
    let mut rng = Rng(launch.options.seed ^ 0x9e37_79b9_7f4a_7c15);
    if launch.options.shuffle {
        rng.shuffle(&mut order);
    }
    let mut waiting = order.into_iter();
    let mut resident: VecDeque<Block> = VecDeque::new();
    loop {
        // A block that gave way lets another one start; when all places are taken, the oldest goes on.
        let mut block = match waiting.len() {
            n if n > 0 && resident.len() < launch.options.resident_blocks.max(1) => {
                launch.new_block(waiting.next().expect("one is waiting"), &mut machine.counters)
            }
            _ => match resident.pop_front() {
                Some(block) => block,
                None => return Ok(()),
            },
        };
        if !launch.run_block(&mut block, machine, &mut rng)? {
            resident.push_back(block);
        }
    }
}

impl Launch<'_> {
    fn new_block(&self, index: u32, counters: &mut Counters) -> Block {
        let [gx, gy, _] = self.grid;
        let id = [index % gx, index / gx % gy, index / gx / gy];
        let threads: u32 = self.block.iter().product();
        let checks = &self.options.checks;
        let warps = (0..threads.div_ceil(32)).map(|i| self.new_warp(i, id, threads)).collect::<Vec<_>>();
        counters.blocks += 1;
        counters.warps += warps.len() as u64;
        counters.threads += threads as u64;
        let shared =
            Shared::new(self.shared_bytes, checks.has(FaultKind::SharedRace), checks.has(FaultKind::Uninitialised));
        Block { index, id, shared, warps, epoch: 0 }
    }

    fn new_warp(&self, index: u32, id: [u32; 3], threads: u32) -> Warp {
        let k = self.kernel;
        let mut regs = Regs { r: vec![[0; 32]; k.n32], d: vec![[0; 32]; k.n64], p: vec![0; k.np] };
        regs.p[0] = !0;
        for &(slot, v) in &k.const32 {
            regs.r[slot as usize] = [v; 32];
        }
        for &(slot, v) in &k.const64 {
            regs.d[slot as usize] = [v; 32];
        }
        for &(slot, var, offset) in &k.globals {
            match var {
                usize::MAX => regs.d[slot as usize] = [(k.static_shared as u64).wrapping_add(offset as u64); 32],
                v if v == usize::MAX - 1 => {
                    regs.r[slot as usize] = [(k.static_shared as u32).wrapping_add(offset as u32); 32]
                }
                v => regs.d[slot as usize] = [self.globals[v].wrapping_add(offset as u64); 32],
            }
        }
        let [bx, by, _] = self.block;
        for &(slot, special) in &k.specials {
            regs.r[slot as usize] = std::array::from_fn(|lane| {
                let t = index * 32 + lane as u32;
                match special {
                    Special::Tid(i) => [t % bx, t / bx % by, t / bx / by][i as usize],
                    Special::Ntid(i) => self.block[i as usize],
                    Special::Ctaid(i) => id[i as usize],
                    Special::Nctaid(i) => self.grid[i as usize],
                    Special::LaneId => lane as u32,
                    Special::WarpId => index,
                    Special::Nwarps => threads.div_ceil(32),
                    Special::LaneMaskEq => 1 << lane,
                    Special::LaneMaskLt => (1 << lane) - 1,
                    Special::LaneMaskLe => !0 >> (31 - lane),
                    Special::LaneMaskGt => !(!0 >> (31 - lane)),
                    Special::LaneMaskGe => !((1 << lane) - 1),
                    Special::DynamicShared => self.dynamic_shared as u32,
                    Special::TotalShared => self.shared_bytes as u32,
                    Special::Zero => 0,
                }
            });
        }
        let here = (threads - index * 32).min(32);
        let live = !0 >> (32 - here);
        let mut local = Local::new(k.local_bytes, self.options.checks.has(FaultKind::Uninitialised));
        local.clear();
        Warp {
            index,
            regs,
            groups: vec![Group { pc: 0, mask: live, blocked: false }],
            live,
            arrival: None,
            epoch: 0,
            local,
            copies: Vec::new(),
            committed: [0; 32],
            steps: 0,
            rotated: false,
        }
    }

    /// Runs a block until it ends (true) or has had its turn (false).
    fn run_block(&self, block: &mut Block, m: &mut Machine, rng: &mut Rng) -> Result<bool, Box<Fault>> {
        loop {
            let mut order: Vec<usize> = (0..block.warps.len())
                .filter(|&i| block.warps[i].live != 0 && block.warps[i].arrival.is_none())
                .collect();
            if order.is_empty() {
                if block.warps.iter().all(|w| w.live == 0) {
                    return Ok(true);
                }
                self.release(block)?;
                continue;
            }
            if self.options.shuffle {
                rng.shuffle(&mut order);
            }
            let mut progressed = false;
            for i in order {
                progressed |= !matches!(self.run_warp(block, i, m)?, Stop::Turn);
            }
            if !progressed {
                return Ok(false);
            }
        }
    }

    /// All live warps stand at barriers: lets those go on whose barrier is complete.
    fn release(&self, block: &mut Block) -> Result<(), Box<Fault>> {
        let live: Vec<usize> = (0..block.warps.len()).filter(|&i| block.warps[i].live != 0).collect();
        let arrival = |w: &Warp| w.arrival.expect("every live warp arrived");
        for &i in &live {
            let a = arrival(&block.warps[i]);
            let same: Vec<usize> = live.iter().copied().filter(|&j| arrival(&block.warps[j]).id == a.id).collect();
            let threads: u32 = same.len() as u32 * 32;
            if !a.count.map_or(same.len() == live.len(), |n| threads == n) {
                continue;
            }
            let votes: Vec<(u32, u32)> =
                same.iter().map(|&j| arrival(&block.warps[j])).map(|a| (a.votes, a.mask)).collect();
            let popc: u32 = votes.iter().map(|v| v.0.count_ones()).sum();
            let (all, any) = (votes.iter().all(|v| v.0 == v.1), popc > 0);
            block.epoch += 1;
            for j in same {
                let w = &mut block.warps[j];
                let a = w.arrival.take().expect("it arrived");
                if let Op::Bar(_, _, Some((op, dst, _))) = &self.kernel.code[a.pc as usize].op {
                    let v = [popc, all as u32, any as u32][*op as usize];
                    for lane in lanes(a.mask) {
                        w.regs.set(*dst, lane, v as u64);
                    }
                }
            }
            return Ok(());
        }
        let w = &block.warps[live[0]];
        let a = arrival(w);
        let stand = live.iter().map(|&i| {
            format!(
                "warp {i} at barrier {} (PTX line {})",
                arrival(&block.warps[i]).id,
                self.kernel.code[arrival(&block.warps[i]).pc as usize].line
            )
        });
        let detail = format!("no barrier can complete: {}", stand.collect::<Vec<_>>().join(", "));
        let lane = Some(w.live.trailing_zeros());
        Err(self.fault(block, live[0], a.pc, Trouble { kind: FaultKind::Deadlock, detail, lane }))
    }

    fn fault(&self, block: &Block, warp: usize, pc: u32, t: Trouble) -> Box<Fault> {
        let inst = &self.kernel.code[(pc as usize).min(self.kernel.code.len() - 1)];
        let [bx, by, _] = self.block;
        let thread = t.lane.map(|lane| {
            let t = warp as u32 * 32 + lane;
            [t % bx, t / bx % by, t / bx / by]
        });
        let source = self.files.get(&inst.loc.0).map(|f| (f.clone(), inst.loc.1));
        let kernel = self.kernel.name.clone();
        Box::new(Fault { kind: t.kind, detail: t.detail, kernel, block: block.id, thread, line: inst.line, source })
    }

    fn run_warp(&self, block: &mut Block, index: usize, m: &mut Machine) -> Result<Stop, Box<Fault>> {
        let mut turn = TURN;
        // After a turn without end, lanes that stand apart swap places, so that none starves.
        let mut swap = block.warps[index].rotated;
        loop {
            let w = &mut block.warps[index];
            let free = || w.groups.iter().enumerate().filter(|g| !g.1.blocked);
            let pick = if swap { free().max_by_key(|g| g.1.pc) } else { free().min_by_key(|g| g.1.pc) };
            let Some((i, _)) = pick else {
                if w.live == 0 {
                    return Ok(Stop::Exited);
                }
                let pc = w.groups[0].pc;
                let lane = Some(w.groups[0].mask.trailing_zeros());
                let detail = format!(
                    "lanes {:#010x} wait for lanes {:#010x}, which wait elsewhere",
                    w.groups[0].mask,
                    w.live & !w.groups[0].mask
                );
                return Err(self.fault(block, index, pc, Trouble { kind: FaultKind::Deadlock, detail, lane }));
            };
            let mut g = w.groups.swap_remove(i);
            loop {
                let w = &mut block.warps[index];
                if !w.groups.is_empty() {
                    while let Some(j) = w.groups.iter().position(|o| o.pc == g.pc) {
                        g.mask |= w.groups.swap_remove(j).mask;
                    }
                    if !swap && w.groups.iter().any(|o| !o.blocked && o.pc < g.pc) {
                        w.groups.push(g);
                        break;
                    }
                }
                if turn == 0 {
                    w.rotated |= !w.groups.is_empty();
                    w.groups.push(g);
                    return Ok(Stop::Turn);
                }
                turn -= 1;
                w.steps += 1;
                if w.steps > self.options.step_budget {
                    return Err(self.out_of_steps(block, index, g.pc));
                }
                let mut parts = BlockParts { index: block.index, epoch: block.epoch, shared: &mut block.shared };
                let flow = match self.step(w, g, &mut parts, m) {
                    Ok(flow) => flow,
                    Err(t) => return Err(self.fault(block, index, g.pc, t)),
                };
                match flow {
                    Flow::Next => g.pc += 1,
                    Flow::Jump(t) => g.pc = t,
                    Flow::Split(others) => {
                        w.groups.extend(&others);
                        g.mask &= !others.iter().fold(0, |a, o| a | o.mask);
                        g.pc += 1;
                        if g.mask == 0 {
                            break;
                        }
                    }
                    Flow::Exit => {
                        let gone = g.mask & w.regs.pred(self.kernel.code[g.pc as usize].guard);
                        w.live &= !gone;
                        g.mask &= !gone;
                        g.pc += 1;
                        w.groups.iter_mut().for_each(|o| o.blocked = false);
                        if g.mask == 0 {
                            break;
                        }
                    }
                    Flow::Wait => {
                        w.groups.push(Group { blocked: true, ..g });
                        swap = false;
                        break;
                    }
                    Flow::Barrier => {
                        g.pc += 1;
                        w.groups.push(g);
                        return Ok(Stop::Barrier);
                    }
                }
            }
        }
    }

    fn out_of_steps(&self, block: &Block, index: usize, pc: u32) -> Box<Fault> {
        let mut stand = vec![format!("warp {index} at PTX line {}", self.kernel.code[pc as usize].line)];
        for w in block.warps.iter().filter(|w| w.index as usize != index).take(32) {
            stand.push(match (w.arrival, w.groups.first()) {
                (Some(a), _) => format!("warp {} at barrier {}", w.index, a.id),
                (None, Some(g)) => format!("warp {} at PTX line {}", w.index, self.kernel.code[g.pc as usize].line),
                (None, None) => format!("warp {} has exited", w.index),
            });
        }
        let detail = format!("a warp took more than {} steps; {}", self.options.step_budget, stand.join(", "));
        self.fault(block, index, pc, Trouble { kind: FaultKind::StepBudget, detail, lane: None })
    }

    /// All lanes of the warp must be at `pc`; false if they may still come, or exit on a way of their own.
    fn aligned(&self, w: &Warp, pc: u32, mask: u32, what: &str) -> Step<bool> {
        if mask == w.live {
            return Ok(true);
        }
        let mut others = w.groups.iter().filter(|g| !g.blocked).peekable();
        if others.peek().is_some() {
            // Lanes that went past this instruction, into code that those here would execute next, left it out. Lanes that
            // only exit did not.
            let after = self.reachable(pc + 1);
            let exit = |i: usize| matches!(self.kernel.code[i].op, Op::Exit);
            let skipped = |g: &Group| {
                let way = self.reachable(g.pc);
                !way[pc as usize] && (0..way.len()).any(|i| way[i] && after[i] && !exit(i))
            };
            if w.rotated || !others.any(skipped) {
                return Ok(false);
            }
        }
        let missing = w.live & !mask;
        Err(Trouble {
            kind: FaultKind::Divergence,
            detail: format!("{what} reached without lanes {missing:#010x} of the warp"),
            lane: Some(missing.trailing_zeros()),
        })
    }

    /// The instructions that can be executed from `pc` on.
    fn reachable(&self, pc: u32) -> Vec<bool> {
        let code = &self.kernel.code;
        let mut seen = vec![false; code.len()];
        let mut open = vec![pc as usize];
        while let Some(i) = open.pop() {
            if i >= code.len() || std::mem::replace(&mut seen[i], true) {
                continue;
            }
            let goes_on = match &code[i].op {
                Op::Bra(target) => {
                    open.push(*target as usize);
                    code[i].guard.0 != 0
                }
                Op::Brx(_, table) => {
                    open.extend(table.iter().map(|t| *t as usize));
                    code[i].guard.0 != 0
                }
                Op::Exit => code[i].guard.0 != 0,
                _ => true,
            };
            if goes_on {
                open.push(i + 1);
            }
        }
        seen
    }

    fn step(&self, w: &mut Warp, g: Group, b: &mut BlockParts, m: &mut Machine) -> Step<Flow> {
        let inst = &self.kernel.code[g.pc as usize];
        let mask = g.mask & w.regs.pred(inst.guard);
        let guard_off = mask == 0 && inst.guard.0 != 0;
        let before = m.counters.warp_instructions[inst.class as usize];
        m.counters.warp_instructions[inst.class as usize] += 1;
        m.counters.thread_instructions[inst.class as usize] += mask.count_ones() as u64;
        m.counters.flops += inst.flops as u64 * mask.count_ones() as u64;
        m.clock += 1;
        // An operation that waits issues when its lanes are there.
        let skipped = guard_off && !matches!(inst.op, Op::Bra(_));
        let flow = if skipped || alu::run(&inst.op, &mut w.regs, mask, self.fast) {
            Flow::Next
        } else {
            self.special(&inst.op, w, g, mask, b, m)?
        };
        if matches!(flow, Flow::Wait) {
            m.counters.warp_instructions[inst.class as usize] = before;
            m.counters.thread_instructions[inst.class as usize] -= mask.count_ones() as u64;
        }
        Ok(flow)
    }

    fn special(&self, op: &Op, w: &mut Warp, g: Group, mask: u32, b: &mut BlockParts, m: &mut Machine) -> Step<Flow> {
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
            Op::WarpSync(members) => match w.gather(*members, g.mask, mask)? {
                Gathered::Wait => return Ok(Flow::Wait),
                Gathered::Yes => w.epoch += 1,
            },
            Op::Shfl { members, .. } | Op::Vote(.., members) | Op::MatchAny(.., members) | Op::Redux(.., members) => {
                if let Gathered::Wait = w.gather(*members, g.mask, mask)? {
                    return Ok(Flow::Wait);
                }
                match op {
                    Op::Shfl { mode, dst, ok, a, lane, clamp, members } => {
                        w.shuffle(*mode, (*dst, *ok), (*a, *lane, *clamp, *members), mask)?
                    }
                    Op::Vote(mode, dst, p, members) => w.vote(*mode, *dst, *p, *members, mask),
                    Op::MatchAny(d, a, members) => w.match_any(*d, *a, *members, mask),
                    Op::Redux(op, d, a, members) => w.redux(*op, *d, *a, *members, mask),
                    _ => unreachable!("the four of the outer arm"),
                }
            }
            Op::ActiveMask(d) => lanes(mask).for_each(|i| w.regs.r[*d as usize][i] = mask),
            Op::Clock(d) => lanes(mask).for_each(|i| w.regs.set(*d, i, m.clock)),
            Op::Ld(a) => self.load(a, w, b, m, mask)?,
            Op::St(a) => self.store(a, w, b, m, mask)?,
            Op::Atom(a) => self.atom(a, w, b, m, mask)?,
            Op::CpAsync(dst, src, len, size) => self.cp_async((*dst, *src, *len, *size), w, b, m, mask)?,
            Op::CpCommit => lanes(mask).for_each(|i| w.committed[i] += 1),
            Op::CpWait(n) => self.cp_wait(*n, w, b, mask)?,
            Op::Fence => m.global.fence(b.index),
            Op::LdMatrix(regs, trans, addr) => {
                if !self.whole(w, g.pc, mask, "ldmatrix")? {
                    return Ok(Flow::Wait);
                }
                self.ldmatrix(regs, *trans, *addr, w, b, m)?
            }
            Op::Mma(kind, d, a, bb, cc) => {
                if !self.whole(w, g.pc, mask, "mma")? {
                    return Ok(Flow::Wait);
                }
                m.counters.mma_instructions += 1;
                m.counters.mma_flops += w.mma(*kind, d, a, bb, cc);
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
