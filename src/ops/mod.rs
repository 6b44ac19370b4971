//! The operations a program is made of, a folder each: shapes, formulas and preconditions in `mod.rs`, the CPU
//! implementation in `cpu.rs`.

pub mod account;
pub mod aim;
pub mod apgd;
pub mod conv;
pub mod fab;
pub mod head;
pub mod load;
pub mod mine;
pub mod norm;
pub mod pair;
pub mod refill;
pub mod square;
pub mod start;
pub mod stem;
pub mod update;
