//! What developers of kernels ask: which launches a program becomes, registers and spills, counted work and its least time, and
//! which tiles are fastest.

pub mod listing;
pub mod profile;
pub mod ptxas;
pub mod tiles;
