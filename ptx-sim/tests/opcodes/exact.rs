//! Float arithmetic by integers of thousands of bits, rounded once: slow, simple, and nothing of the crate's.

/// Bits of the precision (with the hidden one), least exponent, bits of the exponent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Format(pub u32, pub i32, pub u32);

pub const F16: Format = Format(11, -14, 5);
pub const BF16: Format = Format(8, -126, 8);
pub const TF32: Format = Format(11, -126, 8);
pub const F32: Format = Format(24, -126, 8);
pub const F64: Format = Format(53, -1022, 11);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    Near,
    /// To nearest, ties away from zero.
    Away,
    Zero,
    Down,
    Up,
}

impl Mode {
    pub fn parse(name: &str) -> Option<Mode> {
        Some(match name {
            "rn" | "rni" => Mode::Near,
            "rna" => Mode::Away,
            "rz" | "rzi" => Mode::Zero,
            "rm" | "rmi" => Mode::Down,
            "rp" | "rpi" => Mode::Up,
            _ => return None,
        })
    }
}

/// A number taken apart; finite ones are mantissa times 2^exponent.
#[derive(Clone, Copy, Debug)]
pub enum Num {
    Nan,
    Inf(bool),
    Finite(bool, u128, i32),
}

/// Magnitudes as multiples of 2^-UNIT.
const LIMBS: usize = 70;
const UNIT: i32 = 35 * 64;
type Big = [u64; LIMBS];

fn big(mantissa: u128, exp: i32) -> Big {
    let mut out = [0; LIMBS];
    let (mut mantissa, mut at) = (mantissa, exp + UNIT);
    while at < 0 {
        assert!(mantissa & 1 == 0, "below the unit");
        (mantissa, at) = (mantissa >> 1, at + 1);
    }
    let (limb, shift) = (at as usize / 64, at as u32 % 64);
    let parts = [mantissa as u64, (mantissa >> 64) as u64];
    for (k, part) in parts.iter().enumerate().filter(|p| *p.1 != 0) {
        let wide = (*part as u128) << shift;
        out[limb + k] |= wide as u64;
        if wide >> 64 != 0 {
            out[limb + k + 1] |= (wide >> 64) as u64;
        }
    }
    out
}

fn larger(a: &Big, b: &Big) -> bool {
    a.iter().rev().ge(b.iter().rev())
}

fn add(a: &Big, b: &Big) -> Big {
    let mut carry = 0u128;
    std::array::from_fn(|i| {
        carry += a[i] as u128 + b[i] as u128;
        let low = carry as u64;
        carry >>= 64;
        low
    })
}

fn sub(a: &Big, b: &Big) -> Big {
    let mut borrow = false;
    std::array::from_fn(|i| {
        let (x, o1) = a[i].overflowing_sub(b[i]);
        let (x, o2) = x.overflowing_sub(borrow as u64);
        borrow = o1 | o2;
        x
    })
}

fn bit(a: &Big, i: i32) -> bool {
    i >= 0 && a[i as usize / 64] >> (i % 64) & 1 == 1
}

impl Format {
    fn exponent(self) -> u64 {
        (1 << self.2) - 1
    }

    fn sign(self) -> u32 {
        self.0 + self.2 - 1
    }

    pub fn nan(self) -> u64 {
        (1 << self.sign()) - 1
    }

    pub fn inf(self, negative: bool) -> u64 {
        (negative as u64) << self.sign() | self.exponent() << (self.0 - 1)
    }

    pub fn zero(self, negative: bool) -> u64 {
        (negative as u64) << self.sign()
    }

    pub fn one(self) -> u64 {
        (self.exponent() >> 1) << (self.0 - 1)
    }

    pub fn negative(self, v: u64) -> bool {
        v >> self.sign() & 1 == 1
    }

    pub fn magnitude(self, v: u64) -> u64 {
        v & self.nan()
    }

    pub fn is_nan(self, v: u64) -> bool {
        self.magnitude(v) > self.inf(false)
    }

    pub fn is_subnormal(self, v: u64) -> bool {
        let m = self.magnitude(v);
        m != 0 && m >> (self.0 - 1) == 0
    }

