//! Which registers hold something that is still needed, at each instruction. From that follow the registers that a kernel
//! may read before it has written them, which a block must find at zero, and which registers can share a place: compilers
//! number them without end, and a warp's should fit into the processor's caches.

use super::registers::registers;
use crate::inst::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Words of all sets of a kernel above which it is left as it is.
const LARGE: usize = 1 << 22;

/// The registers that an instruction reads, and those that it writes for every lane that executes it.
#[derive(Default)]
struct Uses {
    reads: Vec<Reg>,
    writes: Vec<Reg>,
}

/// Registers as bits: those of 32 bits first, then those of 64, then predicates.
#[derive(Clone, Copy)]
struct Index {
    n32: usize,
    n64: usize,
}

impl Index {
    fn of(self, reg: Reg) -> usize {
        match reg {
            Reg::R(s) => s as usize,
            Reg::D(s) => self.n32 + s as usize,
            Reg::P(s) => self.n32 + self.n64 + s as usize,
        }
    }
}

/// Finds the registers to be cleared, and gives registers that are never needed at once the same place.
pub(super) fn analyse(kernel: &mut Kernel) {
    let index = Index { n32: kernel.n32, n64: kernel.n64 };
    let all = || {
        let (r, d) = ((0..index.n32).map(|s| Reg::R(s as u16)), (0..index.n64).map(|s| Reg::D(s as u16)));
        r.chain(d).chain((1..kernel.np).map(|s| Reg::P(s as u16)))
    };
    // Registers that are filled once and never written.
    let mut fixed = vec![false; index.n32 + index.n64 + kernel.np];
    let r = kernel.const32.iter().map(|c| c.0).chain(kernel.specials.iter().map(|s| s.0)).map(Reg::R);
    let d = kernel.const64.iter().map(|c| Reg::D(c.0));
    r.chain(d).chain(kernel.given.iter().map(|g| g.0)).for_each(|reg| fixed[index.of(reg)] = true);

    let (n, words) = (kernel.code.len(), fixed.len().div_ceil(64));
    if n * words > LARGE {
        kernel.cleared = all().filter(|&reg| !fixed[index.of(reg)]).collect();
        return;
    }
    let uses: Vec<Uses> = kernel.code.iter_mut().map(|inst| uses(&mut inst.op)).collect();
    let live = live(kernel, &uses, index, words);
    let mut first = live[..words].to_vec();
    // A shuffle may read what another lane has, which may have gone another way.
    let mut own = fixed.clone();
    for inst in &kernel.code {
        if let Op::Shfl { a, .. } = inst.op {
            first[a as usize / 64] |= 1 << (a % 64);
            own[a as usize] = true;
        }
    }
    let unwritten = |i: usize| first[i / 64] >> (i % 64) & 1 == 1;
    kernel.cleared = all().filter(|&reg| !fixed[index.of(reg)] && unwritten(index.of(reg))).collect();

    let spans = spans(&uses, &live, index, fixed.len());
    let (r, n32) = places(&spans[..index.n32], &own[..index.n32]);
    let (d, n64) = places(&spans[index.n32..][..index.n64], &own[index.n32..]);
    (kernel.n32, kernel.n64) = (n32, n64);
    let place = |reg: Reg| match reg {
        Reg::R(s) => Reg::R(r[s as usize]),
        Reg::D(s) => Reg::D(d[s as usize]),
        p => p,
    };
    for inst in &mut kernel.code {
        registers(&mut inst.op, &mut |_, reg| match reg {
            Slot::R(s) => *s = r[*s as usize],
            Slot::D(s) => *s = d[*s as usize],
            Slot::P(_) => {}
        });
    }
    kernel.const32.iter_mut().for_each(|c| c.0 = r[c.0 as usize]);
    kernel.specials.iter_mut().for_each(|s| s.0 = r[s.0 as usize]);
    kernel.const64.iter_mut().for_each(|c| c.0 = d[c.0 as usize]);
    kernel.given.iter_mut().for_each(|g| g.0 = place(g.0));
    kernel.cleared.iter_mut().for_each(|reg| *reg = place(*reg));
}

