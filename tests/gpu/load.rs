//! The batch loader.