    pub fn flush(self, v: u64) -> u64 {
        if self.is_subnormal(v) { self.zero(self.negative(v)) } else { v }
    }

    /// Place in the order of numbers, -0 below +0.
    pub fn order(self, v: u64) -> i128 {
        let m = self.magnitude(v) as i128;
        if self.negative(v) { -m - 1 } else { m }
    }

    pub fn open(self, v: u64) -> Num {
        let (e, m) = (self.magnitude(v) >> (self.0 - 1), v & ((1 << (self.0 - 1)) - 1));
        let negative = self.negative(v);
        let scale = self.1 - (self.0 as i32 - 1);
        match e {
            e if e == self.exponent() => {
                if m == 0 {
                    Num::Inf(negative)
                } else {
                    Num::Nan
                }
            }
            0 => Num::Finite(negative, m as u128, scale),
            e => Num::Finite(negative, (m | 1 << (self.0 - 1)) as u128, scale + e as i32 - 1),
        }
    }

    pub fn value(self, v: u64) -> f64 {
        let x = match self.open(v) {
            Num::Nan => return f64::NAN,
            Num::Inf(_) => f64::INFINITY,
            // In two steps, as the first power may be no f64.
            Num::Finite(_, m, e) => m as f64 * 2f64.powi(e / 2) * 2f64.powi(e - e / 2),
        };
        if self.negative(v) { -x } else { x }
    }

    fn round_big(self, negative: bool, v: &Big, mode: Mode) -> u64 {
        let Some(limb) = v.iter().rposition(|l| *l != 0) else { return self.zero(negative) };
        let top = limb as i32 * 64 + 63 - v[limb].leading_zeros() as i32;
        let exp = (top - UNIT).max(self.1);
        let quantum = exp - (self.0 as i32 - 1) + UNIT;
        let mut kept = 0u64;
        for i in (quantum..=top.max(quantum)).rev() {
            kept = kept << 1 | bit(v, i) as u64;
        }
        let half = bit(v, quantum - 1);
        let (limb, rest) = ((quantum - 1) as usize / 64, (quantum - 1) % 64);
        let below = v[..limb].iter().any(|l| *l != 0) || v[limb] & ((1 << rest) - 1) != 0;
        let up = match mode {
            Mode::Near => half && (below || kept & 1 == 1),
            Mode::Away => half,
            Mode::Zero => false,
            Mode::Down => negative && (half || below),
            Mode::Up => !negative && (half || below),
        };
        kept += up as u64;
        // A mantissa without its hidden bit is a subnormal; one that grew a bit raises the exponent by itself.
        let bits = kept + (((exp - self.1) as u64) << (self.0 - 1));
        if bits >= self.inf(false) {
            let grows = match mode {
                Mode::Near | Mode::Away => true,
                Mode::Zero => false,
                Mode::Down => negative,
                Mode::Up => !negative,
            };
            return if grows { self.inf(negative) } else { self.inf(negative) - 1 };
        }
        self.zero(negative) | bits
    }

    /// A number rounded to this format.
    pub fn round(self, v: Num, mode: Mode) -> u64 {
        match v {
            Num::Nan => self.nan(),
            Num::Inf(negative) => self.inf(negative),
            Num::Finite(negative, m, e) => self.round_big(negative, &big(m, e), mode),
        }
    }

    pub fn fma(self, a: u64, b: u64, c: u64, mode: Mode) -> u64 {
        let product = match (self.open(a), self.open(b)) {
            (Num::Nan, _) | (_, Num::Nan) => Num::Nan,
            (Num::Inf(s), Num::Inf(t)) => Num::Inf(s != t),
            (Num::Inf(s), Num::Finite(t, m, _)) | (Num::Finite(t, m, _), Num::Inf(s)) => {
                if m == 0 {
                    Num::Nan
                } else {
                    Num::Inf(s != t)
                }
            }
            (Num::Finite(s, m, e), Num::Finite(t, n, f)) => Num::Finite(s != t, m * n, e + f),
        };
        match (product, self.open(c)) {
            (Num::Nan, _) | (_, Num::Nan) => self.nan(),
            (Num::Inf(s), Num::Inf(t)) if s != t => self.nan(),
            (Num::Inf(s), _) | (_, Num::Inf(s)) => self.inf(s),
            (Num::Finite(s, m, e), Num::Finite(t, n, f)) => {
                let (p, q) = (big(m, e), big(n, f));
                if s == t {
                    return self.round_big(s, &add(&p, &q), mode);
                }
                if p == q {
                    return self.zero(mode == Mode::Down);
                }
                let first = larger(&p, &q);
                let rest = if first { sub(&p, &q) } else { sub(&q, &p) };
                self.round_big(if first { s } else { t }, &rest, mode)
            }
        }
    }

