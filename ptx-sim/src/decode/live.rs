//! Which registers a kernel may read before it has written them: those that a block must find at zero.

use crate::inst::*;

/// The registers that an instruction reads, and those that it writes for every lane that executes it.
#[derive(Default)]
struct Uses {
    reads: Vec<Reg>,
    writes: Vec<Reg>,
}

impl Uses {
    fn of(op: &Op) -> Uses {
        let mut u = Uses::default();
        let r = |slots: &[u16]| slots.iter().map(|&s| Reg::R(s)).collect::<Vec<_>>();
        let d = |slots: &[u16]| slots.iter().map(|&s| Reg::D(s)).collect::<Vec<_>>();
        let mut set = |writes: Vec<Reg>, reads: Vec<Reg>| (u.writes, u.reads) = (writes, reads);
        let p = |p: &Pred| Reg::P(p.0);
        match op {
            Op::A32(_, to, a) => set(r(&[*to]), r(&[*a])),
            Op::B32(_, to, a, b) | Op::CvtPack(_, to, a, b) => set(r(&[*to]), r(&[*a, *b])),
            Op::C32(_, to, a, b, c) | Op::Rare(_, to, a, b, c) | Op::Lop3(_, to, a, b, c) => {
                set(r(&[*to]), r(&[*a, *b, *c]))
            }
            Op::A64(_, to, a) => set(d(&[*to]), d(&[*a])),
            Op::B64(_, to, a, b) => set(d(&[*to]), d(&[*a, *b])),
            Op::C64(_, to, a, b, c) => set(d(&[*to]), d(&[*a, *b, *c])),
            Op::Shift64(_, to, a, b) => set(d(&[*to]), vec![Reg::D(*a), Reg::R(*b)]),
            Op::Count64(_, to, a) => set(r(&[*to]), d(&[*a])),
            Op::Wide1(_, to, a) => set(d(&[*to]), r(&[*a])),
            Op::Wide2(_, to, a, b) => set(d(&[*to]), r(&[*a, *b])),
            Op::Wide3(_, to, a, b, c) => set(d(&[*to]), vec![Reg::R(*a), Reg::R(*b), Reg::D(*c)]),
            Op::Carry(_, to, a, b, c, flag) => set(vec![*to], [*a, *b, Reg::P(*flag)].into_iter().chain(*c).collect()),
            Op::Test(_, to, a) => set(vec![Reg::P(*to)], vec![*a]),
            Op::Bfi32(to, a, b, at, n) => set(r(&[*to]), r(&[*a, *b, *at, *n])),
            Op::Bfi64(to, a, b, at, n) => set(d(&[*to]), [d(&[*a, *b]), r(&[*at, *n])].concat()),
            Op::Bfe64(_, to, a, at, n) => set(d(&[*to]), [d(&[*a]), r(&[*at, *n])].concat()),
            Op::Cvt(_, to, a) => set(vec![*to], vec![*a]),
            Op::Set32(_, to, other, a, b, _, with) => {
                set(to_preds(*to, *other), [r(&[*a, *b]), vec![p(with)]].concat())
            }
            Op::Set64(_, to, other, a, b, _, with) => {
                set(to_preds(*to, *other), [d(&[*a, *b]), vec![p(with)]].concat())
            }
            Op::SetValue(_, _, to, a, b, _, with) => set(r(&[*to]), vec![*a, *b, p(with)]),
            Op::SetHalf2(_, _, to, a, b, _, with) => set(r(&[*to]), [r(&[*a, *b]), vec![p(with)]].concat()),
            Op::SetpHalf2(_, to, other, a, b, _, with) => {
                set(to_preds(*to, Some(*other)), [r(&[*a, *b]), vec![p(with)]].concat())
            }
            Op::Sel32(to, a, b, which) => set(r(&[*to]), [r(&[*a, *b]), vec![p(which)]].concat()),
            Op::Sel64(to, a, b, which) => set(d(&[*to]), [d(&[*a, *b]), vec![p(which)]].concat()),
            Op::Logic(_, to, a, b) => set(vec![Reg::P(*to)], vec![p(a), p(b)]),
            Op::Pack(to, from) => set(vec![*to], from.clone()),
            Op::Unpack(to, from) => set(to.iter().copied().flatten().collect(), vec![*from]),
            Op::Bra(_) | Op::Exit | Op::Trap | Op::Nop | Op::CpCommit | Op::CpWait(_) | Op::Fence(_) => {}
            Op::Brx(index, _) => set(vec![], r(&[*index])),
            Op::Bar(id, count, reduce) => {
                let (ids, votes) = (r(&[*id]).into_iter().chain(count.map(Reg::R)), reduce.iter().map(|x| p(&x.2)));
                set(vec![], ids.chain(votes).collect())
            }
            Op::WarpSync(members) => set(vec![], r(&[*members])),
            Op::Shfl { dst, ok, a, lane, clamp, members, .. } => {
                let writes = r(&[*dst]).into_iter().chain(ok.map(Reg::P)).collect();
                set(writes, r(&[*a, *lane, *clamp, *members]))
            }
            Op::Vote(_, to, which, members) => set(vec![*to], vec![p(which), Reg::R(*members)]),
            Op::MatchAny(to, a, members) => set(r(&[*to]), vec![*a, Reg::R(*members)]),
            Op::Redux(_, to, a, members) => set(r(&[*to]), r(&[*a, *members])),
            Op::ActiveMask(to) => set(r(&[*to]), vec![]),
            Op::Clock(to) | Op::Timer(to) => set(vec![*to], vec![]),
            Op::Ld(a) => set(a.regs.iter().copied().flatten().collect(), a.addr.base.into_iter().collect()),
            Op::St(a) => set(vec![], a.regs.iter().copied().flatten().chain(a.addr.base).collect()),
            Op::Atom(a) => {
                set(a.dst.into_iter().collect(), [Some(a.b), a.c, a.addr.base].into_iter().flatten().collect())
            }
            Op::CpAsync(cp) => set(vec![], [cp.dst.base, cp.src.base, cp.size].into_iter().flatten().collect()),
            Op::LdMatrix(to, _, addr) => set(r(to), addr.base.into_iter().collect()),
            Op::Mma(m) => set(r(&m.d), [r(&m.a), r(&m.b), r(&m.c)].concat()),
        }
        u
    }
}

