//! How the CPU backend lays out a feature map: `[n][C/16][rows][cols][16]` with a border kept zero.
//!
//! Sixteen channels are one AVX-512 register or two AVX2 ones, so every inner loop is a whole vector. The plane has one
//! row and column of zeros before the map and at least one after; the interior is rounded up to multiples of four so
//! that Winograd tiles never leave the plane. Channels beyond C are zero as well. Kernels write the interior only, so the
//! zeros, set when the buffer is made, stay.

use crate::program::{Conv, Shape};

/// Channels in a block.
pub const LANES: usize = 16;

/// The shape of a feature map of one example and its place in memory, in f32 elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MapShape {
    /// Channels.
    pub c: usize,
    /// Height.
    pub h: usize,
    /// Width.
    pub w: usize,
}

impl From<Shape> for MapShape {
    fn from(Shape { c, h, w }: Shape) -> MapShape {
        MapShape { c, h, w }
    }
}

impl MapShape {
    /// The shape of a convolution's input map x (and of dx).
    pub fn x(conv: &Conv) -> MapShape {
        conv.x().into()
    }

    /// The shape of a convolution's output map y (and of dy).
    pub fn y(conv: &Conv) -> MapShape {
        conv.y().into()
    }

    /// Channel blocks: `ceil(c / 16)`.
    pub fn blocks(&self) -> usize {
        self.c.div_ceil(LANES)
    }

    /// Rows of a plane, border included.
    pub fn rows(&self) -> usize {
        self.h.next_multiple_of(4) + 2
    }

    /// Columns of a plane, border included.
    pub fn cols(&self) -> usize {
        self.w.next_multiple_of(4) + 2
    }

    /// Elements from one row to the next.
    pub fn row(&self) -> usize {
        self.cols() * LANES
    }

    /// Elements of the plane of one channel block.
    pub fn plane(&self) -> usize {
        self.rows() * self.row()
    }

    /// Elements of one example.
    pub fn example(&self) -> usize {
        self.blocks() * self.plane()
    }

    /// Offset of the first interior element (row 0, column 0 of the map) in a plane.
    pub fn origin(&self) -> usize {
        self.row() + LANES
    }

    /// u16 words of one example's bit mask, laid out `[C/16][h][w]` without border; bit i is channel `16*block + i`.
    pub fn bits(&self) -> usize {
        self.blocks() * self.h * self.w
    }
}
