//! Makes a program ready for a device: memory for its values, and the launches of its ops.

use super::Precision;
use super::driver::{Arg, Command, Driver, Launch, Ptr};
use super::fuse::{self, Step};
use super::kernels::Kernel;
use crate::ops::conv::gpu::tiles::TileSize;
use crate::ops::{account, conv, head, norm, stem};
use crate::program::{Affine, Bits, Buf, Filter, FilterDecl, Map, Op, Phase, Program, Shape, Span};
use crate::{Error, Result};
use bytemuck::Pod;

/// u64 of the times of phases: nanoseconds of each, and when the last mark was passed.
pub(super) const TIMES: usize = Phase::ALL.len() + 1;
/// Memory that is left to the driver, for code and graphs.
const RESERVE: usize = 64 << 20;

/// An op's launcher, in `src/ops/<op>/gpu.rs`.
pub trait GpuOp {
    /// Checks what its kernels take for granted, and appends their launches.
    ///
    /// # Errors
    /// Where a kernel does not support the shape.
    fn launch(&self, cx: &mut Recorder) -> Result<()>;
}

/// A program ready to replay, and the memory of its values.
pub struct Recorded<D: Driver> {
    pub(super) graph: D::Graph,
    /// What the addresses in `values` belong to.
    _memory: Vec<D::Memory>,
    /// Bytes of it.
    pub(super) bytes: u64,
    pub(super) values: Values,
    pub(super) program: Program,
    pub(super) precision: Precision,
    /// What it runs.
    pub commands: Vec<Command>,
}

/// Addresses of a program's values.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    pub(super) maps: Vec<Ptr>,
    pub(super) bits: Vec<Ptr>,
    filters: Vec<Ptr>,
    pub(super) affines: Vec<Ptr>,
    workspace: Ptr,
}

/// Channels in memory: rounded up to what a 16-byte vector of bf16 holds.
pub fn padded(channels: usize) -> usize {
    channels.next_multiple_of(8)
}

/// Elements of a feature map of one slot.
pub fn map_len(s: Shape) -> usize {
    s.h * s.w * padded(s.c)
}

/// Bytes of a bit mask of one slot.
pub fn bits_len(s: Shape) -> usize {
    map_len(s) / 8
}

/// Where ops put their launches, and where they find their values.
pub struct Recorder<'a> {
    /// Element type of maps.
    pub precision: Precision,
    /// The program.
    pub program: &'a Program,
    /// Bytes of shared memory that a block may have.
    pub shared: usize,
    /// The tile of convolutions, if it isn't for the table to say.
    pub tile: Option<TileSize>,
    bufs: &'a [Ptr],
    values: &'a Values,
    times: Ptr,
    /// The phase that the last mark started.
    pub(crate) phase: Option<Phase>,
    workspace: usize,
    commands: Vec<Command>,
}

