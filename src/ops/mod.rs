//! The operations a program is made of, a folder each: shapes, formulas and preconditions in `mod.rs`, the CPU
//! implementation in `cpu.rs`.

pub mod conv;
pub mod stem;
