use super::Compact;
use crate::cpu::context::{Context, CpuOp};
use crate::program::Buf;

impl CpuOp for Compact {
    fn run(&self, cx: &Context) {
        let b = &self.batch;
        // SAFETY: this op runs alone; these are different buffers.
        let (position, live, keep) =
            unsafe { (cx.buf::<u32>(b.position), cx.buf::<u32>(b.live), cx.read::<u32>(b.keep)) };
        let mut kept = 0;
        for slot in 0..cx.n {
            if keep[position[slot] as usize] == 0 {
                continue;
            }
            // Only ever to the front and in order, so nothing is overwritten before it has moved.
            if kept < slot {
                position[kept] = position[slot];
                let move_image = |buf: Buf| {
                    let len = self.image.len();
                    // SAFETY: this op runs alone.
                    unsafe { cx.buf::<f32>(buf) }.copy_within(slot * len..(slot + 1) * len, kept * len);
                };
                move_image(b.x);
                move_image(b.x_adv);
                for &bits in &self.bits {
                    let (start, len) = (cx.bits(bits), cx.bits_len(bits));
                    // SAFETY: both slots lie in the mask's memory and don't overlap; this op runs alone.
                    unsafe { start.add(slot * len).copy_to_nonoverlapping(start.add(kept * len), len) };
                }
            }
            kept += 1;
        }
        live[0] = kept as u32;
    }
}
