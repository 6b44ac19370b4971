//! Loads, stores, atomics and asynchronous copies.

use super::buf::put;
use super::pattern::recognise;
use super::requests::{busiest, shared_counts, shared_request};
use super::*;
use crate::ops::float::{c, cz, z};
use crate::ops::half2::{B, H, op2, x2};

/// The parts of a request by space, with the addresses within it: usually one.
#[inline(always)]
fn by_space(space: Space, addrs: &mut [u64; 32], mask: u32) -> [(Space, u32); 3] {
    let whole = |s| [(s, mask), (s, 0), (s, 0)];
    match space {
        Space::Generic => {
            let window = |w: u64| lanes(mask).filter(|&i| addrs[i] >> 56 == w >> 56).fold(0, |m, i| m | 1 << i);
            let (shared, local) = (window(SHARED_WINDOW), window(LOCAL_WINDOW));
            for i in lanes(shared | local) {
                addrs[i] &= (1 << 56) - 1;
            }
            [(Space::Global, mask & !shared & !local), (Space::Shared, shared), (Space::Local, local)]
        }
        Space::Const => whole(Space::Global),
        s => whole(s),
    }
}

pub(super) fn at_lane((lane, MemFault(kind, detail)): LaneFault) -> Trouble {
    Trouble { kind, detail, lane: Some(lane as u32) }
}

/// The place of an instruction and the lanes that execute it.
#[derive(Clone, Copy)]
pub(super) struct Issued {
    pub pc: u32,
    pub mask: u32,
}

