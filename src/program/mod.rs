//! A mini-batch as data: the sequence of operations that the engine records once and a backend replays.
//!
//! The engine never computes: it records operations in a [`Program`], and a backend turns the whole program into something it
//! can replay (loops over tiles of images on a CPU, a graph of kernels on a GPU). What the operations are is not known here:
//! `src/ops` has the list.
//!
//! Per-example ops work on the *live* slots `[0, live)`; `live` is itself in backend memory. Activations and images are
//! indexed by slot and move when the batch is compacted; per-example state is indexed by the example's *position* in the
//! batch, which never changes: `position[slot]` leads from one to the other.

mod buffers;
mod conv;
mod handles;
mod operation;
mod phase;

pub use buffers::Buffers;
pub use conv::{Conv, FilterDecl, Pass};
pub use handles::{Affine, Bits, Buf, DType, Filter, Map, Shape, Span};
pub use operation::{Extent, Operation, Uses, Value};
pub use phase::{Phase, Range};

/// What a program's ops pass to one another, and the batch that they work on.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// Slots of the batch: no op sees more live examples.
    pub capacity: usize,
    /// The batch's count of live slots: u32 `[live, loaded]`.
    pub live: Option<Buf>,
    /// Shapes of the feature maps.
    pub maps: Vec<Shape>,
    /// Shapes of the bit masks.
    pub bits: Vec<Shape>,
    /// The filters.
    pub filters: Vec<FilterDecl>,
    /// Channels of the affines.
    pub affines: Vec<usize>,
}

impl Values {
    /// The shape of a feature map.
    pub fn map(&self, map: Map) -> Shape {
        self.maps[map.0 as usize]
    }

    /// The shape of a bit mask.
    pub fn mask(&self, bits: Bits) -> Shape {
        self.bits[bits.0 as usize]
    }

    /// The declaration of a filter.
    pub fn filter(&self, filter: Filter) -> &FilterDecl {
        &self.filters[filter.0 as usize]
    }

    /// The channels of an affine.
    pub fn affine(&self, affine: Affine) -> usize {
        self.affines[affine.0 as usize]
    }
}

/// A place in a program: an operation, or a mark between operations.
#[derive(Clone, Debug)]
pub enum Node<O> {
    /// An operation.
    Op(O),
    /// What follows belongs to this phase, until the next mark.
    Mark(Phase),
    /// What follows belongs to this range as well, until it is left; ranges nest.
    Enter(Range),
    /// Ends the innermost range.
    Leave,
}

/// A recorded sequence of operations `O` and the values they pass to one another.
#[derive(Clone, Debug)]
pub struct Program<O> {
    /// The values and the batch.
    pub values: Values,
    /// Operations and marks, in order.
    pub nodes: Vec<Node<O>>,
}

impl<O> Program<O> {
    /// An empty program over the slots of a batch whose count of live ones is in `live`.
    pub fn new(capacity: usize, live: Buf) -> Self {
        Program { values: Values { capacity, live: Some(live), ..Values::default() }, nodes: Vec::new() }
    }

    /// Declares a feature map.
    pub fn map(&mut self, shape: Shape) -> Map {
        self.values.maps.push(shape);
        Map(self.values.maps.len() as u32 - 1)
    }

    /// Declares a bit mask of a feature map.
    pub fn mask(&mut self, shape: Shape) -> Bits {
        self.values.bits.push(shape);
        Bits(self.values.bits.len() as u32 - 1)
    }

    /// Declares a filter.
    pub fn filter(&mut self, decl: FilterDecl) -> Filter {
        self.values.filters.push(decl);
        Filter(self.values.filters.len() as u32 - 1)
    }

    /// Declares an affine over `channels`.
    pub fn affine(&mut self, channels: usize) -> Affine {
        self.values.affines.push(channels);
        Affine(self.values.affines.len() as u32 - 1)
    }

    /// Records an operation.
    pub fn push(&mut self, op: impl Into<O>) {
        self.nodes.push(Node::Op(op.into()));
    }

    /// Records the start of a phase.
    pub fn mark(&mut self, phase: Phase) {
        self.nodes.push(Node::Mark(phase));
    }

    /// Records what `record` records as a range.
    pub fn within(&mut self, range: Range, record: impl FnOnce(&mut Self)) {
        self.nodes.push(Node::Enter(range));
        record(self);
        self.nodes.push(Node::Leave);
    }

    /// The operations, in order.
    pub fn ops(&self) -> impl Iterator<Item = &O> {
        self.nodes.iter().filter_map(|node| if let Node::Op(op) = node { Some(op) } else { None })
    }
}
