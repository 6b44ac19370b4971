//! Decoding of arithmetic, comparison, conversion and moves.

use super::{Decoder, Symbol};
use crate::counters::Class;
use crate::error::Result;
use crate::inst::*;
use crate::ops::carry::Carry;
use crate::ops::cmp::{Cmp, Test};
use crate::ops::cvt::{Cvt, Kind};
use crate::ops::float::Round;
use crate::ops::rare::Rare;
use crate::ops::table32::*;
use crate::ops::table64::*;
use crate::parse::ast::{Operand, Ty};

impl<'a> Decoder<'a> {
    pub(super) fn arithmetic(&mut self, key: &str, mods: &[&str], args: &'a [Operand]) -> Result<bool> {
        let op = match (mods[0], args) {
            ("mov", [Operand::Vec(to), from]) => self.unpack(to, from, mods)?,
            ("mov", [to, Operand::Vec(from)]) => self.pack(to, from, mods)?,
            ("mov", [to, _]) if key == "mov.pred" => {
                Op::Logic(BoolOp::And, self.written_pred(to)?, self.pred(&args[1])?, ALWAYS)
            }
            ("mov", [to, Operand::Name(n, 0)]) if matches!(n.as_str(), "%clock" | "%clock64") => {
                Op::Clock(self.any(to, 4)?)
            }
            ("mov", [to, Operand::Name(n, 0)]) if n == "%globaltimer" => Op::Timer(self.any(to, 4)?),
            ("and" | "or" | "xor" | "not", [d, rest @ ..]) if mods.get(1) == Some(&"pred") => {
                let d = self.written_pred(d)?;
                match (mods[0], rest) {
                    ("and", [a, b]) => Op::Logic(BoolOp::And, d, self.pred(a)?, self.pred(b)?),
                    ("or", [a, b]) => Op::Logic(BoolOp::Or, d, self.pred(a)?, self.pred(b)?),
                    ("xor", [a, b]) => Op::Logic(BoolOp::Xor, d, self.pred(a)?, self.pred(b)?),
                    ("not", [a]) => {
                        let a = self.pred(a)?;
                        Op::Logic(BoolOp::And, d, Pred(a.0, !a.1), ALWAYS)
                    }
                    _ => return Ok(false),
                }
            }
            ("setp", _) => return self.setp(mods, args),
            ("set", [d, a, b, with @ ..]) => {
                let [_, cmp, middle @ .., to, from] = mods else { return Ok(false) };
                let Some((op, with, ftz)) = self.combination(middle, with)? else { return Ok(false) };
                let half2 = matches!(*from, "f16x2" | "bf16x2");
                let Some(c) = Cmp::parse(cmp, ftz, from.trim_end_matches("x2")) else { return Ok(false) };
                let yes = match *to {
                    "u32" | "s32" if half2 => 0xffff,
                    "u32" | "s32" => !0,
                    "u16" | "s16" if matches!(*from, "f16" | "bf16") => 0xffff,
                    "f32" => 0x3f80_0000,
                    "f16" if !half2 => 0x3c00,
                    "f16x2" if half2 => 0x3c00,
                    "bf16" if *from == "bf16" => 0x3f80,
                    "bf16x2" if *from == "bf16x2" => 0x3f80,
                    _ => return Ok(false),
                };
                let d = self.r(d)?;
                if half2 {
                    if *to == "f32" || *to == "f16x2" && *from == "bf16x2" {
                        return Ok(false);
                    }
                    Op::SetHalf2(c, yes, d, self.r(a)?, self.r(b)?, op, with)
                } else if c.wide() {
                    Op::SetValue(c, yes, d, Reg::D(self.d(a)?), Reg::D(self.d(b)?), op, with)
                } else {
                    let w = if from.ends_with("16") { 2 } else { 4 };
                    Op::SetValue(c, yes, d, Reg::R(self.narrow(a, w)?), Reg::R(self.narrow(b, w)?), op, with)
                }
            }
            ("testp", [p, a]) => {
                let [_, test, ty @ ("f32" | "f64")] = mods else { return Ok(false) };
                let Some(test) = Test::parse(test) else { return Ok(false) };
                let a = if *ty == "f64" { Reg::D(self.d(a)?) } else { Reg::R(self.r(a)?) };
                Op::Test(test, self.written_pred(p)?, a)
            }
            ("isspacep", [p, a]) => {
                let window = match mods {
                    [_, "global"] => 0,
                    [_, "shared" | "shared::cta"] => SHARED_WINDOW,
                    [_, "local"] => LOCAL_WINDOW,
                    _ => return Ok(false),
                };
                Op::Test(Test::Window((window >> 56) as u8), self.written_pred(p)?, Reg::D(self.d(a)?))
            }
            ("selp", [d, a, b, p]) => {
                let p = self.pred(p)?;
                match mods {
                    [_, "b64" | "u64" | "s64" | "f64"] => Op::Sel64(self.d(d)?, self.d(a)?, self.d(b)?, p),
                    [_, "b32" | "u32" | "s32" | "f32" | "b16" | "u16" | "s16"] => {
                        Op::Sel32(self.r(d)?, self.r(a)?, self.r(b)?, p)
                    }
                    _ => return Ok(false),
                }
            }
            ("lop3", [d, a, b, c, Operand::Imm(crate::parse::ast::Imm::Int(table @ 0..=255))]) if key == "lop3.b32" => {
                Op::Lop3(*table as u8, self.r(d)?, self.r(a)?, self.r(b)?, self.r(c)?)
            }
            ("bfi", [d, a, b, pos, len]) => match key {
                "bfi.b32" => Op::Bfi32(self.r(d)?, self.r(a)?, self.r(b)?, self.r(pos)?, self.r(len)?),
                "bfi.b64" => Op::Bfi64(self.d(d)?, self.d(a)?, self.d(b)?, self.r(pos)?, self.r(len)?),
                _ => return Ok(false),
            },
            ("bfe", [d, a, pos, len]) if key == "bfe.u64" || key == "bfe.s64" => {
                Op::Bfe64(key == "bfe.s64", self.d(d)?, self.d(a)?, self.r(pos)?, self.r(len)?)
            }
            ("cvt", _) => return self.cvt(key, mods, args),
            ("cvta", [d, a]) => {
                let (to, space) = match mods {
                    [_, "to", s, "u64"] => (true, *s),
                    [_, s, "u64"] => (false, *s),
                    _ => return Ok(false),
                };
                let window = match space {
                    "global" | "const" => 0,
                    "shared" | "shared::cta" => SHARED_WINDOW,
                    "local" => LOCAL_WINDOW,
                    _ => return Ok(false),
                };
                let w = self.const64(window)?;
                let (d, a) = (self.d(d)?, self.d(a)?);
                Op::B64(if to { Bin64::Sub } else { Bin64::Add }, d, a, w)
            }
            _ => return self.table(key, args),
        };
        self.emit(op)?;
        Ok(true)
    }

