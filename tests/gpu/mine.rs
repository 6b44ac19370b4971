//! Selection, compaction and weights.