fn to_preds(p: u16, q: Option<u16>) -> Vec<Reg> {
    [Some(p), q].into_iter().flatten().map(Reg::P).collect()
}

/// For each register (those of 32 bits first, then those of 64, then predicates) whether a lane may read it before that lane
/// has written it; all, of kernels that are too large to say.
pub(super) fn unwritten(kernel: &Kernel) -> impl Fn(Reg) -> bool + use<> {
    let (n32, n64) = (kernel.n32, kernel.n64);
    let index = move |reg: Reg| match reg {
        Reg::R(s) => s as usize,
        Reg::D(s) => n32 + s as usize,
        Reg::P(s) => n32 + n64 + s as usize,
    };
    let (n, words) = (kernel.code.len(), (n32 + n64 + kernel.np).div_ceil(64));
    let mut first = vec![!0u64; words];
    if n * words <= 1 << 22 {
        let uses: Vec<Uses> = kernel.code.iter().map(|inst| Uses::of(&inst.op)).collect();
        // Per instruction, what may be read from there on before it is written.
        let mut live = vec![0u64; n * words];
        let mut changed = true;
        while std::mem::take(&mut changed) {
            for pc in (0..n).rev() {
                let mut now = vec![0u64; words];
                kernel.follow(pc, |next| {
                    for (now, live) in now.iter_mut().zip(&live[next * words..]) {
                        *now |= live;
                    }
                });
                let guard = kernel.code[pc].guard;
                if guard.0 == 0 {
                    for i in uses[pc].writes.iter().map(|&reg| index(reg)) {
                        now[i / 64] &= !(1 << (i % 64));
                    }
                }
                for i in uses[pc].reads.iter().copied().chain([Reg::P(guard.0)]).map(index) {
                    now[i / 64] |= 1 << (i % 64);
                }
                let old = &mut live[pc * words..(pc + 1) * words];
                changed |= old != now;
                old.copy_from_slice(&now);
            }
        }
        first = live[..words].to_vec();
        // A shuffle may read what another lane has, which may have gone another way.
        for inst in &kernel.code {
            if let Op::Shfl { a, .. } = inst.op {
                first[a as usize / 64] |= 1 << (a % 64);
            }
        }
    }
    move |reg| first[index(reg) / 64] >> (index(reg) % 64) & 1 == 1
}
