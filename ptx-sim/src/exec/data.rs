//! Loads, stores, atomics and asynchronous copies.

use super::*;
use crate::memory::Accessor;
use crate::ops::float::{c, cz, z};
use crate::ops::half2::{B, H, op2, x2};

/// Space and address within it.
fn resolve(space: Space, addr: u64) -> (Space, u64) {
    match space {
        Space::Generic if addr >> 56 == 1 => (Space::Shared, addr - SHARED_WINDOW),
        Space::Generic if addr >> 56 == 2 => (Space::Local, addr - LOCAL_WINDOW),
        Space::Generic | Space::Const => (Space::Global, addr),
        s => (s, addr),
    }
}

/// Addresses of one request, to be counted.
pub(super) struct Request {
    global: [u64; 32],
    shared: [u32; 32],
    n_global: usize,
    n_shared: usize,
    lanes: u32,
    local: bool,
}

impl Request {
    pub fn new() -> Request {
        Request { global: [0; 32], shared: [0; 32], n_global: 0, n_shared: 0, lanes: 0, local: false }
    }

    pub fn add(&mut self, space: Space, addr: u64, lane: usize) {
        match space {
            Space::Global => {
                let sector = addr / 32;
                let known = &self.global[..self.n_global];
                if known.last() != Some(&sector) && !known.contains(&sector) {
                    self.global[self.n_global] = sector;
                    self.n_global += 1;
                }
            }
            Space::Shared => {
                self.shared[lane] = addr as u32;
                self.lanes |= 1 << lane;
                self.n_shared += 1;
            }
            Space::Local => self.local = true,
            _ => {}
        }
    }

    pub fn count(&self, c: &mut Counters, store: bool, width: usize) {
        if self.n_global > 0 {
            let n = self.n_global as u64;
            if store {
                c.global_store_requests += 1;
                c.global_store_sectors += n;
            } else {
                c.global_load_requests += 1;
                c.global_load_sectors += n;
            }
        }
        if self.n_shared > 0 {
            let (waves, ideal) = wavefronts(&self.shared, self.lanes, width);
            if store {
                c.shared_store_requests += 1;
                c.shared_store_wavefronts += waves;
            } else {
                c.shared_load_requests += 1;
                c.shared_load_wavefronts += waves;
            }
            c.shared_ideal_wavefronts += ideal;
        }
        if self.local {
            if store {
                c.local_store_requests += 1;
            } else {
                c.local_load_requests += 1;
            }
        }
    }
}

/// Passes that the banks take: lanes go in phases of 32, 16 or 8 by width; in each, a bank serves one word a pass.
fn wavefronts(addrs: &[u32; 32], active: u32, width: usize) -> (u64, u64) {
    let words = width.div_ceil(4).max(1);
    let per_phase = 32 / words;
    let (mut total, mut ideal) = (0, 0);
    for phase in 0..words {
        let mut list = [0u32; 32];
        let mut n = 0;
        let first = phase * per_phase;
        for (i, addr) in addrs[first..first + per_phase].iter().enumerate() {
            if active >> (first + i) & 1 == 1 {
                for k in 0..words {
                    list[n] = addr / 4 + k as u32;
                    n += 1;
                }
            }
        }
        if n == 0 {
            continue;
        }
        let list = &mut list[..n];
        list.sort_unstable();
        let mut per_bank = [0u64; 32];
        let mut last = None;
        for &word in list.iter() {
            if last != Some(word) {
                per_bank[word as usize % 32] += 1;
                last = Some(word);
            }
        }
        total += per_bank.iter().max().copied().unwrap_or(0);
        ideal += 1;
    }
    (total, ideal)
}

