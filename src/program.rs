//! A mini-batch as data: the sequence of operations that the engine records once and a backend replays.
//!
//! The engine never computes: it appends [`Op`]s to a [`Program`], and a [`Backend`](crate::backend::Backend) turns the
//! whole program into something it can replay (loops over tiles of images on a CPU, a graph of kernels on a GPU).
//! Handles are typed, so that a feature map can't be passed for a bit mask:
//!
//! - [`Buf`]: a flat array that the backend owns and that outlives programs (parameters, images, per-example state);
//! - [`Map`], [`Bits`], [`Filter`], [`Affine`]: values inside one program, in whatever layout the backend likes. Their
//!   contents don't survive from one replay to the next.
//!
//! Per-example ops work on the *live* slots `[0, live)`; `live` is itself in backend memory. Activations and images are
//! indexed by slot and move when the batch is compacted; per-example state is indexed by the example's *position* in the
//! batch, which never changes: `position[slot]` leads from one to the other.

use crate::ops::account::{Account, Tally};
use crate::ops::aim::Aim;
use crate::ops::apgd::Apgd;
use crate::ops::conv::{Conv, ConvDgrad, ConvFprop, ConvWgrad, Epilogue};
use crate::ops::fab::{FabBack, FabStep};
use crate::ops::head::{HeadDgrad, HeadFprop, HeadWgrad};
use crate::ops::load::LoadBatch;
use crate::ops::mine::{Compact, Freeze, Select, Thaw, Weigh};
use crate::ops::norm::{Fold, NormBprop, NormFprop};
use crate::ops::pair::Pair;
use crate::ops::refill::Refill;
use crate::ops::square::Square;
use crate::ops::start::Start;
use crate::ops::stem::{Normalisation, StemDgrad, StemFprop, StemWgrad};
use crate::ops::update::Update;

/// Element type of a [`Buf`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// Unsigned byte.
    U8,
    /// 32-bit unsigned integer.
    U32,
    /// 64-bit unsigned integer.
    U64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::U8 => 1,
            DType::U32 | DType::F32 => 4,
            DType::U64 | DType::F64 => 8,
        }
    }
}

/// A flat array owned by the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buf {
    /// Index in the backend's table.
    pub id: u32,
    /// Element type.
    pub dtype: DType,
    /// Elements.
    pub len: usize,
}

/// A range of a flat arena, in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// First element.
    pub offset: usize,
    /// Elements.
    pub len: usize,
}

impl Span {
    /// The range as indices.
    pub fn range(self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len
    }
}

/// A feature map `[capacity, H, W, C]` of f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Map(pub u32);

/// One bit for each element of a feature map: where its ReLU let the value through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bits(pub u32);

/// A filter prepared for one pass (folded, transposed, packed or transformed as the backend likes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Filter(pub u32);

/// A per-channel `scale[c]`, `shift[c]`: a batch norm in eval mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Affine(pub u32);

/// Channels, height and width of a feature map or an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Channels.
    pub c: usize,
    /// Height.
    pub h: usize,
    /// Width.
    pub w: usize,
}

impl Shape {
    /// Elements: `c * h * w`.
    pub fn len(self) -> usize {
        self.c * self.h * self.w
    }

    /// Whether there is no element.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Display for Shape {
    /// Channels x height x width, as in 3x32x32.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}x{}x{}", self.c, self.h, self.w)
    }
}

/// Which pass a [`Filter`] is prepared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Forward.
    Fprop,
    /// Gradient to the input.
    Dgrad,
}

/// What a [`Filter`] is prepared from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FilterDecl {
    /// The convolution it serves; the stem's has the image's channels as C.
    pub conv: Conv,
    /// Whether it belongs to the stem, whose input is an image.
    pub stem: bool,
    /// The pass it serves.
    pub pass: Pass,
    /// Whether the summation must keep the rounding of a direct convolution (no Winograd transform).
    pub exact: bool,
}

/// The phases whose time is kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Batch loading and augmentation.
    Data,
    /// Folding, PGD, check and compaction.
    Attack,
    /// Forward and backward passes with weight gradients, and the parameter update.
    Update,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Phase; 3] = [Phase::Data, Phase::Attack, Phase::Update];
}

/// A stretch of a mini-batch that profilers show by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Range {
    /// Loading the batch.
    Load,
    /// A step of the attack, from 0.
    Step(usize),
    /// Boundary check and compaction.
    Check,
    /// The training step's forward pass.
    Forward,
    /// The training step's backward pass.
    Backward,
    /// The parameter update.
    Update,
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Range::Load => f.write_str("load"),
            Range::Step(k) => write!(f, "attack step {k}"),
            Range::Check => f.write_str("check and compact"),
            Range::Forward => f.write_str("train forward"),
            Range::Backward => f.write_str("train backward"),
            Range::Update => f.write_str("update"),
        }
    }
}

