//! The executor: blocks of warps, warps of 32 lanes in groups that stand at different instructions.

mod alu;
mod collective;
mod data;
mod matrix;
mod schedule;

use crate::counters::Counters;
use crate::device::DeviceOptions;
use crate::error::FaultKind;
use crate::inst::*;
use crate::memory::{Global, MemFault};
use crate::shared::{Local, Shared, Who};

pub(crate) use alu::fast;
pub(crate) use schedule::run_launch;

/// Register file of a warp.
pub(crate) struct Regs {
    pub r: Vec<[u32; 32]>,
    pub d: Vec<[u64; 32]>,
    pub p: Vec<u32>,
}

/// Lanes that stand at one instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pc: u32,
    mask: u32,
    /// Waits for other lanes of the warp.
    blocked: bool,
}

/// A cp.async under way.
struct Copy {
    lane: u8,
    /// Number of the commit group of its thread.
    group: u32,
    addr: u64,
    bytes: [u8; 16],
    len: u8,
}

/// A warp at a block barrier.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    id: u32,
    count: Option<u32>,
    pc: u32,
    mask: u32,
    /// The lanes whose predicate is true, of a reduction.
    votes: u32,
}

pub(crate) struct Warp {
    index: u32,
    regs: Regs,
    groups: Vec<Group>,
    live: u32,
    arrival: Option<Arrival>,
    epoch: u32,
    local: Local,
    copies: Vec<Copy>,
    committed: [u32; 32],
    steps: u64,
    /// The step budget ran out while lanes were apart, so the lowest pc no longer always runs first.
    rotated: bool,
}

pub(crate) struct Block {
    index: u32,
    id: [u32; 3],
    shared: Shared,
    warps: Vec<Warp>,
    epoch: u32,
}

/// What all blocks of a launch share.
pub(crate) struct Launch<'a> {
    pub kernel: &'a Kernel,
    pub options: &'a DeviceOptions,
    pub params: &'a [u8],
    pub globals: &'a [u64],
    pub files: &'a std::collections::HashMap<u32, String>,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared_bytes: usize,
    pub dynamic_shared: usize,
    pub fast: bool,
}

/// Mutable state of a launch.
pub(crate) struct Machine<'a> {
    pub global: &'a mut Global,
    pub counters: Counters,
    pub clock: u64,
}

/// Something wrong in the current instruction, and the lane that did it.
pub(crate) struct Trouble {
    kind: FaultKind,
    detail: String,
    lane: Option<u32>,
}

type Step<T> = Result<T, Trouble>;

fn trouble<T>(kind: FaultKind, detail: impl Into<String>) -> Step<T> {
    Err(Trouble { kind, detail: detail.into(), lane: None })
}

fn at_lane(lane: usize) -> impl Fn(MemFault) -> Trouble {
    move |MemFault(kind, detail)| Trouble { kind, detail, lane: Some(lane as u32) }
}

/// What follows an instruction.
enum Flow {
    Next,
    Jump(u32),
    /// Lanes that go elsewhere; the others go on.
    Split(Vec<Group>),
    Exit,
    /// Waits for other lanes of the warp at this instruction.
    Wait,
    Barrier,
}

/// The set bits of a mask, ascending.
#[inline(always)]
fn lanes(mask: u32) -> impl Iterator<Item = usize> {
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

impl Warp {
    fn who(&self, lane: usize, block_epoch: u32, atomic: bool) -> Who {
        Who { thread: self.index * 32 + lane as u32, epoch: block_epoch, warp_epoch: self.epoch, atomic }
    }

    fn address(&self, addr: Addr, lane: usize) -> u64 {
        match addr.base {
            None => addr.offset as u64,
            Some(Reg::R(s)) => self.regs.r[s as usize][lane].wrapping_add(addr.offset as u32) as u64,
            Some(reg) => self.regs.get(reg, lane).wrapping_add(addr.offset as u64),
        }
    }
}
