//! How the table of tiles is made: every tile tried on the convolutions of the networks that come with the program, measured on
//! a GPU, or counted on the simulated one and held against a roofline.

use super::ptxas::{Assembled, assemble};
use crate::backend::Backend;
use crate::backend::gpu::GpuBackend;
use crate::gpu::Precision;
use crate::gpu::driver::{Command, Driver};
use crate::gpu::sim::SimDriver;
use crate::net::{Arch, Family, Net};
use crate::ops::conv::{ConvDgrad, ConvFprop, Epilogue, gpu};
use crate::ops::{Op, Program};
use crate::program::{Conv, DType, FilterDecl, Pass, Shape};
use crate::{Error, Result};
use ptx_sim::gpu::{Gpu, occupancy};
use ptx_sim::roofline::{Work, roofline};
use std::collections::HashMap;
use std::time::Instant;

pub use crate::gpu::tiles::{Problem, Row, TABLE, TileSize, ranked, read, sizes, write};
pub use crate::ops::conv::gpu::Fit;

/// Sizes of the batch that the table has.
pub const BATCHES: [usize; 5] = [256, 128, 64, 32, 8];
/// Launches of a measurement, and how often it is repeated: the fastest counts.
const LAUNCHES: usize = 50;
const ROUNDS: usize = 5;
/// How much longer a block of four warps takes that has no other beside it to hide its latencies, which the roofline knows
/// nothing of.
const ALONE: f64 = 1.1;
/// Part that counts of what hides behind a launch's longest time: it decides between equals.
const HIDDEN: f64 = 0.02;

/// A convolution and a pass, and the 1x1 convolution that rides in its sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The pass.
    pub pass: Pass,
    /// The convolution.
    pub conv: Conv,
    /// The one that rides along.
    pub shortcut: Option<Conv>,
}

/// The different convolutions of PreActResNet-18 on 32x32 pixels, and of widths 16, 32, 64 on 28x28 and 32x32.
pub fn subjects() -> Vec<Subject> {
    let mut all = Vec::new();
    for (widths, side) in [(vec![64, 128, 256, 512], 32), (vec![16, 32, 64], 32), (vec![16, 32, 64], 28)] {
        let (image, blocks) = (Shape { c: 3, h: side, w: side }, vec![2; widths.len()]);
        let net =
            Net::new(Arch { family: Family::PreActResNet, image, classes: 10, widths, blocks, normalisation: None });
        for pass in [Pass::Fprop, Pass::Dgrad] {
            for b in &net.blocks {
                let shortcut = b.shortcut.map(|f| f.conv);
                // Forward a shortcut is added to the second convolution, backward to the first one's gradient.
                let (first, second) = match pass {
                    Pass::Fprop => (None, shortcut),
                    Pass::Dgrad => (shortcut, None),
                };
                for (conv, shortcut) in [(b.conv1.conv, first), (b.conv2.conv, second)] {
                    let subject = Subject { pass, conv, shortcut };
                    if !all.contains(&subject) {
                        all.push(subject);
                    }
                }
            }
        }
    }
    all
}

impl Subject {
    /// What the table calls it.
    pub fn problem(&self, precision: Precision, batch: usize) -> Problem {
        gpu::problem(precision, batch, self.pass, &self.conv, self.shortcut.is_some())
    }

    /// The convolution on all slots of a batch, `launches` times.
    fn program(&self, backend: &mut impl Backend, batch: usize, launches: usize) -> Result<Program> {
        let Subject { pass, conv, shortcut } = *self;
        let live = backend.alloc(DType::U32, 2)?;
        backend.write(live, 0, &[batch as u32; 2])?;
        let mut p = Program::new(batch, live);
        let x = |c: Conv| Shape { c: c.c, h: c.h, w: c.w };
        let y = |c: Conv| Shape { c: c.k, h: c.p(), w: c.q() };
        let (from, to) = match pass {
            Pass::Fprop => (x as fn(Conv) -> Shape, y as fn(Conv) -> Shape),
            Pass::Dgrad => (y as fn(Conv) -> Shape, x as fn(Conv) -> Shape),
        };
        let mut operand = |c: Conv| (p.map(from(c)), p.filter(FilterDecl { conv: c, stem: false, pass, exact: true }));
        let (first, second) = (operand(conv), shortcut.map(|s| (s, operand(s))));
        let out = p.map(to(conv));
        let fprop = |conv, (x, filter), residual| {
            Op::ConvFprop(ConvFprop {
                conv,
                x,
                filter,
                epilogue: Epilogue { residual, y: Some(out), ..Epilogue::default() },
            })
        };
        let dgrad =
            |conv, (dy, filter), residual| Op::ConvDgrad(ConvDgrad { conv, dy, filter, bits: None, residual, dx: out });
        for _ in 0..launches {
            match (pass, second) {
                (Pass::Fprop, None) => p.push(fprop(conv, first, None)),
                (Pass::Fprop, Some((s, second))) => {
                    p.push(fprop(s, second, None));
                    p.push(fprop(conv, first, Some(out)));
                }
                (Pass::Dgrad, None) => p.push(dgrad(conv, first, None)),
                (Pass::Dgrad, Some((s, second))) => {
                    p.push(dgrad(conv, first, None));
                    p.push(dgrad(s, second, Some(out)));
                }
            }
        }
        Ok(p)
    }