    fn table(&mut self, key: &str, args: &[Operand]) -> Result<bool> {
        if let Some(f) = Carry::parse(key) {
            return self.carry(f, args);
        }
        // 16-bit immediates keep the upper half of their register zero.
        let half = [".s16", ".u16", ".b16", ".f16", ".bf16"].iter().any(|t| key.ends_with(t));
        let w = if half && !key.contains(".wide") { 2 } else { 4 };
        let r = |s: &mut Self, i: usize| match s.any(&args[i], if i == 2 && key.starts_with("sh") { 4 } else { w })? {
            Reg::R(slot) => Ok(slot),
            _ => s.err("expected a 32-bit operand"),
        };
        let d = |s: &mut Self, i: usize| s.d(&args[i]);
        let op = match args.len() {
            2 => {
                if let Some(f) = Un32::from_key(key) {
                    Op::A32(f, r(self, 0)?, r(self, 1)?)
                } else if let Some(f) = Un64::from_key(key) {
                    Op::A64(f, d(self, 0)?, d(self, 1)?)
                } else if let Some(f) = Count64::from_key(key) {
                    Op::Count64(f, r(self, 0)?, d(self, 1)?)
                } else {
                    return self.rarely(key, args);
                }
            }
            3 => {
                if let Some(f) = Bin32::from_key(key) {
                    Op::B32(f, r(self, 0)?, r(self, 1)?, r(self, 2)?)
                } else if let Some(f) = Bin64::from_key(key) {
                    Op::B64(f, d(self, 0)?, d(self, 1)?, d(self, 2)?)
                } else if let Some(f) = Shift64::from_key(key) {
                    Op::Shift64(f, d(self, 0)?, d(self, 1)?, r(self, 2)?)
                } else if let Some(f) = Wide2::from_key(key) {
                    Op::Wide2(f, d(self, 0)?, r(self, 1)?, r(self, 2)?)
                } else {
                    return self.rarely(key, args);
                }
            }
            4 => {
                if let Some(f) = Tri32::from_key(key) {
                    Op::C32(f, r(self, 0)?, r(self, 1)?, r(self, 2)?, r(self, 3)?)
                } else if let Some(f) = Tri64::from_key(key) {
                    Op::C64(f, d(self, 0)?, d(self, 1)?, d(self, 2)?, d(self, 3)?)
                } else if let Some(f) = Wide3::from_key(key) {
                    Op::Wide3(f, d(self, 0)?, r(self, 1)?, r(self, 2)?, d(self, 3)?)
                } else {
                    return self.rarely(key, args);
                }
            }
            _ => return Ok(false),
        };
        self.emit(op)?;
        Ok(true)
    }

