//! Decoding of arithmetic, comparison, conversion and moves.

use super::Decoder;
use crate::counters::Class;
use crate::error::Result;
use crate::inst::*;
use crate::ops::cmp::Cmp;
use crate::ops::cvt::{Cvt, Kind};
use crate::ops::table32::*;
use crate::ops::table64::*;
use crate::parse::ast::Operand;

impl<'a> Decoder<'a> {
    pub(super) fn arithmetic(&mut self, key: &str, mods: &[&str], args: &'a [Operand]) -> Result<bool> {
        let op = match (mods[0], args) {
            ("mov", [Operand::Vec(to), from]) => self.unpack(to, from, mods)?,
            ("mov", [to, Operand::Vec(from)]) => self.pack(to, from, mods)?,
            ("mov", [to, _]) if key == "mov.pred" => {
                Op::Logic(BoolOp::And, self.pred(to)?.0, self.pred(&args[1])?, ALWAYS)
            }
            ("mov", [to, Operand::Name(n, 0)]) if matches!(n.as_str(), "%clock" | "%clock64" | "%globaltimer") => {
                Op::Clock(self.any(to, 4)?)
            }
            ("and" | "or" | "xor" | "not", [d, rest @ ..]) if mods.get(1) == Some(&"pred") => {
                let d = self.pred(d)?.0;
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
            ("set", [d, a, b]) => {
                let [_, cmp, to, from] = mods else { return Ok(false) };
                let half2 = matches!(*from, "f16x2" | "bf16x2");
                let Some(c) = Cmp::parse(cmp, false, from.trim_end_matches("x2")) else { return Ok(false) };
                let yes = match *to {
                    "u32" | "s32" if half2 => 0xffff,
                    "u32" | "s32" => !0,
                    "f32" => 0x3f80_0000,
                    "f16" | "f16x2" => 0x3c00,
                    "bf16" | "bf16x2" => 0x3f80,
                    _ => return Ok(false),
                };
                if c.wide() || half2 != (to.ends_with("x2") || half2 && yes == 0xffff) {
                    return Ok(false);
                }
                let (d, a, b) = (self.r(d)?, self.r(a)?, self.r(b)?);
                if half2 { Op::SetHalf2(c, yes, d, a, b) } else { Op::SetValue(c, yes, d, a, b) }
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
            ("cvt", _) => return self.cvt(mods, args),
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
                    return Ok(false);
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
                    return Ok(false);
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
                    return Ok(false);
                }
            }
            _ => return Ok(false),
        };
        self.emit(op)?;
        Ok(true)
    }

    fn setp(&mut self, mods: &[&str], args: &[Operand]) -> Result<bool> {
        let [_, cmp, middle @ .., ty] = mods else { return Ok(false) };
        let (mut ftz, mut op) = (false, None);
        for m in middle {
            match *m {
                "ftz" => ftz = true,
                "and" => op = Some(BoolOp::And),
                "or" => op = Some(BoolOp::Or),
                "xor" => op = Some(BoolOp::Xor),
                _ => return Ok(false),
            }
        }
        let Some(cmp) = Cmp::parse(cmp, ftz, ty) else { return Ok(false) };
        let (p, q) = match args {
            [Operand::Pair(p, q), ..] => (self.pred_reg(p)?, Some(self.pred_reg(q)?)),
            [p, ..] => (self.pred(p)?.0, None),
            _ => return Ok(false),
        };
        let combine = match (op, &args[1..]) {
            (None, [_, _]) => ALWAYS,
            (Some(_), [_, _, c]) => self.pred(c)?,
            _ => return Ok(false),
        };
        let op = op.unwrap_or(BoolOp::And);
        let op = if cmp.wide() {
            Op::Set64(cmp, p, q, self.d(&args[1])?, self.d(&args[2])?, op, combine)
        } else {
            let w = if ty.ends_with("16") { 2 } else { 4 };
            let (Reg::R(a), Reg::R(b)) = (self.any(&args[1], w)?, self.any(&args[2], w)?) else {
                return self.err("expected 32-bit operands");
            };
            Op::Set32(cmp, p, q, a, b, op, combine)
        };
        self.emit(op)?;
        Ok(true)
    }

    fn cvt(&mut self, mods: &[&str], args: &[Operand]) -> Result<bool> {
        let mods = &mods[1..];
        if let ([head @ .., to @ ("f16x2" | "bf16x2"), from], [d, a, b]) = (mods, args) {
            let one: Vec<&str> = head.iter().copied().chain([to.trim_end_matches("x2"), from]).collect();
            let Some(c) = Cvt::parse(&one) else { return Ok(false) };
            let op = Op::CvtPack(c, self.r(d)?, self.r(a)?, self.r(b)?);
            self.emit(op)?;
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
        self.emit(Op::Cvt(c, d, a))?;
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
        let two = if name.contains('2') && !wide { 2 } else { 1 };
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
        Op::Cvt(..) | Op::CvtPack(..) => (Class::Convert, 0),
        Op::Set32(..) | Op::Set64(..) | Op::SetValue(..) | Op::SetHalf2(..) | Op::Logic(..) => (Class::Compare, 0),
        Op::Bra(_) | Op::Brx(..) | Op::Exit | Op::Trap | Op::Nop => (Class::Control, 0),
        Op::Bar(..) | Op::WarpSync(_) | Op::Shfl { .. } | Op::Vote(..) | Op::MatchAny(..) => (Class::Sync, 0),
        Op::Redux(..) | Op::ActiveMask(_) | Op::CpCommit | Op::CpWait(_) | Op::Fence(_) => (Class::Sync, 0),
        Op::Ld(_) | Op::St(_) | Op::Atom(_) | Op::CpAsync(..) | Op::LdMatrix(..) => (Class::Memory, 0),
        Op::Mma(..) => (Class::Mma, 0),
        _ => (Class::Integer, 0),
    }
}