    /// How a tile covers a batch; None if it doesn't suit the convolution.
    pub fn fit(&self, precision: Precision, shared: usize, batch: usize, tile: TileSize) -> Option<Fit> {
        gpu::fit(precision, shared, batch, self.pass, &[Some(self.conv), self.shortcut], tile)
    }
}

/// Seconds of a launch with a tile on the backend's GPU; None if the tile doesn't suit. All values are zero, which a GPU
/// multiplies at a higher clock than others: times are for comparison.
///
/// # Errors
/// Where the device fails.
pub fn measure<D: Driver>(
    backend: &mut GpuBackend<D>,
    subject: &Subject,
    batch: usize,
    tile: TileSize,
) -> Result<Option<f64>> {
    if subject.fit(backend.precision(), backend.driver.shared_limit(), batch, tile).is_none() {
        return Ok(None);
    }
    backend.tile = Some(tile);
    let program = subject.program(backend, batch, LAUNCHES)?;
    let mut compiled = backend.compile(program)?;
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        backend.wait()?;
        let start = Instant::now();
        backend.replay(&mut compiled)?;
        backend.wait()?;
        best = best.min(start.elapsed().as_secs_f64() / LAUNCHES as f64);
    }
    Ok(Some(best))
}

/// Tells times of launches from a few of their blocks, executed on the simulated device.
pub struct Predictor {
    gpu: &'static Gpu,
    assembled: HashMap<String, Assembled>,
}

impl Predictor {
    /// For that GPU.
    ///
    /// # Errors
    /// If there is no ptxas.
    pub fn new(gpu: &'static Gpu) -> Result<Predictor> {
        let (major, minor) = gpu.compute_capability;
        let assembled = assemble(&format!("sm_{major}{minor}"))?;
        Ok(Predictor { gpu, assembled: assembled.into_iter().map(|a| (a.kernel.clone(), a)).collect() })
    }

    /// Seconds of a launch with a tile for batches of all [`BATCHES`]; None if the tile doesn't suit, or has more channels than
    /// there are while a narrower one has enough: what it multiplies in vain may hide behind other work on paper only.
    ///
    /// # Errors
    /// If a kernel fails.
    pub fn predict(
        &self,
        backend: &mut GpuBackend<SimDriver>,
        subject: &Subject,
        tile: TileSize,
    ) -> Result<Option<[f64; BATCHES.len()]>> {
        let (precision, shared) = (backend.precision(), backend.driver.shared_limit());
        let fit = |batch| subject.fit(precision, shared, batch, tile);
        let Some(Fit { images, .. }) = fit(1) else { return Ok(None) };
        let [_, channels] = subject.problem(precision, 1).channels;
        if sizes(precision).iter().any(|t| (channels..tile.channels).contains(&t.channels)) {
            return Ok(None);
        }
        backend.tile = Some(tile);
        // Blocks are alike: those of the images of one tile stand for all.
        let program = subject.program(backend, images, 1)?;
        let filters: usize = program.values.filters.iter().map(|f| gpu::filter_bytes(f, precision)).sum();
        let compiled = backend.compile(program)?;
        let launch = compiled.commands.iter().find_map(|c| if let Command::Launch(l) = c { Some(l) } else { None });
        let launch = launch.ok_or_else(|| Error::Op { op: "conv", what: format!("{subject:?}: nothing to launch") })?;
        let sample = Work::from(&backend.driver.run(launch)?);
        let assembled = self.assembled.get(launch.kernel.name).cloned().unwrap_or_default();
        let threads: u32 = launch.block.iter().product();
        let fits = occupancy(self.gpu, threads, assembled.registers, assembled.shared + launch.shared as u32);
        let seconds = |batch| {
            let blocks = fit(batch).map_or(0, |f| f.blocks) as u64;
            let scaled = |n: u64| n * blocks / sample.blocks.max(1);
            // Filters are read once, however many blocks there are.
            let filters = sample.dram_bytes.min(filters as u64);
            let work = Work {
                blocks,
                dram_bytes: filters + scaled(sample.dram_bytes - filters),
                l2_sectors: scaled(sample.l2_sectors),
                shared_wavefronts: scaled(sample.shared_wavefronts),
                warp_instructions: scaled(sample.warp_instructions),
                float_warp_instructions: scaled(sample.float_warp_instructions),
                special_warp_instructions: scaled(sample.special_warp_instructions),
                mma_flops: scaled(sample.mma_flops),
            };
            let Some(r) = roofline(&work, self.gpu, &fits) else { return f64::INFINITY };
            let hidden = r.times.iter().map(|(_, seconds)| seconds).sum::<f64>() - r.seconds;
            let alone = threads == 128 && (fits.blocks_per_sm == 1 || blocks <= u64::from(self.gpu.sms));
            (r.seconds + HIDDEN * hidden) * if alone { ALONE } else { 1.0 }
        };
        Ok(Some(BATCHES.map(seconds)))
    }
}
