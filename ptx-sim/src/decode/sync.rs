//! Decoding of barriers, warp-wide operations and matrix instructions.

use super::Decoder;
use crate::error::Result;
use crate::exec::route;
use crate::inst::*;
use crate::ops::cmp::Cmp;
use crate::parse::ast::{Operand, Ty};

impl<'a> Decoder<'a> {
    pub(super) fn synchronise(&mut self, key: &str, mods: &[&str], args: &'a [Operand]) -> Result<bool> {
        let op = match (key, args) {
            ("bar.warp.sync", [m]) => Op::WarpSync(self.r(m)?),
            ("activemask.b32", [d]) => Op::ActiveMask(self.r(d)?),
            ("match.any.sync.b32", [d, a, m]) => Op::MatchAny(self.r(d)?, Reg::R(self.r(a)?), self.r(m)?),
            ("match.any.sync.b64", [d, a, m]) => Op::MatchAny(self.r(d)?, Reg::D(self.d(a)?), self.r(m)?),
            ("vote.sync.ballot.b32", [d, p, m]) => {
                Op::Vote(VoteMode::Ballot, Reg::R(self.r(d)?), self.pred(p)?, self.r(m)?)
            }
            ("vote.sync.all.pred" | "vote.sync.any.pred" | "vote.sync.uni.pred", [d, p, m]) => {
                let mode = match mods[2] {
                    "all" => VoteMode::All,
                    "any" => VoteMode::Any,
                    _ => VoteMode::Uni,
                };
                Op::Vote(mode, Reg::P(self.written_pred(d)?), self.pred(p)?, self.r(m)?)
            }
            _ => match mods[0] {
                "membar" | "fence" => {
                    let known = match &mods[1..] {
                        ["cta" | "gl" | "sys"] if mods[0] == "membar" => true,
                        ["cta" | "gpu" | "sys"] | ["sc" | "acq_rel", "cta" | "gpu" | "sys"] => mods[0] == "fence",
                        _ => false,
                    };
                    if !known || !args.is_empty() {
                        return Ok(false);
                    }
                    Op::Fence(!mods[1..].contains(&"cta"))
                }
                "bar" | "barrier" => return self.barrier(mods, args),
                "match" => return self.match_all(key, args),
                "shfl" => return self.shfl(mods, args),
                "redux" => {
                    let ([_, "sync", op, ty], [d, a, m]) = (mods, args) else { return Ok(false) };
                    let op = match (*op, *ty) {
                        ("add", "u32" | "s32") => ReduxOp::Add,
                        ("min", "s32") => ReduxOp::MinS,
                        ("min", "u32") => ReduxOp::MinU,
                        ("max", "s32") => ReduxOp::MaxS,
                        ("max", "u32") => ReduxOp::MaxU,
                        ("and", "b32") => ReduxOp::And,
                        ("or", "b32") => ReduxOp::Or,
                        ("xor", "b32") => ReduxOp::Xor,
                        _ => return Ok(false),
                    };
                    Op::Redux(op, self.r(d)?, self.r(a)?, self.r(m)?)
                }
                "ldmatrix" => return self.ldmatrix(mods, args),
                "mma" => return self.mma(key, args),
                _ => return Ok(false),
            },
        };
        self.emit(op)?;
        Ok(true)
    }

    /// bar and barrier, of all threads or of a number, with a reduction or without.
    fn barrier(&mut self, mods: &[&str], args: &[Operand]) -> Result<bool> {
        let rest = match mods {
            ["bar" | "barrier", "cta", rest @ ..] | ["bar" | "barrier", rest @ ..] => rest,
            _ => return Ok(false),
        };
        // `bar` implies `.aligned`.
        let rest: Vec<&str> = match rest {
            ["sync", "aligned"] if mods[0] == "barrier" => vec!["sync"],
            ["red", op, "aligned", ty] if mods[0] == "barrier" => vec!["red", op, ty],
            rest => rest.to_vec(),
        };
        let op = match (&rest[..], args) {
            (["sync"], [id]) => Op::Bar(self.r(id)?, None, None),
            (["sync"], [id, n]) => Op::Bar(self.r(id)?, Some(self.r(n)?), None),
            (["red", op, ty], [d, id, n @ .., p]) if n.len() < 2 => {
                let reduce = match (*op, *ty) {
                    ("popc", "u32") => (0, Reg::R(self.r(d)?), self.pred(p)?),
                    ("and", "pred") => (1, Reg::P(self.written_pred(d)?), self.pred(p)?),
                    ("or", "pred") => (2, Reg::P(self.written_pred(d)?), self.pred(p)?),
                    _ => return Ok(false),
                };
                let n = n.first().map(|n| self.r(n)).transpose()?;
                Op::Bar(self.r(id)?, n, Some(reduce))
            }
            _ => return Ok(false),
        };
        self.emit(op)?;
        Ok(true)
    }

