//! What each arithmetic instruction does to one lane. The tables pair PTX names with Rust expressions; an opcode that
//! no table lists is an error at load.

pub(crate) mod carry;
pub(crate) mod cmp;
pub(crate) mod cvt;
pub(crate) mod float;
pub(crate) mod half2;
pub(crate) mod rare;
pub(crate) mod table32;
pub(crate) mod table64;

/// Sets each lane to an expression. No closure, which would be inlined only where that seems worth it: without, no loop
/// over the lanes becomes vector instructions. The result goes straight to its place, for what is returned passes through
/// the stack.
macro_rules! all_lanes {
    ($out:ident, |$i:ident| $e:expr) => {{
        #[allow(clippy::needless_range_loop, reason = "indexes several registers")]
        for $i in 0..32 {
            $out[$i] = $e;
        }
    }};
}
pub(crate) use all_lanes;

/// Defines an enum of operations of one operand shape, their PTX names and their effect on 32 lanes.
/// `FAST` says whether a loop over the lanes for each operation, which takes long to compile, is worth it.
macro_rules! lane_ops {
    ($name:ident $args:tt -> $r:ty { $($v:ident: $($key:literal)|+ => $e:expr;)+ }) => {
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub(crate) enum $name { $($v),+ }
        impl $name {
            /// The PTX names of the table.
            pub const KEYS: &[&str] = &[$($($key),+),+];
            pub fn from_key(key: &str) -> Option<Self> {
                match key { $($($key)|+ => Some(Self::$v),)+ _ => None }
            }
        }
        lane_ops! { @run $name $args -> $r { $($v => $e;)+ } }
    };
    (@run $name:ident ($a0:ident: $t0:ty) -> $r:ty { $($v:ident => $e:expr;)+ }) => {
        impl $name {
            #[inline(always)]
            pub fn run<const FAST: bool>(self, out: &mut [$r; 32], $a0: &[$t0; 32]) {
                if !FAST {
                    return self.one_by_one(out, $a0);
                }
                match self {
                    $(Self::$v => all_lanes!(out, |i| { let $a0 = $a0[i]; $e }),)+
                }
            }

            #[inline(never)]
            fn one_by_one(self, out: &mut [$r; 32], $a0: &[$t0; 32]) {
                all_lanes!(out, |i| self.one($a0[i]))
            }

            #[inline(never)]
            fn one(self, $a0: $t0) -> $r {
                match self {
                    $(Self::$v => $e,)+
                }
            }
        }
    };
    (@run $name:ident ($a0:ident: $t0:ty, $a1:ident: $t1:ty) -> $r:ty { $($v:ident => $e:expr;)+ }) => {
        impl $name {
            #[inline(always)]
            pub fn run<const FAST: bool>(self, out: &mut [$r; 32], $a0: &[$t0; 32], $a1: &[$t1; 32]) {
                if !FAST {
                    return self.one_by_one(out, $a0, $a1);
                }
                match self {
                    $(Self::$v => all_lanes!(out, |i| { let ($a0, $a1) = ($a0[i], $a1[i]); $e }),)+
                }
            }

            #[inline(never)]
            fn one_by_one(self, out: &mut [$r; 32], $a0: &[$t0; 32], $a1: &[$t1; 32]) {
                all_lanes!(out, |i| self.one($a0[i], $a1[i]))
            }

            #[inline(never)]
            fn one(self, $a0: $t0, $a1: $t1) -> $r {
                match self {
                    $(Self::$v => $e,)+
                }
            }
        }
    };
    (@run $name:ident ($a0:ident: $t0:ty, $a1:ident: $t1:ty, $a2:ident: $t2:ty) -> $r:ty { $($v:ident => $e:expr;)+ }) => {
        impl $name {
            #[inline(always)]
            pub fn run<const FAST: bool>(self, out: &mut [$r; 32], $a0: &[$t0; 32], $a1: &[$t1; 32], $a2: &[$t2; 32]) {
                if !FAST {
                    return self.one_by_one(out, $a0, $a1, $a2);
                }
                match self {
                    $(Self::$v => all_lanes!(out, |i| { let ($a0, $a1, $a2) = ($a0[i], $a1[i], $a2[i]); $e }),)+
                }
            }

            #[inline(never)]
            fn one_by_one(self, out: &mut [$r; 32], $a0: &[$t0; 32], $a1: &[$t1; 32], $a2: &[$t2; 32]) {
                all_lanes!(out, |i| self.one($a0[i], $a1[i], $a2[i]))
            }

            #[inline(never)]
            fn one(self, $a0: $t0, $a1: $t1, $a2: $t2) -> $r {
                match self {
                    $(Self::$v => $e,)+
                }
            }
        }
    };
}
pub(crate) use lane_ops;

/// The PTX names of all tables, for the test that each has cases.
#[doc(hidden)]
pub fn opcodes() -> Vec<&'static str> {
    use table32::*;
    use table64::*;
    let tables = [
        Un32::KEYS,
        Bin32::KEYS,
        Tri32::KEYS,
        Un64::KEYS,
        Bin64::KEYS,
        Tri64::KEYS,
        Shift64::KEYS,
        Count64::KEYS,
        Wide1::KEYS,
        Wide2::KEYS,
        Wide3::KEYS,
    ];
    tables.concat()
}
