//! What developers of kernels ask of them: registers and spills, counted work and its least time, and which tiles are fastest.

pub mod profile;
pub mod ptxas;
pub mod tiles;
