//! Where ops append their launches, and where they find their values.

use super::Precision;
use super::driver::{Arg, Command, Launch, Ptr};
use super::kernels::Kernel;
use super::tiles::TileSize;
use crate::program::{Affine, Bits, Buf, Filter, FilterDecl, Map, Phase, Shape, Span, Values};
use crate::{Error, Result};
use bytemuck::Pod;

/// An op's launcher, in `src/ops/<op>/gpu.rs`.
pub trait GpuOp {
    /// Checks what its kernels take for granted, and appends their launches.
    ///
    /// # Errors
    /// Where a kernel does not support the shape.
    fn launch(&self, cx: &mut Launches) -> Result<()>;
}

/// Addresses of a program's values.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// Of maps.
    pub maps: Vec<Ptr>,
    /// Of masks.
    pub bits: Vec<Ptr>,
    /// Of prepared filters.
    pub filters: Vec<Ptr>,
    /// Of affines.
    pub affines: Vec<Ptr>,
    /// Of what the launches of an op share.
    pub workspace: Ptr,
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
pub struct Launches<'a> {
    /// Element type of maps.
    pub precision: Precision,
    /// Shapes of the program's values.
    pub values: &'a Values,
    /// Bytes of shared memory that a block may have.
    pub shared: usize,
    /// The tile of convolutions, if it isn't for the table to say.
    pub tile: Option<TileSize>,
    bufs: &'a [Ptr],
    addresses: &'a Addresses,
    times: Ptr,
    /// The phase that the last mark started.
    pub(crate) phase: Option<Phase>,
    workspace: usize,
    commands: Vec<Command>,
}

impl<'a> Launches<'a> {
    /// None yet. `times` is u64 `[phases, last mark]`.
    pub fn new(
        precision: Precision,
        values: &'a Values,
        bufs: &'a [Ptr],
        addresses: &'a Addresses,
        times: Ptr,
        shared: usize,
        tile: Option<TileSize>,
    ) -> Self {
        let (workspace, commands) = (0, Vec::new());
        Launches { precision, values, shared, tile, bufs, addresses, times, phase: None, workspace, commands }
    }

    /// The commands, and the bytes of workspace that they share.
    pub fn finish(self) -> (Vec<Command>, usize) {
        (self.commands, self.workspace)
    }

    /// Appends what is not a launch.
    pub fn push(&mut self, command: Command) {
        self.commands.push(command);
    }

    /// Slots of the batch.
    pub fn capacity(&self) -> usize {
        self.values.capacity
    }

    /// The count of live slots, u32 `[live, loaded]`, to be read.
    pub fn live(&self) -> Arg {
        Arg::In(self.buf(self.values.live.expect("a program over a batch")))
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
        self.addresses.maps[map.0 as usize]
    }

    /// Address of a bit mask.
    pub fn bits(&self, bits: Bits) -> Ptr {
        self.addresses.bits[bits.0 as usize]
    }

    /// Address of a prepared filter.
    pub fn filter(&self, filter: Filter) -> Ptr {
        self.addresses.filters[filter.0 as usize]
    }

    /// Declaration of a filter.
    pub fn decl(&self, filter: Filter) -> &FilterDecl {
        self.values.filter(filter)
    }

    /// Address of an affine's `scale[cp]`, and of its `shift[cp]`.
    pub fn affine(&self, affine: Affine) -> [Ptr; 2] {
        let scale = self.addresses.affines[affine.0 as usize];
        [scale, scale + 4 * padded(self.values.affine(affine)) as Ptr]
    }

    /// u64 `[phases, last mark]` of the backend.
    pub fn times(&self) -> Ptr {
        self.times
    }

    /// At least `bytes` of scratch memory that the launches of a step share; the next step's overwrite it.
    pub fn workspace(&mut self, bytes: usize) -> Ptr {
        self.workspace = self.workspace.max(bytes);
        self.addresses.workspace
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
    /// As [`Launches::launch`].
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
}

/// A structure as an argument.
pub fn bytes<T: Pod>(value: &T) -> Arg {
    Arg::Bytes(bytemuck::bytes_of(value).to_vec())
}
