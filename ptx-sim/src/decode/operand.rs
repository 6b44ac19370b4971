//! Operands: registers, immediates, special registers and addresses, as register slots.

use super::{Decoder, Symbol};
use crate::error::Result;
use crate::inst::*;
use crate::parse::ast::{Imm, Operand, Ty};

impl Decoder<'_> {
    pub(super) fn const32(&mut self, v: u32) -> Result<u16> {
        if let Some(&slot) = self.cache32.get(&v) {
            return Ok(slot);
        }
        let Reg::R(slot) = self.fresh(Ty::Bits(4))? else { unreachable!() };
        self.kernel.const32.push((slot, v));
        self.cache32.insert(v, slot);
        Ok(slot)
    }

    pub(super) fn const64(&mut self, v: u64) -> Result<u16> {
        if let Some(&slot) = self.cache64.get(&v) {
            return Ok(slot);
        }
        let Reg::D(slot) = self.fresh(Ty::Bits(8))? else { unreachable!() };
        self.kernel.const64.push((slot, v));
        self.cache64.insert(v, slot);
        Ok(slot)
    }

    pub(super) fn special(&mut self, s: Special) -> Result<u16> {
        if let Some(&(slot, _)) = self.kernel.specials.iter().find(|x| x.1 == s) {
            return Ok(slot);
        }
        let Reg::R(slot) = self.fresh(Ty::Bits(4))? else { unreachable!() };
        self.kernel.specials.push((slot, s));
        Ok(slot)
    }

    pub(super) fn special_by_name(name: &str) -> Option<Special> {
        let dim = |c: &str| ["x", "y", "z"].iter().position(|d| *d == c).map(|i| i as u8);
        Some(match name.split_once('.') {
            Some(("%tid", c)) => Special::Tid(dim(c)?),
            Some(("%ntid", c)) => Special::Ntid(dim(c)?),
            Some(("%ctaid", c)) => Special::Ctaid(dim(c)?),
            Some(("%nctaid", c)) => Special::Nctaid(dim(c)?),
            Some(_) => return None,
            None => match name {
                "%laneid" => Special::LaneId,
                "%warpid" => Special::WarpId,
                "%nwarpid" => Special::Nwarps,
                "%lanemask_eq" => Special::LaneMaskEq,
                "%lanemask_lt" => Special::LaneMaskLt,
                "%lanemask_le" => Special::LaneMaskLe,
                "%lanemask_gt" => Special::LaneMaskGt,
                "%lanemask_ge" => Special::LaneMaskGe,
                "%dynamic_smem_size" => Special::DynamicShared,
                "%total_smem_size" => Special::TotalShared,
                "%smid" => Special::Zero,
                _ => return None,
            },
        })
    }

    /// Slot of a 32-bit (or 16-bit) operand.
    pub(super) fn r(&mut self, arg: &Operand) -> Result<u16> {
        match self.any(arg, 4)? {
            Reg::R(slot) => Ok(slot),
            _ => self.err("expected a 32-bit operand"),
        }
    }

    pub(super) fn d(&mut self, arg: &Operand) -> Result<u16> {
        match self.any(arg, 8)? {
            Reg::D(slot) => Ok(slot),
            _ => self.err("expected a 64-bit operand"),
        }
    }

    /// A register, or an immediate, address or special register of the given width in one.
    pub(super) fn any(&mut self, arg: &Operand, bytes: u8) -> Result<Reg> {
        match arg {
            Operand::Imm(imm) => {
                let bits = match (*imm, bytes) {
                    (Imm::Int(v), _) => v as u64,
                    (Imm::F32(v), 1..=4) => v as u64,
                    (Imm::F32(v), _) => (f32::from_bits(v) as f64).to_bits(),
                    (Imm::F64(v), 8) => v,
                    (Imm::F64(v), _) => (f64::from_bits(v) as f32).to_bits() as u64,
                };
                match bytes {
                    8 => Ok(Reg::D(self.const64(bits)?)),
                    2 => Ok(Reg::R(self.const32(bits as u16 as u32)?)),
                    _ => Ok(Reg::R(self.const32(bits as u32)?)),
                }
            }
            Operand::Name(name, offset) => {
                if name == "_" {
                    return self.fresh(Ty::Bits(bytes.max(4)));
                }
                if name == "WARP_SZ" {
                    return Ok(Reg::R(self.const32(32)?));
                }
                if let Some(s) = Self::special_by_name(name) {
                    return Ok(Reg::R(self.special(s)?));
                }
                match self.lookup(name)? {
                    Some(Symbol::Reg(reg)) if *offset == 0 => Ok(reg),
                    Some(Symbol::Reg(..)) => self.err("offset on a register"),
                    Some(s) => self.symbol_address(s, *offset, bytes),
                    None => self.err(format!("unsupported or unknown name {name}")),
                }
            }
            _ => self.err("unsupported operand"),
        }
    }

    pub(super) fn symbol_address(&mut self, s: Symbol, offset: i64, bytes: u8) -> Result<Reg> {
        let at = match s {
            Symbol::Shared(u64::MAX) => return self.dynamic_shared(offset, bytes),
            Symbol::Shared(at) | Symbol::Local(at) => at,
            Symbol::Global(i) if bytes == 8 => {
                let Reg::D(slot) = self.fresh(Ty::Bits(8))? else { unreachable!() };
                self.kernel.given.push((Reg::D(slot), Given::Variable(i, offset)));
                return Ok(Reg::D(slot));
            }
            Symbol::Global(_) => return self.err("a global address takes 64 bits"),
            Symbol::Param(at) => at,
            Symbol::ModuleShared(_) => unreachable!("looked up"),
            Symbol::CallParam(_) | Symbol::Reg(..) => return self.err("unsupported: address of a call's parameter"),
        };
        let at = at.wrapping_add(offset as u64);
        if bytes == 8 { Ok(Reg::D(self.const64(at)?)) } else { Ok(Reg::R(self.const32(at as u32)?)) }
    }

    /// Dynamic shared memory starts where the static one ends, which only the end of decoding knows.
    pub(super) fn dynamic_shared(&mut self, offset: i64, bytes: u8) -> Result<Reg> {
        let reg = self.fresh(Ty::Bits(bytes.max(4)))?;
        self.kernel.given.push((reg, Given::DynamicShared(offset)));
        Ok(reg)
    }

    pub(super) fn pred_reg(&mut self, name: &str) -> Result<u16> {
        if name == "_" {
            let Reg::P(slot) = self.fresh(Ty::Pred)? else { unreachable!() };
            return Ok(slot);
        }
        match self.lookup(name)? {
            Some(Symbol::Reg(Reg::P(slot))) => Ok(slot),
            _ => self.err(format!("{name} is no predicate")),
        }
    }

    /// A predicate to be written.
    pub(super) fn written_pred(&mut self, arg: &Operand) -> Result<u16> {
        match arg {
            Operand::Name(name, 0) => self.pred_reg(name),
            _ => self.err("expected a predicate"),
        }
    }

    pub(super) fn pred(&mut self, arg: &Operand) -> Result<Pred> {
        match arg {
            Operand::Name(name, 0) => Ok(Pred(self.pred_reg(name)?, false)),
            Operand::Not(name) => Ok(Pred(self.pred_reg(name)?, true)),
            Operand::Imm(Imm::Int(v)) => Ok(Pred(0, *v == 0)),
            _ => self.err("expected a predicate"),
        }
    }

    pub(super) fn addr(&mut self, arg: &Operand) -> Result<(Addr, Option<Symbol>)> {
        let Operand::Addr(base, offset) = arg else { return self.err("expected an address") };
        let Some(name) = base else { return Ok((Addr { base: None, offset: *offset }, None)) };
        match self.lookup(name)? {
            Some(Symbol::Reg(reg @ (Reg::R(_) | Reg::D(_)))) => Ok((Addr { base: Some(reg), offset: *offset }, None)),
            Some(s @ Symbol::CallParam(at)) => Ok((Addr { base: None, offset: at as i64 + offset }, Some(s))),
            Some(s @ Symbol::Reg(..)) => self.err(format!("{name} is no address ({s:?})")),
            // What is the same for all threads needs no register.
            Some(s @ (Symbol::Param(at) | Symbol::Shared(at) | Symbol::Local(at))) if at != u64::MAX => {
                Ok((Addr { base: None, offset: at as i64 + offset }, Some(s)))
            }
            Some(s) => Ok((Addr { base: Some(self.symbol_address(s, *offset, 8)?), offset: 0 }, Some(s))),
            None => self.err(format!("unknown name {name}")),
        }
    }
}
