//! Sums in the order in which a GPU's threads make them, so that both backends get the same bits: of `N` threads, a multiple of
//! [`WARP`], thread t adds t, t + N and so on, a warp's threads add up as a butterfly, and the warps in order.

/// Threads of a warp.
pub const WARP: usize = 32;

/// The sum of `value(0) .. value(len - 1)` as `N` threads make it.
#[inline(always)]
pub fn lane_sum<const N: usize>(len: usize, value: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; N];
    for first in (0..len).step_by(N) {
        lanes.iter_mut().zip(first..len).for_each(|(lane, i)| *lane += value(i));
    }
    total(lanes)
}

/// The sum of `value(a[i], b[i])` as `N` threads make it; the loop over elements becomes one over vectors.
#[inline(always)]
pub fn pair_sum<const N: usize>(a: &[f32], b: &[f32], value: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; N];
    for (a, b) in a.chunks(N).zip(b.chunks(N)) {
        lanes.iter_mut().zip(a).zip(b).for_each(|((lane, a), b)| *lane += value(*a, *b));
    }
    total(lanes)
}

#[inline(always)]
fn total<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let butterfly = |warp: &mut [f32]| {
        for half in [16, 8, 4, 2, 1] {
            let (low, high) = warp.split_at_mut(half);
            low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
        }
        warp[0]
    };
    lanes.chunks_mut(WARP).map(butterfly).reduce(|sum, v| sum + v).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_in_the_order_of_threads() {
        for len in [0, 1, 31, 32, 33, 255, 256, 257, 1000] {
            let v: Vec<f32> = (0..len).map(|i| (i * 7919 % 1013) as f32 / 1013.0 - 0.3).collect();
            // The shuffles as they are: every lane adds its partner's sum.
            let mut lanes: Vec<f32> = (0..256).map(|t| v.iter().skip(t).step_by(256).fold(0.0, |s, v| s + v)).collect();
            for distance in [16, 8, 4, 2, 1] {
                lanes = (0..256).map(|t| lanes[t] + lanes[t ^ distance]).collect();
            }
            let want = (1..8).fold(lanes[0], |sum, warp| sum + lanes[warp * 32]);
            assert_eq!(lane_sum::<256>(len, |i| v[i]).to_bits(), want.to_bits(), "{len}");
            let ones = vec![1.0; len];
            assert_eq!(pair_sum::<256>(&v, &ones, |a, b| a * b).to_bits(), want.to_bits(), "{len}, pairs");
        }
    }
}