impl Recorder<'_> {
    /// Slots of the batch.
    pub fn capacity(&self) -> usize {
        self.program.capacity
    }

    /// The count of live slots, u32 `[live, loaded]`, to be read.
    pub fn live(&self) -> Arg {
        Arg::In(self.buf(self.program.live.expect("a program over a batch")))
    }

    /// Address of a buffer.
    pub fn buf(&self, buf: Buf) -> Ptr {
        self.bufs[buf.id as usize]
    }

    /// Address of a span of a buffer.
    pub fn span(&self, buf: Buf, span: Span) -> Ptr {
        assert!(span.offset + span.len <= buf.len, "{span:?} of {buf:?}");
        self.buf(buf) + (span.offset * buf.dtype.size()) as Ptr
    }

    /// Address of a feature map.
    pub fn map(&self, map: Map) -> Ptr {
        self.values.maps[map.0 as usize]
    }

    /// Address of a bit mask.
    pub fn bits(&self, bits: Bits) -> Ptr {
        self.values.bits[bits.0 as usize]
    }

    /// Address of a prepared filter.
    pub fn filter(&self, filter: Filter) -> Ptr {
        self.values.filters[filter.0 as usize]
    }

    /// Declaration of a filter.
    pub fn decl(&self, filter: Filter) -> &FilterDecl {
        &self.program.filters[filter.0 as usize]
    }

    /// Address of an affine's `scale[cp]`, and of its `shift[cp]`.
    pub fn affine(&self, affine: Affine) -> [Ptr; 2] {
        let scale = self.values.affines[affine.0 as usize];
        [scale, scale + 4 * padded(self.program.affines[affine.0 as usize]) as Ptr]
    }

    /// u64 `[phases, last mark]` of the backend.
    pub fn times(&self) -> Ptr {
        self.times
    }

    /// At least `bytes` of scratch memory that the launches of a step share; the next step's overwrite it.
    pub fn workspace(&mut self, bytes: usize) -> Ptr {
        self.workspace = self.workspace.max(bytes);
        self.values.workspace
    }

    /// Appends a launch of the kernel `name`, whose element type the name ends with if it has one.
    ///
    /// # Errors
    /// If there is no such kernel, or the grid is beyond what a GPU takes.
    pub fn launch(
        &mut self,
        name: &str,
        grid: [usize; 3],
        block: usize,
        shared: usize,
        args: impl IntoIterator<Item = Arg>,
        shape: impl Into<String>,
    ) -> Result<()> {
        let (kernel, shape) = (Kernel::find(name)?, shape.into());
        if grid[0] >= 1 << 31 || grid[1] > 65535 || grid[2] > 65535 || grid.contains(&0) {
            return Err(Error::Op { op: "gpu", what: format!("{name} ({shape}): a grid of {grid:?} blocks") });
        }
        let grid = grid.map(|n| n as u32);
        let args = args.into_iter().collect();
        self.commands.push(Command::Launch(Launch { kernel, grid, block: [block as u32, 1, 1], shared, args, shape }));
        Ok(())
    }

    /// The same for a kernel of this precision: appends `_f32` or `_bf16` to the name.
    ///
    /// # Errors
    /// As [`Recorder::launch`].
    pub fn launch_typed(
        &mut self,
        name: &str,
        grid: [usize; 3],
        block: usize,
        shared: usize,
        args: impl IntoIterator<Item = Arg>,
        shape: impl Into<String>,
    ) -> Result<()> {
        let name = format!("{name}_{}", self.precision.suffix());
        self.launch(&name, grid, block, shared, args, shape)
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Op(op) => match launcher(op) {
                Some(op) => op.launch(self),
                None => unreachable!("grouped: {op:?}"),
            },
            Step::Fold(folds) => norm::gpu::fold(self, folds),
            Step::Prepare(filters) => conv::gpu::prepare(self, filters),
            Step::Fprop(conv, shortcut, norm) => conv::gpu::fprop(self, conv, *shortcut, *norm),
            Step::Stem(stem, norm) => stem::gpu::fprop(self, stem, *norm),
            Step::Dgrad(conv, shortcut) => conv::gpu::dgrad(self, conv, *shortcut),
            Step::Head(fprop, keep, dgrad) => head::gpu::fprop(self, fprop, *keep, *dgrad),
            Step::Enter(range) => {
                self.commands.push(Command::Push(range.to_string()));
                Ok(())
            }
            Step::Leave => {
                self.commands.push(Command::Pop);
                Ok(())
            }
            Step::Tally(tally) => account::gpu::tally(self, tally),
        }
    }
}

/// The launcher of an op that is not grouped with others.
fn launcher(op: &Op) -> Option<&dyn GpuOp> {
    Some(match op {
        Op::Load(o) => o,
        Op::Start(o) => o,
        Op::Square(o) => o,
        Op::FabStep(o) => o,
        Op::FabBack(o) => o,
        Op::StemDgrad(o) => o,
        Op::StemWgrad(o) => o,
        Op::ConvWgrad(o) => o,
        Op::NormFprop(o) => o,
        Op::NormBprop(o) => o,
        Op::HeadDgrad(o) => o,
        Op::HeadWgrad(o) => o,
        Op::Select(o) => o,
        Op::Compact(o) => o,
        Op::Freeze(o) => o,
        Op::Thaw(o) => o,
        Op::Weigh(o) => o,
        Op::Pair(o) => o,
        Op::Refill(o) => o,
        Op::Aim(o) => o,
        Op::Apgd(o) => o,
        Op::Update(o) => o,
        Op::Account(o) => o,
        Op::Mark(o) => o,
        Op::Fold(_)
        | Op::PrepareFilter(_)
        | Op::StemFprop(_)
        | Op::ConvFprop(_)
        | Op::ConvDgrad(_)
        | Op::HeadFprop(_)
        | Op::Tally(_)
        | Op::Enter(_)
        | Op::Leave => {
            return None;
        }
    })
}