    /// match.all: every member has the same value exactly where match.any gives all members.
    fn match_all(&mut self, key: &str, args: &[Operand]) -> Result<bool> {
        let [d, a, m] = args else { return Ok(false) };
        let value = match key {
            "match.all.sync.b32" => Reg::R(self.r(a)?),
            "match.all.sync.b64" => Reg::D(self.d(a)?),
            _ => return Ok(false),
        };
        let (d, p) = match d {
            Operand::Pair(d, p) => (self.r(&Operand::Name(d.clone(), 0))?, self.pred_reg(p)?),
            d => (self.r(d)?, self.pred_reg("_")?),
        };
        let members = self.r(m)?;
        let Reg::R(alike) = self.fresh(Ty::Bits(4))? else { unreachable!("32 bits were asked for") };
        let none = self.const32(0)?;
        // The guard may be `p` itself, so that changes last.
        let same = self.pred_reg("_")?;
        let Some(equal) = Cmp::parse("eq", false, "b32") else { unreachable!("setp.eq.b32 exists") };
        self.emit(Op::MatchAny(alike, value, members))?;
        self.emit(Op::Set32(equal, same, None, alike, members, BoolOp::And, ALWAYS))?;
        self.emit(Op::Sel32(d, members, none, Pred(same, false)))?;
        self.emit(Op::Logic(BoolOp::And, p, Pred(same, false), ALWAYS))?;
        Ok(true)
    }

    fn shfl(&mut self, mods: &[&str], args: &[Operand]) -> Result<bool> {
        let ([_, "sync", mode, "b32"], [d, a, b, c, m]) = (mods, args) else { return Ok(false) };
        let mode = match *mode {
            "up" => ShflMode::Up,
            "down" => ShflMode::Down,
            "bfly" => ShflMode::Bfly,
            "idx" => ShflMode::Idx,
            _ => return Ok(false),
        };
        let (dst, ok) = match d {
            Operand::Pair(d, p) => (self.r(&Operand::Name(d.clone(), 0))?, Some(self.pred_reg(p)?)),
            d => (self.r(d)?, None),
        };
        let (a, lane, clamp, members) = (self.r(a)?, self.r(b)?, self.r(c)?, self.r(m)?);
        let fixed = |slot: u16| self.kernel.const32.iter().find(|c| c.0 == slot).map(|c| c.1);
        let route = match (fixed(lane), fixed(clamp), fixed(members)) {
            (Some(lane), Some(clamp), Some(u32::MAX)) => Some(Box::new(route(mode, &[lane; 32], &[clamp; 32]))),
            _ => None,
        };
        self.emit(Op::Shfl { mode, dst, ok, a, lane, clamp, members, route })?;
        Ok(true)
    }

    fn vector(&mut self, arg: &Operand, n: usize) -> Result<Vec<u16>> {
        match arg {
            Operand::Vec(list) if list.len() == n => list.iter().map(|r| self.r(r)).collect(),
            _ => self.err(format!("expected {n} registers")),
        }
    }

    fn ldmatrix(&mut self, mods: &[&str], args: &[Operand]) -> Result<bool> {
        let ([_, "sync", "aligned", "m8n8", count, rest @ ..], [d, addr]) = (mods, args) else { return Ok(false) };
        let n = match *count {
            "x1" => 1,
            "x2" => 2,
            "x4" => 4,
            _ => return Ok(false),
        };
        let trans = match rest {
            ["shared" | "shared::cta", "b16"] => false,
            ["trans", "shared" | "shared::cta", "b16"] => true,
            _ => return Ok(false),
        };
        let regs = self.vector(d, n)?;
        let addr = self.addr(addr)?.0;
        self.emit(Op::LdMatrix(regs, trans, addr))?;
        Ok(true)
    }

    fn mma(&mut self, key: &str, args: &[Operand]) -> Result<bool> {
        let (kind, na, nb) = match key {
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32" => (MmaKind::F16, 4, 2),
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32" => (MmaKind::Bf16, 4, 2),
            "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32" => (MmaKind::F16, 2, 1),
            "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32" => (MmaKind::Bf16, 2, 1),
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32" => (MmaKind::Tf32, 4, 2),
            "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32" => (MmaKind::Tf32, 2, 1),
            _ => return Ok(false),
        };
        let [d, a, b, c] = args else { return Ok(false) };
        let four = |v: Vec<u16>| [v[0], v[1], v[2], v[3]];
        let (d, c) = (four(self.vector(d, 4)?), four(self.vector(c, 4)?));
        let (a, b) = (self.vector(a, na)?, self.vector(b, nb)?);
        self.emit(Op::Mma(Box::new(Mma { kind, d, a, b, c })))?;
        Ok(true)
    }
}
