//! Where the values of a program are in memory.

use super::layout::MapShape;
use super::memory::Memory;
use crate::program::FilterDecl;

/// Where a value lives.
#[derive(Debug)]
pub enum Place {
    /// In memory of its own, with room for every slot.
    Shared(Memory),
    /// At this byte of each thread's arena, with room for a tile.
    Local(usize),
}

/// Where the values of a program are.
#[derive(Debug)]
pub struct Storage {
    /// Maps: shape and place.
    pub maps: Vec<(MapShape, Place)>,
    /// Masks: shape and place.
    pub bits: Vec<(MapShape, Place)>,
    /// Prepared filters.
    pub filters: Vec<(FilterDecl, Memory)>,
    /// Affines: channels; `scale`, then `shift`, each padded to whole blocks of channels.
    pub affines: Vec<(usize, Memory)>,
    /// f32 of scratch at the start of each arena.
    pub scratch: usize,
}
