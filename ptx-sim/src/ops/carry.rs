//! Additions and subtractions that take or leave a carry, of which wider arithmetic is made.

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Add,
    Sub,
    MadLo,
    MadHi,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Carry {
    kind: Kind,
    pub wide: bool,
    signed: bool,
    /// Adds (or borrows) the carry that the last instruction left.
    takes: bool,
    /// Leaves a carry.
    pub leaves: bool,
}

impl Carry {
    pub fn parse(key: &str) -> Option<Carry> {
        let (op, ty) = key.rsplit_once('.')?;
        let (kind, takes, leaves) = match op {
            "add.cc" => (Kind::Add, false, true),
            "addc" => (Kind::Add, true, false),
            "addc.cc" => (Kind::Add, true, true),
            "sub.cc" => (Kind::Sub, false, true),
            "subc" => (Kind::Sub, true, false),
            "subc.cc" => (Kind::Sub, true, true),
            "mad.lo.cc" => (Kind::MadLo, false, true),
            "madc.lo" => (Kind::MadLo, true, false),
            "madc.lo.cc" => (Kind::MadLo, true, true),
            "mad.hi.cc" => (Kind::MadHi, false, true),
            "madc.hi" => (Kind::MadHi, true, false),
            "madc.hi.cc" => (Kind::MadHi, true, true),
            _ => return None,
        };
        let (wide, signed) = match ty {
            "u32" => (false, false),
            "s32" => (false, true),
            "u64" => (true, false),
            "s64" => (true, true),
            _ => return None,
        };
        Some(Carry { kind, wide, signed, takes, leaves })
    }

    /// Operands without the destination.
    pub fn arity(self) -> usize {
        if matches!(self.kind, Kind::Add | Kind::Sub) { 2 } else { 3 }
    }

    /// The result and the carry out of it.
    #[inline(always)]
    pub fn run(self, a: u64, b: u64, c: u64, carry: bool) -> (u64, bool) {
        let bits = if self.wide { 64 } else { 32 };
        let (a, b, carry) = (a as u128, b as u128, (carry & self.takes) as u128);
        let signed = |v: u128| (v << (128 - bits)) as i128 >> (128 - bits);
        let product = if self.signed { signed(a).wrapping_mul(signed(b)) as u128 } else { a * b };
        let low = (1u128 << bits) - 1;
        let exact = match self.kind {
            Kind::Add => a + b + carry,
            Kind::Sub => a.wrapping_sub(b).wrapping_sub(carry),
            Kind::MadLo => (product & low) + c as u128 + carry,
            Kind::MadHi => (product >> bits & low) + c as u128 + carry,
        };
        ((exact & low) as u64, exact >> bits & 1 == 1)
    }
}
