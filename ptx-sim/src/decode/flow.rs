//! Control flow of a kernel: which instructions follow which; and which registers a block starts with at zero.

use crate::inst::*;
use std::sync::OnceLock;

impl Kernel {
    /// Calls `f` with the instructions that may come right after the one at `pc`.
    pub(super) fn follow(&self, pc: usize, mut f: impl FnMut(usize)) {
        let inst = &self.code[pc];
        let goes_on = match &inst.op {
            Op::Bra(target) => {
                f(*target as usize);
                inst.guard.0 != 0
            }
            Op::Brx(_, table) => {
                table.iter().for_each(|&t| f(t as usize));
                inst.guard.0 != 0
            }
            Op::Exit | Op::Trap => inst.guard.0 != 0,
            _ => true,
        };
        if goes_on && pc + 1 < self.code.len() {
            f(pc + 1);
        }
    }

    /// The instructions that can be executed from `pc` on.
    pub fn reachable(&self, pc: u32) -> &[bool] {
        self.reach[(pc as usize).min(self.code.len() - 1)].get_or_init(|| {
            let mut seen = vec![false; self.code.len()];
            let mut open = vec![pc as usize];
            while let Some(i) = open.pop() {
                if i < seen.len() && !std::mem::replace(&mut seen[i], true) {
                    self.follow(i, |next| open.push(next));
                }
            }
            seen.into()
        })
    }
}

pub(super) fn analyse(kernel: &mut Kernel) {
    let n = kernel.code.len();
    let mut behind = 0u16;
    for inst in kernel.code.iter_mut().rev() {
        let guarded = inst.guard.0 != 0;
        inst.straight = match inst.op.is_arithmetic() {
            false => 0,
            true if guarded => 1,
            true => behind.saturating_add(1),
        };
        behind = if guarded { 0 } else { inst.straight };
    }
    kernel.reach = (0..n).map(|_| OnceLock::new()).collect();
    super::live::analyse(kernel);
}
