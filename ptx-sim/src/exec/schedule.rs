//! Which block and which warp runs when.
//!
//! Blocks start in an order drawn from the seed. A kernel whose blocks can't synchronise has the same result in whatever
//! order and on however many host threads they run, or else it has a race, which the checks find. So such blocks run on
//! all threads at once; where that meets a fault, what was written is undone and all blocks run again one after the
//! other, so that the fault is the first one in the order. Kernels with strong accesses or atomics run on one thread,
//! with several blocks resident that take turns; where the quick check sees a race, the exact one has the last word.

use super::target::{Anywhere, Target, Vectors};
use super::*;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// Steps after which a warp gives way to the others of its block, and a block to others.
const TURN: u32 = 100_000;

/// Whether the processor has what the executor is compiled for apart.
pub(crate) fn fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Neighbouring blocks that stay together in the order of a large grid.
const RUN: usize = 16;

pub(super) enum Stop {
    Exited,
    Barrier,
    Turn,
}

/// A small generator for the order of blocks and warps.
struct Rng(u64);

impl Rng {
    fn new(seed: u64, stream: u64) -> Rng {
        Rng((seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_add(stream.wrapping_mul(0xd134_2543_de82_ef95)))
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            list.swap(i, (self.0 >> 33) as usize % (i + 1));
        }
    }
}

/// Runs all blocks.
pub(crate) fn run_launch(launch: &Launch, global: &mut Global) -> Result<Counters, Box<Fault>> {
    let total: u64 = launch.grid.iter().map(|&g| g as u64).product();
    let mut order: Vec<u32> = (0..total as u32).collect();
    if launch.options.shuffle {
        let mut rng = Rng::new(launch.options.seed, 0);
        // Large grids are shuffled in two steps, so that the processor's caches see some of what lies side by side.
        let step = if order.len() < 16 * RUN { 1 } else { RUN };
        let mut runs: Vec<&[u32]> = order.chunks(step).collect();
        rng.shuffle(&mut runs);
        order = runs.concat();
        order.chunks_mut(step).for_each(|run| rng.shuffle(run));
    }
    let cores = || std::thread::available_parallelism().map_or(1, |n| n.get());
    let wanted = if launch.options.threads == 0 { cores() } else { launch.options.threads };
    let threads = wanted.min(order.len());
    global.begin();
    global.exact = false;
    let communicates = launch.kernel.traits.communicates;
    if threads > 1 && !communicates && global.check_races {
        match launch.run_parallel(&order, threads, global) {
            Some(counters) => return Ok(counters),
            None => global.begin(),
        }
    }
    let (mut result, saved) = launch.run_alone(&order, global);
    if let Err(fault) = &result
        && fault.kind == FaultKind::GlobalRace
        && communicates
    {
        global.restore(saved);
        global.begin();
        global.exact = true;
        result = launch.run_alone(&order, global).0;
    }
    let mut counters = result?;
    counters.unique_bytes = counters.unique_bytes.wrapping_add(global.detailed_bytes());
    Ok(counters)
}

impl Worker<'_> {
    fn new<'a>(launch: &Launch, global: &'a Global, alone: bool) -> Worker<'a> {
        Worker {
            global,
            counters: Counters::default(),
            hits: vec![[0; 2]; launch.kernel.code.len() + 1],
            seen: Footprint { saved: (!alone).then(Vec::new), ..Footprint::default() },
            order: launch.kernel.traits.communicates.then(Order::default),
            alone,
            block: 0,
            recent: [0; RECENT],
            warps: launch.threads().div_ceil(32) as usize,
            next_block: 0,
            ahead: [Ahead::default(); RECENT],
            slot: 0,
            patterns: launch.kernel.code.iter().map(|_| Place::default()).collect(),
            atomics: HashMap::new(),
            pool: Vec::new(),
        }
    }

    /// All that was counted.
    fn counted(self, launch: &Launch) -> Counters {
        let mut c = self.counters;
        let (mut warps, mut threads) = (0u64, 0u64);
        for (inst, [more, all]) in launch.kernel.code.iter().zip(self.hits) {
            (warps, threads) = (warps.wrapping_add(more), threads.wrapping_add(all));
            c.warp_instructions[inst.class as usize] += warps;
            c.thread_instructions[inst.class as usize] += threads;
            c.flops += inst.flops as u64 * threads;
        }
        c.unique_load_sectors = self.seen.read_sectors;
        c.unique_store_sectors = self.seen.written_sectors;
        c.unique_bytes = self.seen.bytes;
        c.atomic_busiest_address = self.atomics.into_values().max().unwrap_or(0);
        c
    }
}

