//! Handles of what a backend keeps: typed, so that a feature map can't be passed for a bit mask.
//!
//! - [`Buf`]: a flat array that the backend owns and that outlives programs (parameters, images, per-example state);
//! - [`Map`], [`Bits`], [`Filter`], [`Affine`]: values inside one program, in whatever layout the backend likes. Their
//!   contents don't survive from one replay to the next.

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
