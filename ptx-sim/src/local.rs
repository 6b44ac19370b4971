//! Local memory of a warp's threads.

use crate::error::FaultKind;
use crate::exec::{Buf, lanes};
use crate::memory::MemFault;
use crate::shared::LaneFault;

/// Local memory of the 32 threads of a warp, one after the other, with a flag per byte: it has been written.
pub(crate) struct Local {
    size: usize,
    data: Vec<u8>,
    init: Vec<bool>,
    pub check_init: bool,
}

impl Local {
    pub fn new(size: usize) -> Local {
        Local { size, data: vec![0; size * 32], init: vec![false; size * 32], check_init: true }
    }

    /// Starts a new block, which has written nothing yet.
    pub fn restart(&mut self) {
        self.data.fill(0);
        self.init.fill(false);
    }

    fn place(&self, lane: usize, addr: u64, n: usize) -> Result<usize, LaneFault> {
        if addr & (n as u64 - 1) != 0 {
            let what = format!("local address {addr:#x} is no multiple of {n}");
            return Err((lane, MemFault(FaultKind::Misaligned, what)));
        }
        if addr.checked_add(n as u64).is_none_or(|end| end > self.size as u64) {
            let what = format!("access to {n} bytes at local address {addr:#x} of {} bytes", self.size);
            return Err((lane, MemFault(FaultKind::OutOfBounds, what)));
        }
        Ok(lane * self.size + addr as usize)
    }

    pub fn load(&self, addrs: &[u64; 32], mask: u32, n: usize, out: &mut Buf) -> Result<(), LaneFault> {
        for lane in lanes(mask) {
            let at = self.place(lane, addrs[lane], n)?;
            if self.check_init && !self.init[at..at + n].iter().all(|&i| i) {
                let what =
                    format!("read of {n} bytes at local address {:#x}, which the thread has not written", addrs[lane]);
                return Err((lane, MemFault(FaultKind::Uninitialised, what)));
            }
            out.lane_mut(lane, n).copy_from_slice(&self.data[at..at + n]);
        }
        Ok(())
    }

    pub fn store(&mut self, addrs: &[u64; 32], mask: u32, n: usize, from: &Buf) -> Result<(), LaneFault> {
        for lane in lanes(mask) {
            let at = self.place(lane, addrs[lane], n)?;
            self.init[at..at + n].fill(true);
            self.data[at..at + n].copy_from_slice(from.lane(lane, n));
        }
        Ok(())
    }
}
