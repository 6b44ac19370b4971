//! The program, and its data sets through the public interface too.

mod bench;
mod common;
mod data;
mod errors;
mod interchange;
mod networks;
mod resume;
mod runs;
