use super::{Freeze, Thaw};
use crate::cpu::context::{Context, CpuOp};

impl CpuOp for Freeze {
    fn run(&self, cx: &Context) {
        let (b, len) = (&self.batch, self.image.len());
        // SAFETY: this op runs alone, and does not write it.
        let (keep, x_adv) = (unsafe { cx.read::<u32>(b.keep) }, unsafe { cx.read::<f32>(b.x_adv) });
        for slot in 0..cx.n {
            // SAFETY: this op runs alone, and does not write it.
            let position = unsafe { cx.position(b, slot) };
            if self.all || keep[position] == 0 {
                // SAFETY: this op runs alone.
                let to = unsafe { cx.row::<f32>(b.frozen, position, len) };
                to.copy_from_slice(&x_adv[slot * len..(slot + 1) * len]);
            }
        }
    }
}

impl CpuOp for Thaw {
    fn run(&self, cx: &Context) {
        let b = &self.batch;
        // SAFETY: this op runs alone; these are two buffers.
        let (position, live) = unsafe { (cx.buf::<u32>(b.position), cx.buf::<u32>(b.live)) };
        live[0] = live[1];
        position[..live[1] as usize].iter_mut().zip(0..).for_each(|(p, slot)| *p = slot);
    }
}
