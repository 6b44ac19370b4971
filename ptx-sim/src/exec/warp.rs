//! Blocks and warps at their start.

use super::*;

/// All lanes of a new block's warp that it has threads for.
fn live_lanes(index: u32, threads: u32) -> u32 {
    !0 >> (32 - (threads - index * 32).min(32))
}

impl Launch<'_> {
    pub(super) fn threads(&self) -> u32 {
        self.block.iter().product()
    }

    /// A block at its first instruction, in memory that an earlier one has used where there is such.
    pub(super) fn new_block(&self, index: u32, m: &mut Worker) -> Box<Block> {
        let [gx, gy, _] = self.grid;
        let id = [index % gx, index / gx % gy, index / gx / gy];
        let threads = self.threads();
        let mut block = m.pool.pop().unwrap_or_else(|| Box::new(self.fresh_block(threads)));
        m.counters.blocks += 1;
        m.counters.warps += block.warps.len() as u64;
        m.counters.threads += threads as u64;
        (block.index, block.id) = (index, id);
        block.shared.restart(block.warps.iter().any(|w| !w.copies.is_empty()));
        for w in &mut block.warps {
            self.restart(w, id, live_lanes(w.index, threads));
        }
        block
    }

    fn fresh_block(&self, threads: u32) -> Block {
        let checks = &self.options.checks;
        let mut shared = Shared::new(self.shared_bytes, &self.kernel.traits);
        shared.check_races = checks.has(FaultKind::SharedRace);
        shared.check_init = checks.has(FaultKind::Uninitialised);
        shared.check_async = checks.has(FaultKind::AsyncPending);
        shared.fast = self.fast;
        let warps = (0..threads.div_ceil(32)).map(|i| self.fresh_warp(i)).collect();
        Block { index: 0, id: [0; 3], shared, warps }
    }

    /// A warp whose read-only registers are filled; those that depend on the block come with `restart`.
    fn fresh_warp(&self, index: u32) -> Warp {
        let k = self.kernel;
        let mut regs =
            Regs { fast: self.fast, r: vec![[0; 32]; k.n32 + 1], d: vec![[0; 32]; k.n64 + 1], p: vec![0; k.np] };
        for &(slot, v) in &k.const32 {
            regs.r[slot as usize] = [v; 32];
        }
        for &(slot, v) in &k.const64 {
            regs.d[slot as usize] = [v; 32];
        }
        for &(reg, given) in &k.given {
            let v = match given {
                Given::DynamicShared(offset) => (k.static_shared as u64).wrapping_add(offset as u64),
                Given::Variable(i, offset) => self.globals[i].wrapping_add(offset as u64),
                Given::Param(at, bytes, signed) => {
                    let mut raw = [0; 8];
                    raw[..bytes as usize].copy_from_slice(&self.params[at..at + bytes as usize]);
                    let (v, shift) = (u64::from_le_bytes(raw), 64 - 8 * bytes as u32);
                    if signed { ((v << shift) as i64 >> shift) as u64 } else { v }
                }
            };
            match reg {
                Reg::D(slot) => regs.d[slot as usize] = [v; 32],
                reg => (0..32).for_each(|lane| regs.set(reg, lane, v)),
            }
        }
        for &(slot, special) in &k.specials {
            regs.r[slot as usize] = std::array::from_fn(|lane| self.special_register(special, index, lane as u32));
        }
        let mut local = Local::new(k.local_bytes);
        local.check_init = self.options.checks.has(FaultKind::Uninitialised);
        Warp {
            index,
            regs,
            groups: Vec::new(),
            live: 0,
            arrival: None,
            time: 0,
            local,
            buf: Box::new(Buf::new()),
            copies: Vec::new(),
            spare: Vec::new(),
            committed: [0; 32],
            steps: 0,
            now: 0,
            rotated: false,
        }
    }

    fn special_register(&self, special: Special, warp: u32, lane: u32) -> u32 {
        let [bx, by, _] = self.block;
        let t = warp * 32 + lane;
        match special {
            Special::Tid(i) => [t % bx, t / bx % by, t / bx / by][i as usize],
            Special::Ntid(i) => self.block[i as usize],
            Special::Nctaid(i) => self.grid[i as usize],
            Special::LaneId => lane,
            Special::WarpId => warp,
            Special::Nwarps => self.threads().div_ceil(32),
            Special::LaneMaskEq => 1 << lane,
            Special::LaneMaskLt => (1 << lane) - 1,
            Special::LaneMaskLe => !0 >> (31 - lane),
            Special::LaneMaskGt => !(!0 >> (31 - lane)),
            Special::LaneMaskGe => !((1 << lane) - 1),
            Special::DynamicShared => self.dynamic_shared as u32,
            Special::TotalShared => self.shared_bytes as u32,
            Special::Ctaid(_) | Special::Zero => 0,
        }
    }

    fn restart(&self, w: &mut Warp, id: [u32; 3], live: u32) {
        let k = self.kernel;
        // What a kernel may read without having written it must not depend on the block before.
        for &reg in &k.cleared {
            match reg {
                Reg::R(s) => w.regs.r[s as usize] = [0; 32],
                Reg::D(s) => w.regs.d[s as usize] = [0; 32],
                Reg::P(s) => w.regs.p[s as usize] = 0,
            }
        }
        w.regs.p[0] = !0;
        for &(slot, special) in &k.specials {
            if let Special::Ctaid(i) = special {
                w.regs.r[slot as usize] = [id[i as usize]; 32];
            }
        }
        w.groups.clear();
        w.groups.push(Group { pc: 0, mask: live, blocked: false });
        (w.live, w.arrival, w.time, w.steps, w.rotated) = (live, None, 0, 0, false);
        w.committed = [0; 32];
        w.copies.clear();
        w.local.restart();
    }
}