    pub fn add(self, a: u64, b: u64, mode: Mode) -> u64 {
        self.fma(a, self.one(), b, mode)
    }

    pub fn sub(self, a: u64, b: u64, mode: Mode) -> u64 {
        self.add(a, b ^ 1 << self.sign(), mode)
    }

    pub fn mul(self, a: u64, b: u64, mode: Mode) -> u64 {
        self.fma(a, b, self.zero(self.negative(a) != self.negative(b)), mode)
    }

    pub fn div(self, a: u64, b: u64, mode: Mode) -> u64 {
        let negative = self.negative(a) != self.negative(b);
        match (self.open(a), self.open(b)) {
            (Num::Nan, _) | (_, Num::Nan) | (Num::Inf(_), Num::Inf(_)) => self.nan(),
            (Num::Finite(_, 0, _), Num::Finite(_, 0, _)) => self.nan(),
            (Num::Inf(_), _) | (_, Num::Finite(_, 0, _)) => self.inf(negative),
            (_, Num::Inf(_)) | (Num::Finite(_, 0, _), _) => self.zero(negative),
            (Num::Finite(_, m, e), Num::Finite(_, n, f)) => {
                // A quotient of at least 60 bits; what remains sets one more.
                let shift = m.leading_zeros() - 2;
                let (q, r) = ((m << shift) / n, (m << shift) % n);
                let wide = q << 1 | (r != 0) as u128;
                self.round(Num::Finite(negative, wide, e - shift as i32 - f - 1), mode)
            }
        }
    }

    pub fn sqrt(self, a: u64, mode: Mode) -> u64 {
        match self.open(a) {
            Num::Finite(negative, 0, _) => self.zero(negative),
            Num::Nan | Num::Inf(true) | Num::Finite(true, ..) => self.nan(),
            Num::Inf(false) => self.inf(false),
            Num::Finite(false, m, e) => {
                let shift = m.leading_zeros() - 2;
                let shift = shift - (e - shift as i32).rem_euclid(2) as u32;
                let (m, e) = (m << shift, e - shift as i32);
                let root = m.isqrt();
                self.round(Num::Finite(false, root << 1 | (root * root != m) as u128, e / 2 - 1), mode)
            }
        }
    }

    /// Clamped to [0, 1], NaN to 0.
    pub fn sat(self, v: u64) -> u64 {
        if self.is_nan(v) || self.negative(v) { 0 } else { v.min(self.one()) }
    }

    pub fn relu(self, v: u64) -> u64 {
        if self.is_nan(v) {
            self.nan()
        } else if self.negative(v) {
            0
        } else {
            v
        }
    }

    /// Values where arithmetic has edges.
    pub fn edges(self) -> Vec<u64> {
        let (one, hidden, inf) = (self.one(), 1u64 << (self.0 - 1), self.inf(false));
        let plain = [
            0,
            1,
            3,
            hidden >> 1 | 1,
            hidden - 1,
            hidden,
            hidden + 1,
            one - hidden,
            one - 1,
            one,
            one + 1,
            one + hidden / 2,
            one + hidden,
            one + hidden - 1,
            one + 2 * hidden + hidden / 4,
            one + self.0 as u64 * hidden,
            one + (self.0 as u64 + 1) * hidden + 1,
            one.saturating_sub(self.0 as u64 * hidden).max(5),
            inf - 1,
            inf - hidden,
            inf,
        ];
        let mut all: Vec<u64> = plain.iter().flat_map(|v| [*v, v | 1 << self.sign()]).collect();
        all.extend([self.nan(), inf + 1, (inf + hidden / 2 + 5) | 1 << self.sign()]);
        all
    }
}
