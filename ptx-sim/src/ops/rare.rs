//! Float instructions whose modifiers kernels seldom use, with all of these decided per lane: directed rounding, and
//! flushing or saturation of halves.

use super::float::{F32, Round, narrow, odd_sum, sat, z};
use super::half2::{self, H, Half, op2, relu, x3};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Add,
    Sub,
    Mul,
    Fma,
    Div,
    Rcp,
    Sqrt,
    Min,
    Max,
    Neg,
    Abs,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ty {
    F32,
    F16,
    F16x2,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Rare {
    kind: Kind,
    ty: Ty,
    round: Round,
    ftz: bool,
    sat: bool,
    relu: bool,
    nan: bool,
}

impl Rare {
    /// `op{.rounding}{.ftz}{.sat or .relu or .NaN}.type`, what the manual has of it.
    pub fn parse(key: &str) -> Option<Rare> {
        let mut mods = key.split('.');
        let kind = match mods.next()? {
            "add" => Kind::Add,
            "sub" => Kind::Sub,
            "mul" => Kind::Mul,
            "fma" | "mad" => Kind::Fma,
            "div" => Kind::Div,
            "rcp" => Kind::Rcp,
            "sqrt" => Kind::Sqrt,
            "min" => Kind::Min,
            "max" => Kind::Max,
            "neg" => Kind::Neg,
            "abs" => Kind::Abs,
            _ => return None,
        };
        let ty = match mods.next_back()? {
            "f32" => Ty::F32,
            "f16" => Ty::F16,
            "f16x2" => Ty::F16x2,
            _ => return None,
        };
        let mut mods = mods.peekable();
        let round = match mods.peek() {
            Some(&"rn") => Some(Round::Near),
            Some(&"rz") => Some(Round::Zero),
            Some(&"rm") => Some(Round::Down),
            Some(&"rp") => Some(Round::Up),
            _ => None,
        };
        let mut take = |name: &str| mods.next_if(|m| *m == name).is_some();
        if round.is_some() {
            ["rn", "rz", "rm", "rp"].iter().any(|r| take(r));
        }
        let (ftz, sat, relu, nan) = (take("ftz"), take("sat"), take("relu"), take("NaN"));
        if mods.next().is_some() {
            return None;
        }
        let single = ty == Ty::F32;
        let rounds = match kind {
            Kind::Add | Kind::Sub | Kind::Mul => true,
            Kind::Fma => round.is_some() && (single || key.starts_with("fma")),
            Kind::Div | Kind::Rcp | Kind::Sqrt => single && round.is_some(),
            // Those of f32 are all in the tables.
            Kind::Min | Kind::Max | Kind::Neg | Kind::Abs => !single && round.is_none(),
        };
        let rounds = rounds && (single || matches!(round, None | Some(Round::Near)));
        let sat_fits = matches!(kind, Kind::Add | Kind::Sub | Kind::Mul | Kind::Fma);
        let relu_fits = kind == Kind::Fma && !single && !sat;
        let nan_fits = matches!(kind, Kind::Min | Kind::Max);
        let fits = rounds && (!sat || sat_fits) && (!relu || relu_fits) && (!nan || nan_fits);
        fits.then_some(Rare { kind, ty, round: round.unwrap_or(Round::Near), ftz, sat, relu, nan })
    }

    /// Operands without the destination.
    pub fn arity(self) -> usize {
        match self.kind {
            Kind::Fma => 3,
            Kind::Rcp | Kind::Sqrt | Kind::Neg | Kind::Abs => 1,
            _ => 2,
        }
    }

    /// Bytes of an operand.
    pub fn bytes(self) -> u8 {
        if self.ty == Ty::F16 { 2 } else { 4 }
    }

    /// Whether it counts as a special function, and its floating-point operations.
    pub fn cost(self) -> (bool, u8) {
        let each = match self.kind {
            Kind::Fma => 2,
            Kind::Neg | Kind::Abs => 0,
            _ => 1,
        };
        (matches!(self.kind, Kind::Div | Kind::Rcp | Kind::Sqrt), each * if self.ty == Ty::F16x2 { 2 } else { 1 })
    }

    #[inline(always)]
    pub fn run(self, a: u32, b: u32, c: u32) -> u32 {
        match self.ty {
            Ty::F32 => self.single(a, b, c),
            Ty::F16 => self.half(a, b, c),
            Ty::F16x2 => x3(a, b, c, |a, b, c| self.half(a, b, c)),
        }
    }

    fn single(self, a: u32, b: u32, c: u32) -> u32 {
        let flush = |v: u32| if self.ftz { z(v).to_bits() } else { v };
        let [a, b, c] = [a, b, c].map(|v| f32::from_bits(flush(v)) as f64);
        let exact = match self.kind {
            Kind::Add => self.sum(a, b),
            Kind::Sub => self.sum(a, -b),
            Kind::Mul => a * b,
            Kind::Div => quotient(a, b),
            Kind::Rcp => quotient(1.0, a),
            Kind::Sqrt => root(a),
            _ => self.sum(a * b, c),
        };
        let out = flush(narrow(exact, F32, self.round));
        if self.sat { sat(f32::from_bits(out)) } else { out }
    }

    /// The sum rounded to odd; exactly zero, it is negative when rounding down, unless both terms are the same zero.
    fn sum(self, a: f64, b: f64) -> f64 {
        let s = odd_sum(a, b);
        let cancels = s == 0.0 && (a != 0.0 || a.is_sign_negative() != b.is_sign_negative());
        if cancels && self.round == Round::Down { -0.0 } else { s }
    }

    fn half(self, a: u32, b: u32, c: u32) -> u32 {
        let flush = |v: u32| if self.ftz { H::flush(v) } else { v & 0xffff };
        let (a, b, c) = (flush(a), flush(b), flush(c));
        let out = match self.kind {
            Kind::Add => op2::<H>(a, b, |a, b| a + b),
            Kind::Sub => op2::<H>(a, b, |a, b| a - b),
            Kind::Mul => op2::<H>(a, b, |a, b| a * b),
            Kind::Min if self.nan => op2::<H>(a, b, half2::min_nan),
            Kind::Max if self.nan => op2::<H>(a, b, half2::max_nan),
            Kind::Min => op2::<H>(a, b, half2::min),
            Kind::Max => op2::<H>(a, b, half2::max),
            Kind::Neg => a ^ 0x8000,
            Kind::Abs => a & 0x7fff,
            _ => half2::fma::<H>(a, b, c),
        };
        let out = flush(out);
        match (self.sat, self.relu) {
            (true, _) => half2::sat::<H>(out),
            (_, true) => relu::<H>(out),
            _ => out,
        }
    }
}

/// `near`, whose error has the sign of `err`, rounded to odd.
fn to_odd(near: f64, err: f64) -> f64 {
    if !(near.is_finite() && err.abs() > 0.0) || near.to_bits() & 1 == 1 {
        return near;
    }
    let grow = (err > 0.0) == (near > 0.0);
    f64::from_bits(if grow { near.to_bits() + 1 } else { near.to_bits() - 1 })
}

/// `a / b` of two f32 rounded to odd. The remainder's sign, which a fused operation finds, is that of the error times
/// that of `b`.
fn quotient(a: f64, b: f64) -> f64 {
    let q = a / b;
    to_odd(q, (-q).mul_add(b, a) * b.signum())
}

fn root(a: f64) -> f64 {
    let s = a.sqrt();
    to_odd(s, (-s).mul_add(s, a))
}