    fn rarely(&mut self, key: &str, args: &[Operand]) -> Result<bool> {
        match Rare::parse(key) {
            Some(f) => self.rare(f, args),
            None => Ok(false),
        }
    }

    /// A register of 32 bits, or an immediate of `bytes` in one.
    fn narrow(&mut self, arg: &Operand, bytes: u8) -> Result<u16> {
        match self.any(arg, bytes)? {
            Reg::R(slot) => Ok(slot),
            _ => self.err("expected a 32-bit operand"),
        }
    }

    /// What set and setp combine their comparison with, and whether they flush subnormals.
    fn combination(&mut self, mods: &[&str], with: &[Operand]) -> Result<Option<(BoolOp, Pred, bool)>> {
        let (op, ftz) = match mods {
            [] => (None, false),
            ["ftz"] => (None, true),
            [op] => (Some(*op), false),
            [op, "ftz"] => (Some(*op), true),
            _ => return Ok(None),
        };
        let op = match op {
            None => None,
            Some("and") => Some(BoolOp::And),
            Some("or") => Some(BoolOp::Or),
            Some("xor") => Some(BoolOp::Xor),
            Some(_) => return Ok(None),
        };
        Ok(match (op, with) {
            (None, []) => Some((BoolOp::And, ALWAYS, ftz)),
            (Some(op), [with]) => Some((op, self.pred(with)?, ftz)),
            _ => None,
        })
    }

    fn setp(&mut self, mods: &[&str], args: &[Operand]) -> Result<bool> {
        let ([_, cmp, middle @ .., ty], [dst, a, b, with @ ..]) = (mods, args) else { return Ok(false) };
        let Some((op, with, ftz)) = self.combination(middle, with)? else { return Ok(false) };
        let half2 = matches!(*ty, "f16x2" | "bf16x2");
        let Some(cmp) = Cmp::parse(cmp, ftz, ty.trim_end_matches("x2")) else { return Ok(false) };
        let (p, q) = match dst {
            Operand::Pair(p, q) => (self.pred_reg(p)?, Some(self.pred_reg(q)?)),
            p => (self.written_pred(p)?, None),
        };
        let op = if half2 {
            let Some(q) = q else { return self.err("setp of packed halves takes two predicates") };
            Op::SetpHalf2(cmp, p, q, self.r(a)?, self.r(b)?, op, with)
        } else if cmp.wide() {
            Op::Set64(cmp, p, q, self.d(a)?, self.d(b)?, op, with)
        } else {
            let w = if ty.ends_with("16") { 2 } else { 4 };
            Op::Set32(cmp, p, q, self.narrow(a, w)?, self.narrow(b, w)?, op, with)
        };
        self.emit(op)?;
        Ok(true)
    }

