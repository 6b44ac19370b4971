//! How the lanes of a request lie to each other. An instruction's requests mostly repeat one pattern at other places, so
//! that what follows from it alone is worked out once.

use super::requests::wavefronts;
use super::{Request, each, lanes};
use std::rc::Rc;

/// The addresses of a request to shared memory, relative to the first lane's, and what follows from them.
#[repr(align(32))]
pub(crate) struct Pattern {
    offsets: [u32; 32],
    /// Of requests for words that lie close to each other, the number of each lane's word from the lowest one on.
    pub words: Option<[u32; 32]>,
    /// The cells in groups of `width` that follow each other, ascending: the offset of each group, and of each cell the
    /// lanes there and the first of these.
    pub width: usize,
    pub groups: Vec<u32>,
    pub bits: Vec<u32>,
    pub lane: Vec<u32>,
    /// No two lanes share a place.
    pub apart: bool,
    /// The lowest and the highest offset.
    low: u32,
    high: u32,
    pub mask: u32,
    /// Bytes of a lane.
    pub n: usize,
    /// All lanes are active, and their bytes follow each other.
    pub run: bool,
    /// All offsets are multiples of the width.
    aligned: bool,
    /// The lower two bits of the first address, on which the wavefronts of narrow requests depend.
    start: u32,
    /// Wavefronts of the request, and how many there would be without conflicts.
    pub waves: u64,
    pub ideal: u64,
}

/// An instruction's place for a pattern.
#[derive(Default)]
pub(crate) struct Place {
    pub pattern: Option<Rc<Pattern>>,
    /// Requests since the last one of the pattern.
    misses: u32,
}

/// Finds a request's pattern in its instruction's place for one, or else puts it there. None where the instruction's
/// requests differ too often for that to pay; else the first active lane's address. The lanes' addresses are `values` and
/// `more`; cells have 2^shift bytes.
#[inline(always)]
pub(super) fn recognise(
    place: &mut Place,
    (values, more): (&[u32; 32], u32),
    (mask, n, shift): (u32, usize, u32),
) -> Option<u32> {
    let first = values[mask.trailing_zeros() as usize & 31];
    let base = first.wrapping_add(more);
    // Lanes that are not active get the address of one, so that they don't matter.
    let settled;
    let values = match mask {
        u32::MAX => values,
        _ => {
            settled = each(|i| if mask & 1 << i != 0 { values[i] } else { first });
            &settled
        }
    };
    if let Some(p) = &place.pattern {
        let mut off = (p.mask ^ mask) | (p.start ^ base & 3);
        for (value, offset) in values.iter().zip(&p.offsets) {
            off |= value.wrapping_sub(first) ^ offset;
        }
        if off == 0 {
            place.misses = 0;
            return Some(base);
        }
        place.misses += 1;
        if place.misses > 4 && !place.misses.is_multiple_of(16) {
            return None;
        }
    }
    place.pattern = Some(Rc::new(learn(values.map(|v| v.wrapping_add(more)), (mask, n, shift))));
    Some(base)
}

#[cold]
#[inline(never)]
fn learn(addrs: [u32; 32], (mask, n, shift): (u32, usize, u32)) -> Pattern {
    let base = addrs[mask.trailing_zeros() as usize];
    let wide = addrs.map(u64::from);
    let request = Request::new(&wide, mask, n);
    let (waves, ideal) = wavefronts(request);
    let offsets = addrs.map(|a| a.wrapping_sub(base));
    let mut order: Vec<(u32, usize)> = lanes(mask).map(|i| (addrs[i], i)).collect();
    order.sort_unstable();
    let places: Vec<&[(u32, usize)]> = order.chunk_by(|a, b| a.0 == b.0).collect();
    // Each place's cells, with the lanes there.
    let list = || Vec::with_capacity(places.len() * (n >> shift));
    let (mut cells, mut bits, mut lane) = (list(), list(), list());
    for place in &places {
        for k in 0..(n as u32 >> shift) {
            cells.push(place[0].0.wrapping_sub(base).wrapping_add(k << shift));
            bits.push(place.iter().fold(0, |all, p| all | 1 << p.1));
            lane.push(place[0].1 as u32);
        }
    }
    let follow = |group: &[u32]| group.windows(2).all(|w| w[0].wrapping_add(1 << shift) == w[1]);
    let width =
        [8, 4, 2].into_iter().find(|&w| cells.len().is_multiple_of(w) && cells.chunks(w).all(follow)).unwrap_or(1);
    let (low, high) = (order[0].0.wrapping_sub(base), order[order.len() - 1].0.wrapping_sub(base));
    let aligned = offsets.iter().all(|a| a.is_multiple_of(n as u32));
    let near = n == 4 && aligned && high.wrapping_sub(low) < 128;
    Pattern {
        offsets,
        words: near.then(|| offsets.map(|o| o.wrapping_sub(low) / 4)),
        width,
        groups: cells.iter().copied().step_by(width).collect(),
        bits,
        lane,
        apart: places.len() == order.len(),
        low,
        high,
        mask,
        n,
        run: request.run,
        aligned,
        start: base & 3,
        waves,
        ideal,
    }
}

impl Pattern {
    /// The lowest address of a request of this pattern whose first active lane accesses `base`, if it lies in `size`
    /// bytes and is aligned.
    #[inline(always)]
    pub fn lowest(&self, base: u32, size: usize) -> Option<usize> {
        // In ascending order, addresses that wrap around come last.
        let (low, high) = (base.wrapping_add(self.low), base.wrapping_add(self.high));
        let fits = self.aligned && base.is_multiple_of(self.n as u32) && low <= high && high as usize + self.n <= size;
        fits.then_some(low as usize)
    }

    /// The address of an active lane.
    #[inline(always)]
    pub fn address(&self, base: u32, lane: usize) -> usize {
        base.wrapping_add(self.offsets[lane]) as usize
    }
}
