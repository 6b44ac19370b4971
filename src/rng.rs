//! Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011).
//!
//! A number is a function of (seed, stream, epoch, sample, position) and of nothing else, so every device, thread count,
//! batch order and compaction draws the same ones.

use bytemuck::{Pod, Zeroable};

/// What a number is drawn for; streams never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    /// Initial parameters; the "sample" is the parameter's index.
    Init = 0,
    /// The order of the examples in an epoch.
    Order = 1,
    /// Crop and flip of an example.
    Augment = 2,
    /// Random start of the training attack.
    Attack = 3,
    /// Random start of an evaluation's attack.
    Eval = 4,
    /// Validation split.
    Split = 5,
    /// Squares of Square Attack.
    Square = 6,
}

/// A Philox4x32-10 generator under one seed.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Philox {
    key: [u32; 2],
}

impl Philox {
    /// The generator of `seed`.
    pub fn new(seed: u64) -> Self {
        Philox { key: [seed as u32, (seed >> 32) as u32] }
    }

    /// Four independent u32 for the counter (position, sample, epoch, stream).
    #[inline]
    pub fn block(&self, stream: Stream, epoch: u32, sample: u32, position: u32) -> [u32; 4] {
        philox([position, sample, epoch, stream as u32], self.key)
    }

    /// A permutation of `0..n` for `epoch`: the indices sorted by their random keys, ties by index.
    pub fn permutation(&self, stream: Stream, epoch: u32, n: usize) -> Vec<u32> {
        let mut keyed: Vec<(u64, u32)> = (0..n as u32)
            .map(|i| {
                let r = self.block(stream, epoch, i, 0);
                ((r[0] as u64) << 32 | r[1] as u64, i)
            })
            .collect();
        keyed.sort_unstable();
        keyed.into_iter().map(|(_, i)| i).collect()
    }
}

/// Uniform in [0, 1) with 24 bits.
#[inline]
pub fn uniform(u: u32) -> f32 {
    (u >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Two independent standard normals, by Box and Muller's transform.
#[inline]
pub fn normal_pair(u: u32, v: u32) -> [f32; 2] {
    let radius = (-2.0 * (1.0 - uniform(u)).ln()).sqrt();
    let (sin, cos) = (std::f32::consts::TAU * uniform(v)).sin_cos();
    [radius * cos, radius * sin]
}

#[inline]
fn philox(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
        }
        let a = 0xD251_1F53u64 * c[0] as u64;
        let b = 0xCD9E_8D57u64 * c[2] as u64;
        c = [(b >> 32) as u32 ^ c[1] ^ k[0], b as u32, (a >> 32) as u32 ^ c[3] ^ k[1], a as u32];
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known-answer vectors that the Random123 library publishes.
    #[test]
    fn philox_matches_the_published_vectors() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn a_permutation_holds_every_index_once_and_changes_with_the_epoch() {
        let rng = Philox::new(7);
        let mut p = rng.permutation(Stream::Order, 1, 1000);
        assert_ne!(p, rng.permutation(Stream::Order, 2, 1000));
        p.sort_unstable();
        assert!(p.iter().enumerate().all(|(i, &v)| i as u32 == v));
    }

    #[test]
    fn uniform_covers_the_half_open_unit_interval() {
        assert_eq!(uniform(0), 0.0);
        assert!(uniform(u32::MAX) < 1.0);
    }
}