/// Bytes of each value of a program.
struct Sizes {
    maps: Vec<usize>,
    bits: Vec<usize>,
    filters: Vec<usize>,
    affines: Vec<usize>,
}

impl Sizes {
    fn new(program: &Program, precision: Precision) -> Sizes {
        let n = program.capacity;
        Sizes {
            maps: program.maps.iter().map(|s| n * map_len(*s) * precision.size()).collect(),
            bits: program.bits.iter().map(|s| n * bits_len(*s)).collect(),
            filters: program.filters.iter().map(|f| conv::gpu::filter_bytes(f, precision)).collect(),
            affines: program.affines.iter().map(|c| 2 * 4 * padded(*c)).collect(),
        }
    }

    /// Bytes that grow with the capacity, and the others.
    fn total(&self) -> (usize, usize) {
        let sum = |v: &[usize]| v.iter().sum::<usize>();
        (sum(&self.maps) + sum(&self.bits), sum(&self.filters) + sum(&self.affines))
    }
}

fn record(
    program: &Program,
    precision: Precision,
    bufs: &[Ptr],
    values: &Values,
    times: Ptr,
    shared: usize,
    tile: Option<TileSize>,
) -> Result<(Vec<Command>, usize)> {
    let (workspace, commands) = (0, Vec::new());
    let mut cx = Recorder { precision, program, shared, tile, bufs, values, times, phase: None, workspace, commands };
    fuse::steps(program).iter().try_for_each(|step| cx.step(step))?;
    if cx.phase.is_some() {
        // What passes until the next replay belongs to no phase.
        account::gpu::mark(&mut cx, None)?;
    }
    Ok((cx.commands, cx.workspace))
}

impl<D: Driver> Recorded<D> {
    pub(super) fn new(
        program: Program,
        precision: Precision,
        bufs: &[Ptr],
        times: Ptr,
        tile: Option<TileSize>,
        driver: &mut D,
    ) -> Result<Recorded<D>> {
        let sizes = Sizes::new(&program, precision);
        let nowhere = |v: &[usize]| vec![0; v.len()];
        let mut values = Values {
            maps: nowhere(&sizes.maps),
            bits: nowhere(&sizes.bits),
            filters: nowhere(&sizes.filters),
            affines: nowhere(&sizes.affines),
            workspace: 0,
        };
        let shared = driver.shared_limit();
        // Once without memory, to see how much workspace the launchers ask for.
        let (_, workspace) = record(&program, precision, bufs, &values, times, shared, tile)?;
        budget(&program, &sizes, workspace, driver.free_memory()?)?;
        let (mut memory, mut total) = (Vec::new(), 0);
        let mut place = |bytes: usize| -> Result<Ptr> {
            total += bytes as u64;
            memory.push(driver.alloc(bytes)?);
            Ok(D::address(&memory[memory.len() - 1]))
        };
        let mut all = |v: &[usize]| v.iter().map(|bytes| place(*bytes)).collect::<Result<Vec<_>>>();
        values.maps = all(&sizes.maps)?;
        values.bits = all(&sizes.bits)?;
        values.filters = all(&sizes.filters)?;
        values.affines = all(&sizes.affines)?;
        values.workspace = place(workspace)?;
        let (commands, _) = record(&program, precision, bufs, &values, times, shared, tile)?;
        let graph = driver.prepare(commands.clone())?;
        Ok(Recorded { graph, _memory: memory, bytes: total, values, program, precision, commands })
    }
}

/// Refuses a batch that the device has no memory for, and says what would fit.
fn budget(program: &Program, sizes: &Sizes, workspace: usize, free: usize) -> Result<()> {
    let (by_slot, fixed) = sizes.total();
    let (needed, free) = (by_slot + fixed + workspace, free.saturating_sub(RESERVE));
    if needed <= free {
        return Ok(());
    }
    let per_slot = (by_slot + workspace).div_ceil(program.capacity.max(1));
    let fits = free.saturating_sub(fixed) / per_slot.max(1);
    let mib = |bytes: usize| bytes.div_ceil(1 << 20);
    let what = format!(
        "a batch of {} takes {} MiB of device memory, {} are free; {}",
        program.capacity,
        mib(needed),
        mib(free),
        if fits > 0 { format!("--batch {fits} would fit") } else { "no batch of this network would fit".into() }
    );
    Err(Error::Device { what })
}

/// A structure as an argument.
pub fn bytes<T: Pod>(value: &T) -> Arg {
    Arg::Bytes(bytemuck::bytes_of(value).to_vec())
}