fn uses(op: &mut Op) -> Uses {
    let mut u = Uses::default();
    registers(op, &mut |written, reg| {
        let list = if written { &mut u.writes } else { &mut u.reads };
        list.push(match reg {
            Slot::R(s) => Reg::R(*s),
            Slot::D(s) => Reg::D(*s),
            Slot::P(s) => Reg::P(*s),
        });
    });
    u
}

/// Per instruction, what may be read from there on before it is written.
fn live(kernel: &Kernel, uses: &[Uses], index: Index, words: usize) -> Vec<u64> {
    let n = kernel.code.len();
    let mut live = vec![0u64; n * words];
    let mut changed = true;
    while std::mem::take(&mut changed) {
        for pc in (0..n).rev() {
            let mut now = vec![0u64; words];
            kernel.follow(pc, |next| {
                for (now, live) in now.iter_mut().zip(&live[next * words..]) {
                    *now |= live;
                }
            });
            let guard = kernel.code[pc].guard;
            if guard.0 == 0 {
                for i in uses[pc].writes.iter().map(|&reg| index.of(reg)) {
                    now[i / 64] &= !(1 << (i % 64));
                }
            }
            for i in uses[pc].reads.iter().copied().chain([Reg::P(guard.0)]).map(|reg| index.of(reg)) {
                now[i / 64] |= 1 << (i % 64);
            }
            let old = &mut live[pc * words..(pc + 1) * words];
            changed |= old != now;
            old.copy_from_slice(&now);
        }
    }
    live
}

/// Of each register, the first and the last instruction where it is accessed or holds what is still needed; None of one
/// that no instruction has.
fn spans(uses: &[Uses], live: &[u64], index: Index, registers: usize) -> Vec<Option<(usize, usize)>> {
    let mut spans: Vec<Option<(usize, usize)>> = vec![None; registers];
    let mut widen = |i: usize, pc: usize| {
        let (first, last) = spans[i].get_or_insert((pc, pc));
        (*first, *last) = (pc.min(*first), pc.max(*last));
    };
    let words = registers.div_ceil(64);
    let mut before = vec![0u64; words];
    for (pc, uses) in uses.iter().enumerate() {
        for (k, before) in before.iter_mut().enumerate() {
            let now = live[pc * words + k];
            // What is needed before and after, needs no look.
            let mut changes = now ^ *before;
            while changes != 0 {
                let bit = changes.trailing_zeros() as usize;
                widen(64 * k + bit, if now >> bit & 1 == 1 { pc } else { pc - 1 });
                changes &= changes - 1;
            }
            *before = now;
        }
        uses.reads.iter().chain(&uses.writes).for_each(|&reg| widen(index.of(reg), pc));
    }
    for (k, &before) in before.iter().enumerate() {
        (0..64).filter(|bit| before >> bit & 1 == 1).for_each(|bit| widen(64 * k + bit, uses.len() - 1));
    }
    spans
}

/// A place for each register, and their number. Those of `own` share theirs with none; others do where no instruction
/// lies in the spans of both, so that an instruction's result never takes the place of one of its operands.
fn places(spans: &[Option<(usize, usize)>], own: &[bool]) -> (Vec<u16>, usize) {
    let (mut place, mut count) = (vec![0; spans.len()], 0u16);
    let mut fresh = || {
        count += 1;
        count - 1
    };
    let mut sharing = Vec::new();
    for (i, span) in spans.iter().enumerate() {
        match span {
            _ if own[i] => place[i] = fresh(),
            Some((first, last)) => sharing.push((*first, *last, i)),
            None => {}
        }
    }
    sharing.sort_unstable();
    let (mut taken, mut free) = (BinaryHeap::new(), Vec::new());
    for (first, last, i) in sharing {
        while let Some(&Reverse((end, slot))) = taken.peek()
            && end < first
        {
            taken.pop();
            free.push(slot);
        }
        place[i] = free.pop().unwrap_or_else(&mut fresh);
        taken.push(Reverse((last, place[i])));
    }
    (place, count as usize)
}
