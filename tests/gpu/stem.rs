//! The stem's three passes.
