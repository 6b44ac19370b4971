use super::schedule::Level;
use super::{BLOCK_BITS, Square};
use crate::batch::control;
use crate::cpu::context::{Context, CpuOp};
use crate::cpu::lanes::{WARP, lane_sum};
use crate::ops::ball::Norm;
use crate::program::Values;
use crate::rng::{Stream, uniform};

/// Kept from divisions by zero.
const TINY: f32 = 1e-12;

/// The random numbers of one query of one example.
struct Dice<'a> {
    op: &'a Square,
    run: u32,
    sample: u32,
    first: u32,
}

impl Dice<'_> {
    fn block(&self, i: usize) -> [u32; 4] {
        self.op.rng.block(Stream::Square, self.run, self.sample, self.first.wrapping_add(i as u32))
    }

    /// Bit `i`, as a sign.
    fn sign(&self, i: usize) -> f32 {
        let word = self.block(1 + i / BLOCK_BITS)[i % BLOCK_BITS / 32];
        if word >> (i % 32) & 1 == 1 { 1.0 } else { -1.0 }
    }

    /// Row and column of the corners of two squares.
    fn corners(&self, side: usize) -> [[usize; 2]; 2] {
        let (r, image) = (self.block(0), self.op.image);
        let place = |r: u32, n: usize| (uniform(r) * (n - side) as f32) as usize;
        [[place(r[0], image.h), place(r[1], image.w)], [place(r[2], image.h), place(r[3], image.w)]]
    }
}

/// A table of `eta`, as it stands or across.
struct Eta<'a> {
    table: &'a [f32],
    side: usize,
    across: bool,
}

impl Eta<'_> {
    fn at(&self, y: usize, x: usize) -> f32 {
        self.table[if self.across { x * self.side + y } else { y * self.side + x }]
    }
}

/// Whether a pixel is in the square of that corner.
fn inside([y, x]: [usize; 2], corner: [usize; 2], side: usize) -> bool {
    (corner[0]..corner[0] + side).contains(&y) && (corner[1]..corner[1] + side).contains(&x)
}

impl Square {
    fn eta<'a>(&self, cx: &'a Context, level: Level, across: bool) -> Eta<'a> {
        let (side, at) = (level.side as usize, level.table as usize);
        // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
        Eta { table: &unsafe { cx.read::<f32>(self.state.eta) }[at..at + side * side], side, across }
    }

    /// `x + eps*r[c, w]`; `signs` has room for those of a row.
    fn stripes(&self, dice: &Dice, x: &[f32], adv: &mut [f32], signs: &mut [f32]) {
        let w = self.image.w;
        for (c, (adv, x)) in adv.chunks_mut(self.plane()).zip(x.chunks(self.plane())).enumerate() {
            signs.iter_mut().enumerate().for_each(|(col, sign)| *sign = dice.sign(c * w + col));
            for (i, (adv, x)) in adv.iter_mut().zip(x).enumerate() {
                *adv = (x + signs[i % w] * self.eps).clamp(0.0, 1.0);
            }
        }
    }

    /// Pixels of a channel.
    fn plane(&self) -> usize {
        self.image.h * self.image.w
    }

    /// `x + eps*d/|d|`, of the grid of squares.
    fn tiles(&self, cx: &Context, dice: &Dice, x: &[f32], adv: &mut [f32]) {
        let (start, corner, [rows, cols]) = (self.schedule.start, self.schedule.corner as usize, self.grid());
        let side = start.side as usize;
        adv.fill(0.0);
        for tile in 0..rows * cols {
            let first = tile * (1 + self.image.c);
            let eta = self.eta(cx, start, dice.sign(first) > 0.0);
            let (top, left) = (corner + tile / cols * side, corner + tile % cols * side);
            for (c, adv) in adv.chunks_mut(self.plane()).enumerate() {
                let sign = dice.sign(first + 1 + c);
                for i in 0..side * side {
                    adv[(top + i / side) * self.image.w + left + i % side] = sign * eta.at(i / side, i % side);
                }
            }
        }
        self.normalise(x, adv);
    }

    /// `adv`, so far a direction d, becomes `x + eps*d/|d|`.
    fn normalise(&self, x: &[f32], adv: &mut [f32]) {
        let square = |d: &[f32]| lane_sum::<WARP>(d.len(), |i| d[i] * d[i]);
        let norm = adv.chunks(self.plane()).map(square).fold(0.0, |sum, v| sum + v).sqrt() + TINY;
        adv.iter_mut().zip(x).for_each(|(adv, x)| *adv = (x + *adv / norm * self.eps).clamp(0.0, 1.0));
    }

    /// The best image with a square of `x + eps*r[c]`.
    fn square(&self, dice: &Dice, side: usize, x: &[f32], adv: &mut [f32]) {
        let ([[top, left], _], w) = (dice.corners(side), self.image.w);
        for (c, (adv, x)) in adv.chunks_mut(self.plane()).zip(x.chunks(self.plane())).enumerate() {
            let step = dice.sign(1 + c) * self.eps;
            for row in top..top + side {
                let at = row * w + left..row * w + left + side;
                adv[at.clone()].iter_mut().zip(&x[at]).for_each(|(adv, x)| *adv = (x + step).clamp(0.0, 1.0));
            }
        }
    }

    /// The best image with the mass of two squares moved into the first.
    fn pyramids(&self, cx: &Context, dice: &Dice, level: Level, x: &[f32], adv: &mut [f32]) {
        let (side, w, plane) = (level.side as usize, self.image.w, self.plane());
        let (corners, eta) = (dice.corners(side), self.eta(cx, level, dice.sign(0) > 0.0));
        let within = |i: usize, k: usize| inside([i / w, i % w], corners[k], side);
        adv.iter_mut().zip(x).for_each(|(adv, x)| *adv -= x);
        let square = |d: &[f32]| lane_sum::<WARP>(plane, |i| d[i] * d[i]);
        let length = adv.chunks(plane).map(square).fold(0.0, |sum, v| sum + v).sqrt();
        let free = (self.eps * self.eps - length * length).max(0.0) / self.image.c as f32;
        for (c, d) in adv.chunks_mut(plane).enumerate() {
            let sign = dice.sign(1 + c);
            let part = |k: &dyn Fn(usize) -> bool| lane_sum::<WARP>(plane, |i| if k(i) { d[i] * d[i] } else { 0.0 });
            let first = part(&|i| within(i, 0)).sqrt() + TINY;
            let both = part(&|i| within(i, 0) || within(i, 1));
            for (i, d) in d.iter_mut().enumerate() {
                if within(i, 0) {
                    *d = sign * eta.at(i / w - corners[0][0], i % w - corners[0][1]) + *d / first;
                } else if within(i, 1) {
                    *d = 0.0;
                }
            }
            let norm = lane_sum::<WARP>(plane, |i| if within(i, 0) { d[i] * d[i] } else { 0.0 }).sqrt() + TINY;
            let scale = (free + both).sqrt() / norm;
            d.iter_mut().enumerate().filter(|(i, _)| within(*i, 0)).for_each(|(_, d)| *d *= scale);
        }
        self.normalise(x, adv);
    }
}