impl Launch<'_> {
    pub(super) fn load(&self, a: &Access, w: &mut Warp, b: &mut BlockParts, m: &mut Machine, mask: u32) -> Step<()> {
        let (bytes, total) = (a.bytes as usize, a.bytes as usize * a.regs.len());
        let mut request = Request::new();
        m.global.tick();
        if a.acquire || a.strong {
            m.global.acquire(b.index);
        }
        // All lanes read before any register changes: a destination may be the address.
        let mut values = [[0u8; 16]; 32];
        for i in lanes(mask) {
            let (space, addr) = resolve(a.space, w.address(a.addr, i));
            request.add(space, addr, i);
            let who = Accessor { block: b.index, strong: a.strong };
            values[i] = match space {
                Space::Global => m.global.read(addr, total, who),
                Space::Shared => b.shared.read(addr, total, w.who(i, b.epoch, a.strong)),
                Space::Param => self.param(addr, total),
                _ => w.local.read(i, addr, total),
            }
            .map_err(at_lane(i))?;
            if space == Space::Local {
                m.counters.local_bytes += total as u64;
            }
        }
        for (k, reg) in a.regs.iter().enumerate() {
            let Some(reg) = *reg else { continue };
            for i in lanes(mask) {
                let mut raw = [0; 8];
                raw[..bytes].copy_from_slice(&values[i][k * bytes..(k + 1) * bytes]);
                let mut v = u64::from_le_bytes(raw);
                if a.signed {
                    let shift = 64 - 8 * bytes as u32;
                    v = ((v << shift) as i64 >> shift) as u64;
                }
                w.regs.set(reg, i, v);
            }
        }
        request.count(&mut m.counters, false, total);
        Ok(())
    }

    fn param(&self, addr: u64, n: usize) -> Result<[u8; 16], MemFault> {
        let mut out = [0; 16];
        match (addr as usize).checked_add(n).filter(|&end| end <= self.params.len()) {
            Some(end) => out[..n].copy_from_slice(&self.params[addr as usize..end]),
            None => return Err(MemFault(FaultKind::OutOfBounds, format!("parameter address {addr}"))),
        }
        Ok(out)
    }

    pub(super) fn store(&self, a: &Access, w: &mut Warp, b: &mut BlockParts, m: &mut Machine, mask: u32) -> Step<()> {
        let (bytes, total) = (a.bytes as usize, a.bytes as usize * a.regs.len());
        let mut request = Request::new();
        m.global.tick();
        if a.release {
            m.global.fence(b.index);
        }
        for i in lanes(mask) {
            let (space, addr) = resolve(a.space, w.address(a.addr, i));
            request.add(space, addr, i);
            let mut data = [0u8; 16];
            for (k, reg) in a.regs.iter().enumerate() {
                let v = reg.map_or(0, |reg| w.regs.get(reg, i));
                data[k * bytes..(k + 1) * bytes].copy_from_slice(&v.to_le_bytes()[..bytes]);
            }
            let who = Accessor { block: b.index, strong: a.strong };
            match space {
                Space::Global => m.global.write(addr, &data[..total], who),
                Space::Shared => b.shared.write(addr, &data[..total], w.who(i, b.epoch, a.strong)),
                _ => w.local.write(i, addr, &data[..total]),
            }
            .map_err(at_lane(i))?;
            if space == Space::Local {
                m.counters.local_bytes += total as u64;
            }
        }
        request.count(&mut m.counters, true, total);
        Ok(())
    }

    pub(super) fn atom(&self, a: &Atom, w: &mut Warp, b: &mut BlockParts, m: &mut Machine, mask: u32) -> Step<()> {
        let n = a.bytes as usize;
        let mut seen: Vec<(u64, u64)> = Vec::new();
        // Threads use relaxed atomics between fences to order other memory, as counters of finished blocks do.
        m.global.acquire(b.index);
        if a.orders {
            m.global.fence(b.index);
        }
        let who = Accessor { block: b.index, strong: true };
        for i in lanes(mask) {
            let (space, addr) = resolve(a.space, w.address(a.addr, i));
            let me = w.who(i, b.epoch, true);
            let raw = match space {
                Space::Global => m.global.read(addr, n, who),
                Space::Shared => b.shared.read(addr, n, me),
                _ => return trouble(FaultKind::Undefined, "atomic on local memory"),
            }
            .map_err(at_lane(i))?;
            let old = u64::from_le_bytes(raw[..8].try_into().expect("eight bytes"));
            let x = w.regs.get(a.b, i);
            let new = atomic(a, space, old, x, a.c.map_or(0, |c| w.regs.get(c, i)));
            let data = new.to_le_bytes();
            match space {
                Space::Global => {
                    m.counters.global_atomics += 1;
                    m.global.write(addr, &data[..n], who)
                }
                _ => {
                    m.counters.shared_atomics += 1;
                    b.shared.write(addr, &data[..n], me)
                }
            }
            .map_err(at_lane(i))?;
            if let Some(dst) = a.dst {
                w.regs.set(dst, i, old);
            }
            match seen.iter_mut().find(|s| s.0 == addr) {
                Some(s) => s.1 += 1,
                None => seen.push((addr, 1)),
            }
        }
        let worst = seen.iter().map(|s| s.1).max().unwrap_or(0);
        m.counters.atomic_worst_address = m.counters.atomic_worst_address.max(worst);
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn cp_async(
        &self,
        (dst, src, len, size): (Addr, Addr, u8, Option<Reg>),
        w: &mut Warp,
        b: &mut BlockParts,
        m: &mut Machine,
        mask: u32,
    ) -> Step<()> {
        let n = len as usize;
        let (mut from, mut to) = (Request::new(), Request::new());
        m.global.tick();
        for i in lanes(mask) {
            let (at, source) = (w.address(dst, i), resolve(Space::Generic, w.address(src, i)).1);
            let count = size.map_or(n, |r| w.regs.get(r, i) as u32 as usize);
            if count > n {
                return Err(Trouble {
                    kind: FaultKind::Undefined,
                    detail: format!("cp.async reads {count} bytes for a copy of {n}"),
                    lane: Some(i as u32),
                });
            }
            let mut bytes = [0; 16];
            let who = Accessor { block: b.index, strong: false };
            if source % n as u64 != 0 {
                let fault =
                    MemFault(FaultKind::Misaligned, format!("cp.async source {source:#x} is no multiple of {n}"));
                return Err(at_lane(i)(fault));
            }
            if count == n {
                bytes = m.global.read(source, n, who).map_err(at_lane(i))?;
            } else {
                for (k, byte) in bytes[..count].iter_mut().enumerate() {
                    *byte = m.global.read(source + k as u64, 1, who).map_err(at_lane(i))?[0];
                }
            }
            if count > 0 {
                from.add(Space::Global, source, i);
            }
            to.add(Space::Shared, at, i);
            b.shared.begin_async(at, n, w.who(i, b.epoch, false)).map_err(at_lane(i))?;
            w.copies.push(Copy { lane: i as u8, group: w.committed[i], addr: at, bytes, len });
        }
        from.count(&mut m.counters, false, n);
        to.count(&mut m.counters, true, n);
        Ok(())
    }

    /// Ends the copies of all but the last `pending` committed groups (None: of everything).
    pub(super) fn cp_wait(&self, pending: Option<u32>, w: &mut Warp, b: &mut BlockParts, mask: u32) -> Step<()> {
        let copies = std::mem::take(&mut w.copies);
        for c in copies {
            let lane = c.lane as usize;
            let done = match pending {
                None => true,
                Some(n) => c.group + n < w.committed[lane],
            };
            if mask >> lane & 1 == 1 && done {
                let who = w.who(lane, b.epoch, false);
                b.shared.end_async(c.addr, &c.bytes[..c.len as usize], who).map_err(at_lane(lane))?;
            } else {
                w.copies.push(c);
            }
        }
        Ok(())
    }
}

