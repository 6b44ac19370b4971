//! The registers of an instruction.

use crate::inst::*;

/// Calls `f` with each register of an operation, and whether it is written there. What is written is written for every lane
/// that executes the operation.
pub(super) fn registers(op: &mut Op, f: &mut impl FnMut(bool, Slot)) {
    /// Registers of a class, written or not.
    macro_rules! all {
        ($($w:literal $class:ident: $($s:expr),+);+) => {{ $($(f($w, Slot::$class($s));)+)+ }};
    }
    macro_rules! reg {
        ($w:literal, $reg:expr) => {
            match $reg {
                Reg::R(s) => f($w, Slot::R(s)),
                Reg::D(s) => f($w, Slot::D(s)),
                Reg::P(s) => f($w, Slot::P(s)),
            }
        };
    }
    macro_rules! base {
        ($addr:expr) => {
            if let Some(base) = &mut $addr.base {
                reg!(false, base);
            }
        };
    }
    match op {
        Op::A32(_, d, a) => all!(false R: a; true R: d),
        Op::B32(_, d, a, b) | Op::CvtPack(_, d, a, b) => all!(false R: a, b; true R: d),
        Op::C32(_, d, a, b, c) | Op::Rare(_, d, a, b, c) | Op::Lop3(_, d, a, b, c) => {
            all!(false R: a, b, c; true R: d)
        }
        Op::A64(_, d, a) => all!(false D: a; true D: d),
        Op::B64(_, d, a, b) => all!(false D: a, b; true D: d),
        Op::C64(_, d, a, b, c) => all!(false D: a, b, c; true D: d),
        Op::Shift64(_, d, a, b) => all!(false R: b; false D: a; true D: d),
        Op::Count64(_, d, a) => all!(false D: a; true R: d),
        Op::Wide1(_, d, a) => all!(false R: a; true D: d),
        Op::Wide2(_, d, a, b) => all!(false R: a, b; true D: d),
        Op::Wide3(_, d, a, b, c) => all!(false R: a, b; false D: c; true D: d),
        Op::Carry(_, d, a, b, c, flag) => {
            reg!(false, a);
            reg!(false, b);
            if let Some(c) = c {
                reg!(false, c);
            }
            all!(false P: flag);
            reg!(true, d);
        }
        Op::Test(_, p, a) => {
            reg!(false, a);
            all!(true P: p);
        }
        Op::Bfi32(d, a, b, pos, len) => all!(false R: a, b, pos, len; true R: d),
        Op::Bfi64(d, a, b, pos, len) => all!(false R: pos, len; false D: a, b; true D: d),
        Op::Bfe64(_, d, a, pos, len) => all!(false R: pos, len; false D: a; true D: d),
        Op::Cvt(_, d, a) => {
            reg!(false, a);
            reg!(true, d);
        }
        Op::Set32(_, p, q, a, b, _, with) => {
            all!(false R: a, b; false P: &mut with.0; true P: p);
            q.iter_mut().for_each(|q| f(true, Slot::P(q)));
        }
        Op::Set64(_, p, q, a, b, _, with) => {
            all!(false D: a, b; false P: &mut with.0; true P: p);
            q.iter_mut().for_each(|q| f(true, Slot::P(q)));
        }
        Op::SetValue(_, _, d, a, b, _, with) => {
            reg!(false, a);
            reg!(false, b);
            all!(false P: &mut with.0; true R: d);
        }
        Op::SetHalf2(_, _, d, a, b, _, with) => all!(false R: a, b; false P: &mut with.0; true R: d),
        Op::SetpHalf2(_, p, q, a, b, _, with) => all!(false R: a, b; false P: &mut with.0; true P: p, q),
        Op::Sel32(d, a, b, p) => all!(false R: a, b; false P: &mut p.0; true R: d),
        Op::Sel64(d, a, b, p) => all!(false D: a, b; false P: &mut p.0; true D: d),
        Op::Logic(_, p, a, b) => all!(false P: &mut a.0, &mut b.0; true P: p),
        Op::Moves(list) => {
            for (to, from) in list {
                reg!(false, from);
                reg!(true, to);
            }
        }
        Op::Pack(d, from) => {
            from.iter_mut().for_each(|a| reg!(false, a));
            reg!(true, d);
        }
        Op::Unpack(to, a) => {
            reg!(false, a);
            to.iter_mut().flatten().for_each(|d| reg!(true, d));
        }
        Op::Bra(_) | Op::Exit | Op::Trap | Op::Nop | Op::CpCommit | Op::CpWait(_) | Op::Fence(_) => {}
        Op::Brx(index, _) => all!(false R: index),
        Op::Bar(id, count, reduce) => {
            all!(false R: id);
            count.iter_mut().for_each(|n| f(false, Slot::R(n)));
            if let Some((_, d, p)) = reduce {
                all!(false P: &mut p.0);
                reg!(true, d);
            }
        }
        Op::WarpSync(members) => all!(false R: members),
        Op::Shfl { dst, ok, a, lane, clamp, members, .. } => {
            all!(false R: a, lane, clamp, members; true R: dst);
            ok.iter_mut().for_each(|p| f(true, Slot::P(p)));
        }
        Op::Vote(_, d, p, members) => {
            all!(false R: members; false P: &mut p.0);
            reg!(true, d);
        }
        Op::MatchAny(d, a, members) => {
            reg!(false, a);
            all!(false R: members; true R: d);
        }
        Op::Redux(_, d, a, members) => all!(false R: a, members; true R: d),
        Op::ActiveMask(d) => all!(true R: d),
        Op::Clock(d) | Op::Timer(d) => reg!(true, d),
        Op::Ld(a) => {
            base!(a.addr);
            a.regs.iter_mut().flatten().for_each(|d| reg!(true, d));
        }
        Op::St(a) => {
            base!(a.addr);
            a.regs.iter_mut().flatten().for_each(|v| reg!(false, v));
        }
        Op::Atom(a) => {
            base!(a.addr);
            reg!(false, &mut a.b);
            a.c.iter_mut().for_each(|c| reg!(false, c));
            a.dst.iter_mut().for_each(|d| reg!(true, d));
        }
        Op::CpAsync(cp) => {
            base!(cp.dst);
            base!(cp.src);
            cp.size.iter_mut().for_each(|n| reg!(false, n));
        }
        Op::LdMatrix(to, _, addr) => {
            base!(addr);
            to.iter_mut().for_each(|d| f(true, Slot::R(d)));
        }
        Op::Mma(m) => {
            m.a.iter_mut().chain(&mut m.b).chain(&mut m.c).for_each(|s| f(false, Slot::R(s)));
            m.d.iter_mut().for_each(|d| f(true, Slot::R(d)));
        }
    }
}
