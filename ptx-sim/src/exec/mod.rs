//! The executor: blocks of warps, warps of 32 lanes in groups that stand at different instructions.

mod alu;
mod barrier;
mod buf;
mod collective;
mod data;
mod global;
mod matrix;
#[cfg(target_arch = "x86_64")]
mod mma_avx2;
mod pattern;
mod permute;
mod requests;
mod schedule;
mod step;
mod target;
mod warp;

use crate::counters::Counters;
use crate::device::DeviceOptions;
use crate::error::{Fault, FaultKind};
use crate::inst::*;
use crate::local::Local;
use crate::memory::{Global, MemFault};
use crate::order::Order;
use crate::parse::ast::Loc;
use crate::races::{Footprint, Saved};
use crate::shared::{LaneFault, Shared, Who};
use std::collections::HashMap;
use std::rc::Rc;

pub(crate) use alu::blend;
pub(crate) use buf::{Buf, Values, copy};
pub(crate) use collective::route;
pub(crate) use pattern::{Pattern, Place};
pub(crate) use permute::permute;
pub(crate) use requests::Request;
pub(crate) use schedule::{fast, run_launch};

/// Register file of a warp. The last place of `r` and of `d` is a spare one, for results on their way.
pub(crate) struct Regs {
    /// As in `Launch`.
    pub fast: bool,
    pub r: Vec<[u32; 32]>,
    pub d: Vec<[u64; 32]>,
    pub p: Vec<u32>,
}

/// Lanes that stand at one instruction.
#[derive(Clone, Copy, Debug)]
struct Group {
    pc: u32,
    mask: u32,
    /// Waits for other lanes of the warp.
    blocked: bool,
}

/// The copies of one cp.async under way.
#[derive(Default)]
struct Copies {
    mask: u32,
    /// Per lane, the number of its commit group.
    group: [u32; 32],
    addrs: [u64; 32],
    data: Buf,
    bytes: usize,
    /// Where all of it was plainly right, its pattern and the first active lane's address in shared memory.
    plain: Option<(Rc<Pattern>, u32)>,
}

/// Boxed, for they are large and move.
#[allow(clippy::vec_box)]
type InFlight = Vec<Box<Copies>>;

/// A warp at a block barrier.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    id: u32,
    /// Threads that the barrier waits for; None: all of the block.
    count: Option<u32>,
    pc: u32,
    mask: u32,
    /// The lanes whose predicate is true, of a reduction.
    votes: u32,
}

struct Warp {
    index: u32,
    regs: Regs,
    groups: Vec<Group>,
    live: u32,
    arrival: Option<Arrival>,
    /// Barriers of the warp alone or of a part of the block that it has passed.
    time: u32,
    local: Local,
    /// The data of the request under way.
    buf: Box<Buf>,
    copies: InFlight,
    /// Copies that have ended, to be used again.
    spare: InFlight,
    committed: [u32; 32],
    steps: u64,
    /// Steps up to the current instruction: the clock.
    now: u64,
    /// The turn ended while lanes were apart, so the lowest pc no longer always runs first.
    rotated: bool,
}

/// A block under way.
struct Block {
    index: u32,
    id: [u32; 3],
    shared: Shared,
    warps: Vec<Warp>,
}

/// What all blocks of a launch share.
pub(crate) struct Launch<'a> {
    pub kernel: &'a Kernel,
    pub options: &'a DeviceOptions,
    pub params: &'a [u8],
    pub globals: &'a [u64],
    pub files: &'a HashMap<u32, String>,
    pub locs: &'a [Loc],
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared_bytes: usize,
    pub dynamic_shared: usize,
    /// The processor has what the vector code is compiled for.
    pub fast: bool,
}

/// Guesses of which allocation an instruction accesses.
const RECENT: usize = 64;

/// The first sector of an instruction's last request, and how far it was from the one before.
#[derive(Clone, Copy, Default)]
struct Ahead {
    last: isize,
    step: isize,
}