fn atomic(a: &Atom, space: Space, old: u64, x: u64, y: u64) -> u64 {
    let wide = a.bytes == 8;
    let signed = |v: u64| if wide { v as i64 } else { v as u32 as i32 as i64 };
    let f = |v: u64| f32::from_bits(v as u32);
    match a.op {
        AtomOp::And => old & x,
        AtomOp::Or => old | x,
        AtomOp::Xor => old ^ x,
        AtomOp::Exch => x,
        AtomOp::Cas => {
            if old == x & (!0 >> (64 - 8 * a.bytes as u32)) {
                y
            } else {
                old
            }
        }
        AtomOp::AddInt => old.wrapping_add(x),
        AtomOp::Inc => {
            if old >= x & 0xffff_ffff {
                0
            } else {
                old + 1
            }
        }
        AtomOp::Dec => {
            if old == 0 || old > x & 0xffff_ffff {
                x
            } else {
                old - 1
            }
        }
        AtomOp::MinS => {
            if signed(x) < signed(old) {
                x
            } else {
                old
            }
        }
        AtomOp::MaxS => {
            if signed(x) > signed(old) {
                x
            } else {
                old
            }
        }
        AtomOp::MinU => old.min(x),
        AtomOp::MaxU => old.max(x),
        // On global memory, subnormal inputs and results become zero.
        AtomOp::AddF32 if space == Space::Global => cz(z(old as u32) + z(x as u32)) as u64,
        AtomOp::AddF32 => c(f(old) + f(x)) as u64,
        AtomOp::AddF64 => (f64::from_bits(old) + f64::from_bits(x)).to_bits(),
        AtomOp::AddF16x2 => x2(old as u32, x as u32, |a, b| op2::<H>(a, b, |a, b| a + b)) as u64,
        AtomOp::AddBf16x2 => x2(old as u32, x as u32, |a, b| op2::<B>(a, b, |a, b| a + b)) as u64,
    }
}

/// The parts of a block that an instruction of one of its warps reaches.
pub(super) struct BlockParts<'a> {
    pub index: u32,
    pub epoch: u32,
    pub shared: &'a mut Shared,
}
