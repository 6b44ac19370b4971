use super::{Refill, ring};
use crate::cpu::context::{Context, CpuOp};
use crate::program::Buf;

/// An example's images, and the rest of it, in elements of four bytes.
type Example = ([Buf; 2], [Buf; 4]);

impl CpuOp for Refill {
    fn run(&self, cx: &Context) {
        let (b, pool, len) = (&self.batch, &self.pool, self.image.len());
        let places = pool.label.len;
        let in_pool: Example = ([pool.x, pool.x_adv], [pool.label, pool.sample, pool.kappa, pool.step]);
        let in_batch: Example = ([b.x, b.x_adv], [b.label, b.sample, b.kappa, b.step]);
        // Each to and from: where the images are, and where the rest.
        let copy =
            |to: Example, [image_to, rest_to]: [usize; 2], from: Example, [image_from, rest_from]: [usize; 2]| {
                for (to, from) in to.0.into_iter().zip(from.0) {
                    // SAFETY: this op runs alone; these are different buffers.
                    unsafe { cx.row::<f32>(to, image_to, len).copy_from_slice(cx.row(from, image_from, len)) };
                }
                for (to, from) in to.1.into_iter().zip(from.1) {
                    // SAFETY: as above.
                    unsafe { *cx.at::<[u8; 4]>(to, rest_to) = *cx.at::<[u8; 4]>(from, rest_from) };
                }
            };
        // SAFETY: this op runs alone; these are different buffers.
        let (live, ring, position) =
            unsafe { (cx.buf::<u32>(b.live), cx.buf::<u32>(pool.ring), cx.buf::<u32>(b.position)) };
        let (head, count) = (ring[ring::HEAD] as usize, ring[ring::COUNT] as usize);
        for (slot, p) in position[..cx.n].iter().enumerate() {
            copy(in_pool, [(head + count + slot) % places; 2], in_batch, [slot, *p as usize]);
        }
        let waiting = count + cx.n;
        let taken = match live[1] {
            _ if waiting >= b.capacity => b.capacity,
            0 => waiting,
            _ => 0,
        };
        for (slot, p) in position[..taken].iter_mut().enumerate() {
            *p = slot as u32;
            copy(in_batch, [slot; 2], in_pool, [(head + slot) % places; 2]);
        }
        ring.copy_from_slice(&[((head + taken) % places) as u32, (waiting - taken) as u32]);
        live.copy_from_slice(&[taken as u32; 2]);
    }
}
