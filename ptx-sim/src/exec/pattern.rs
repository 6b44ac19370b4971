//! How the lanes of a request lie to each other. An instruction's requests mostly repeat one pattern at other places, so
//! that what follows from it alone is worked out once.

use super::Request;
use super::requests::wavefronts;

/// The addresses of a request to shared memory, relative to the first lane's, and what follows from them.
#[repr(align(32))]
pub(crate) struct Pattern {
    offsets: [u32; 32],
    /// Where the lanes' different places are, ascending: their number, and of each the offset, the lanes there, and the
    /// first of these.
    pub at: [u32; 32],
    pub bits: [u32; 32],
    pub lane: [u32; 32],
    pub count: usize,
    pub mask: u32,
    /// Bytes of a lane.
    pub n: usize,
    /// All lanes are active, and their bytes follow each other.
    pub run: bool,
    /// The different places follow each other in groups of eight.
    pub eights: bool,
    /// All offsets are multiples of the width.
    aligned: bool,
    /// The lower two bits of the first address, on which the wavefronts of narrow requests depend.
    low: u32,
    /// Wavefronts of the request, and how many there would be without conflicts.
    pub waves: u64,
    pub ideal: u64,
    /// Requests since the last one that was as said here.
    misses: u32,
}

/// The first active lane's address. The other lanes get it, too, so that they don't matter.
#[inline(always)]
fn settle(addrs: &mut [u32; 32], mask: u32) -> u32 {
    if mask == !0 {
        return addrs[0];
    }
    let base = addrs[mask.trailing_zeros() as usize & 31];
    for (i, a) in addrs.iter_mut().enumerate() {
        *a = if mask >> i & 1 == 1 { *a } else { base };
    }
    base
}

/// Finds a request's pattern in its instruction's place for one, or else puts it there. None where the instruction's
/// requests differ too often for that to pay; else the first active lane's address.
#[inline(always)]
pub(super) fn recognise(place: &mut Option<Box<Pattern>>, mut addrs: [u32; 32], mask: u32, n: usize) -> Option<u32> {
    let base = settle(&mut addrs, mask);
    if let Some(p) = place {
        let mut off = (p.mask ^ mask) | (p.low ^ base & 3);
        for (address, offset) in addrs.iter().zip(&p.offsets) {
            off |= address.wrapping_sub(base) ^ offset;
        }
        if off == 0 {
            p.misses = 0;
            return Some(base);
        }
        p.misses += 1;
        if p.misses > 4 && !p.misses.is_multiple_of(16) {
            return None;
        }
    }
    learn(place, addrs, mask, n);
    Some(base)
}

#[cold]
#[inline(never)]
fn learn(place: &mut Option<Box<Pattern>>, addrs: [u32; 32], mask: u32, n: usize) {
    let base = addrs[mask.trailing_zeros() as usize];
    let wide = addrs.map(u64::from);
    let request = Request::new(&wide, mask, n);
    let (waves, ideal) = wavefronts(request);
    let mut order: [(u32, u32); 32] = std::array::from_fn(|i| (addrs[i], i as u32));
    order.sort_unstable();
    let mut p = Pattern {
        offsets: addrs.map(|a| a.wrapping_sub(base)),
        at: [0; 32],
        bits: [0; 32],
        lane: [0; 32],
        count: 0,
        mask,
        n,
        run: request.run,
        eights: false,
        aligned: addrs.iter().all(|a| a.wrapping_sub(base).is_multiple_of(n as u32)),
        low: base & 3,
        waves,
        ideal,
        misses: place.as_ref().map_or(0, |p| p.misses),
    };
    for (address, lane) in order.into_iter().filter(|o| mask >> o.1 & 1 == 1) {
        let at = address.wrapping_sub(base);
        if p.count == 0 || p.at[p.count - 1] != at {
            (p.at[p.count], p.lane[p.count]) = (at, lane);
            p.count += 1;
        }
        p.bits[p.count - 1] |= 1 << lane;
    }
    let follow = |eight: &[u32]| eight.windows(2).all(|w| w[0].wrapping_add(n as u32) == w[1]);
    p.eights = p.count.is_multiple_of(8) && p.at[..p.count].chunks(8).all(follow);
    match place {
        Some(old) => **old = p,
        None => *place = Some(Box::new(p)),
    }
}

impl Pattern {
    /// Whether a request of this pattern whose first active lane accesses `base` lies in `size` bytes and is aligned.
    #[inline(always)]
    pub fn fits(&self, base: u32, size: usize) -> bool {
        // In ascending order, addresses that wrap around come last.
        let (low, high) = (base.wrapping_add(self.at[0]), base.wrapping_add(self.at[self.count - 1]));
        self.aligned && base.is_multiple_of(self.n as u32) && low <= high && high as usize + self.n <= size
    }

    /// Each place is one lane's.
    pub fn apart(&self) -> bool {
        self.count == self.mask.count_ones() as usize
    }

    /// The address of an active lane.
    #[inline(always)]
    pub fn address(&self, base: u32, lane: usize) -> usize {
        base.wrapping_add(self.offsets[lane]) as usize
    }

    /// The first cell of 2^shift bytes of a place.
    #[inline(always)]
    pub fn cell(&self, base: u32, place: usize, shift: u32) -> usize {
        (base.wrapping_add(self.at[place]) >> shift) as usize
    }
}
