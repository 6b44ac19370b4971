//! Comparisons: which of less, equal, greater and unordered make the result true.

use super::float::z;
use super::half2::{B, H, Half};

const LT: u8 = 1;
const EQ: u8 = 2;
const GT: u8 = 4;
const UN: u8 = 8;

/// Operand type of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CmpTy {
    S16,
    U16,
    F16,
    Bf16,
    S32,
    U32,
    F32,
    F32Ftz,
    S64,
    U64,
    F64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cmp {
    pub ty: CmpTy,
    mask: u8,
}

impl Cmp {
    pub fn parse(op: &str, ftz: bool, ty: &str) -> Option<Cmp> {
        let float = ty.contains('f');
        let bits = ty.starts_with('b') && !float;
        let (mask, unsigned) = match op {
            "eq" => (EQ, false),
            "ne" => (LT | GT, false),
            _ if bits => return None,
            "lt" => (LT, false),
            "le" => (LT | EQ, false),
            "gt" => (GT, false),
            "ge" => (GT | EQ, false),
            "lo" => (LT, true),
            "ls" => (LT | EQ, true),
            "hi" => (GT, true),
            "hs" => (GT | EQ, true),
            _ if !float => return None,
            "equ" => (EQ | UN, false),
            "neu" => (LT | GT | UN, false),
            "ltu" => (LT | UN, false),
            "leu" => (LT | EQ | UN, false),
            "gtu" => (GT | UN, false),
            "geu" => (GT | EQ | UN, false),
            "num" => (LT | EQ | GT, false),
            "nan" => (UN, false),
            _ => return None,
        };
        let ty = match ty {
            "s16" => CmpTy::S16,
            "u16" | "b16" => CmpTy::U16,
            "f16" => CmpTy::F16,
            "bf16" => CmpTy::Bf16,
            "s32" => CmpTy::S32,
            "u32" | "b32" => CmpTy::U32,
            "f32" if ftz => CmpTy::F32Ftz,
            "f32" => CmpTy::F32,
            "s64" => CmpTy::S64,
            "u64" | "b64" => CmpTy::U64,
            "f64" => CmpTy::F64,
            _ => return None,
        };
        let fits = matches!(ty, CmpTy::U16 | CmpTy::U32 | CmpTy::U64);
        let flushes = matches!(ty, CmpTy::F32Ftz | CmpTy::F16);
        if (unsigned && !fits) || (ftz && !flushes) || (ftz && ty == CmpTy::F16) {
            return None;
        }
        Some(Cmp { ty, mask })
    }

    #[inline(always)]
    fn test<T: PartialOrd>(self, a: T, b: T) -> bool {
        let (lt, eq, gt) = (a < b, a == b, a > b);
        let un = !(lt | eq | gt);
        let m = self.mask;
        (lt & (m & LT != 0)) | (eq & (m & EQ != 0)) | (gt & (m & GT != 0)) | (un & (m & UN != 0))
    }

    /// The comparison of two registers of at most 32 bits.
    #[inline(always)]
    pub fn one32(self, a: u32, b: u32) -> bool {
        match self.ty {
            CmpTy::S16 => self.test(a as i16, b as i16),
            CmpTy::U16 => self.test(a as u16, b as u16),
            CmpTy::F16 => self.test(H::wide(a), H::wide(b)),
            CmpTy::Bf16 => self.test(B::wide(a), B::wide(b)),
            CmpTy::S32 => self.test(a as i32, b as i32),
            CmpTy::F32 => self.test(f32::from_bits(a), f32::from_bits(b)),
            CmpTy::F32Ftz => self.test(z(a), z(b)),
            _ => self.test(a, b),
        }
    }

    #[inline(always)]
    pub fn run32(self, a: &[u32; 32], b: &[u32; 32]) -> u32 {
        let mut out = 0;
        for i in 0..32 {
            out |= (self.one32(a[i], b[i]) as u32) << i;
        }
        out
    }

    #[inline(always)]
    pub fn run64(self, a: &[u64; 32], b: &[u64; 32]) -> u32 {
        let mut out = 0;
        for i in 0..32 {
            let (a, b) = (a[i], b[i]);
            let yes = match self.ty {
                CmpTy::S64 => self.test(a as i64, b as i64),
                CmpTy::F64 => self.test(f64::from_bits(a), f64::from_bits(b)),
                _ => self.test(a, b),
            };
            out |= (yes as u32) << i;
        }
        out
    }

    pub fn wide(self) -> bool {
        matches!(self.ty, CmpTy::S64 | CmpTy::U64 | CmpTy::F64)
    }
}