/// A host thread that runs blocks, and what it has counted.
struct Worker<'a> {
    global: &'a Global,
    counters: Counters,
    /// How often warps issued an instruction, and for how many threads: the difference to the instruction before.
    hits: Vec<[u64; 2]>,
    seen: Footprint,
    /// Of kernels whose blocks may synchronise.
    order: Option<Order>,
    /// No other thread runs blocks of the launch.
    alone: bool,
    /// Index of the block that runs.
    block: u32,
    recent: [usize; RECENT],
    /// Warps of a block, and how much further on the next block of this thread is, for guesses of what it accesses.
    warps: usize,
    next_block: isize,
    ahead: [Ahead; RECENT],
    slot: usize,
    /// Per instruction, how the lanes of its last request to shared memory lay.
    patterns: Vec<Place>,
    /// Atomic operations at each address.
    atomics: HashMap<u64, u64>,
    /// Blocks that have ended, to be used again.
    pool: Vec<Box<Block>>,
}

impl Worker<'_> {
    /// A warp issues instructions that follow each other, for the lanes of a mask.
    #[inline(always)]
    fn issue(&mut self, first: usize, count: usize, mask: u32) {
        let threads = mask.count_ones() as u64;
        let [warps, all] = &mut self.hits[first];
        (*warps, *all) = (warps.wrapping_add(1), all.wrapping_add(threads));
        let [warps, all] = &mut self.hits[first + count];
        (*warps, *all) = (warps.wrapping_sub(1), all.wrapping_sub(threads));
    }
}

/// Something wrong in the current instruction, and the lane that did it.
struct Trouble {
    kind: FaultKind,
    detail: String,
    lane: Option<u32>,
}

type Step<T> = Result<T, Trouble>;

fn trouble<T>(kind: FaultKind, detail: impl Into<String>) -> Step<T> {
    Err(Trouble { kind, detail: detail.into(), lane: None })
}

/// An array of what `f` says of each index. Unlike `array::from_fn` and `map` it is always inlined, and so compiled for
/// the processor that its caller is compiled for.
#[inline(always)]
pub(crate) fn each<T: Copy + Default, const N: usize>(mut f: impl FnMut(usize) -> T) -> [T; N] {
    let mut out = [T::default(); N];
    for (i, out) in out.iter_mut().enumerate() {
        *out = f(i);
    }
    out
}

/// The set bits of a mask, ascending.
#[inline(always)]
pub(crate) fn lanes(mask: u32) -> impl Iterator<Item = usize> + Clone {
    let mut m = mask;
    std::iter::from_fn(move || {
        (m != 0).then(|| {
            let i = m.trailing_zeros();
            m &= m - 1;
            i as usize
        })
    })
}

impl Regs {
    #[inline(always)]
    fn pred(&self, p: Pred) -> u32 {
        let v = self.p[p.0 as usize];
        if p.1 { !v } else { v }
    }

    #[inline(always)]
    fn get(&self, reg: Reg, lane: usize) -> u64 {
        match reg {
            Reg::R(s) => self.r[s as usize][lane] as u64,
            Reg::D(s) => self.d[s as usize][lane],
            Reg::P(s) => (self.p[s as usize] >> lane & 1) as u64,
        }
    }

    #[inline(always)]
    fn set(&mut self, reg: Reg, lane: usize, v: u64) {
        match reg {
            Reg::R(s) => self.r[s as usize][lane] = v as u32,
            Reg::D(s) => self.d[s as usize][lane] = v,
            Reg::P(s) => {
                let p = &mut self.p[s as usize];
                *p = *p & !(1 << lane) | (v as u32 & 1) << lane;
            }
        }
    }

    #[inline(always)]
    fn set_pred(&mut self, slot: u16, v: u32, mask: u32) {
        let p = &mut self.p[slot as usize];
        *p = *p & !mask | v & mask;
    }
}
