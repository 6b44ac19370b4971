//! Barriers of a block.

use super::*;

impl Launch<'_> {
    /// Lets those warps go on whose barrier is complete; false if there are none.
    pub(super) fn release(&self, block: &mut Block) -> bool {
        let arrived: Vec<(usize, Arrival)> =
            block.warps.iter().enumerate().filter_map(|(i, w)| w.arrival.map(|a| (i, a))).collect();
        let live = block.warps.iter().filter(|w| w.live != 0).count();
        for (_, a) in &arrived {
            let mut same: Vec<(usize, Arrival)> = arrived.iter().copied().filter(|b| b.1.id == a.id).collect();
            match a.count {
                // Exited warps count as arrived.
                None if same.len() == live => {}
                Some(n) if n == self.threads() && same.len() == live => {}
                Some(n) if same.len() >= n as usize / 32 => same.truncate(n as usize / 32),
                _ => continue,
            }
            self.pass(block, &same, a.count.is_none_or(|n| n == self.threads()));
            return true;
        }
        false
    }

    /// The barrier of these warps completes; `all`: it is one of the whole block.
    fn pass(&self, block: &mut Block, warps: &[(usize, Arrival)], all: bool) {
        let popc: u32 = warps.iter().map(|(_, a)| a.votes.count_ones()).sum();
        let (every, any) = (warps.iter().all(|(_, a)| a.votes == a.mask), popc > 0);
        if all {
            block.shared.barrier();
        } else {
            let times: Vec<(u32, u32)> = warps.iter().map(|&(i, _)| (i as u32, block.warps[i].time)).collect();
            block.shared.partial_barrier(&times);
        }
        for &(i, a) in warps {
            let w = &mut block.warps[i];
            w.arrival = None;
            w.time += !all as u32;
            if let Op::Bar(_, _, Some((op, dst, _))) = &self.kernel.code[a.pc as usize].op {
                let v = [popc, every as u32, any as u32][*op as usize];
                lanes(a.mask).for_each(|lane| w.regs.set(*dst, lane, v as u64));
            }
        }
    }

    /// Warps wait at barriers that no one completes.
    pub(super) fn stuck(&self, block: &Block) -> Box<Fault> {
        let stand: Vec<String> = block.warps.iter().filter(|w| w.live != 0).map(|w| self.stand(w)).collect();
        let first = block.warps.iter().find(|w| w.arrival.is_some()).expect("a warp waits");
        let pc = first.arrival.map_or(0, |a| a.pc);
        let detail = format!("no barrier can complete: {}", stand.join(", "));
        let lane = Some(first.live.trailing_zeros());
        self.fault(block, first.index as usize, pc, Trouble { kind: FaultKind::Deadlock, detail, lane })
    }

    /// Where a warp stands, for an error.
    pub(super) fn stand(&self, w: &Warp) -> String {
        let line = |pc: u32| self.kernel.code[(pc as usize).min(self.kernel.code.len() - 1)].line;
        match (w.arrival, w.groups.iter().min_by_key(|g| g.pc)) {
            (Some(a), _) => format!("warp {} at barrier {} (PTX line {})", w.index, a.id, line(a.pc)),
            (None, Some(g)) => format!("warp {} at PTX line {}", w.index, line(g.pc)),
            (None, None) => format!("warp {} has exited", w.index),
        }
    }
}