/// Prepare `filter` from the KRSC weights `weights` of the arena `params`, each `w[k,r,s,c]` times `scale_k.scale[k]` and
/// `scale_c.scale[c]` where given.
#[derive(Clone, Debug)]
pub struct PrepareFilter {
    /// The filter to fill.
    pub filter: Filter,
    /// The parameter arena.
    pub params: Buf,
    /// Where the weights are in it.
    pub weights: Span,
    /// Folded batch norm of the output channels.
    pub scale_k: Option<Affine>,
    /// Folded batch norm of the input channels (dgrad).
    pub scale_c: Option<Affine>,
    /// For the stem: the normalisation of the image.
    pub normalisation: Option<Normalisation>,
}

/// One operation of a program.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // each variant is documented at its type
pub enum Op {
    Load(LoadBatch),
    Start(Start),
    Square(Square),
    FabStep(FabStep),
    FabBack(FabBack),
    Fold(Fold),
    PrepareFilter(PrepareFilter),
    StemFprop(StemFprop),
    StemDgrad(StemDgrad),
    StemWgrad(StemWgrad),
    ConvFprop(ConvFprop),
    ConvDgrad(ConvDgrad),
    ConvWgrad(ConvWgrad),
    NormFprop(NormFprop),
    NormBprop(NormBprop),
    HeadFprop(HeadFprop),
    HeadDgrad(HeadDgrad),
    HeadWgrad(HeadWgrad),
    Select(Select),
    Compact(Compact),
    Freeze(Freeze),
    Thaw(Thaw),
    Weigh(Weigh),
    Pair(Pair),
    Refill(Refill),
    Aim(Aim),
    Apgd(Apgd),
    Update(Update),
    Tally(Tally),
    Account(Account),
    /// What follows belongs to this phase, until the next mark.
    Mark(Phase),
    /// What follows belongs to this range as well, until it is left; ranges nest.
    Enter(Range),
    /// Ends the innermost range.
    Leave,
}

/// A recorded sequence of operations and the values they pass to one another.
#[derive(Clone, Debug, Default)]
pub struct Program {
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
    /// The operations, in order.
    pub ops: Vec<Op>,
}

impl Program {
    /// An empty program over the slots of a batch whose count of live ones is in `live`.
    pub fn new(capacity: usize, live: Buf) -> Self {
        Program { capacity, live: Some(live), ..Program::default() }
    }

    /// Declares a feature map.
    pub fn map(&mut self, shape: Shape) -> Map {
        self.maps.push(shape);
        Map(self.maps.len() as u32 - 1)
    }

    /// Declares a bit mask of a feature map.
    pub fn mask(&mut self, shape: Shape) -> Bits {
        self.bits.push(shape);
        Bits(self.bits.len() as u32 - 1)
    }

    /// Declares a filter.
    pub fn filter(&mut self, decl: FilterDecl) -> Filter {
        self.filters.push(decl);
        Filter(self.filters.len() as u32 - 1)
    }

    /// Declares an affine over `channels`.
    pub fn affine(&mut self, channels: usize) -> Affine {
        self.affines.push(channels);
        Affine(self.affines.len() as u32 - 1)
    }

    /// Appends what `record` appends as a range.
    pub fn within(&mut self, range: Range, record: impl FnOnce(&mut Program)) {
        self.ops.push(Op::Enter(range));
        record(self);
        self.ops.push(Op::Leave);
    }

    /// Appends an operation.
    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
    }
}

/// A map or a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// A feature map.
    Map(self::Map),
    /// A mask.
    Bits(self::Bits),
}

/// The maps and masks that an op touches, in the order read, then written whole.
pub fn uses(op: &Op) -> (Vec<Value>, Vec<Value>) {
    use Value::{Bits as B, Map as M};
    let epilogue = |reads: Vec<Value>, e: &Epilogue| {
        let act = e.act.iter().flat_map(|a| [Some(M(a.a)), a.bits.map(B)]).flatten();
        let reads = reads.into_iter().chain(e.residual.map(M)).collect();
        (reads, e.y.map(M).into_iter().chain(act).collect())
    };
    match op {
        Op::StemFprop(o) => epilogue(vec![], &o.epilogue),
        Op::ConvFprop(o) => epilogue(vec![M(o.x)], &o.epilogue),
        Op::StemDgrad(o) => (vec![M(o.dy)], vec![]),
        Op::ConvDgrad(o) => {
            ([Some(M(o.dy)), o.bits.map(B), o.residual.map(M)].into_iter().flatten().collect(), vec![M(o.dx)])
        }
        Op::HeadFprop(o) => (vec![M(o.a)], vec![]),
        Op::HeadDgrad(o) => (o.bits.map(B).into_iter().collect(), vec![M(o.dy)]),
        Op::StemWgrad(o) => (vec![M(o.dy)], vec![]),
        Op::ConvWgrad(o) => (vec![M(o.x), M(o.dy)], vec![]),
        Op::NormFprop(o) => (vec![M(o.x)], vec![M(o.a)]),
        Op::NormBprop(o) => (
            [Some(M(o.x)), Some(M(o.a)), Some(M(o.grad)), o.residual.map(M)].into_iter().flatten().collect(),
            vec![M(o.grad)],
        ),
        Op::Compact(o) => (o.bits.iter().map(|b| B(*b)).collect(), vec![]),
        _ => (vec![], vec![]),
    }
}