impl Launch<'_> {
    /// The pattern of a request to shared memory of `n` bytes a lane, the first active lane's address, and the counters.
    #[inline(always)]
    pub(super) fn pattern<'m>(
        &self,
        (addr, n): (Addr, usize),
        w: &Warp,
        m: &'m mut Worker,
        at: Issued,
    ) -> Option<(&'m Rc<Pattern>, u32, &'m mut Counters)> {
        let place = &mut m.patterns[at.pc as usize];
        let kind = (at.mask, n, self.kernel.traits.shared_shift);
        let base = match addr.base {
            Some(Reg::R(s)) => recognise(place, (&w.regs.r[s as usize], addr.offset as u32), kind),
            _ => recognise(place, (&w.narrow_addresses(addr)?, 0), kind),
        }?;
        Some((place.pattern.as_ref()?, base, &mut m.counters))
    }

    #[inline(always)]
    pub(super) fn load(&self, a: &Access, w: &mut Warp, b: &mut Shared, m: &mut Worker, at: Issued) -> Step<()> {
        let (n, mask) = (a.bytes as usize * a.regs.len(), at.mask);
        match a.space {
            Space::Shared => {
                let who = w.who(a.strong && !a.volatile);
                if let Some((p, base, counters)) = self.pattern((a.addr, n), w, m, at)
                    && let Some(bytes) = b.load_plain(p, base, who, &mut w.buf)
                {
                    shared_request(counters, p, false);
                    put(bytes, &a.regs, a.bytes as usize, a.signed, &mut w.regs, mask);
                    return Ok(());
                }
            }
            Space::Global | Space::Const => {
                if let Some(start) = w.run(a, mask) {
                    let bytes = m.load_run(start, n, a.strong).map_err(at_lane)?;
                    put(bytes, &a.regs, a.bytes as usize, a.signed, &mut w.regs, mask);
                    return Ok(());
                }
                let addrs = w.addresses(a.addr);
                m.order_load(a, &addrs, mask);
                m.global_load(Request { addrs: &addrs, mask, n, run: false }, a.strong, &mut w.buf).map_err(at_lane)?;
                put(w.buf.all(n), &a.regs, a.bytes as usize, a.signed, &mut w.regs, mask);
                return Ok(());
            }
            Space::Param => return self.load_param(a, w, mask),
            _ => {}
        }
        self.load_parts(a, w, b, m, mask)
    }

    /// A load of which nothing is known yet.
    #[inline(never)]
    fn load_parts(&self, a: &Access, w: &mut Warp, b: &mut Shared, m: &mut Worker, mask: u32) -> Step<()> {
        let n = a.bytes as usize * a.regs.len();
        let (mut addrs, who) = (w.addresses(a.addr), w.who(a.strong && !a.volatile));
        for (space, part) in by_space(a.space, &mut addrs, mask) {
            if part == 0 {
                continue;
            }
            let at = Request::new(&addrs, part, n);
            match space {
                Space::Global => {
                    m.order_load(a, &addrs, part);
                    m.global_load(at, a.strong, &mut w.buf)
                }
                Space::Shared => {
                    shared_counts(&mut m.counters, at, false);
                    b.load(at, who, &mut w.buf)
                }
                _ => {
                    m.count_local(a.space, part, n, false);
                    w.local.load(&addrs, part, n, &mut w.buf)
                }
            }
            .map_err(at_lane)?;
        }
        put(w.buf.all(n), &a.regs, a.bytes as usize, a.signed, &mut w.regs, mask);
        Ok(())
    }

    /// By an address in a register; the others are registers themselves.
    #[inline(never)]
    fn load_param(&self, a: &Access, w: &mut Warp, mask: u32) -> Step<()> {
        let e = a.bytes as usize;
        let n = e * a.regs.len();
        let addrs = w.addresses(a.addr);
        if addrs.iter().fold(0, |off, address| off | address ^ addrs[0]) == 0 {
            // All lanes read the same.
            let bytes = self.param(addrs[0], n).map_err(|f| at_lane((mask.trailing_zeros() as usize, f)))?;
            copy(w.buf.lane_mut(0, n), bytes);
            w.buf.splat(&a.regs, e, a.signed, &mut w.regs, mask);
            return Ok(());
        }
        for i in lanes(mask) {
            let bytes = self.param(addrs[i], n).map_err(|f| at_lane((i, f)))?;
            copy(w.buf.lane_mut(i, n), bytes);
        }
        put(w.buf.all(n), &a.regs, e, a.signed, &mut w.regs, mask);
        Ok(())
    }

    #[inline(always)]
    fn param(&self, at: u64, n: usize) -> Result<&[u8], MemFault> {
        let bytes = self.params.get(at as usize..(at as usize).saturating_add(n));
        bytes.ok_or_else(|| {
            let all = self.params.len();
            MemFault(FaultKind::OutOfBounds, format!("access to {n} bytes at offset {at} of {all} bytes of parameters"))
        })
    }

    #[inline(always)]
    pub(super) fn store(&self, a: &Access, w: &mut Warp, b: &mut Shared, m: &mut Worker, at: Issued) -> Step<()> {
        let (n, mask) = (a.bytes as usize * a.regs.len(), at.mask);
        let values = Values { regs: &a.regs, e: a.bytes as usize, file: &w.regs };
        match a.space {
            Space::Shared => {
                let who = w.who(a.strong && !a.volatile);
                if let Some((p, base, counters)) = self.pattern((a.addr, n), w, m, at)
                    && b.store_plain(p, base, who, &mut w.buf, &values)
                {
                    shared_request(counters, p, true);
                    return Ok(());
                }
            }
            Space::Global => {
                if let Some(start) = w.run(a, mask) {
                    return m.store_run(start, a.strong, &values).map_err(at_lane);
                }
                let addrs = w.addresses(a.addr);
                m.order_store(a, &addrs, mask);
                values.put(w.buf.all_mut(n));
                let at = Request { addrs: &addrs, mask, n, run: false };
                return m.global_store(at, a.strong, &w.buf).map_err(at_lane);
            }
            _ => {}
        }
        self.store_parts(a, w, b, m, mask)
    }

    /// A store of which nothing is known yet.
    #[inline(never)]
    fn store_parts(&self, a: &Access, w: &mut Warp, b: &mut Shared, m: &mut Worker, mask: u32) -> Step<()> {
        let n = a.bytes as usize * a.regs.len();
        let values = Values { regs: &a.regs, e: a.bytes as usize, file: &w.regs };
        let (mut addrs, who) = (w.addresses(a.addr), w.who(a.strong && !a.volatile));
        values.put(w.buf.all_mut(n));
        for (space, part) in by_space(a.space, &mut addrs, mask) {
            if part == 0 {
                continue;
            }
            let at = Request::new(&addrs, part, n);
            match space {
                Space::Global => {
                    m.order_store(a, &addrs, part);
                    m.global_store(at, a.strong, &w.buf)
                }
                Space::Shared => {
                    shared_counts(&mut m.counters, at, true);
                    b.store(at, who, &w.buf)
                }
                _ => {
                    m.count_local(a.space, part, n, true);
                    w.local.store(&addrs, part, n, &w.buf)
                }
            }
            .map_err(at_lane)?;
        }
        Ok(())
    }

    pub(super) fn atom(&self, a: &Atom, w: &mut Warp, b: &mut Shared, m: &mut Worker, mask: u32) -> Step<()> {
        let n = a.bytes as usize;
        let mut addrs = w.addresses(a.addr);
        let regs = &w.regs;
        let mut old = [0; 32];
        for (space, part) in by_space(a.space, &mut addrs, mask) {
            if part == 0 {
                continue;
            }
            let update = |i: usize, v: u64| {
                old[i] = v;
                atomic(a, space, v, regs.get(a.b, i), a.c.map_or(0, |c| regs.get(c, i)))
            };
            let threads = part.count_ones() as u64;
            m.counters.atomic_worst_address = m.counters.atomic_worst_address.max(busiest(&addrs, part));
            match space {
                Space::Global => {
                    m.counters.global_atomics += threads;
                    m.count_atomics(&addrs, part);
                    if let Some(order) = &mut m.order {
                        for i in lanes(part) {
                            order.load(m.block, addrs[i], a.acquire);
                            order.store(m.block, addrs[i], a.release, true);
                        }
                    }
                    m.global_atomic(Request { addrs: &addrs, mask: part, n, run: false }, update).map_err(at_lane)?;
                }
                Space::Shared => {
                    m.counters.shared_atomics += threads;
                    b.update(Request { addrs: &addrs, mask: part, n, run: false }, w.who(true), update)
                        .map_err(at_lane)?;
                }
                _ => return trouble(FaultKind::Undefined, "atomic on local memory"),
            }
        }
        if let Some(dst) = a.dst {
            lanes(mask).for_each(|i| w.regs.set(dst, i, old[i]));
        }
        Ok(())
    }

    #[inline(always)]
    pub(super) fn cp_async(&self, cp: &CpAsync, w: &mut Warp, b: &mut Shared, m: &mut Worker, at: Issued) -> Step<()> {
        let (n, mask) = (cp.bytes as usize, at.mask);
        let in_window: fn(u64) -> u64 = |a| a & ((1 << 56) - 1);
        let from = w.addresses(cp.src).map(in_window);
        let mut copies = w.spare.pop().unwrap_or_default();
        let mut whole = mask;
        if let Some(size) = cp.size {
            let other: [u32; 32] = each(|i| ((w.regs.get(size, i) as u32 as usize != n) as u32) << i);
            for i in lanes(mask & other.iter().fold(0, |all, o| all | o)) {
                let count = w.regs.get(size, i) as u32 as usize;
                if count > n {
                    let detail = format!("cp.async reads {count} bytes for a copy of {n}");
                    return Err(Trouble { kind: FaultKind::Undefined, detail, lane: Some(i as u32) });
                }
                whole &= !(1 << i);
                copies.data.lane_mut(i, n).fill(0);
                self.copy_part(&from, i, count, m, copies.data.lane_mut(i, n))?;
            }
        }
        if whole != 0 {
            let request = Request { addrs: &from, mask: whole, n, run: false };
            m.global_load(request, false, &mut copies.data).map_err(at_lane)?;
        }
        let who = w.who(false);
        if let Some((p, base, counters)) = self.pattern((cp.dst, n), w, m, at)
            && b.begin_plain(p, base, who)
        {
            shared_request(counters, p, true);
            copies.plain = Some((p.clone(), base));
        } else {
            copies.plain = None;
            copies.addrs = w.addresses(cp.dst).map(in_window);
            let request = Request::new(&copies.addrs, mask, n);
            shared_counts(&mut m.counters, request, true);
            b.begin_async(request, who).map_err(at_lane)?;
        }
        (copies.mask, copies.group, copies.bytes) = (mask, w.committed, n);
        w.copies.push(copies);
        Ok(())
    }

    /// The first bytes of a copy that fills the rest with zeros.
    fn copy_part(&self, from: &[u64; 32], lane: usize, count: usize, m: &mut Worker, to: &mut [u8]) -> Step<()> {
        for (k, byte) in to[..count].iter_mut().enumerate() {
            let (mut addrs, mut one) = (*from, Buf::new());
            addrs[lane] += k as u64;
            let at = Request { addrs: &addrs, mask: 1 << lane, n: 1, run: false };
            m.global_load(at, false, &mut one).map_err(at_lane)?;
            *byte = one.lane(lane, 1)[0];
        }
        Ok(())
    }

    /// Ends the copies of all but the last `pending` committed groups (None: of everything).
    #[inline(always)]
    pub(super) fn cp_wait(&self, pending: Option<u32>, w: &mut Warp, b: &mut Shared, mask: u32) {
        let mut kept = 0;
        for k in 0..w.copies.len() {
            let c = &mut w.copies[k];
            let mut done = c.mask & mask;
            if let Some(n) = pending {
                let waits: [u32; 32] = each(|i| ((c.group[i] + n >= w.committed[i]) as u32) << i);
                done &= !waits.iter().fold(0, |all, w| all | w);
            }
            let who = Who { warp: w.index, time: w.time, atomic: false };
            match &mut c.plain {
                Some((p, base)) if done == p.mask => b.end_plain(p, *base, who, &c.data),
                _ if done == 0 => {}
                plain => {
                    // Some of the lanes only.
                    if let Some((p, base)) = plain.take() {
                        lanes(c.mask).for_each(|i| c.addrs[i] = p.address(base, i) as u64);
                    }
                    b.end_async(Request { addrs: &c.addrs, mask: done, n: c.bytes, run: false }, who, &c.data)
                }
            }
            c.mask &= !done;
            if c.mask != 0 {
                w.copies.swap(kept, k);
                kept += 1;
            }
        }
        w.spare.extend(w.copies.drain(kept..));
    }
}

fn atomic(a: &Atom, space: Space, old: u64, x: u64, y: u64) -> u64 {
    let wide = a.bytes == 8;
    let signed = |v: u64| if wide { v as i64 } else { v as u32 as i32 as i64 };
    let f = |v: u64| f32::from_bits(v as u32);
    let pick = |yes: bool, x: u64, y: u64| if yes { x } else { y };
    match a.op {
        AtomOp::And => old & x,
        AtomOp::Or => old | x,
        AtomOp::Xor => old ^ x,
        AtomOp::Exch => x,
        AtomOp::Cas => pick(old == x & (!0 >> (64 - 8 * a.bytes as u32)), y, old),
        AtomOp::AddInt => old.wrapping_add(x),
        AtomOp::Inc => pick(old >= x & 0xffff_ffff, 0, old.wrapping_add(1)),
        AtomOp::Dec => pick(old == 0 || old > x & 0xffff_ffff, x, old.wrapping_sub(1)),
        AtomOp::MinS => pick(signed(x) < signed(old), x, old),
        AtomOp::MaxS => pick(signed(x) > signed(old), x, old),
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
