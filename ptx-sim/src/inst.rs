//! Flat instructions, as decoding leaves them: register slots instead of names, immediates as read-only registers.

use crate::counters::Class;
use crate::device::Param;
use crate::ops::carry::Carry;
use crate::ops::cmp::{Cmp, Test};
use crate::ops::cvt::Cvt;
use crate::ops::rare::Rare;
use crate::ops::table32::*;
use crate::ops::table64::*;
use std::sync::OnceLock;

/// A register slot of its class: 32-bit, 64-bit, predicate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reg {
    R(u16),
    D(u16),
    P(u16),
}

/// A slot of an instruction, to be changed.
pub(crate) enum Slot<'a> {
    R(&'a mut u16),
    D(&'a mut u16),
    P(&'a mut u16),
}

/// A predicate slot, negated or not. Slot 0 is always true.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pred(pub u16, pub bool);

pub(crate) const ALWAYS: Pred = Pred(0, false);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum BoolOp {
    And,
    Or,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Space {
    Generic,
    Global,
    Const,
    Shared,
    Local,
    /// Parameters of a device function: local memory that is not counted as such.
    CallParam,
    /// Parameters of the kernel.
    Param,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Addr {
    pub base: Option<Reg>,
    pub offset: i64,
}

/// A load or store of one to four elements.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub space: Space,
    pub bytes: u8,
    pub signed: bool,
    pub regs: Vec<Option<Reg>>,
    pub addr: Addr,
    /// Volatile, relaxed, acquire or release.
    pub strong: bool,
    pub volatile: bool,
    /// Acquire or release of scope gpu or wider: other blocks see it.
    pub acquire: bool,
    pub release: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum AtomOp {
    And,
    Or,
    Xor,
    Exch,
    Cas,
    AddInt,
    Inc,
    Dec,
    MinS,
    MinU,
    MaxS,
    MaxU,
    AddF32,
    AddF64,
    AddF16x2,
    AddBf16x2,
}

#[derive(Clone, Debug)]
pub(crate) struct Atom {
    pub op: AtomOp,
    pub space: Space,
    pub bytes: u8,
    /// None for red.
    pub dst: Option<Reg>,
    pub addr: Addr,
    pub b: Reg,
    pub c: Option<Reg>,
    pub acquire: bool,
    pub release: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ShflMode {
    Up,
    Down,
    Bfly,
    Idx,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum VoteMode {
    All,
    Any,
    Uni,
    Ballot,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ReduxOp {
    Add,
    MinS,
    MinU,
    MaxS,
    MaxU,
    And,
    Or,
    Xor,
}

/// Element type of the inputs of an mma; sums are f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum MmaKind {
    F16,
    Bf16,
    Tf32,
}

/// mma of shape m16n8: the registers of each fragment. Their number says how deep it is.
#[derive(Clone, Debug)]
pub(crate) struct Mma {
    pub kind: MmaKind,
    pub d: [u16; 4],
    pub a: Vec<u16>,
    pub b: Vec<u16>,
    pub c: [u16; 4],
}

#[derive(Clone, Debug)]
pub(crate) struct CpAsync {
    /// In shared memory.
    pub dst: Addr,
    /// In global memory.
    pub src: Addr,
    pub bytes: u8,
    /// Bytes to read; the rest is zero.
    pub size: Option<Reg>,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    A32(Un32, u16, u16),
    B32(Bin32, u16, u16, u16),
    C32(Tri32, u16, u16, u16, u16),
    A64(Un64, u16, u16),
    B64(Bin64, u16, u16, u16),
    C64(Tri64, u16, u16, u16, u16),
    Shift64(Shift64, u16, u16, u16),
    Count64(Count64, u16, u16),
    Wide1(Wide1, u16, u16),
    /// d, and up to three operands (those that the operation lacks repeat the first).
    Rare(Rare, u16, u16, u16, u16),
    /// d, a, b, c (of mad), and the predicate that holds the carry.
    Carry(Carry, Reg, Reg, Reg, Option<Reg>, u16),
    /// testp and isspacep: p, a.
    Test(Test, u16, Reg),
    Wide2(Wide2, u16, u16, u16),
    Wide3(Wide3, u16, u16, u16, u16),
    Lop3(u8, u16, u16, u16, u16),
    /// d, a, b, pos, len.
    Bfi32(u16, u16, u16, u16, u16),
    Bfi64(u16, u16, u16, u16, u16),
    /// Bit-field extract of 64 bits: signed, d, a, pos, len.
    Bfe64(bool, u16, u16, u16, u16),
    Cvt(Cvt, Reg, Reg),
    /// cvt of two f32 to one packed register: the first operand is the upper half.
    CvtPack(Cvt, u16, u16, u16),
    /// p, q (the complement), a, b, and what the result is combined with.
    Set32(Cmp, u16, Option<u16>, u16, u16, BoolOp, Pred),
    Set64(Cmp, u16, Option<u16>, u16, u16, BoolOp, Pred),
    /// set with a value as result: true value, d, a, b, and what the comparison is combined with.
    SetValue(Cmp, u32, u16, Reg, Reg, BoolOp, Pred),
    /// set on packed halves: true value, d, a, b, and what both comparisons are combined with.
    SetHalf2(Cmp, u32, u16, u16, u16, BoolOp, Pred),
    /// setp on packed halves: predicate of the lower and of the upper one, a, b, and what both are combined with.
    SetpHalf2(Cmp, u16, u16, u16, u16, BoolOp, Pred),
    Sel32(u16, u16, u16, Pred),
    Sel64(u16, u16, u16, Pred),
    Logic(BoolOp, u16, Pred, Pred),
    /// Moves between registers of one class: to, from.
    Moves(Vec<(Reg, Reg)>),
    /// Joins 2 or 4 registers into one of twice or four times the width.
    Pack(Reg, Vec<Reg>),
    Unpack(Vec<Option<Reg>>, Reg),
    Bra(u32),
    Brx(u16, Vec<u32>),
    Exit,
    Trap,
    Nop,
    /// Barrier id, thread count (0: all), reduction: op (0 popc, 1 and, 2 or), destination, predicate.
    Bar(u16, Option<u16>, Option<(u8, Reg, Pred)>),
    WarpSync(u16),
    Shfl {
        mode: ShflMode,
        dst: u16,
        ok: Option<u16>,
        a: u16,
        lane: u16,
        clamp: u16,
        members: u16,
        /// Where each lane takes its value from, and the lanes where that is inside, if all lanes take part and the same
        /// is true each time.
        route: Option<Box<([u32; 32], u32)>>,
    },
    Vote(VoteMode, Reg, Pred, u16),
    /// match.any of 32 bits: d, a, members.
    MatchAny(u16, Reg, u16),
    Redux(ReduxOp, u16, u16, u16),
    ActiveMask(u16),
    Clock(Reg),
    /// Nanoseconds of the host's clock.
    Timer(Reg),
    Ld(Box<Access>),
    St(Box<Access>),
    Atom(Box<Atom>),
    CpAsync(Box<CpAsync>),
    CpCommit,
    /// None: all.
    CpWait(Option<u32>),
    /// Whether other blocks see it: scope gpu or wider.
    Fence(bool),
    LdMatrix(Vec<u16>, bool, Addr),
    Mma(Box<Mma>),
}

impl Op {
    /// Whether it only changes registers of the lanes that execute it, each from its own registers.
    pub fn is_arithmetic(&self) -> bool {
        !matches!(
            self,
            Op::Bra(..)
                | Op::Brx(..)
                | Op::Exit
                | Op::Trap
                | Op::Nop
                | Op::Bar(..)
                | Op::WarpSync(..)
                | Op::Shfl { .. }
                | Op::Vote(..)
                | Op::MatchAny(..)
                | Op::Redux(..)
                | Op::ActiveMask(..)
                | Op::Clock(..)
                | Op::Timer(..)
                | Op::Ld(..)
                | Op::St(..)
                | Op::Atom(..)
                | Op::CpAsync(..)
                | Op::CpCommit
                | Op::CpWait(..)
                | Op::Fence(..)
                | Op::LdMatrix(..)
                | Op::Mma(..)
        )
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Inst {
    pub op: Op,
    pub guard: Pred,
    pub class: Class,
    /// Floating-point operations per thread.
    pub flops: u8,
    /// From here on, how many instructions follow each other that are arithmetic of all lanes that are here (of the first
    /// one, the guard may choose among them): 0 if this is no arithmetic.
    pub straight: u16,
    pub line: u32,
    pub loc: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    Nwarps,
    LaneMaskEq,
    LaneMaskLt,
    LaneMaskLe,
    LaneMaskGt,
    LaneMaskGe,
    DynamicShared,
    TotalShared,
    Zero,
}

/// What all instructions of a kernel together say of its accesses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Traits {
    /// Blocks may synchronise: strong accesses or atomics that may be to global memory.
    pub communicates: bool,
    /// log2 of the bytes of the narrowest access that may be to shared memory.
    pub shared_shift: u32,
    /// There are barriers of a part of a block.
    pub partial_barriers: bool,
    /// There are barriers of a warp.
    pub warp_barriers: bool,
    /// There are barriers of a part of a warp.
    pub partial_warp_barriers: bool,
}

/// A value that the launch decides.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Given {
    /// Offset from the start of dynamic shared memory.
    DynamicShared(i64),
    /// Index of a variable of the module, and offset.
    Variable(usize, i64),
    /// Offset and bytes of a parameter, and whether it has a sign.
    Param(usize, u8, bool),
}

/// A kernel ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub name: String,
    pub code: Vec<Inst>,
    pub n32: usize,
    pub n64: usize,
    pub np: usize,
    pub const32: Vec<(u16, u32)>,
    pub const64: Vec<(u16, u64)>,
    /// Registers that hold what is known at the launch.
    pub given: Vec<(Reg, Given)>,
    pub specials: Vec<(u16, Special)>,
    /// Registers that may be read before they are written.
    pub cleared: Vec<Reg>,
    /// Per instruction, what can be executed from there on: computed when asked for.
    pub reach: Vec<OnceLock<Box<[bool]>>>,
    pub params: Vec<Param>,
    pub param_bytes: usize,
    pub static_shared: usize,
    pub local_bytes: usize,
    /// What its accesses are like, for the checks of races.
    pub traits: Traits,
    pub max_threads: Option<u32>,
    pub required: Option<[u32; 3]>,
}

/// Where generic addresses of shared and local memory lie.
pub(crate) const SHARED_WINDOW: u64 = 1 << 56;
pub(crate) const LOCAL_WINDOW: u64 = 2 << 56;
