use super::{Load, PAD};
use crate::batch::control;
use crate::batch::counter;
use crate::cpu::context::{Context, CpuOp};
use crate::program::DType;
use crate::rng::Stream;
use rayon::prelude::*;

impl CpuOp for Load {
    fn run(&self, cx: &Context) {
        let (b, image) = (&self.batch, self.image);
        // SAFETY: this op runs alone, and does not write it.
        let control = unsafe { cx.read::<u32>(self.data.control) };
        let (cursor, end) = (control[control::CURSOR] as usize, control[control::END] as usize);
        // SAFETY: this op runs alone, and does not write it.
        let halted = unsafe { cx.read::<u64>(self.stats.counters) }[counter::HALTED] != 0;
        let n = if halted { 0 } else { end.saturating_sub(cursor).min(b.capacity) };
        // SAFETY: this op runs alone.
        unsafe { cx.buf::<u32>(b.live) }.copy_from_slice(&[n as u32, n as u32]);
        // SAFETY: this op runs alone, and does not write it.
        let order = &unsafe { cx.read::<u32>(self.data.order) }[cursor.min(end)..];
        // SAFETY: this op runs alone, and does not write it.
        let labels = unsafe { cx.read::<u32>(self.data.labels) };
        let epoch = control[control::EPOCH];
        (0..n).into_par_iter().for_each(|slot| {
            let sample = order[slot] as usize;
            // SAFETY: each slot is filled by one thread only.
            unsafe {
                *cx.at::<u32>(b.position, slot) = slot as u32;
                *cx.at::<u32>(b.sample, slot) = sample as u32;
                *cx.at::<u32>(b.label, slot) = labels[sample];
                *cx.at::<u32>(b.kappa, slot) = 0;
                *cx.at::<u32>(b.crossed, slot) = 0;
                *cx.at::<u32>(b.keep, slot) = 1;
                *cx.at::<f32>(b.step, slot) = 0.0;
                *cx.at::<f32>(b.weight, slot) = 0.0;
            }
            // SAFETY: as above.
            let out = unsafe { cx.row::<f32>(b.x, slot, image.len()) };
            let (dy, dx, flip) = if self.augment {
                let r = self.rng.block(Stream::Augment, epoch, sample as u32, 0);
                let offset = |r: u32| (r as usize % (2 * PAD + 1)) as isize - PAD as isize;
                (offset(r[0]), offset(r[1]), r[2] & 1 == 1)
            } else {
                (0, 0, false)
            };
            let range = sample * image.len()..(sample + 1) * image.len();
            match self.data.images.dtype {
                DType::U8 => {
                    // SAFETY: this op runs alone, and does not write it.
                    let pixels = &unsafe { cx.read::<u8>(self.data.images) }[range];
                    crop(out, image, dy, dx, flip, |i| pixels[i] as f32 / 255.0)
                }
                _ => {
                    // SAFETY: this op runs alone, and does not write it.
                    let pixels = &unsafe { cx.read::<f32>(self.data.images) }[range];
                    crop(out, image, dy, dx, flip, |i| pixels[i])
                }
            }
        });
    }
}

/// `out[c, y, x] = pixel(c, y + dy, x + dx)`, zero outside, mirrored in x if `flip`.
fn crop(out: &mut [f32], image: crate::program::Shape, dy: isize, dx: isize, flip: bool, pixel: impl Fn(usize) -> f32) {
    let (h, w) = (image.h as isize, image.w as isize);
    for (row, out) in out.chunks_exact_mut(image.w).enumerate() {
        let (c, y) = ((row / image.h) as isize, (row % image.h) as isize + dy);
        for (x, o) in out.iter_mut().enumerate() {
            let from = if flip { w - 1 - x as isize } else { x as isize } + dx;
            let inside = (0..h).contains(&y) && (0..w).contains(&from);
            *o = if inside { pixel(((c * h + y) * w + from) as usize) } else { 0.0 };
        }
    }
}
