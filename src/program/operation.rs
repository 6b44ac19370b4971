//! What planners and readers must know of an operation, whatever it computes. None of it has a default: an op that leaves
//! something out does not compile.

use super::{Bits, Filter, Map, Values};

/// A map or a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// A feature map.
    Map(Map),
    /// A mask.
    Bits(Bits),
}

impl From<Map> for Value {
    fn from(map: Map) -> Value {
        Value::Map(map)
    }
}

impl From<Bits> for Value {
    fn from(bits: Bits) -> Value {
        Value::Bits(bits)
    }
}

/// What an operation works on, which says how a backend may run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// Each live example by itself: a backend may run tiles of slots through whole stretches of such ops.
    Example,
    /// The whole batch at once.
    Batch,
    /// The whole batch at once, and who is live may be another afterwards.
    Live,
    /// The number of live examples alone: it may run whenever that number is the same.
    Count,
    /// Parameters that no op of the same stretch of preparations prepares; it fills an affine.
    Fold,
    /// Parameters and affines; it fills a filter.
    Filter,
}

/// What an operation touches besides flat buffers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// Maps and masks that it reads.
    pub reads: Vec<Value>,
    /// Maps and masks that it writes whole.
    pub writes: Vec<Value>,
    /// The prepared filter that it reads.
    pub filter: Option<Filter>,
}

impl Uses {
    /// Nothing but flat buffers, affines and per-example state.
    pub fn none() -> Uses {
        Uses::default()
    }

    /// These are read as well.
    pub fn reads<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Uses {
        self.reads.extend(values.into_iter().map(V::into));
        self
    }

    /// These are written as well.
    pub fn writes<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Uses {
        self.writes.extend(values.into_iter().map(V::into));
        self
    }

    /// This filter is read.
    pub fn filter(self, filter: Filter) -> Uses {
        Uses { filter: Some(filter), ..self }
    }
}

/// An operation of a program.
pub trait Operation {
    /// Its name, as a printed program has it.
    fn name(&self) -> &'static str;

    /// What it works on.
    fn extent(&self) -> Extent;

    /// The maps, masks and filter that it touches.
    fn uses(&self) -> Uses;

    /// What a printed program says of it behind its name: shapes, constants, what it decides.
    fn describe(&self, values: &Values) -> String;
}
