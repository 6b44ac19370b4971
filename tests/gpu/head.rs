//! The head.
