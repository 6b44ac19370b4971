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
    F16Ftz,
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
            "f16" if ftz => CmpTy::F16Ftz,
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
        let flushes = matches!(ty, CmpTy::F32Ftz | CmpTy::F16Ftz);
        if (unsigned && !fits) || (ftz && !flushes) {
            return None;
        }
        Some(Cmp { ty, mask })
    }

    /// The lanes where the relation holds of `f(a)` and `f(b)`. What is compared and how is decided once, so that the
    /// loops become vector comparisons.
    #[inline(always)]
    fn lanes<R: Copy, T: PartialOrd>(self, a: &[R; 32], b: &[R; 32], f: impl Fn(R) -> T) -> u32 {
        let (mut lt, mut eq, mut gt) = (0, 0, 0);
        if self.mask & (LT | UN) != 0 {
            for i in 0..32 {
                lt |= if f(a[i]) < f(b[i]) { 1 << i } else { 0 };
            }
        }
        if self.mask & (EQ | UN) != 0 {
            for i in 0..32 {
                eq |= if f(a[i]) == f(b[i]) { 1 << i } else { 0 };
            }
        }
        if self.mask & (GT | UN) != 0 {
            for i in 0..32 {
                gt |= if f(a[i]) > f(b[i]) { 1 << i } else { 0 };
            }
        }
        let keep = |bit: u8, v: u32| if self.mask & bit != 0 { v } else { 0 };
        keep(LT, lt) | keep(EQ, eq) | keep(GT, gt) | keep(UN, !(lt | eq | gt))
    }

    #[inline(always)]
    pub fn run32(self, a: &[u32; 32], b: &[u32; 32]) -> u32 {
        match self.ty {
            CmpTy::S16 => self.lanes(a, b, |v| v as i16),
            CmpTy::U16 => self.lanes(a, b, |v| v as u16),
            CmpTy::F16 => self.lanes(a, b, H::wide),
            CmpTy::F16Ftz => self.lanes(a, b, |v| H::wide(H::flush(v))),
            CmpTy::Bf16 => self.lanes(a, b, B::wide),
            CmpTy::S32 => self.lanes(a, b, |v| v as i32),
            CmpTy::F32 => self.lanes(a, b, f32::from_bits),
            CmpTy::F32Ftz => self.lanes(a, b, z),
            _ => self.lanes(a, b, |v| v),
        }
    }

    #[inline(always)]
    pub fn run64(self, a: &[u64; 32], b: &[u64; 32]) -> u32 {
        match self.ty {
            CmpTy::S64 => self.lanes(a, b, |v| v as i64),
            CmpTy::F64 => self.lanes(a, b, f64::from_bits),
            _ => self.lanes(a, b, |v| v),
        }
    }

    pub fn wide(self) -> bool {
        matches!(self.ty, CmpTy::S64 | CmpTy::U64 | CmpTy::F64)
    }
}

/// What testp and isspacep ask of one register.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Test {
    Finite,
    Infinite,
    Number,
    NotANumber,
    Normal,
    Subnormal,
    /// The upper byte of a generic address, which tells its space.
    Window(u8),
}

impl Test {
    pub fn parse(name: &str) -> Option<Test> {
        Some(match name {
            "finite" => Test::Finite,
            "infinite" => Test::Infinite,
            "number" => Test::Number,
            "notanumber" => Test::NotANumber,
            "normal" => Test::Normal,
            "subnormal" => Test::Subnormal,
            _ => return None,
        })
    }

    /// Of a float, or an address.
    #[inline(always)]
    pub fn run(self, bits: u64, wide: bool) -> bool {
        let x = if wide { f64::from_bits(bits) } else { f32::from_bits(bits as u32) as f64 };
        // In f64, subnormals of f32 are normal.
        let normal = if wide { x.is_normal() } else { f32::from_bits(bits as u32).is_normal() };
        match self {
            Test::Finite => x.is_finite(),
            Test::Infinite => x.is_infinite(),
            Test::Number => !x.is_nan(),
            Test::NotANumber => x.is_nan(),
            Test::Normal => normal,
            Test::Subnormal => x.is_finite() && x != 0.0 && !normal,
            Test::Window(byte) => bits >> 56 == byte as u64,
        }
    }
}