    fn cvt(&mut self, key: &str, mods: &[&str], args: &[Operand]) -> Result<bool> {
        let mods = &mods[1..];
        if let ([head @ .., to @ ("f16x2" | "bf16x2"), "f32"], [d, a, b]) = (mods, args) {
            let one: Vec<&str> = head.iter().copied().chain([to.trim_end_matches("x2"), "f32"]).collect();
            let Some(c) = Cvt::parse(&one) else { return Ok(false) };
            // The pair is rounded as a single value may be, to nearest or towards zero.
            if !matches!(c.round, Round::Near | Round::Zero) || c.sat || c.ftz {
                return Ok(false);
            }
            let (d, a, b) = (self.r(d)?, self.r(a)?, self.r(b)?);
            self.emit(match Bin32::from_key(key) {
                Some(f) => Op::B32(f, d, a, b),
                None => Op::CvtPack(c, d, a, b),
            })?;
            return Ok(true);
        }
        let [d, a] = args else { return Ok(false) };
        let Some(c) = Cvt::parse(mods) else { return Ok(false) };
        let (d, a) = (self.any(d, c.to.bytes())?, self.any(a, c.from.bytes())?);
        let fits = |reg: Reg, kind: Kind| match reg {
            Reg::R(_) => kind.bytes() <= 4,
            Reg::D(_) => kind.is_int() || kind == Kind::F64,
            Reg::P(_) => false,
        };
        if !fits(d, c.to) || !fits(a, c.from) {
            return self.err("register too narrow for the type");
        }
        // Most have an entry in a table; it holds for registers as wide as the types.
        let fast = match (d, a) {
            (Reg::R(d), Reg::R(a)) => Un32::from_key(key).map(|f| Op::A32(f, d, a)),
            (Reg::D(d), Reg::R(a)) if c.to.bytes() == 8 => Wide1::from_key(key).map(|f| Op::Wide1(f, d, a)),
            (Reg::R(d), Reg::D(a)) if c.from.bytes() == 8 => Count64::from_key(key).map(|f| Op::Count64(f, d, a)),
            _ => None,
        };
        self.emit(fast.unwrap_or(Op::Cvt(c, d, a)))?;
        Ok(true)
    }

    /// add.cc and its kin: the carry is a predicate that no name reaches.
    fn carry(&mut self, f: Carry, args: &[Operand]) -> Result<bool> {
        const NAME: &str = "carry flag";
        if args.len() != f.arity() + 1 {
            return Ok(false);
        }
        let flag = match self.lookup(NAME)? {
            Some(Symbol::Reg(Reg::P(slot))) => slot,
            _ => {
                let reg = self.fresh(Ty::Pred)?;
                self.scopes[0].insert(NAME, Symbol::Reg(reg));
                let Reg::P(slot) = reg else { unreachable!("a predicate was asked for") };
                slot
            }
        };
        let mut regs = Vec::new();
        for arg in args {
            regs.push(if f.wide { Reg::D(self.d(arg)?) } else { Reg::R(self.r(arg)?) });
        }
        self.emit(Op::Carry(f, regs[0], regs[1], regs[2], regs.get(3).copied(), flag))?;
        Ok(true)
    }

    fn rare(&mut self, f: Rare, args: &[Operand]) -> Result<bool> {
        let [d, rest @ ..] = args else { return Ok(false) };
        if rest.len() != f.arity() {
            return Ok(false);
        }
        let d = self.r(d)?;
        let regs = rest.iter().map(|a| self.narrow(a, f.bytes())).collect::<Result<Vec<_>>>()?;
        let at = |i: usize| regs.get(i).copied().unwrap_or(regs[0]);
        self.emit(Op::Rare(f, d, at(0), at(1), at(2)))?;
        Ok(true)
    }

    fn pack(&mut self, to: &Operand, from: &[Operand], mods: &[&str]) -> Result<Op> {
        let to = self.any(to, 4)?;
        let wide = matches!(to, Reg::D(_));
        if mods[1..] != [if wide { "b64" } else { "b32" }] {
            return self.err("unsupported vector move");
        }
        let width = if matches!(to, Reg::D(_)) { 8 } else { 4 } / from.len().max(1) as u8;
        if from.len() != 2 && !(from.len() == 4 && width == 2) {
            return self.err("unsupported vector move");
        }
        let from = from.iter().map(|a| self.any(a, width)).collect::<Result<Vec<_>>>()?;
        if from.iter().any(|r| !matches!(r, Reg::R(_))) {
            return self.err("expected 32-bit operands");
        }
        Ok(Op::Pack(to, from))
    }

