//! Decoding of loads, stores, atomics and asynchronous copies.

use super::{Decoder, Symbol};
use crate::counters::Class;
use crate::error::Result;
use crate::inst::*;
use crate::ops::table32::Un32;
use crate::ops::table64::Un64;
use crate::parse::ast::{Imm, Operand, Ty};

impl<'a> Decoder<'a> {
    pub(super) fn data(&mut self, mods: &[&str], args: &'a [Operand]) -> Result<bool> {
        match (mods[0], args) {
            ("ld" | "ldu", [regs, addr]) => self.access(mods, regs, addr, true),
            ("st", [addr, regs]) => self.access(mods, regs, addr, false),
            ("atom", [d, addr, rest @ ..]) => self.atom(mods, Some(d), addr, rest),
            ("red", [addr, rest @ ..]) => self.atom(mods, None, addr, rest),
            ("cp", _) => self.cp_async(mods, args),
            // Hints and pauses change no result.
            ("prefetch" | "prefetchu", [Operand::Addr(..)]) => {
                let known = match &mods[1..] {
                    ["L1" | "L2"] | ["global" | "local", "L1" | "L2"] => mods[0] == "prefetch" || mods[1..] == ["L1"],
                    ["global", "L2::evict_last" | "L2::evict_normal"] => mods[0] == "prefetch",
                    _ => false,
                };
                if known {
                    self.addr(&args[0])?;
                    self.emit(Op::Nop)?;
                }
                Ok(known)
            }
            ("nanosleep", [time]) if mods[1..] == ["u32"] => {
                self.r(time)?;
                self.emit(Op::Nop)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn space(name: &str) -> Option<Space> {
        Some(match name {
            "global" => Space::Global,
            "shared" | "shared::cta" => Space::Shared,
            "local" => Space::Local,
            "const" => Space::Const,
            "param" | "param::entry" | "param::func" => Space::Param,
            _ => return None,
        })
    }

    fn access(&mut self, mods: &[&str], regs: &Operand, addr: &Operand, load: bool) -> Result<bool> {
        let [_, middle @ .., ty] = mods else { return Ok(false) };
        let (mut space, mut count) = (Space::Generic, 1);
        let (mut strong, mut volatile, mut acquire, mut release, mut narrow) = (false, false, false, false, false);
        for m in middle {
            match *m {
                "v2" => count = 2,
                "v4" => count = 4,
                "volatile" => (strong, volatile) = (true, true),
                "relaxed" | "mmio" => strong = true,
                "acquire" if load => (strong, acquire) = (true, true),
                "release" if !load => (strong, release) = (true, true),
                "cta" => narrow = true,
                "weak" | "gpu" | "sys" | "cluster" => {}
                // Cache hints change no result.
                "nc" | "ca" | "cg" | "cs" | "lu" | "cv" | "wb" | "wt" => {}
                "L1::evict_normal" | "L1::evict_unchanged" | "L1::evict_first" | "L1::evict_last" => {}
                "L1::no_allocate" | "L2::64B" | "L2::128B" | "L2::256B" => {}
                m => match Self::space(m) {
                    Some(s) => space = s,
                    None => return Ok(false),
                },
            }
        }
        let Some(Ty::Bits(bytes)) = Ty::parse(ty) else { return Ok(false) };
        let list = match regs {
            Operand::Vec(list) => &list[..],
            one => std::slice::from_ref(one),
        };
        if list.len() != count || count * bytes as usize > 16 {
            return self.err("wrong vector width");
        }
        let mut out = Vec::new();
        for r in list {
            if matches!(r, Operand::Name(n, 0) if n == "_") {
                out.push(None);
                continue;
            }
            let reg = self.any(r, bytes)?;
            if matches!(reg, Reg::P(_)) || (bytes == 8 && !matches!(reg, Reg::D(_))) {
                return self.err("register too narrow for the type");
            }
            out.push(Some(reg));
        }
        let (addr, symbol) = self.addr(addr)?;
        let space = match (space, symbol) {
            (Space::Param, Some(Symbol::CallParam(_))) => Space::CallParam,
            (Space::Param, _) if !load => return self.err("store to a kernel parameter"),
            (Space::Const, _) if !load => return self.err("store to constant memory"),
            (_, Some(Symbol::CallParam(_))) => return self.err("unsupported access to a call's parameter"),
            (s, _) => s,
        };
        let signed = ty.starts_with('s');
        if space == Space::Param && addr.base.is_none() {
            let at = addr.offset as usize;
            if at.saturating_add(count * bytes as usize) <= self.kernel.param_bytes {
                return self.parameters(&out, at, (bytes, signed));
            }
        }
        let (acquire, release) = (acquire && !narrow, release && !narrow);
        let access = Access { space, bytes, signed, regs: out, addr, strong, volatile, acquire, release };
        self.emit(if load { Op::Ld(Box::new(access)) } else { Op::St(Box::new(access)) })?;
        Ok(true)
    }

    /// A load of parameters: moves from registers that the launch fills.
    fn parameters(&mut self, to: &[Option<Reg>], at: usize, (bytes, signed): (u8, bool)) -> Result<bool> {
        let mut moves = Vec::new();
        for (k, &to) in to.iter().enumerate() {
            let Some(to) = to else { continue };
            let from = self.fresh(Ty::Bits(if matches!(to, Reg::D(_)) { 8 } else { 4 }))?;
            self.kernel.given.push((from, Given::Param(at + k * bytes as usize, bytes, signed)));
            moves.push((to, from));
        }
        self.emit(match moves[..] {
            [(Reg::R(to), Reg::R(from))] => Op::A32(Un32::Mov, to, from),
            [(Reg::D(to), Reg::D(from))] => Op::A64(Un64::Mov, to, from),
            _ => Op::Moves(moves),
        })?;
        self.kernel.code.last_mut().expect("just emitted").class = Class::Memory;
        Ok(true)
    }

    fn atom(&mut self, mods: &[&str], d: Option<&Operand>, addr: &Operand, rest: &[Operand]) -> Result<bool> {
        let [_, middle @ .., ty] = mods else { return Ok(false) };
        let (mut space, mut name, mut narrow) = (Space::Generic, None, false);
        let (mut acquire, mut release, mut noftz) = (false, false, false);
        for m in middle {
            match *m {
                "relaxed" | "gpu" | "sys" => {}
                "noftz" => noftz = true,
                "cta" => narrow = true,
                "acquire" => acquire = true,
                "release" => release = true,
                "acq_rel" => (acquire, release) = (true, true),
                "global" => space = Space::Global,
                "shared" | "shared::cta" => space = Space::Shared,
                m if name.is_none() => name = Some(m),
                _ => return Ok(false),
            }
        }
        let Some(name) = name else { return Ok(false) };
        // Halves are added without flushing, and the name says so; other types know no such thing.
        if noftz != matches!(*ty, "f16" | "f16x2" | "bf16" | "bf16x2") {
            return Ok(false);
        }
        let signed = ty.starts_with('s');
        let op = match (name, *ty) {
            ("and", "b32" | "b64") => AtomOp::And,
            ("or", "b32" | "b64") => AtomOp::Or,
            ("xor", "b32" | "b64") => AtomOp::Xor,
            ("exch", "b32" | "b64") => AtomOp::Exch,
            ("cas", "b32" | "b64" | "b16") => AtomOp::Cas,
            ("add", "u32" | "s32" | "u64") => AtomOp::AddInt,
            ("add", "f32") => AtomOp::AddF32,
            ("add", "f64") => AtomOp::AddF64,
            // A single half is the lower one of a pair, of which only its bytes are stored.
            ("add", "f16" | "f16x2") => AtomOp::AddF16x2,
            ("add", "bf16" | "bf16x2") => AtomOp::AddBf16x2,
            ("inc", "u32") => AtomOp::Inc,
            ("dec", "u32") => AtomOp::Dec,
            ("min", "u32" | "s32" | "u64" | "s64") => {
                if signed {
                    AtomOp::MinS
                } else {
                    AtomOp::MinU
                }
            }
            ("max", "u32" | "s32" | "u64" | "s64") => {
                if signed {
                    AtomOp::MaxS
                } else {
                    AtomOp::MaxU
                }
            }
            _ => return Ok(false),
        };
        let Some(Ty::Bits(bytes)) = Ty::parse(ty) else { return Ok(false) };
        let (b, c) = match (op, rest) {
            (AtomOp::Cas, [b, c]) => (b, Some(c)),
            (AtomOp::Cas, _) => return Ok(false),
            (_, [b]) => (b, None),
            _ => return Ok(false),
        };
        let b = self.any(b, bytes)?;
        let c = c.map(|c| self.any(c, bytes)).transpose()?;
        let dst = d.map(|d| self.any(d, bytes)).transpose()?;
        for reg in [Some(b), c, dst].into_iter().flatten() {
            if matches!(reg, Reg::D(_)) != (bytes == 8) || matches!(reg, Reg::P(_)) {
                return self.err("register of the wrong width");
            }
        }
        let addr = self.addr(addr)?.0;
        let (acquire, release) = (acquire && !narrow, release && !narrow);
        self.emit(Op::Atom(Box::new(Atom { op, space, bytes, dst, addr, b, c, acquire, release })))?;
        Ok(true)
    }

    fn cp_async(&mut self, mods: &[&str], args: &[Operand]) -> Result<bool> {
        let op = match (&mods[1..], args) {
            (["async", "commit_group"], []) => Op::CpCommit,
            (["async", "wait_all"], []) => Op::CpWait(None),
            (["async", "wait_group"], [Operand::Imm(Imm::Int(n))]) => Op::CpWait(Some(*n as u32)),
            (
                ["async", kind @ ("ca" | "cg"), "shared" | "shared::cta", "global", hints @ ..],
                [dst, src, size, rest @ ..],
            ) if hints.iter().all(|h| matches!(*h, "L2::64B" | "L2::128B" | "L2::256B")) => {
                let Operand::Imm(Imm::Int(n)) = size else { return Ok(false) };
                if !(*n == 16 || *kind == "ca" && matches!(n, 4 | 8)) || rest.len() > 1 {
                    return Ok(false);
                }
                let size = rest.first().map(|r| self.any(r, 4)).transpose()?;
                if matches!(size, Some(Reg::P(_))) {
                    return self.err("unsupported ignore-src predicate");
                }
                let (dst, src) = (self.addr(dst)?.0, self.addr(src)?.0);
                Op::CpAsync(Box::new(CpAsync { dst, src, bytes: *n as u8, size }))
            }
            _ => return Ok(false),
        };
        self.emit(op)?;
        Ok(true)
    }
}
