//! What the parser makes of a PTX text.

use std::collections::HashMap;

/// Type of a variable or register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ty {
    Pred,
    /// Untyped bits, or integers and floats of that many bytes (the parser keeps what decoding needs).
    Bits(u8),
}

impl Ty {
    pub fn bytes(self) -> usize {
        match self {
            Ty::Pred => 1,
            Ty::Bits(n) => n as usize,
        }
    }

    pub fn parse(name: &str) -> Option<Ty> {
        Some(match name {
            "pred" => Ty::Pred,
            "b8" | "u8" | "s8" => Ty::Bits(1),
            "b16" | "u16" | "s16" | "f16" | "bf16" => Ty::Bits(2),
            "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => Ty::Bits(4),
            "b64" | "u64" | "s64" | "f64" => Ty::Bits(8),
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VarSpace {
    Global,
    Const,
    Shared,
    Local,
    Param,
}

/// Value of an initialiser: bytes, or the address of a variable plus an offset.
#[derive(Clone, Debug)]
pub(crate) enum Init {
    Value(Imm),
    Address(String, i64),
}

#[derive(Clone, Debug)]
pub(crate) struct Var {
    pub space: VarSpace,
    pub ty: Ty,
    pub align: usize,
    pub name: String,
    /// Size in bytes; 0 for `extern .shared x[]`, whose size the launch gives.
    pub size: usize,
    pub external: bool,
    /// Whether a scalar is a float or an integer; None for arrays and untyped bits.
    pub float: Option<bool>,
    pub init: Vec<Init>,
    pub line: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Imm {
    Int(i64),
    F32(u32),
    F64(u64),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    /// A register, variable, label or function, with `.x` and the like as part of the name; plus an offset.
    Name(String, i64),
    /// `!%p`.
    Not(String),
    Imm(Imm),
    /// `[base+offset]`; without a base the offset is the address.
    Addr(Option<String>, i64),
    /// `{a, b}`.
    Vec(Vec<Operand>),
    /// `(a, b)` of a call.
    List(Vec<Operand>),
    /// `p|q`.
    Pair(String, String),
}

#[derive(Clone, Debug)]
pub(crate) struct Inst {
    pub guard: Option<(String, bool)>,
    /// The opcode with its modifiers, dots included.
    pub op: String,
    pub args: Vec<Operand>,
    pub line: u32,
    /// Index of its place in the source.
    pub loc: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum Item {
    Label(String, u32),
    Inst(Inst),
    Scope(Body),
}

/// A function's body or a nested scope.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    /// Register names with their types.
    pub regs: Vec<(String, Ty)>,
    pub vars: Vec<Var>,
    /// Label lists of `.branchtargets`.
    pub tables: HashMap<String, Vec<String>>,
    pub items: Vec<Item>,
}

#[derive(Clone, Debug)]
pub(crate) struct Func {
    pub name: String,
    pub entry: bool,
    pub returns: Vec<Var>,
    pub params: Vec<Var>,
    pub body: Option<Body>,
    /// `.maxntid`, as the product.
    pub max_threads: Option<u32>,
    /// `.reqntid`.
    pub required: Option<[u32; 3]>,
    pub line: u32,
}

/// A place in the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loc {
    /// Number of the file; 0 if unknown.
    pub file: u32,
    pub line: u32,
    /// Index of the place where the function was inlined; its own if it was not.
    pub caller: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Ast {
    pub locs: Vec<Loc>,
    pub files: HashMap<u32, String>,
    pub vars: Vec<Var>,
    pub funcs: Vec<Func>,
}