/// `z_y` minus the largest other logit.
fn margin(z: &[f32], label: usize) -> f32 {
    let other = z.iter().enumerate().filter(|(k, _)| *k != label).map(|(_, z)| *z);
    z[label] - other.fold(f32::NEG_INFINITY, f32::max)
}

impl CpuOp for Square {
    fn scratch(&self, _: usize, _: &Values) -> usize {
        self.image.w
    }

    fn run(&self, cx: &Context) {
        let (b, len, state) = (&self.batch, self.image.len(), &self.state);
        // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
        let control = unsafe { cx.read::<u32>(self.data.control) };
        let (run, query) = (control[control::EPOCH], self.query.map(|at| at.number(control)));
        for slot in cx.first..cx.first + cx.n {
            // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
            let position = unsafe { cx.position(b, slot) };
            // SAFETY: only this thread has the slot and its position.
            let (x, adv, z, best, least) = unsafe {
                (
                    cx.row::<f32>(b.x, slot, len),
                    cx.row::<f32>(b.x_adv, slot, len),
                    cx.row::<f32>(b.logits, position, b.classes),
                    cx.row::<f32>(state.best, position, len),
                    cx.at::<f32>(state.margin, position),
                )
            };
            let first = query.map_or(0, |query| query + 1).wrapping_mul(self.blocks() as u32);
            // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
            let dice = Dice { op: self, run, sample: unsafe { cx.read::<u32>(b.sample) }[position], first };
            let Some(query) = query else {
                *least = f32::INFINITY;
                match self.norm {
                    Norm::Linf => {
                        // SAFETY: the only use of the scratch.
                        let scratch = unsafe { cx.scratch() };
                        self.stripes(&dice, x, adv, &mut scratch[..self.image.w]);
                    }
                    Norm::L2 => self.tiles(cx, &dice, x, adv),
                }
                continue;
            };
            // SAFETY: no op that tiles go through writes it, or only the thread that has the example.
            let margin = margin(z, unsafe { cx.read::<u32>(b.label) }[position] as usize);
            if margin < *least {
                *least = margin;
                best.copy_from_slice(adv);
            } else {
                adv.copy_from_slice(best);
            }
            let level = self.schedule.level(query);
            match self.norm {
                Norm::Linf => self.square(&dice, level.side as usize, x, adv),
                Norm::L2 => self.pyramids(cx, &dice, level, x, adv),
            }
        }
    }
}
