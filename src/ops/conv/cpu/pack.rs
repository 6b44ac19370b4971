//! Filters as the kernels read them: linearly, sixteen outputs to a vector.
//!
//! With `o` the outputs and `i` the inputs of the sum (k and c for fprop, c and k for dgrad), in blocks of sixteen:
//!
//! ```text
//! direct             [o/16]        [i/16][tap][i%16][o%16]     dgrad: taps flipped
//! direct dgrad s2    [o/16][parity][i/16][tap][i%16][o%16]     the taps that reach the parity, in `PHASES` order
//! winograd           [o/16][xi]    [i/16]     [i%16][o%16]     xi in 0..36 (6x6 transformed filter)
//! ```

use super::direct::{PHASES, phase_rows};
use super::{Algo, Conv, Pass, winograd};
use crate::cpu::layout::LANES;
use crate::cpu::simd::{Kernel, Level, Simd};
use rayon::prelude::*;

/// One block of sixteen inputs by sixteen outputs.
const BLOCK: usize = LANES * LANES;

/// f32 of a packed filter.
pub fn filter_len(conv: &Conv, _pass: Pass, algo: Algo) -> usize {
    let taps = match algo {
        Algo::Direct => conv.filter * conv.filter,
        Algo::Winograd => winograd::POINTS,
    };
    conv.k.div_ceil(LANES) * conv.c.div_ceil(LANES) * taps * BLOCK
}

/// Packs the KRSC filter `w[k,r,s,c] * scale_k[k] * scale_c[c]` for a pass; runs on rayon's current pool.
///
/// The scales fold a batch norm of the output or of the input into the filter. They have K and C elements (or more).
///
/// # Panics
/// If a slice's length does not fit the geometry.
pub fn pack(
    level: Level,
    conv: &Conv,
    pass: Pass,
    algo: Algo,
    w: &[f32],
    scale_k: Option<&[f32]>,
    scale_c: Option<&[f32]>,
    out: &mut [f32],
) {
    assert_eq!(w.len(), conv.filter_len(), "KRSC filter of {conv:?}");
    assert_eq!(out.len(), filter_len(conv, pass, algo), "packed filter of {conv:?}");
    assert!(algo.supports(conv), "{algo:?} cannot compute {conv:?}");
    let outputs = if pass == Pass::Fprop { conv.k } else { conv.c };
    let block_len = out.len() / outputs.div_ceil(LANES);
    out.par_chunks_mut(block_len).enumerate().for_each(|(block, out)| {
        level.run(Block { conv: *conv, pass, algo, w, scale_k, scale_c, block, out });
    });
}

/// The packed filter of one block of outputs.
struct Block<'a> {
    conv: Conv,
    pass: Pass,
    algo: Algo,
    w: &'a [f32],
    scale_k: Option<&'a [f32]>,
    scale_c: Option<&'a [f32]>,
    block: usize,
    out: &'a mut [f32],
}

/// Sixteen elements of a scale from `first`, ones where there is no scale, zeros beyond the end.
fn sixteen(scale: Option<&[f32]>, first: usize, len: usize) -> [f32; LANES] {
    std::array::from_fn(|i| match scale {
        _ if first + i >= len => 0.0,
        Some(scale) => scale[first + i],
        None => 1.0,
    })
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Conv { c, k, filter, stride, .. } = self.conv;
        let (out, taps) = (self.out, filter * filter);
        let inputs = if self.pass == Pass::Fprop { c } else { k };
        let blocks = inputs.div_ceil(LANES);
        // [tap][input][output] of one pair of blocks.
        let mut stage = [[[0.0f32; LANES]; LANES]; 9];
        for b in 0..blocks {
            let (kb, cb) = if self.pass == Pass::Fprop { (self.block, b) } else { (b, self.block) };
            let (k0, c0) = (kb * LANES, cb * LANES);
            let (sk, sc) = (sixteen(self.scale_k, k0, k), sixteen(self.scale_c, c0, c));
            let (kn, cn) = (LANES.min(k - k0), LANES.min(c - c0));
            if kn < LANES || cn < LANES {
                stage = [[[0.0; LANES]; LANES]; 9];
            }
            for kk in 0..kn {
                for t in 0..taps {
                    let row = &self.w[((k0 + kk) * taps + t) * c + c0..][..cn];
                    if self.pass == Pass::Fprop {
                        for cc in 0..cn {
                            stage[t][cc][kk] = row[cc] * sk[kk] * sc[cc];
                        }
                    } else {
                        // dgrad at stride 1 is fprop with the filter turned by 180 degrees.
                        let to = &mut stage[if stride == 1 { taps - 1 - t } else { t }][kk];
                        for cc in 0..cn {
                            to[cc] = row[cc] * sk[kk] * sc[cc];
                        }
                    }
                }
            }
            match self.algo {
                Algo::Winograd => winograd::transform_filter(s, &stage, &mut out[b * BLOCK..], blocks * BLOCK),
                Algo::Direct if stride == 1 || self.pass == Pass::Fprop => {
                    let to = out[b * taps * BLOCK..][..taps * BLOCK].chunks_exact_mut(BLOCK);
                    to.zip(&stage).for_each(|(to, from)| to.copy_from_slice(from.as_flattened()));
                }
                Algo::Direct => {
                    let mut first = 0;
                    for (ph, pw) in PHASES {
                        let (rows, cols) = (phase_rows(filter, ph), phase_rows(filter, pw));
                        let n = rows.len() * cols.len();
                        for (t, (r, q)) in rows.iter().flat_map(|r| cols.iter().map(move |q| (r.0, q.0))).enumerate() {
                            let to = first + (b * n + t) * BLOCK;
                            out[to..to + BLOCK].copy_from_slice(stage[r * filter + q].as_flattened());
                        }
                        first += n * blocks * BLOCK;
                    }
                }
            }
        }
    }
}