impl Warp {
    #[inline(always)]
    pub(super) fn who(&self, atomic: bool) -> Who {
        Who { warp: self.index, time: self.time, atomic }
    }

    #[inline(always)]
    pub(super) fn addresses(&self, addr: Addr) -> [u64; 32] {
        let mut out = [addr.offset as u64; 32];
        match addr.base {
            None => {}
            Some(Reg::D(s)) => {
                for (out, v) in out.iter_mut().zip(&self.regs.d[s as usize]) {
                    *out = out.wrapping_add(*v);
                }
            }
            Some(Reg::R(s)) => {
                for (out, v) in out.iter_mut().zip(&self.regs.r[s as usize]) {
                    *out = v.wrapping_add(addr.offset as u32) as u64;
                }
            }
            Some(Reg::P(_)) => unreachable!("decoding takes no predicate as an address"),
        }
        out
    }

    /// The first lane's address where all lanes access global memory, each behind the one before, and nothing else needs
    /// their addresses.
    #[inline(always)]
    pub(super) fn run(&self, a: &Access, mask: u32) -> Option<u64> {
        let Some(Reg::D(s)) = a.addr.base.filter(|_| mask == !0 && !a.strong) else { return None };
        let (d, n) = (&self.regs.d[s as usize], a.bytes as u64 * a.regs.len() as u64);
        let mut off = 0;
        for i in 1..4 {
            off |= d[i].wrapping_sub(d[i - 1]) ^ n;
        }
        for i in 4..32 {
            off |= d[i].wrapping_sub(d[i - 4]) ^ (4 * n);
        }
        (off == 0).then(|| d[0].wrapping_add(a.addr.offset as u64))
    }

    /// The same in 32 bits, for shared memory; None where they need more.
    #[inline(always)]
    pub(super) fn narrow_addresses(&self, addr: Addr) -> Option<[u32; 32]> {
        match addr.base {
            Some(Reg::R(s)) => Some(each(|i| self.regs.r[s as usize][i].wrapping_add(addr.offset as u32))),
            Some(Reg::D(s)) => {
                let wide: [u64; 32] = each(|i| self.regs.d[s as usize][i].wrapping_add(addr.offset as u64));
                let high = wide.iter().fold(0, |all, a| all | a >> 32);
                (high == 0).then(|| each(|i| wide[i] as u32))
            }
            Some(Reg::P(_)) => unreachable!("decoding takes no predicate as an address"),
            None => (addr.offset as u64 >> 32 == 0).then_some([addr.offset as u32; 32]),
        }
    }
}