impl Launch<'_> {
    /// Runs blocks on several threads; None (and nothing written) if there was a fault.
    fn run_parallel(&self, order: &[u32], threads: usize, global: &mut Global) -> Option<Counters> {
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let shared: &Global = global;
        let run = || {
            let mut m = Worker::new(self, shared, false);
            while !failed.load(Relaxed) {
                let at = next.fetch_add(1, Relaxed);
                let Some(&index) = order.get(at) else { break };
                m.next_block = order.get(at + threads).map_or(0, |&next| next as isize - index as isize);
                let mut block = self.new_block(index, &mut m);
                loop {
                    match self.run_block(&mut block, &mut m) {
                        Ok(true) => break,
                        Ok(false) => {}
                        Err(_) => {
                            failed.store(true, Relaxed);
                            break;
                        }
                    }
                }
                m.pool.push(block);
            }
            let saved = m.seen.saved.take().unwrap_or_default();
            (m.counted(self), saved)
        };
        let parts: Vec<_> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            handles.into_iter().map(|h| h.join().expect("blocks don't panic")).collect()
        });
        if failed.load(Relaxed) {
            parts.into_iter().for_each(|(_, saved)| global.restore(saved));
            return None;
        }
        let mut counters = Counters::default();
        parts.iter().for_each(|(c, _)| counters.add(c));
        counters.unique_bytes = counters.unique_bytes.wrapping_add(global.detailed_bytes());
        Some(counters)
    }

    /// Runs all blocks on this thread. Also returns what was written to, if that may have to be undone.
    fn run_alone(&self, order: &[u32], global: &Global) -> (Result<Counters, Box<Fault>>, Vec<Saved>) {
        let mut m = Worker::new(self, global, true);
        m.seen.saved = (self.kernel.traits.communicates && !global.exact).then(Vec::new);
        let result = self.run_serial(order, &mut m);
        let saved = m.seen.saved.take().unwrap_or_default();
        (result.map(|()| m.counted(self)), saved)
    }

    fn run_serial(&self, order: &[u32], m: &mut Worker) -> Result<(), Box<Fault>> {
        let mut waiting = order.iter();
        let mut resident: VecDeque<Box<Block>> = VecDeque::new();
        loop {
            // A block that gave way lets another one start; when all places are taken, the oldest goes on.
            let room = resident.len() < self.options.resident_blocks.max(1);
            let mut block = match waiting.as_slice().first() {
                Some(&index) if room => {
                    waiting.next();
                    m.next_block = waiting.as_slice().first().map_or(0, |&next| next as isize - index as isize);
                    self.new_block(index, m)
                }
                _ => match resident.pop_front() {
                    Some(block) => block,
                    None => return Ok(()),
                },
            };
            if self.run_block(&mut block, m)? {
                m.pool.push(block);
            } else {
                resident.push_back(block);
            }
        }
    }

    /// Runs a block until it ends (true) or has had its turn (false).
    fn run_block(&self, block: &mut Block, m: &mut Worker) -> Result<bool, Box<Fault>> {
        m.block = block.index;
        if let Some(order) = &mut m.order {
            order.switch(block.index);
        }
        let mut rng = Rng::new(self.options.seed, 1 + block.index as u64);
        let mut ready: Vec<usize> = Vec::new();
        loop {
            ready.clear();
            ready.extend(
                (0..block.warps.len()).filter(|&i| block.warps[i].live != 0 && block.warps[i].arrival.is_none()),
            );
            if ready.is_empty() {
                if block.warps.iter().all(|w| w.live == 0) {
                    return Ok(true);
                }
                if !self.release(block) {
                    return Err(self.stuck(block));
                }
                continue;
            }
            if self.options.shuffle {
                rng.shuffle(&mut ready);
            }
            let mut progressed = false;
            for &i in &ready {
                progressed |= !matches!(self.run_warp(block, i, m)?, Stop::Turn);
            }
            // Some may spin on what those behind a complete barrier of a part of the block do.
            if !progressed && !self.release(block) {
                return Ok(false);
            }
        }
    }

    /// The place in the source: the innermost one in a CUDA file, for intrinsics are inlined from the toolkit's headers.
    fn source(&self, loc: u32) -> Option<(String, u32)> {
        let place = |loc: u32| self.files.get(&self.locs[loc as usize].file).map(|f| (f, self.locs[loc as usize]));
        let cuda = |f: &str| f.ends_with(".cu") || f.ends_with(".cuh");
        // Callers come before what is inlined into them.
        let chain = std::iter::successors(Some(loc), |&l| Some(self.locs[l as usize].caller).filter(|&c| c < l));
        let found = chain.filter_map(place).find(|(f, _)| cuda(f)).or_else(|| place(loc));
        found.map(|(f, l)| (f.clone(), l.line))
    }

    #[cold]
    pub(super) fn fault(&self, block: &Block, warp: usize, pc: u32, t: Trouble) -> Box<Fault> {
        let inst = &self.kernel.code[(pc as usize).min(self.kernel.code.len() - 1)];
        let [bx, by, _] = self.block;
        let thread = t.lane.map(|lane| {
            let t = warp as u32 * 32 + lane;
            [t % bx, t / bx % by, t / bx / by]
        });
        let source = self.source(inst.loc);
        let kernel = self.kernel.name.clone();
        Box::new(Fault { kind: t.kind, detail: t.detail, kernel, block: block.id, thread, line: inst.line, source })
    }

    fn run_warp(&self, block: &mut Block, index: usize, m: &mut Worker) -> Result<Stop, Box<Fault>> {
        let (w, shared) = (&mut block.warps[index], &mut block.shared);
        // SAFETY: `fast` says that the processor has what `Vectors` is compiled for.
        #[allow(unsafe_code)]
        let stop = unsafe {
            if self.fast { Vectors::run_warp(self, w, shared, m) } else { Anywhere::run_warp(self, w, shared, m) }
        };
        stop.map_err(|(pc, mut t)| {
            if t.kind == FaultKind::StepBudget {
                let stand: Vec<String> = block.warps.iter().map(|w| self.stand(w)).collect();
                t.detail = format!("{}; {}", t.detail, stand.join(", "));
            }
            self.fault(block, index, pc, t)
        })
    }

    /// Runs a warp until it exits, arrives at a barrier, or has had its turn. An error comes with the instruction.
    #[inline(always)]
    pub(super) fn run_warp_with<T: Target>(
        &self,
        w: &mut Warp,
        shared: &mut Shared,
        m: &mut Worker,
    ) -> Result<Stop, (u32, Trouble)> {
        let code = &self.kernel.code[..];
        // One step more than the budget, to find that it is spent.
        let left = self.options.step_budget.saturating_sub(w.steps) + 1;
        let mut turn = left.min(TURN as u64) as u32;
        w.steps += turn as u64;
        // After a turn without end, lanes that stand apart swap places, so that none starves.
        let mut swap = w.rotated;
        loop {
            let free = || w.groups.iter().enumerate().filter(|g| !g.1.blocked);
            let pick = if swap { free().max_by_key(|g| g.1.pc) } else { free().min_by_key(|g| g.1.pc) };
            let Some((i, _)) = pick else {
                w.steps -= turn as u64;
                return if w.live == 0 { Ok(Stop::Exited) } else { Err(blocked(w)) };
            };
            let mut g = w.groups.swap_remove(i);
            loop {
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
                    if w.steps > self.options.step_budget {
                        let detail = format!("warp {} took more than {} steps", w.index, self.options.step_budget);
                        return Err((g.pc, Trouble { kind: FaultKind::StepBudget, detail, lane: None }));
                    }
                    return Ok(Stop::Turn);
                }
                let at = g.pc as usize;
                let inst = &code[at];
                let mask = g.mask & w.regs.pred(inst.guard);
                if inst.straight > 0 {
                    let mut count = turn.min(inst.straight as u32);
                    if !w.groups.is_empty() {
                        // Lanes that stand further down may join on the way.
                        count = w.groups.iter().filter(|o| o.pc > g.pc).fold(count, |n, o| n.min(o.pc - g.pc));
                    }
                    T::arithmetic(&code[at..at + count as usize], &mut w.regs, mask);
                    m.issue(at, count as usize, mask);
                    turn -= count;
                    g.pc += count;
                    continue;
                }
                turn -= 1;
                w.now = w.steps - turn as u64;
                let flow = self.step::<T>(w, g, mask, shared, m).map_err(|t| (g.pc, t))?;
                // What waits issues when the lanes that it needs are there.
                if !matches!(flow, Flow::Wait) {
                    m.issue(at, 1, mask);
                }
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
                        w.live &= !mask;
                        g.mask &= !mask;
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
                        w.steps -= turn as u64;
                        return Ok(Stop::Barrier);
                    }
                }
            }
        }
    }
}

/// The groups of a warp wait for each other.
#[cold]
fn blocked(w: &Warp) -> (u32, Trouble) {
    let g = w.groups[0];
    let detail = format!("lanes {:#010x} wait for lanes {:#010x}, which wait elsewhere", g.mask, w.live & !g.mask);
    (g.pc, Trouble { kind: FaultKind::Deadlock, detail, lane: Some(g.mask.trailing_zeros()) })
}

/// What follows an instruction.
pub(super) enum Flow {
    Next,
    Jump(u32),
    /// Lanes that go elsewhere; the others go on.
    Split(Vec<Group>),
    Exit,
    /// Waits for other lanes of the warp at this instruction.
    Wait,
    Barrier,
}
