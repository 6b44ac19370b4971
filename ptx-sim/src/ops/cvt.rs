//! cvt: conversions between any two types, with rounding and saturation.

use super::float::{BF16, F16, F32, NAN32, Round, TF32, narrow, z};
use super::half2::{B, H, Half};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Bytes, signed.
    Int(u8, bool),
    F16,
    Bf16,
    F32,
    F64,
    Tf32,
}

impl Kind {
    pub fn parse(name: &str) -> Option<Kind> {
        Some(match name {
            "u8" | "b8" => Kind::Int(1, false),
            "s8" => Kind::Int(1, true),
            "u16" | "b16" => Kind::Int(2, false),
            "s16" => Kind::Int(2, true),
            "u32" | "b32" => Kind::Int(4, false),
            "s32" => Kind::Int(4, true),
            "u64" | "b64" => Kind::Int(8, false),
            "s64" => Kind::Int(8, true),
            "f16" => Kind::F16,
            "bf16" => Kind::Bf16,
            "f32" => Kind::F32,
            "f64" => Kind::F64,
            "tf32" => Kind::Tf32,
            _ => return None,
        })
    }

    pub fn is_int(self) -> bool {
        matches!(self, Kind::Int(..))
    }

    pub fn bytes(self) -> u8 {
        match self {
            Kind::Int(n, _) => n,
            Kind::F16 | Kind::Bf16 => 2,
            Kind::F32 | Kind::Tf32 => 4,
            Kind::F64 => 8,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Cvt {
    pub to: Kind,
    pub from: Kind,
    pub round: Round,
    /// The rounding is to an integral value (`.rni` and the like).
    pub integral: bool,
    pub sat: bool,
    pub relu: bool,
    pub ftz: bool,
}

impl Cvt {
    /// `.cvt` with modifiers and types checked as the manual does; None for what it does not define or we lack.
    pub fn parse(mods: &[&str]) -> Option<Cvt> {
        let [head @ .., to, from] = mods else { return None };
        let (to, from) = (Kind::parse(to)?, Kind::parse(from)?);
        let (mut round, mut integral, mut sat, mut relu, mut ftz) = (None, false, false, false, false);
        // Modifiers stand in one order: rounding, ftz, then sat or relu.
        let rank = |m: &&str| match *m {
            "ftz" => 1,
            "sat" | "relu" => 2,
            _ => 0,
        };
        if !head.is_sorted_by(|a, b| rank(a) < rank(b)) {
            return None;
        }
        for m in head {
            match *m {
                "rn" => round = Some(Round::Near),
                "rna" => round = Some(Round::Away),
                "rz" => round = Some(Round::Zero),
                "rm" => round = Some(Round::Down),
                "rp" => round = Some(Round::Up),
                "rni" | "rzi" | "rmi" | "rpi" => {
                    integral = true;
                    round = Some(match *m {
                        "rni" => Round::Near,
                        "rzi" => Round::Zero,
                        "rmi" => Round::Down,
                        _ => Round::Up,
                    });
                }
                "sat" => sat = true,
                "relu" => relu = true,
                "ftz" => ftz = true,
                _ => return None,
            }
        }
        let (int_from, int_to) = (from.is_int(), to.is_int());
        let same = to == from;
        // What the manual asks for: a rounding where the result may be inexact, none where it can't be.
        let rounds = match (int_from, int_to) {
            (true, true) => round.is_none(),
            (true, false) => round.is_some() && !integral,
            (false, true) => integral,
            (false, false) if same => round.is_none() || integral,
            (false, false) if to.bytes() < from.bytes() || to == Kind::Tf32 => round.is_some() && !integral,
            (false, false) => round.is_none(),
        };
        let single = from == Kind::F32 || to == Kind::F32;
        // f16 and bf16 are converted to each other by way of f32 before sm_90.
        let halves =
            matches!((from, to), (Kind::F16, Kind::Bf16) | (Kind::Bf16, Kind::F16)) || same && to == Kind::Bf16;
        let tf32 = to == Kind::Tf32 && (from != Kind::F32 || sat || ftz);
        let from_single = from == Kind::F32 && matches!(to, Kind::F16 | Kind::Bf16 | Kind::Tf32);
        let relu_fits = from_single && matches!(round, Some(Round::Near | Round::Zero)) && !ftz && !sat;
        if !rounds || ftz && !single || relu && !relu_fits || halves || tf32 || from == Kind::Tf32 {
            return None;
        }
        if round == Some(Round::Away) && to != Kind::Tf32
            || to == Kind::Tf32 && matches!(round, Some(Round::Down | Round::Up))
        {
            return None;
        }
        // bf16 is rounded to nearest or towards zero, and never saturated.
        if to == Kind::Bf16 && (sat || ftz || from_single && matches!(round, Some(Round::Down | Round::Up))) {
            return None;
        }
        Some(Cvt { to, from, round: round.unwrap_or(Round::Near), integral, sat, relu, ftz })
    }

    /// One value; bits above the type's width are ignored in `a` and zero (or sign, in a wider register) in the result.
    #[inline(always)]
    pub fn run(self, a: u64) -> u64 {
        match (self.from, self.to) {
            (Kind::Int(n, signed), Kind::Int(m, to_signed)) => {
                let v = extend(a, n, signed);
                if self.sat { clamp(v, m, to_signed) } else { extend(v as u64, m, to_signed) as u64 }
            }
            (Kind::Int(n, signed), _) => self.int_to_float(extend(a, n, signed)),
            (_, Kind::Int(m, signed)) => {
                let x = integral(self.widen(a), self.round);
                let bits = m as u32 * 8;
                // Out of range clamps; NaN is 0 unless one of the types has 64 bits.
                if x.is_nan() {
                    return if m == 8 || self.from == Kind::F64 {
                        extend(1 << (bits - 1), m, signed) as u64
                    } else {
                        0
                    };
                }
                let (low, high) =
                    if signed { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
                (x as i128).clamp(low, high) as u64
            }
            _ => self.float_to_float(self.widen(a)),
        }
    }

    fn widen(self, a: u64) -> f64 {
        match self.from {
            Kind::F16 => H::wide(a as u32) as f64,
            Kind::Bf16 => B::wide(a as u32) as f64,
            Kind::F64 => f64::from_bits(a),
            _ if self.ftz => z(a as u32) as f64,
            _ => f32::from_bits(a as u32) as f64,
        }
    }

    fn int_to_float(self, v: i128) -> u64 {
        // Integers of more than 53 bits keep a sticky lowest bit, so that the next rounding is the only one.
        let magnitude = v.unsigned_abs() as u64;
        let negative = v < 0;
        if self.to == Kind::F64 && self.round == Round::Near {
            let x = magnitude as f64;
            return self.float_to_float(if negative { -x } else { x });
        }
        let shift = 11u32.saturating_sub(magnitude.leading_zeros());
        let kept = magnitude >> shift;
        let lost = kept << shift != magnitude;
        if self.to == Kind::F64 {
            let up = lost && (self.round == Round::Up && !negative || self.round == Round::Down && negative);
            let x = ((kept + up as u64) as f64) * (1u64 << shift) as f64;
            return self.float_to_float(if negative { -x } else { x });
        }
        let x = ((kept | lost as u64) as f64) * (1u64 << shift) as f64;
        self.float_to_float(if negative { -x } else { x })
    }

    fn float_to_float(self, x: f64) -> u64 {
        let mut x = if self.integral { integral(x, self.round) } else { x };
        if self.sat {
            x = if x > 0.0 { x.min(1.0) } else { 0.0 };
        }
        if self.relu && !x.is_nan() {
            x = if x > 0.0 { x } else { 0.0 };
        }
        match self.to {
            Kind::F16 => narrow(x, F16, self.round) as u64,
            Kind::Bf16 => narrow(x, BF16, self.round) as u64,
            // The value stands in the upper bits of a 32-bit register.
            Kind::Tf32 => (narrow(x, TF32, self.round) as u64) << 13,
            Kind::F64 => x.to_bits(),
            _ if x.is_nan() => NAN32 as u64,
            _ => {
                let bits = narrow(x, F32, self.round);
                if self.ftz { z(bits).to_bits() as u64 } else { bits as u64 }
            }
        }
    }
}

fn integral(x: f64, round: Round) -> f64 {
    match round {
        Round::Near => x.round_ties_even(),
        Round::Away => x.round(),
        Round::Zero => x.trunc(),
        Round::Down => x.floor(),
        Round::Up => x.ceil(),
    }
}

fn extend(a: u64, bytes: u8, signed: bool) -> i128 {
    let shift = 64 - 8 * bytes as u32;
    if signed { ((a << shift) as i64 >> shift) as i128 } else { (a << shift >> shift) as i128 }
}

fn clamp(v: i128, bytes: u8, signed: bool) -> u64 {
    let bits = 8 * bytes as u32;
    if signed { v.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1) as u64 } else { v.clamp(0, (1 << bits) - 1) as u64 }
}