    fn unpack(&mut self, to: &[Operand], from: &Operand, mods: &[&str]) -> Result<Op> {
        let from = self.any(from, if mods.last() == Some(&"b64") { 8 } else { 4 })?;
        let wide = matches!(from, Reg::D(_));
        if mods[1..] != [if wide { "b64" } else { "b32" }] {
            return self.err("unsupported vector move");
        }
        let four = to.len() == 4 && matches!(from, Reg::D(_));
        if to.len() != 2 && !four {
            return self.err("unsupported vector move");
        }
        let mut regs = Vec::new();
        for t in to {
            regs.push(match t {
                Operand::Name(n, 0) if n == "_" => None,
                t => Some(Reg::R(self.r(t)?)),
            });
        }
        Ok(Op::Unpack(regs, from))
    }
}

/// Class of an instruction, and the floating-point operations it does per thread.
pub(super) fn classify(op: &Op) -> (Class, u8) {
    let fp = |name: String, wide: bool| -> (Class, u8) {
        if name.starts_with("Cvt") {
            return (Class::Convert, 0);
        }
        let packed = name.trim_start_matches("Ex2").trim_start_matches("Lg2").contains('2');
        let two = if packed && !wide { 2 } else { 1 };
        let is = |p: &str| name.starts_with(p);
        if is("Sqrt") || is("Rcp") || is("Rsqrt") || is("Ex2") || is("Lg2") || is("Sin") || is("Cos") || is("Tanh") {
            return (Class::Special, two);
        }
        if is("DivF") || is("DivA") {
            return (if wide { Class::Double } else { Class::Special }, 1);
        }
        let class = if wide { Class::Double } else { Class::Float };
        if is("Fma") {
            return (class, 2 * two);
        }
        let kinds: &[&str] = if wide { &["F"] } else { &["F", "H", "B", "R"] };
        for op in ["Add", "Sub", "Mul", "Min", "Max", "Neg", "Abs"] {
            if let Some(rest) = name.strip_prefix(op)
                && kinds.iter().any(|k| rest.starts_with(k))
            {
                return (class, if matches!(op, "Neg" | "Abs") { 0 } else { two });
            }
        }
        (Class::Integer, 0)
    };
    match op {
        Op::A32(f, ..) => fp(format!("{f:?}"), false),
        // mul.hi shares its prefix with mul of halves.
        Op::B32(Bin32::MulHiU | Bin32::MulHiS | Bin32::MulHi16 | Bin32::MulHiS16, ..) => (Class::Integer, 0),
        Op::B32(f, ..) => fp(format!("{f:?}"), false),
        Op::C32(f, ..) => fp(format!("{f:?}"), false),
        Op::A64(f, ..) => fp(format!("{f:?}"), true),
        Op::B64(f, ..) => fp(format!("{f:?}"), true),
        Op::C64(f, ..) => fp(format!("{f:?}"), true),
        Op::Rare(f, ..) => match f.cost() {
            (true, flops) => (Class::Special, flops),
            (false, flops) => (Class::Float, flops),
        },
        Op::Cvt(..) | Op::CvtPack(..) | Op::Wide1(..) => (Class::Convert, 0),
        Op::Count64(f, ..) if format!("{f:?}").starts_with("Cvt") => (Class::Convert, 0),
        Op::Set32(..) | Op::Set64(..) | Op::SetValue(..) | Op::SetHalf2(..) | Op::SetpHalf2(..) => (Class::Compare, 0),
        Op::Logic(..) | Op::Test(..) => (Class::Compare, 0),
        Op::Bra(_) | Op::Brx(..) | Op::Exit | Op::Trap | Op::Nop => (Class::Control, 0),
        Op::Bar(..) | Op::WarpSync(_) | Op::Shfl { .. } | Op::Vote(..) | Op::MatchAny(..) => (Class::Sync, 0),
        Op::Redux(..) | Op::ActiveMask(_) | Op::CpCommit | Op::CpWait(_) | Op::Fence(_) => (Class::Sync, 0),
        Op::Ld(_) | Op::St(_) | Op::Atom(_) | Op::CpAsync(..) | Op::LdMatrix(..) => (Class::Memory, 0),
        Op::Mma(..) => (Class::Mma, 0),
        _ => (Class::Integer, 0),
    }
}
